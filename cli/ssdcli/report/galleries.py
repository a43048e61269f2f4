"""Images of the worst errors, cut out around them; boxes are drawn over them as SVG."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ssdcli.report.html import Safe, jpeg_uri, tag, void
from ssdcli.report.scored import Scored
from ssdcore.data.images import decode_rgb
from ssdcore.data.records.index import RecordIndex
from ssdcore.data.records.record import parse
from ssdcore.evaluation.analysis.errors import KINDS

MOST = 12
"""Images in a gallery."""

SIDE, QUALITY = 320, 80
"""Longest side of an image on the page, px, and its JPEG quality."""

AROUND, LEAST = 2.4, 0.3
"""Side of what is cut out: so many times the longer side of the boxes, but this share of the image's at least."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Subject:
    """An error to show: in which image, at which object or detection (-1: none), and what to say about it."""

    image: int
    object: int
    detection: int
    caption: tuple[str, ...]


@dataclass
class Tile:
    """A cut-out: JPEG bytes, its xyxy window in px of the image, and boxes (xyxy, px) with their style."""

    jpeg: bytes
    window: Box
    subject: Subject
    name: str
    boxes: list[tuple[Box, str, str]] = field(default_factory=list)


def choose(scored: Scored) -> dict[str, list[Subject]]:
    """The errors to show of each kind: the best-scoring false detections, and the worst misses."""
    errors, found = scored.analysis.errors, scored.analysis.matched.detections
    chosen = {"missed": _misses(scored)}
    for kind in ("background", "classification", "localisation", "both", "duplicate"):
        rows = np.flatnonzero(errors.kinds == KINDS.index(kind))[:MOST]
        chosen[kind] = [
            Subject(int(found.images[row]), int(errors.objects[row]), int(row), _caption(scored, int(row)))
            for row in rows
        ]
    return chosen


def _caption(scored: Scored, row: int) -> tuple[str, ...]:
    """Score and class of a false detection, and what it lies on."""
    errors, (objects, found, *_) = scored.analysis.errors, scored.analysis.matched
    names = scored.checkpoint.classes
    own = f"{names[found.labels[row] - 1]}, score {found.scores[row]:.2f}"
    blamed = int(errors.objects[row])
    if blamed < 0:
        return own, f"best IoU with an object {max(found.own_iou[row], found.other_iou[row]):.2f}"
    overlap = found.own_iou[row] if blamed == found.own[row] else found.other_iou[row]
    return own, f"IoU {overlap:.2f} with {names[objects.labels[blamed] - 1]}"


def _misses(scored: Scored) -> list[Subject]:
    """Missed objects of each class in turn, those that no score would have found first, large ones before small."""
    errors, (objects, found, _, match_iou) = scored.analysis.errors, scored.analysis.matched
    places = np.flatnonzero(errors.missed)
    near = (found.own >= 0) & (found.own_iou >= match_iou)
    rows, first = np.unique(found.own[near], return_index=True)
    best = dict(zip(rows.tolist(), np.flatnonzero(near)[first].tolist(), strict=True))
    scores = np.array([found.scores[best[place]] if place in best else 0 for place in places.tolist()])
    worst_first = places[np.lexsort((-objects.areas[places], scores))]
    subjects = []
    for place in _in_turns(worst_first, objects.labels[worst_first])[:MOST].tolist():
        row, name = best.get(place, -1), scored.checkpoint.classes[objects.labels[place] - 1]
        said = "not found at any score"
        if row >= 0:
            said = f"best score {found.scores[row]:.2f}, IoU {found.own_iou[row]:.2f}"
        subjects.append(Subject(int(objects.images[place]), place, row, (f"{name} missed", said)))
    return subjects


