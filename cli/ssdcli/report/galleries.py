"""Images of the worst errors, cropped around them; the page draws their boxes as SVG."""

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from operator import attrgetter

import cv2
import numpy as np
from numpy.typing import NDArray

from ssdcli.options import Images
from ssdcli.report.scored import Box, ErrorCase, LabelledBox, ScoredModel
from ssdcore.data.images import decode_rgb
from ssdcore.data.records.index import RecordIndex
from ssdcore.data.records.record import parse
from ssdcore.types import Image

GALLERIES = ("missed", "background", "classification", "localisation", "both", "duplicate")
"""Kinds of errors, in the order of the page."""

MOST = 12
"""Images in a gallery."""

SIDE, QUALITY = 320, 80
"""Longest side of an image on the page, px, and its JPEG quality."""

CONTEXT, LEAST = 2.4, 0.3
"""Side of a crop: a multiple of the longer side of the boxes, but at least this fraction of the image's."""


@dataclass(frozen=True)
class Tile:
    """A crop: its image as a data URI, its size in px of the original, its caption, and the boxes to draw.

    Boxes are (left, top, width, height) in px of the crop, with a CSS class and the name of the object's class.
    """

    uri: str
    size: tuple[int, int]
    caption: Sequence[str]
    image: str
    boxes: Sequence[tuple[Box, str, str]]


def make_galleries(model: ScoredModel, images: Images) -> dict[str, list[Tile]]:
    """The tiles of each kind of error that occurs; each record is read once, and one image is in memory at a time."""
    chosen = choose(model)
    index = RecordIndex.of_split(images.data, images.split)
    tiles: dict[ErrorCase, Tile] = {}
    by_image = attrgetter("image")
    for image, cases in groupby(sorted(chain.from_iterable(chosen.values()), key=by_image), by_image):
        pixels = decode_rgb(parse(index.read(image))["image"].numpy())
        tiles |= {case: _tile(model, case, pixels) for case in cases}
    return {kind: [tiles[case] for case in cases] for kind, cases in chosen.items() if cases}


def choose(model: ScoredModel) -> dict[str, list[ErrorCase]]:
    """The errors to show of each kind: the best-scoring false detections, and the worst misses."""
    cases = list(model.errors())
    chosen = {kind: [case for case in cases if case.kind == kind] for kind in GALLERIES}
    return {kind: cases[:MOST] for kind, cases in (chosen | {"missed": _misses(chosen["missed"])}).items()}


def _misses(cases: Sequence[ErrorCase]) -> list[ErrorCase]:
    """The classes take turns; lowest score of a detection first, then large objects before small ones."""
    seen: Counter[str] = Counter()
    turns: list[tuple[int, int, ErrorCase]] = []
    for rank, case in enumerate(sorted(cases, key=lambda case: (case.score or 0, -_truth(case).area))):
        turns.append((seen[_truth(case).name], rank, case))
        seen[_truth(case).name] += 1
    return [case for *_, case in sorted(turns, key=lambda turn: turn[:2])]


def _truth(case: ErrorCase) -> LabelledBox:
    assert case.truth
    return case.truth


def _tile(model: ScoredModel, case: ErrorCase, pixels: Image) -> Tile:
    """Crops an image around an error."""
    main = [one.box for one in (case.truth, case.detection) if one]
    left, top, right, bottom = crop_window(np.array(main), pixels.shape[:2])
    truth, detections = model.boxes_in(case.image)
    aside = [(one, "truth aside") for one in truth if one != case.truth]
    aside += [(one, "detection aside") for one in detections if one != case.detection]
    thick = [(one, style) for one, style in ((case.truth, "truth"), (case.detection, "detection")) if one]
    return Tile(
        uri=_jpeg_uri(pixels[top:bottom, left:right]),
        size=(right - left, bottom - top),
        caption=_caption(case),
        image=model.image_names[case.image],
        boxes=[(_in_crop(one.box, left, top), style, one.name) for one, style in (*aside, *thick)],
    )


def _caption(case: ErrorCase) -> tuple[str, str]:
    """What the error is, and what it concerns."""
    if case.kind == "missed":
        nearest = f"best score {case.score:.2f}, IoU {case.iou:.2f}" if case.detection else "not detected at any score"
        return f"{_truth(case).name} missed", nearest
    assert case.detection
    own = f"{case.detection.name}, score {case.score:.2f}"
    iou = f"{case.iou:.2f}"
    return own, f"IoU {iou} with {case.truth.name}" if case.truth else f"largest IoU with an object {iou}"


def _in_crop(box: Box, left: int, top: int) -> Box:
    return box[0] - left, box[1] - top, max(box[2] - box[0], 0), max(box[3] - box[1], 0)


def crop_window(boxes: NDArray[np.float64], size: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The part (xyxy, px) of an image of a height and width that shows boxes (N, 4) xyxy with their surroundings."""
    height, width = size
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    longest = float((high - low).max())
    side = max(min(max(CONTEXT * longest, LEAST * max(size)), *size), longest, 16)
    spans = []
    for centre, length in zip((low + high) / 2, (width, height), strict=True):
        wide = min(round(side), length)
        start = int(np.clip(round(centre - wide / 2), 0, length - wide))
        spans.append((start, start + wide))
    return spans[0][0], spans[1][0], spans[0][1], spans[1][1]


def _jpeg_uri(pixels: Image) -> str:
    scale = min(SIDE / max(pixels.shape[:2]), 1)
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else pixels
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()
