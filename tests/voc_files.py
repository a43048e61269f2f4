"""Writes small VOC folders, and tells what conversions made of them."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

Objects = Sequence[tuple[str, tuple[float, float, float, float]]]
RunHere = Callable[..., tuple[int, str, str]]
BOX = (8, 6, 40, 30)
EMPTY = (8, 6, 8, 30)


def draw(path: Path, seed: int, size: tuple[int, int] = (60, 80)) -> None:
    """An image that each seed has another one of."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    cv2.imwrite(str(path), cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC))


def write_xml(root: Path, name: str, objects: Objects) -> None:
    sides = ("xmin", "ymin", "xmax", "ymax")
    text = "".join(
        f"<object><name>{label}</name><bndbox>"
        + "".join(f"<{side}>{value}</{side}>" for side, value in zip(sides, box, strict=True))
        + "</bndbox></object>"
        for label, box in objects
    )
    (root / f"Annotations/{name}.xml").write_text(f"<annotation>{text}</annotation>", "utf-8")


def write_voc(
    root: Path, images: Mapping[str, Objects], lists: Mapping[str, Sequence[str]] | None = None, size=(60, 80)
) -> Path:
    """A VOC folder with these lists, or a list trainval of all."""
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for seed, (name, objects) in enumerate(images.items()):
        draw(root / f"JPEGImages/{name}.jpg", seed, size)
        write_xml(root, name, objects)
    for split, names in ({"trainval": list(images)} if lists is None else lists).items():
        (root / f"ImageSets/Main/{split}.txt").write_text("\n".join(names) + "\n", "utf-8")
    return root


def digests(folder: Path) -> dict[str, str]:
    """Everything in a folder."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def numbered(count: int, objects: Objects = (("a", BOX),)) -> dict[str, Objects]:
    return {f"{n:04}": objects for n in range(count)}
