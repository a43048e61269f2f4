"""Contact sheets: small images with boxes, side by side; imports TensorFlow, supervision and OpenCV."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import supervision as sv
import tensorflow as tf
from numpy.typing import NDArray

from ssdcli.draw import COLOURS
from ssdcore.data.annotations import Example, LabelledSet
from ssdcore.data.augment.chain import augment
from ssdcore.data.images import ImageError, decode_rgb
from ssdcore.data.records.record import decode, parse
from ssdcore.data.resize import resize_image
from ssdcore.data.validation import CheckReport
from ssdcore.errors import DataError
from ssdcore.files import write_atomic
from ssdcore.geometry.boxes import to_window_xyxy
from ssdcore.geometry.matching import match_xyxy
from ssdcore.model import SSD
from ssdcore.params import ParamSet
from ssdcore.types import Image

TILE = 320
"""Longest side of a small image, px."""

TITLE, MARGIN = 20, 6
MOST_TILES = 24
FINE, FAULTY = sv.Color(40, 160, 60), sv.Color(220, 30, 30)
_ABOUT_BOXES = ("swapped corners", "empty box", "box outside", "box over the edge", "unknown class", "duplicate box")


def draw_tile(
    image: Image,
    boxes: NDArray[np.float64],
    labels: Sequence[str],
    colours: Sequence[sv.Color],
    title: str,
) -> Image:
    """A small image with drawn boxes under its title, on white; all tiles have the same size.

    Boxes (N, 4) are normalised xyxy and may lie outside the image; of the N labels, empty ones are not drawn.
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
    tile = np.full((TILE + TITLE, TILE + MARGIN, 3), 255, np.uint8)
    tile[TITLE : TITLE + height, :width] = cv2.cvtColor(scene, cv2.COLOR_BGR2RGB)
    return cv2.putText(tile, title[:50], (2, TITLE - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)


def faulty_tiles(labelled: LabelledSet, report: CheckReport) -> list[Image]:
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


def _faulty_tile(example: Example, issues: dict[int, str]) -> Image | None:
    try:
        image = decode_rgb(example.image.read())
    except (ImageError, OSError):
        return None
    height, width = (1, 1) if example.normalised else image.shape[:2]
    boxes = np.array([item.box for item in example.objects], float) / [width, height, width, height]
    order = sorted(range(len(boxes)), key=lambda index: index + 1 in issues)  # red boxes on top
    labels = [issues.get(index + 1, "") for index in order]
    colours = [FAULTY if index + 1 in issues else FINE for index in order]
    return draw_tile(image, boxes[order], labels, colours, example.source.name)


def record_tiles(serialized: Any, ssd: SSD, params: ParamSet, seed: int, variants: int) -> list[Image]:
    """Tiles of a record: the original image, with its matched default boxes, and `variants` augmented."""
    record = parse(serialized)
    size = ssd.model.image_size
    image, boxes, labels = decode(record["image"]), record["boxes"], record["labels"]
    resized, window = resize_image(image, size, params.data.resize)
    tiles = [
        _labelled_tile(image, boxes, labels, ssd, record["name"].numpy().decode()),
        _matched_tile(resized, to_window_xyxy(boxes, window), ssd, params.train.loss.match_iou),
    ]
    for variant in range(variants):
        draw = tf.constant([seed, variant], tf.int32)
        changed = augment(image, boxes, labels, draw, params.augment, size, params.data.resize)
        tiles.append(_labelled_tile(*changed, ssd, f"augmented {variant + 1}"))
    return tiles


def _labelled_tile(image: Any, boxes: Any, labels: Any, ssd: SSD, title: str) -> Image:
    ids = [int(label) - 1 for label in labels]
    names, colours = [ssd.classes[index] for index in ids], [COLOURS.by_idx(index) for index in ids]
    return draw_tile(tf.cast(image, tf.uint8).numpy(), boxes.numpy(), names, colours, title)


def _matched_tile(resized: Any, boxes: Any, ssd: SSD, match_iou: float) -> Image:
    """The matched default boxes, each in its object's colour."""
    matched = match_xyxy(boxes, tf.constant(ssd.default_boxes), match_iou).numpy()
    chosen = np.flatnonzero(matched >= 0)
    colours = [COLOURS.by_idx(int(number)) for number in matched[chosen]]
    title = f"{len(chosen)} default boxes for {len(boxes)} objects"
    image = tf.cast(resized, tf.uint8).numpy()
    return draw_tile(image, ssd.default_boxes[chosen].astype(float), [""] * len(chosen), colours, title)


def write_sheet(tiles: Sequence[Image], path: Path, columns: int = 4) -> None:
    """Writes tiles row by row into one image file.

    Raises:
        DataError: the file cannot be written, or its extension is not that of an image format.
    """
    columns = min(columns, len(tiles))
    filled = [*tiles, *[np.full_like(tiles[0], 255)] * (-len(tiles) % columns)]
    rows = [np.hstack(filled[start : start + columns]) for start in range(0, len(filled), columns)]
    sheet = cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR)
    try:
        _, encoded = cv2.imencode(path.suffix, sheet)
    except cv2.error:
        raise DataError(f"{path} has no extension of an image format; use .png or .jpg") from None
    write_atomic(path, encoded.tobytes(), DataError)
