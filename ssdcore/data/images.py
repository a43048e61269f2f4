"""Encoded images: decoded to their end, turned upright, and written in a form that training reads."""

import io
import threading
import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF")
"""What is read; JPEG and PNG are kept as they are where nothing speaks against it."""

JPEG_QUALITY = 95
_ORIENTATION = 0x0112
_PLAIN_MODES = ("RGB", "L")
_FILTERING = threading.Lock()  # Filters of warnings are those of the whole process.


class ImageError(Exception):
    """An image that cannot be used; `kind` is one of `issues.KINDS`."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


class UprightImage(NamedTuple):
    """An image as records hold it.

    Attributes:
        encoded: JPEG or PNG, upright, 8 bits a channel, RGB or grey.
        size: height and width, px.
        changes: what had to be mended, as (kind of issue, what was found).
    """

    encoded: bytes
    size: tuple[int, int]
    changes: tuple[tuple[str, str], ...]


def make_upright(encoded: bytes) -> UprightImage:
    """Decodes an image to its end, and encodes it anew where that is needed.

    Raises:
        ImageError: it cannot be decoded, is animated, or is too large.
    """
    image = _open(encoded)
    changes = _changes(image, encoded)
    if not changes:
        return UprightImage(encoded, (image.height, image.width), ())
    upright = _as_rgb(image)
    return UprightImage(_encode(upright, image.format), (upright.height, upright.width), changes)


def decode_rgb(encoded: bytes) -> NDArray[np.uint8]:
    """An image of any known format as (H, W, 3) uint8 RGB, upright.

    Raises:
        ImageError: see `make_upright`.
    """
    return rgb_pixels(_open(encoded))


def rgb_pixels(image: Image.Image) -> NDArray[np.uint8]:
    """A Pillow image as (H, W, 3) uint8 RGB, upright."""
    return np.asarray(_as_rgb(image).convert("RGB"))


def _open(encoded: bytes) -> Image.Image:
    """The whole image; its size is looked at before anything is allocated."""
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
    except UnidentifiedImageError:  # its message has an address in it
        raise ImageError("unreadable image", f"it is none of {', '.join(FORMATS)}") from None
    except Exception as error:  # Pillow's decoders raise many kinds on damaged data
        raise ImageError("unreadable image", " ".join(str(error).split())[:120] or type(error).__name__) from None
    return image


def _changes(image: Image.Image, encoded: bytes) -> tuple[tuple[str, str], ...]:
    """What keeps the image from being used as it is."""
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
    if upright.mode.startswith("I"):  # 16 bits of grey, which Pillow would cut off at 255
        levels = np.asarray(upright).astype(np.float64)
        upright = Image.fromarray((levels.clip(0, 65535) / 257).round().astype(np.uint8))
    return upright if upright.mode in _PLAIN_MODES else upright.convert("RGB")


def _encode(image: Image.Image, origin: str | None) -> bytes:
    """Photographs stay JPEG; everything else becomes PNG, which loses nothing."""
    out = io.BytesIO()
    if origin in ("JPEG", "MPO"):
        image.save(out, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        image.save(out, "PNG")
    return out.getvalue()
