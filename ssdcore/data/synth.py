"""Draws a labelled set of coloured shapes in VOC layout, for demos and tests."""

from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

import cv2
import numpy as np
from numpy.random import Generator

from ssdcore.data.annotations import SIDES, Annotation
from ssdcore.errors import DataError
from ssdcore.files import require_unused
from ssdcore.geometry.iou import ios_matrix_xyxy
from ssdcore.types import Image, OnProgress

SHAPES = ("circle", "square", "triangle")
SIDE = 300
MOST_OVERLAP = 0.1


def synthesize(
    out: Path, trainval: int, test: int, seed: int = 0, on_progress: OnProgress = lambda done, total: None
) -> None:
    """Writes a VOC folder of `trainval` and `test` images of 300x300 px with one to five drawn shapes each.

    `out` must not exist, or be empty; the same seed draws the same images.

    Raises:
        DataError: `out` is in use.
    """
    require_unused(out, DataError)
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    names = [f"{number:05d}" for number in range(trainval + test)]
    for number, name in enumerate(names):
        image, objects = draw_image(np.random.default_rng((seed, number)))
        cv2.imwrite(str(out / f"JPEGImages/{name}.jpg"), image)
        _write_annotation(out / f"Annotations/{name}.xml", name, objects)
        on_progress(number + 1, len(names))
    for split, members in (("trainval", names[:trainval]), ("test", names[trainval:])):
        (out / f"ImageSets/Main/{split}.txt").write_text("".join(f"{name}\n" for name in members), "utf-8")


def draw_image(rng: Generator) -> tuple[Image, list[Annotation]]:
    """A BGR image (300, 300, 3) and its objects."""
    corners = rng.integers(0, 256, (2, 2, 3)).astype(np.float32)
    gradient = cv2.resize(corners, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    noise = rng.normal(0, rng.uniform(2, 12), (SIDE, SIDE, 1))
    image = (gradient + noise).clip(0, 255).astype(np.uint8)
    objects: list[Annotation] = []
    for _ in range(rng.integers(1, 6)):
        size = int(rng.integers(30, 120))
        x, y = (int(value) for value in rng.integers(2, SIDE - size - 2, 2))
        box = (x, y, x + size, y + size)
        if ios_matrix_xyxy(box, [other.box for other in objects]).max(initial=0) > MOST_OVERLAP:
            continue
        name = str(rng.choice(SHAPES))
        _draw(image, name, box, _contrasting_colour(image, box, rng))
        objects.append(Annotation(name, box))
    return image, objects


def _contrasting_colour(image: Image, box: tuple[int, int, int, int], rng: Generator) -> tuple[int, ...]:
    """A random colour that differs from the background in the box."""
    under = image[box[1] : box[3], box[0] : box[2]].mean(axis=(0, 1))
    while True:
        colour = rng.integers(0, 256, 3)
        if np.abs(colour - under).max() > 80:
            return tuple(int(value) for value in colour)


def _draw(image: Image, name: str, box: tuple[int, int, int, int], colour: tuple[int, ...]) -> None:
    """Fills a shape that touches all four sides of its box."""
    left, top, right, bottom = box
    if name == "circle":
        middle, radius = ((left + right) // 2, (top + bottom) // 2), (right - left) // 2
        cv2.circle(image, middle, radius, colour, cv2.FILLED, cv2.LINE_AA)
    elif name == "square":
        cv2.rectangle(image, (left, top), (right - 1, bottom - 1), colour, cv2.FILLED)
    else:
        corners = np.array([((left + right) // 2, top), (right - 1, bottom - 1), (left, bottom - 1)])
        cv2.fillPoly(image, [corners], colour, cv2.LINE_AA)


def _write_annotation(path: Path, name: str, objects: list[Annotation]) -> None:
    root = Element("annotation")
    SubElement(root, "filename").text = f"{name}.jpg"
    size = SubElement(root, "size")
    for key, value in (("width", SIDE), ("height", SIDE), ("depth", 3)):
        SubElement(size, key).text = str(value)
    for item in objects:
        node = SubElement(root, "object")
        SubElement(node, "name").text = item.name
        SubElement(node, "difficult").text = "0"
        box = SubElement(node, "bndbox")
        for key, side in zip(SIDES, item.box, strict=True):
            SubElement(box, key).text = str(side)
    indent(root)
    ElementTree(root).write(path, encoding="utf-8")
