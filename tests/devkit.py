"""The rule of the VOC devkit, `VOCevaldet.m` and `VOCap.m`, step by step, one detection and one object at a time."""

import math
from typing import NamedTuple


class Thing(NamedTuple):
    box: tuple
    label: int = 1
    difficult: bool = False
    crowd: bool = False


class Guess(NamedTuple):
    box: tuple
    score: float
    label: int = 1


Image = tuple[list[Thing], list[Guess]]


def devkit_overlap(one: tuple, other: tuple, border: int) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0]) + border
    high = min(one[3], other[3]) - max(one[1], other[1]) + border
    if not (wide > 0 and high > 0):
        return -math.inf
    areas = [(box[2] - box[0] + border) * (box[3] - box[1] + border) for box in (one, other)]
    return wide * high / (areas[0] + areas[1] - wide * high)


def voc_eval_det(images: list[Image], label: int, min_overlap: float, border: int) -> tuple[list, list, int]:
    """Precision and recall after each detection, and the number of objects."""
    objects = [[thing for thing in things if thing.label == label] for things, _ in images]
    found = [[False] * len(of_image) for of_image in objects]
    wanted = sum(not thing.difficult for of_image in objects for thing in of_image)
    queue = [(guess, place) for place, (_, guesses) in enumerate(images) for guess in guesses if guess.label == label]
    queue.sort(key=lambda entry: -entry[0].score)  # stable, as MATLAB's
    true = false = 0
    precision, recall = [], []
    for guess, place in queue:
        best, which = -math.inf, -1
        for number, thing in enumerate(objects[place]):
            overlap = devkit_overlap(guess.box, thing.box, border)
            if overlap > best:
                best, which = overlap, number
        if best >= min_overlap:
            if not objects[place][which].difficult:
                if not found[place][which]:
                    true += 1
                    found[place][which] = True
                else:
                    false += 1
        else:
            false += 1
        # A detection that counts neither way leaves 0/0 before the first that counts; the devkit's max skips it.
        precision.append(true / (true + false) if true + false else math.nan)
        recall.append(true / wanted if wanted else math.nan)
    return precision, recall, wanted


def eleven_points(precision: list, recall: list) -> float:
    total = 0.0
    for tenth in range(11):
        reached = [p for p, r in zip(precision, recall, strict=True) if r >= tenth / 10 and not math.isnan(p)]
        total += max(reached, default=0) / 11
    return total


def voc_ap(precision: list, recall: list) -> float:
    edges, heights = [0.0, *recall, 1.0], [0.0, *(0 if math.isnan(p) else p for p in precision), 0.0]
    for place in range(len(heights) - 2, -1, -1):
        heights[place] = max(heights[place], heights[place + 1])
    steps = [place for place in range(1, len(edges)) if edges[place] != edges[place - 1]]
    return sum((edges[place] - edges[place - 1]) * heights[place] for place in steps)
