"""Contact sheets: small images with boxes, side by side; imports supervision and OpenCV."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import supervision as sv
from numpy.typing import NDArray

from ssdcore.data.annotations import Example, LabelledSet
from ssdcore.data.images import ImageError, decode_rgb
from ssdcore.data.validation.check import CheckReport
from ssdcore.errors import DataError
from ssdcore.files import write_atomic
from ssdcore.types import Image

TILE = 320
"""Longest side of a small image, px."""

TITLE, MARGIN = 20, 6
MOST_TILES = 24
FINE, FAULTY = sv.Color(40, 160, 60), sv.Color(220, 30, 30)
_ABOUT_BOXES = ("swapped corners", "empty box", "box outside", "box over the edge", "unknown class", "duplicate box")


@dataclass(frozen=True)
class Tile:
    """A small image with drawn boxes, and the title above it."""

    image: Image
    title: str


def draw_tile(
    image: Image,
    boxes: NDArray[np.float64],
    labels: Sequence[str],
    colours: Sequence[sv.Color],
    title: str,
) -> Tile:
    """A tile of an image.

    Args:
        image: to draw on.
        boxes: (N, 4) normalised xyxy; they may lie outside the image.
        labels: N texts; empty ones are not drawn.
        colours: N colours.
        title: of the tile.
    """
    scale = TILE / max(image.shape[:2])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    height, width = small.shape[:2]
    scene = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    for box, label, colour in zip(boxes, labels, colours, strict=True):
        low, high = np.sort(np.reshape(box, (2, 2)), axis=0)
        corners = np.concatenate([low, high]) * [width, height, width, height]
        corners = corners.clip(-1, [width, height, width, height]).round()
        scene = sv.draw_rectangle(scene, sv.Rect(*corners[:2], *(corners[2:] - corners[:2])), colour, 2)
        if label:
            anchor = sv.Point(corners[0] + 4 * len(label) + 2, max(corners[1] - 6, 7))
            scene = sv.draw_text(scene, label, anchor, sv.Color.WHITE, 0.35, 1, 2, background_color=colour)
    return Tile(cv2.cvtColor(scene, cv2.COLOR_BGR2RGB), title)


def faulty_tiles(labelled: LabelledSet, report: CheckReport) -> list[Tile]:
    """Tiles of the images with the most issues about boxes; those boxes are red."""
    faulty: dict[tuple[Path, str | None], dict[int, str]] = defaultdict(dict)
    for issue in report.issues:
        if issue.kind in _ABOUT_BOXES and issue.object is not None:
            faulty[issue.file, issue.image].setdefault(issue.object, issue.kind)
    everything = [example for split in labelled.splits.values() for example in split]
    examples = {(example.source, name): example for example in everything for name in (example.name, None)}
    worst = sorted((file for file in faulty if file in examples), key=lambda file: -len(faulty[file]))
    tiles = (_faulty_tile(examples[file], faulty[file]) for file in worst[:MOST_TILES])
    return [tile for tile in tiles if tile is not None]


def _faulty_tile(example: Example, issues: dict[int, str]) -> Tile | None:
    try:
        image = decode_rgb(example.image.read())
    except (ImageError, OSError):
        return None
    height, width = (1, 1) if example.normalised else image.shape[:2]
    boxes = np.array([item.box for item in example.objects], float) / [width, height, width, height]
    numbers = range(1, len(boxes) + 1)
    labels = [issues.get(number, "") for number in numbers]
    colours = [FAULTY if number in issues else FINE for number in numbers]
    order = sorted(range(len(boxes)), key=lambda index: index + 1 in issues)  # red boxes on top
    return draw_tile(image, boxes[order], [labels[i] for i in order], [colours[i] for i in order], example.source.name)


def write_sheet(tiles: Sequence[Tile], path: Path, columns: int = 4) -> None:
    """Writes tiles row by row into one image file.

    Raises:
        DataError: the file cannot be written, or its extension is not that of an image format.
    """
    columns = min(columns, len(tiles))
    cells = [_cell(tile) for tile in tiles]
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % columns)
    rows = [np.hstack(cells[start : start + columns]) for start in range(0, len(cells), columns)]
    sheet = cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR)
    try:
        _, encoded = cv2.imencode(path.suffix, sheet)
    except cv2.error:
        raise DataError(f"{path} has no extension of an image format; use .png or .jpg") from None
    write_atomic(path, encoded.tobytes(), DataError)


def _cell(tile: Tile) -> Image:
    """A tile under its title, on white; all cells have the same size."""
    cell = np.full((TILE + TITLE, TILE + MARGIN, 3), 255, np.uint8)
    height, width = tile.image.shape[:2]
    cell[TITLE : TITLE + height, :width] = tile.image
    return cv2.putText(cell, tile.title[:50], (2, TITLE - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
