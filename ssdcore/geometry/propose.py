"""Proposes default boxes for a data set: k-means on IoU, then a search over sizes and ratios.

The clusters are those of YOLO9000 (section 2, "Dimension Clusters"): boxes are compared by width and
height alone, at a common centre. For small objects the positions of the default boxes matter as much, so the
search scores whole sets by the IoU of each object with its best default box.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssdcore.errors import DataError
from ssdcore.geometry.default_boxes import MapSize, cell_sizes, centre_steps, default_boxes_xyxy
from ssdcore.geometry.recall import BestBoxes, Boxes, best_boxes, sizes_px
from ssdcore.params import DefaultBoxes

Sizes = NDArray[np.float64]
"""(N, 2) widths and heights, px."""

LEAST_GAIN = 1e-3
"""Smallest improvement of recall or mean IoU that is worth a change."""

MOST_STEPS = 5.0
"""Largest min_size, in steps of its layer, whose receptive field is limited. The paper's are 1 to 5."""

_SAMPLE = 3000
_MOST_ROUNDS_OF_LLOYD = 100
_GROWTH = 1.05
_RATIOS = (1.05, 10.0)
_FACTORS = (1.6, 1.25, 1.1, 1.03)
_MOST_ROUNDS = 30
_RECALL_WEIGHT = 10.0
_LEAST_STEP = 2e-4


class Proposal(NamedTuple):
    """The best set found, and its and the current set's overlap with all objects.

    Attributes:
        default_boxes: as many layers, boxes per cell and steps as the current set has.
        before: the best box of each object in the current set.
        after: the best box of each object in the proposed set.
        improves: whether recall is higher by more than `LEAST_GAIN`, or mean IoU is at no lower recall.
    """

    default_boxes: DefaultBoxes
    before: BestBoxes
    after: BestBoxes
    improves: bool


def propose(
    objects: Boxes,
    spec: DefaultBoxes,
    image_size: tuple[int, int],
    map_sizes: Sequence[MapSize],
    match_iou: float,
    seed: int = 0,
) -> Proposal:
    """Searches for default boxes that overlap the objects better; takes seconds.

    The search uses a sample of the objects and ignores clipping; the result is evaluated with all
    objects and clipping.

    Args:
        objects: (N, 4) normalised xyxy in the network input.
        spec: the current set.
        image_size: height and width of the network input, px.
        map_sizes: height and width of each prediction layer, finest first, cells.
        match_iou: threshold of matching.
        seed: of the sample and the clusters.

    Raises:
        DataError: there are no objects.
    """
    objects = np.asarray(objects, np.float32).reshape(-1, 4)
    if not len(objects):
        raise DataError("there are no objects to choose default boxes for; check the annotations and data.difficult")
    rng = np.random.default_rng(seed)
    sample = objects[rng.choice(len(objects), min(_SAMPLE, len(objects)), replace=False)]
    score = _Score(sample, spec, image_size, map_sizes, match_iou)
    space = _Space(spec, image_size, map_sizes)
    starts = [values for values in (space.current(), space.clustered(score.sizes, seed)) if space.allows(values)]
    found = max((_climb(space, score, values) for values in starts), key=score, default=spec)
    before, after = (best_boxes(objects, default_boxes_xyxy(one, image_size, map_sizes)) for one in (spec, found))
    old, new = before.recall(match_iou), after.recall(match_iou)
    higher_iou = new.recall >= old.recall and new.mean_iou > old.mean_iou + LEAST_GAIN
    return Proposal(found, before, after, improves=new.recall > old.recall + LEAST_GAIN or higher_iou)


def kmeans_iou(sizes: Sizes, count: int, seed: int = 0, restarts: int = 5) -> Sizes:
    """Clusters widths and heights (N, 2), px, above 0, by the distance 1 - IoU (YOLO9000, section 2).

    Returns:
        The (count, 2) medians of the clusters, smallest area first, of the run with the highest mean IoU among
        `restarts`; some repeat if there are fewer different sizes.
    """
    rng = np.random.default_rng(seed)
    runs = [_lloyd(sizes, _first_centres(sizes, count, rng)) for _ in range(restarts)]
    best = max(runs, key=lambda centres: float(shape_iou(sizes, centres).max(axis=1).mean()))
    return best[np.argsort(best.prod(axis=1), kind="stable")]


