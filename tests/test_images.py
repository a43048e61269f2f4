"""Images become upright, 8 bits a channel, or are refused."""

import io
import random
from collections.abc import Callable

import numpy as np
import pytest
from faulty_files import HEIGHT, WIDTH, encoded, exif, noise, png_bomb
from PIL import Image, ImageOps

from ssdcore.data.images import ImageError, decode_rgb, make_upright

TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", TURNS)
def test_png_is_turned_upright_exactly(orientation: int) -> None:
    image = noise("turn", (5, 9, 3))
    upright = make_upright(encoded(image, "PNG", exif=exif(orientation)))
    expected = TURNS[orientation](np.asarray(image))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(upright.encoded))), expected)
    assert upright.size == expected.shape[:2]
    assert [kind for kind, _ in upright.changes] == ([] if orientation == 1 else ["rotated by EXIF"])


@pytest.mark.parametrize("orientation", TURNS)
def test_jpeg_is_turned_upright_as_pillow_does_and_only_once(orientation: int) -> None:
    smooth = noise("turn", (3, 5, 3)).resize((80, 48), Image.Resampling.BICUBIC)
    original = encoded(smooth, exif=exif(orientation))
    upright = make_upright(original)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(original)))).astype(int)
    written = Image.open(io.BytesIO(upright.encoded))
    assert written.format == "JPEG"
    assert written.getexif().get(0x0112, 1) == 1
    assert np.abs(np.asarray(written).astype(int) - expected).mean() < 2
    assert np.abs(expected - TURNS[orientation](np.asarray(smooth)).astype(int)).mean() < 4
    assert upright.size == expected.shape[:2]
    np.testing.assert_array_equal(decode_rgb(original), expected)


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (noise("k"), "JPEG"),
        (noise("k", (HEIGHT, WIDTH)), "JPEG"),
        (noise("k"), "PNG"),
        (noise("k", (HEIGHT, WIDTH)), "PNG"),
    ],
    ids=["JPEG", "grey JPEG", "PNG", "grey PNG"],
)
def test_plain_images_are_kept_bit_for_bit(image: Image.Image, kind: str) -> None:
    original = encoded(image, kind, exif=exif(1))
    assert make_upright(original) == (original, (HEIGHT, WIDTH), ())


def test_sixteen_bits_of_grey_become_eight_by_division() -> None:
    levels = np.array([[0, 257, 25700, 32768, 65535]], np.uint16)  # 32768 / 257 = 127.502
    upright = make_upright(encoded(Image.fromarray(levels), "PNG"))
    pixels = np.asarray(Image.open(io.BytesIO(upright.encoded)))
    assert (pixels.tolist(), pixels.dtype) == ([[0, 1, 100, 128, 255]], np.uint8)


def test_cmyk_becomes_rgb() -> None:
    ink = Image.new("CMYK", (32, 32), (0, 255, 255, 0))  # magenta and yellow: red
    upright = make_upright(encoded(ink))
    written = Image.open(io.BytesIO(upright.encoded))
    assert (written.format, written.mode) == ("JPEG", "RGB")
    assert np.abs(np.asarray(written).astype(int) - [255, 0, 0]).max() < 12


def test_transparency_and_palettes_lose_nothing_but_alpha() -> None:
    image = noise("t", (8, 8, 4))
    upright = make_upright(encoded(image, "PNG"))
    np.testing.assert_array_equal(decode_rgb(upright.encoded), np.asarray(image)[..., :3])
    assert make_upright(upright.encoded).changes == ()
    few = image.convert("RGB").quantize(16)
    np.testing.assert_array_equal(decode_rgb(make_upright(encoded(few, "PNG")).encoded), few.convert("RGB"))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_animations_are_refused_and_single_frames_are_not(kind: str) -> None:
    frames = [noise(f"frame{n}") for n in range(3)]
    with pytest.raises(ImageError, match="an animation of 3 frames") as caught:
        make_upright(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
    assert caught.value.kind == "unreadable image"
    assert make_upright(encoded(frames[0], kind)).size == (HEIGHT, WIDTH)


@pytest.mark.parametrize("side", [9_500, 60_000])  # Pillow warns of the first and refuses the second
def test_images_too_large_are_refused_by_their_header(side: int) -> None:
    with pytest.raises(ImageError) as caught:
        make_upright(png_bomb(side))
    assert caught.value.kind == "image too large"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF"])
def test_images_cut_off_anywhere_never_raise_anything_else(kind: str) -> None:
    original = encoded(noise("c"), kind)
    draw = random.Random(0)
    for length in [0, 1, 10, *(draw.randrange(len(original) - 64) for _ in range(40))]:
        with pytest.raises(ImageError) as caught:
            make_upright(original[:length])
        assert caught.value.kind == "unreadable image"
