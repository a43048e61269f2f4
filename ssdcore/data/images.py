"""Decodes images completely, turns them upright, and encodes them in a form that training can read."""

import io
import threading
import warnings
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ssdcore import types

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF")
"""Formats that are read; plain JPEG and PNG are kept byte for byte."""

JPEG_QUALITY = 95
_ORIENTATION = 0x0112
_PLAIN_MODES = ("RGB", "L")
_FILTERING = threading.Lock()  # Warning filters are global to the process.


class ImageError(Exception):
    """An image that cannot be used; `kind` is one of `ISSUE_KINDS`."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


class UprightImage(NamedTuple):
    """An image as records hold it.

    Attributes:
        encoded: JPEG or PNG, upright, 8 bits a channel, RGB or grey.
        size: height and width, px.
        changes: why it was encoded anew, as (kind of issue, detail).
    """

    encoded: bytes
    size: tuple[int, int]
    changes: tuple[tuple[str, str], ...]


def make_upright(encoded: bytes) -> UprightImage:
    """Decodes an image completely, and encodes it anew if needed.

    Raises:
        ImageError: it cannot be decoded, is animated, or is too large.
    """
    image = _open(encoded)
    changes = _changes(image, encoded)
    if not changes:
        return UprightImage(encoded, (image.height, image.width), ())
    upright, out = _as_rgb(image), io.BytesIO()
    if image.format in ("JPEG", "MPO"):
        upright.save(out, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        upright.save(out, "PNG")  # which is lossless
    return UprightImage(out.getvalue(), (upright.height, upright.width), changes)


def decode_rgb(encoded: bytes) -> types.Image:
    """Decodes an image of any known format to (H, W, 3) uint8 RGB, upright.

    Raises:
        ImageError: see `make_upright`.
    """
    return rgb_pixels(_open(encoded))


def rgb_pixels(image: Image.Image) -> types.Image:
    """A Pillow image as (H, W, 3) uint8 RGB, upright."""
    return np.asarray(_as_rgb(image).convert("RGB"))


def _open(encoded: bytes) -> Image.Image:
    """Decodes the whole image; its size is checked before anything is allocated."""
    try:
        with _FILTERING, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(encoded), formats=FORMATS)
            frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":
            raise ImageError("unreadable image", f"an animation of {frames} frames")
        image.load()
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ImageError("image too large", str(error).split(",")[0]) from None
    except ImageError:
        raise
    except UnidentifiedImageError:  # whose message contains a memory address
        raise ImageError("unreadable image", f"it is none of {', '.join(FORMATS)}") from None
    except Exception as error:  # Pillow's decoders raise many kinds on damaged data
        raise ImageError("unreadable image", " ".join(str(error).split())[:120] or type(error).__name__) from None
    return image


def _changes(image: Image.Image, encoded: bytes) -> tuple[tuple[str, str], ...]:
    """Why the image cannot be used unchanged."""
    changes = []
    orientation = image.getexif().get(_ORIENTATION, 1)
    if orientation in range(2, 9):
        changes.append(("rotated by EXIF", f"orientation {orientation}"))
    bits = encoded[24] if image.format == "PNG" else 8
    if image.format not in ("JPEG", "PNG") or image.mode not in _PLAIN_MODES or bits > 8:
        changes.append(("unusual image", f"{image.format}, {image.mode}, {max(bits, 8)} bits a channel"))
    return tuple(changes)


def _as_rgb(image: Image.Image) -> Image.Image:
    """Upright, with 8 bits a channel, RGB or grey."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255
        levels = np.asarray(upright).astype(np.float64)
        upright = Image.fromarray((levels.clip(0, 65535) / 257).round().astype(np.uint8))
    return upright if upright.mode in _PLAIN_MODES else upright.convert("RGB")