def shape_iou(sizes: Sizes, others: Sizes) -> NDArray[np.float64]:
    """IoUs (N, M) of boxes of (N, 2) and (M, 2) widths and heights at a common centre."""
    shared = np.minimum(sizes[:, None], others[None]).prod(axis=2)
    return shared / (sizes.prod(axis=1)[:, None] + others.prod(axis=1) - shared)


def _first_centres(sizes: Sizes, count: int, rng: np.random.Generator) -> Sizes:
    """k-means++: each further centre is drawn with probability proportional to its squared distance."""
    centres = sizes[[rng.integers(len(sizes))]]
    while len(centres) < count:
        weights = (1 - shape_iou(sizes, centres).max(axis=1)).clip(0) ** 2
        chances = weights / weights.sum() if weights.sum() > 0 else None
        centres = np.concatenate([centres, sizes[[rng.choice(len(sizes), p=chances)]]])
    return centres


def _lloyd(sizes: Sizes, centres: Sizes) -> Sizes:
    """Lloyd's algorithm until no object changes its cluster; an empty cluster keeps its centre."""
    owners = np.full(len(sizes), -1)
    for _ in range(_MOST_ROUNDS_OF_LLOYD):
        nearest = shape_iou(sizes, centres).argmax(axis=1)
        if np.array_equal(nearest, owners):
            break
        owners = nearest
        members = [sizes[owners == index] for index in range(len(centres))]
        pairs = zip(members, centres, strict=True)
        centres = np.array([np.median(own, axis=0) if len(own) else centre for own, centre in pairs])
    return centres


class _Score:
    """The score of a set of default boxes on a sample of objects.

    Without clipping, of all boxes of one shape the one with the nearest centre overlaps an object most: one
    IoU per object and shape is enough.
    """

    def __init__(
        self,
        objects: Boxes,
        spec: DefaultBoxes,
        image_size: tuple[int, int],
        map_sizes: Sequence[MapSize],
        match_iou: float,
    ) -> None:
        self.sizes = sizes_px(objects, image_size).clip(0.1)
        self._match_iou = match_iou
        centres = (objects[:, :2] + objects[:, 2:]) / 2 * np.array([image_size[1], image_size[0]])
        gaps = []  # distances (N, 2) along x and y of the objects' centres from the nearest ones of each layer, px
        for step, cells in zip(centre_steps(spec, image_size, map_sizes), map_sizes, strict=True):
            nearest = np.clip(np.round(centres / step[::-1] - spec.offset), 0, np.array(cells[::-1]) - 1)
            gaps.append(np.abs(centres - (nearest + spec.offset) * step[::-1]))
        self._gaps = np.repeat(gaps, spec.boxes_per_cell(), axis=0).transpose(2, 1, 0).astype(np.float32)
        self._sides = self.sizes.T[:, :, None].astype(np.float32)

    def __call__(self, spec: DefaultBoxes) -> float:
        """Mean best IoU plus weighted recall."""
        sides, boxes = self._sides, np.concatenate(cell_sizes(spec)).T[:, None].astype(np.float32)
        shared = np.minimum(np.minimum(sides, boxes), (sides + boxes) / 2 - self._gaps).clip(0)
        intersection = shared[0] * shared[1]
        best = (intersection / (sides[0] * sides[1] + boxes[0] * boxes[1] - intersection)).max(axis=1)
        return float(best.mean() + _RECALL_WEIGHT * np.mean(best >= self._match_iou))


