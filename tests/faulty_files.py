"""Writes images and annotations with issues of every kind."""

import io
import os
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from ssdcore.data.validation import CheckReport

WIDTH, HEIGHT = 64, 48
PLAIN_BOX = (16, 12, 32, 24)  # sqrt(16 * 12 / (64 * 48)) = 0.25
GOOD = [f"good{n:02}" for n in range(20)]
SeededSet = tuple[Path, list[str]]
RunHere = Callable[..., tuple[int, str, str]]


def noise(name: str, shape: tuple[int, ...] = (HEIGHT, WIDTH, 3)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(list(os.fsencode(name))).integers(0, 256, shape).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_bomb(side: int = 60_000) -> bytes:
    """Some hundred bytes that say that they are an image of side x side px."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def xml(*objects: tuple, size: tuple[int, int] | None = None) -> str:
    """Objects are (name, box) or (name, box, difficult); size is width and height."""
    text = "<size><width>{}</width><height>{}</height></size>".format(*size) if size else ""
    for name, box, *difficult in objects:
        sides = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        hard = f"<difficult>{difficult[0]}</difficult>" if difficult else ""
        text += f"<object><name>{name}</name>{hard}<bndbox>{sides}</bndbox></object>"
    return f"<annotation>{text}</annotation>"


class Seeds:
    """Writes a VOC folder image by image."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (root / folder).mkdir(parents=True)
        self.names: list[str] = []

    def add(self, name: str, text: str | None, image: bytes | None = b"", ending: str = "jpg") -> None:
        """None leaves a file out; b"" draws a faultless image."""
        if text is not None:
            (self.root / f"Annotations/{name}.xml").write_text(text, "utf-8")
        if image is not None:
            (self.root / f"JPEGImages/{name}.{ending}").write_bytes(image or encoded(noise(name), quality=90))
        self.names.append(name)

    def save(self, split: str, names: list[str]) -> None:
        (self.root / f"ImageSets/Main/{split}.txt").write_text("\n".join(names) + "\n", "utf-8")


def seed_annotation_issues(seeds: Seeds) -> None:
    plain = ("helmet", PLAIN_BOX)
    seeds.add("broken", xml(plain)[:-20])
    seeds.add("unannotated", None)
    seeds.add("crowded", xml(*[plain] * 10_001))
    seeds.add("swapped", xml(plain, ("helmet", (40, 12, 20, 24))))
    seeds.add("hollow", xml(("helmet", (16, 12, 16, 24)), plain))
    seeds.add("outside", xml(plain, ("helmet", (20, 12, 36, 24)), ("helmet", (70, 12, 90, 24))))
    seeds.add("over", xml(("helmet", (57, 12, 69, 24))))
    seeds.add("resized", xml(plain, size=(WIDTH * 2, HEIGHT * 2)))
    seeds.add("twice", xml(plain, ("vest", PLAIN_BOX), plain))
    seeds.add("typo", xml(plain, ("helmt", (20, 12, 36, 24))))


def seed_image_issues(seeds: Seeds) -> None:
    plain = xml(("helmet", PLAIN_BOX))
    whole = encoded(noise("cut"))
    seeds.add("cut", plain, whole[: len(whole) * 6 // 10])
    seeds.add("gone", plain, None)
    seeds.add("text", plain, b"This is no image at all, but it says so in its name.\n")
    seeds.add("bomb", plain, png_bomb(), "png")
    seeds.add("turned", xml(("helmet", (12, 16, 24, 32))), encoded(noise("turned"), exif=exif(6)))
    deep = np.random.default_rng(1).integers(0, 65536, (HEIGHT, WIDTH)).astype(np.uint16)
    seeds.add("deep", plain, encoded(Image.fromarray(deep), "PNG"), "png")
    seeds.add("cmyk", plain, encoded(noise("cmyk", (HEIGHT, WIDTH, 4)).convert("RGB").convert("CMYK")))
    seeds.add("copied", plain, (seeds.root / "JPEGImages/good03.jpg").read_bytes())
    seeds.add("shared", plain)


EXPECTED = [
    ("unreadable annotation", "broken.xml", None),
    ("missing annotation", "unannotated.xml", None),
    ("missing image", "gone.xml", None),
    ("unreadable image", "cut.jpg", None),
    ("unreadable image", "text.jpg", None),
    ("image too large", "bomb.png", None),
    ("too many objects", "crowded.xml", None),
    ("swapped corners", "swapped.xml", 2),
    ("empty box", "hollow.xml", 1),
    ("box outside", "outside.xml", 3),
    ("box over the edge", "over.xml", 1),
    ("rotated by EXIF", "turned.jpg", None),
    ("unusual image", "cmyk.jpg", None),
    ("unusual image", "deep.png", None),
    ("size mismatch", "resized.xml", None),
    ("duplicate box", "twice.xml", 3),
    ("duplicate image", "copied.jpg", None),
    ("in two splits", "shared.jpg", None),
    ("likely misspelt class", "typo.xml", 2),
]


def found(report: CheckReport) -> list[tuple[str, str, int | None]]:
    return [(issue.kind, issue.file.name, issue.object) for issue in report.issues]


def without_addresses(text: str) -> str:
    """Pillow's message about what is no image has one, see `test_what_is_no_image_is_told_without_an_address`."""
    return re.sub("0x[0-9a-f]+", "", text)