def _in_turns(places: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places (N,) so that classes take turns; those of a class keep their order."""
    rank = np.zeros(len(places), np.int64)
    for label in np.unique(labels):
        rank[labels == label] = np.arange(np.count_nonzero(labels == label))
    return places[np.argsort(rank, kind="stable")]


def cut_all(scored: Scored, data: Path, split: str) -> dict[str, list[Tile]]:
    """The images of all galleries; each record is read once, and one image at a time is in memory."""
    chosen = choose(scored)
    wanted = sorted((one.image, kind, place) for kind, many in chosen.items() for place, one in enumerate(many))
    read = _reader(data, split)
    tiles: dict[tuple[str, int], Tile] = {}
    last, pixels = -1, np.zeros((1, 1, 3), np.uint8)
    for image, kind, place in wanted:
        if image != last:
            last, pixels = image, read(image)
        tiles[kind, place] = cut(scored, chosen[kind][place], pixels)
    return {kind: [tiles[kind, place] for place in range(len(many))] for kind, many in chosen.items()}


def _reader(data: Path, split: str) -> Callable[[int], NDArray[np.uint8]]:
    index = RecordIndex.of_split(data, split)
    return lambda number: decode_rgb(parse(index.read(number))["image"].numpy())


def cut(scored: Scored, subject: Subject, pixels: NDArray[np.uint8]) -> Tile:
    """Cuts an image (H, W, 3) uint8 RGB around a subject, and says which boxes to draw there."""
    objects, found, *_ = scored.analysis.matched
    subjects = [objects.boxes[[subject.object]]] if subject.object >= 0 else []
    subjects += [found.boxes[[subject.detection]]] if subject.detection >= 0 else []
    height, width = pixels.shape[:2]
    window = window_around(np.concatenate(subjects), (height, width))
    left, top, right, bottom = map(int, window)
    tile = Tile(_encode(pixels[top:bottom, left:right]), window, subject, scored.truths[subject.image].name)
    here = found.scores >= scored.analysis.at.score
    groups = [
        (objects.boxes, objects.images == subject.image, subject.object, objects.labels, "truth"),
        (found.boxes, here & (found.images == subject.image), subject.detection, found.labels, "found"),
    ]
    for boxes, chosen, main, labels, style in groups:
        for place in np.flatnonzero(chosen).tolist():
            if place != main:
                name = scored.checkpoint.classes[labels[place] - 1]
                tile.boxes.append((_box(boxes[place]), f"{style} aside", name))
    for boxes, _, main, labels, style in groups:
        if main >= 0:
            name = scored.checkpoint.classes[labels[main] - 1]
            tile.boxes.append((_box(boxes[main]), style, name))
    return tile


def _box(values: NDArray[np.float64]) -> Box:
    left, top, right, bottom = values.tolist()
    return left, top, right, bottom


def window_around(boxes: NDArray[np.float64], size: tuple[int, int]) -> Box:
    """The part of an image of a height and width that shows boxes (N, 4) xyxy with their surroundings, whole px."""
    height, width = size
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    longest = float((high - low).max())
    wanted = max(AROUND * longest, LEAST * max(size))
    side = max(min(wanted, *size), longest, 16)
    spans = []
    for centre, length in zip((low + high) / 2, (width, height), strict=True):
        wide = min(round(side), length)
        start = int(np.clip(round(centre - wide / 2), 0, length - wide))
        spans.append((start, start + wide))
    return spans[0][0], spans[1][0], spans[0][1], spans[1][1]


def _encode(pixels: NDArray[np.uint8]) -> bytes:
    scale = SIDE / max(pixels.shape[:2])
    if scale < 1:
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return bytes(encoded.tobytes())


def gallery(tiles: Sequence[Tile]) -> Safe:
    """Tiles beside each other."""
    return tag("div", [_figure(tile) for tile in tiles], class_="gallery")


def _figure(tile: Tile) -> Safe:
    left, top, right, bottom = tile.window
    width, height = right - left, bottom - top
    first, *more = tile.subject.caption
    words = f"Part of image {tile.name}: {first}, {', '.join(more)}"
    overlay = tag(
        "svg",
        [_rectangles(box, style, name, (left, top)) for box, style, name in tile.boxes],
        viewBox=f"0 0 {width:g} {height:g}",
        aria_hidden="true",
    )
    image = void("img", src=jpeg_uri(tile.jpeg), alt=words, width=f"{width:g}", height=f"{height:g}")
    caption = tag("figcaption", tag("strong", first), void("br"), [[line, void("br")] for line in more], tile.name)
    return tag("figure", tag("div", image, overlay, class_="cut"), caption)


def _rectangles(box: Box, style: str, name: str, origin: tuple[float, float]) -> list[Safe]:
    """A box on a dark line that keeps it visible on any image."""
    place = {
        "x": f"{box[0] - origin[0]:.1f}",
        "y": f"{box[1] - origin[1]:.1f}",
        "width": f"{max(box[2] - box[0], 0):.1f}",
        "height": f"{max(box[3] - box[1], 0):.1f}",
    }
    lines = [] if "aside" in style else [tag("rect", class_="halo", **place)]
    return [*lines, tag("rect", tag("title", name), class_=style, **place)]