class _Space:
    """The search space: sets with the layers, boxes per cell and steps of a given one, as flat lists of numbers.

    A list holds the min_sizes and the last max_size (every other max_size is the next min_size), px,
    then the ratios of all layers. Sizes increase, and so do the ratios of a layer.
    """

    def __init__(self, spec: DefaultBoxes, image_size: tuple[int, int], map_sizes: Sequence[MapSize]) -> None:
        self._spec = spec
        self._counts = [len(ratios) for ratios in spec.aspect_ratios]
        self._unit = 1.0 if spec.truncate_sizes else 0.1
        longest = float(max(image_size))
        reach = [min(MOST_STEPS * min(step), longest) for step in centre_steps(spec, image_size, map_sizes)]
        current = self.current()[: len(reach) + 1]
        self._most = [max(pair) for pair in zip([*reach, longest], current, strict=True)]

    def current(self) -> list[float]:
        """The given set; a missing last max_size is replaced by a number that has no effect."""
        small, large = self._spec.min_sizes, self._spec.max_sizes[-1]
        return [*small, large or 2 * small[-1], *(ratio for ratios in self._spec.aspect_ratios for ratio in ratios)]

    def clustered(self, sizes: Sizes, seed: int) -> list[float]:
        """The set given by clusters of sizes (N, 2): each layer gets as many as it has shapes, in order.

        A box and the same box rotated by 90° count as one shape.
        """
        lying = np.sort(sizes, axis=1)[:, ::-1]
        shapes = [1 + count for count in self._counts]
        clusters = kmeans_iou(lying, sum(shapes), seed)
        groups = np.split(clusters, list(accumulate(shapes))[:-1])
        sides = [*(float(np.sqrt(group[0].prod())) for group in groups), float(lying[:, 0].max())]
        values = [self._round(side) for side in _rising(sides, 1.0, self._most, self._unit)]
        for group, count in zip(groups, self._counts, strict=True):
            aspects = np.sort(group[:, 0] / group[:, 1])[len(group) - count :].tolist()
            values += [round(ratio, 2) for ratio in _rising(aspects, _RATIOS[0], [_RATIOS[1]] * count, 0.01)]
        return values

    def _round(self, side: float) -> float:
        return round(round(side / self._unit) * self._unit, 1)

    def allows(self, values: Sequence[float]) -> bool:
        """Whether sizes and ratios are within bounds and increase by the factor `_GROWTH` at least."""
        sides, ratios = self._split(values)
        return (
            all(1 <= side <= most for side, most in zip(sides, self._most, strict=True))
            and all(_RATIOS[0] <= ratio <= _RATIOS[1] for layer in ratios for ratio in layer)
            and all(other >= _GROWTH * one for row in (sides, *ratios) for one, other in pairwise(row))
        )

    def moved(self, values: Sequence[float], index: int | None, factor: float) -> list[float] | None:
        """The list with one number, or all sizes, multiplied by a factor; None if that is not allowed."""
        count, changed = len(self._most), list(values)
        for i in range(count) if index is None else (index,):
            number = factor * values[i]
            changed[i] = self._round(number) if i < count else round(number, 2)
        return changed if self.allows(changed) else None

    def build(self, values: Sequence[float]) -> DefaultBoxes:
        """The default boxes of a list."""
        sides, ratios = self._split(values)
        large = [side if old is not None else None for side, old in zip(sides[1:], self._spec.max_sizes, strict=True)]
        changes = {"min_sizes": sides[:-1], "max_sizes": large, "aspect_ratios": ratios}
        return DefaultBoxes(**{**self._spec.model_dump(), **changes})

    def _split(self, values: Sequence[float]) -> tuple[Sequence[float], list[Sequence[float]]]:
        """Sizes, and ratios by layer."""
        ends = list(accumulate(self._counts, initial=len(self._most)))
        return values[: ends[0]], [values[start:end] for start, end in pairwise(ends)]


def _rising(values: Sequence[float], least: float, most: Sequence[float], unit: float) -> list[float]:
    """Numbers near those given, within bounds, that still increase by `_GROWTH` when rounded to `unit`."""
    rising = list(accumulate(values, lambda one, other: max(_GROWTH * one + 2 * unit, other), initial=least))[1:]
    above = np.inf
    for index in reversed(range(len(rising))):
        rising[index] = min(rising[index], most[index], above)
        above = (rising[index] - 2 * unit) / _GROWTH
    return rising


def _climb(space: _Space, score: _Score, values: list[float]) -> DefaultBoxes:
    """Coordinate search with decreasing factors; changes that gain less than `_LEAST_STEP` are not made."""
    highest = score(space.build(values))
    moves = [(index, exponent) for index in (None, *range(len(values))) for exponent in (1, -1)]
    for factor in _FACTORS:
        for _ in range(_MOST_ROUNDS):
            start = highest
            for index, exponent in moves:
                changed = space.moved(values, index, factor**exponent)
                if changed and (reached := score(space.build(changed))) > highest + _LEAST_STEP:
                    highest, values = reached, changed
            if highest == start:
                break
    return space.build(values)
