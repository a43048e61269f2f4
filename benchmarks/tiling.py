"""What do tiles bring to large images? VOC07 mAP on mosaics of a labelled set, whole and tile by tile.

    python benchmarks/tiling.py MODEL DATA [--tiles 400 520 640] [--image mosaic.jpg]

DATA is labelled images of one size, such as BCCD's. Mosaics of 2000x1500 px are made of them, and others in which
one image is enlarged three times, so that its objects are larger than tiles.
"""

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import cv2
import numpy as np
from numpy.typing import NDArray
from ssdcli.detect.tiles import OVERLAP, TiledDetector
from ssdcli.draw import draw

from ssdcore import Detector, load_detector
from ssdcore.data.annotations import Example
from ssdcore.data.formats import read_labelled
from ssdcore.data.images import decode_rgb
from ssdcore.data.records.ground_truth import GroundTruth
from ssdcore.evaluation.voc import AveragePrecision, mean

WIDTH, HEIGHT = 2000, 1500
LEAST_SHARE = 0.5
"""Of an object that must be left in the mosaic; one with less is difficult, and counts neither way."""


class Mosaic(NamedTuple):
    """Images side by side, (1500, 2000, 3) RGB, and their ground truth."""

    image: NDArray[np.uint8]
    truth: GroundTruth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="run folder or checkpoint")
    parser.add_argument("data", type=Path, help="labelled images, all of one size")
    parser.add_argument("--split", default="test")
    parser.add_argument("--tiles", type=int, nargs="*", default=[400, 520, 640])
    parser.add_argument("--rounds", type=int, default=2, help="how often each image is used")
    parser.add_argument("--image", type=Path, help="write the first mosaic with what tiles of the last size find")
    options = parser.parse_args()
    detector = load_detector(options.model)
    examples = read_labelled(options.data).splits[options.split]
    sets = {
        "images in their own size": list(mosaics(examples, detector.classes, options.rounds, 1)),
        "one of them enlarged 3 times": list(mosaics(examples, detector.classes, options.rounds, 3)),
    }
    ways = {"whole": detector} | {f"--tile {tile}": TiledDetector(detector, tile, OVERLAP) for tile in options.tiles}
    print(f"{len(sets['images in their own size'])} mosaics each; VOC07 mAP, {', '.join(detector.classes)}")
    for title, found in sets.items():
        for way, finder in ways.items():
            print(f"{title:30} {way:12} {score(finder, found)}", flush=True)
    if options.image:
        first = sets["images in their own size"][0].image
        best = finder([first])[0].above(0.5)
        cv2.imwrite(str(options.image), draw(first[..., ::-1], best))


def score(finder: Detector | TiledDetector, found: Sequence[Mosaic]) -> str:
    """mAP, and AP of each class."""
    precision = AveragePrecision(len(finder.classes))
    for mosaic in found:
        (one,) = finder([mosaic.image])
        precision.add(mosaic.truth, one)
    results = precision.result("voc07").values()
    return f"{mean(results):.4f}  " + " ".join(f"{value or 0:.3f}" for value in results)


def mosaics(examples: Sequence[Example], classes: Sequence[str], rounds: int, enlarged: int) -> Iterator[Mosaic]:
    """Mosaics whose first image is `enlarged` times as large as the others, drawn in an order that never changes."""
    rng = np.random.default_rng(0)
    height, width = decode_rgb(examples[0].image.read()).shape[:2]
    rows, columns = -(-(HEIGHT + height // 2) // height), -(-(WIDTH + width // 2) // width)
    cells = [(row, column) for row in range(rows) for column in range(columns)]
    cells = [(0, 0), *(cell for cell in cells if max(cell) >= enlarged)]
    order = [index for _ in range(rounds) for index in rng.permutation(len(examples))]
    for start in range(0, len(order) - len(cells) + 1, len(cells)):
        canvas, boxes, labels = np.zeros((rows * height, columns * width, 3), np.uint8), [], []
        for (row, column), index in zip(cells, order[start : start + len(cells)], strict=True):
            scale = enlarged if (row, column) == (0, 0) else 1
            image = cv2.resize(decode_rgb(examples[index].image.read()), None, fx=scale, fy=scale)
            top, left = row * height, column * width
            part = canvas[top : top + len(image), left:]
            part[:, : image.shape[1]] = image[: len(part), : part.shape[1]]
            boxes += [np.array(item.box) * scale + (left, top) * 2 for item in examples[index].objects]
            labels += [classes.index(item.name) + 1 for item in examples[index].objects]
        shift = rng.integers(0, (width // 2, height // 2)) if enlarged == 1 else np.zeros(2, int)
        yield _cut(canvas, np.array(boxes), np.array(labels), shift)


def _cut(
    canvas: NDArray[np.uint8], boxes: NDArray[np.float64], labels: NDArray[np.int64], at: NDArray[np.int64]
) -> Mosaic:
    """The part of a canvas that begins at some left and top."""
    left, top = at
    moved = boxes - np.tile(at, 2)
    visible = moved.clip(0, (WIDTH, HEIGHT) * 2)
    share = np.prod(visible[:, 2:] - visible[:, :2], axis=1) / np.prod(moved[:, 2:] - moved[:, :2], axis=1)
    kept = share > 0
    image = canvas[top : top + HEIGHT, left : left + WIDTH]
    difficult = share[kept] < LEAST_SHARE
    truth = GroundTruth("", (HEIGHT, WIDTH), visible[kept], labels[kept], difficult, np.zeros_like(difficult))
    return Mosaic(image, truth)


if __name__ == "__main__":
    main()
