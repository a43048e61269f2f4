"""Offsets from default boxes against the written-out formula and its inverse."""

import math

import numpy as np
import pytest

from ssdcore.geometry.coder import decode_xyxy, encode_xyxy

F32 = np.float32
VARIANCES = (0.1, 0.1, 0.2, 0.2)


def random_boxes(rng, shape, scale=1.0):
    low = rng.uniform(-0.2, 0.8, (*shape, 2))
    return (scale * np.concatenate([low, low + rng.uniform(0.05, 0.6, (*shape, 2))], axis=-1)).astype(F32)


def brute_encode(box, default, variances):
    left, top, right, bottom = box
    start, over, end, under = default
    wide, high = end - start, under - over
    return [
        ((left + right) / 2 - (start + end) / 2) / wide / variances[0],
        ((top + bottom) / 2 - (over + under) / 2) / high / variances[1],
        math.log((right - left) / wide) / variances[2],
        math.log((bottom - top) / high) / variances[3],
    ]


# corners of box and default box, and the offsets by hand: ln 2 / 0.2 = 3.465736, ln 3 / 0.2 = 5.493061.
WORKED = [
    ((10, 20, 30, 60), (10, 20, 30, 60), (0, 0, 0, 0)),
    ((12, 20, 32, 60), (10, 20, 30, 60), (1, 0, 0, 0)),
    ((10, 24, 30, 64), (10, 20, 30, 60), (0, 1, 0, 0)),
    ((0, 20, 40, 60), (10, 20, 30, 60), (0, 0, 3.465736, 0)),
    ((10, 30, 30, 50), (10, 20, 30, 60), (0, 0, 0, -3.465736)),
    ((0, 0, 60, 20), (20, 0, 40, 40), (0, -2.5, 5.493061, -3.465736)),
    ((0.5, 0.25, 1, 0.5), (0, 0.25, 1, 0.75), (2.5, -2.5, -3.465736, -3.465736)),
]


@pytest.mark.parametrize(("box", "default", "offsets"), WORKED)
def test_offsets_of_worked_examples(box, default, offsets):
    found = encode_xyxy(np.array([box], F32), np.array([default], F32), VARIANCES)
    np.testing.assert_allclose(found, [offsets], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("box", "default", "offsets"), WORKED)
def test_boxes_of_worked_examples(box, default, offsets):
    found = decode_xyxy(np.array([offsets], F32), np.array([default], F32), VARIANCES)
    np.testing.assert_allclose(found, [box], rtol=1e-5, atol=1e-5)


def test_every_variance_divides_its_own_offset():
    box, default = np.array([[10, 30, 50, 110]], F32), np.array([[0, 0, 20, 40]], F32)
    found = encode_xyxy(box, default, (0.1, 0.2, 0.4, 0.5))
    expected = [(30 - 10) / 20 / 0.1, (70 - 20) / 40 / 0.2, math.log(2) / 0.4, math.log(2) / 0.5]
    np.testing.assert_allclose(found, [expected], rtol=1e-5)
    np.testing.assert_allclose(decode_xyxy(found, default, (0.1, 0.2, 0.4, 0.5)), box, rtol=1e-5)


@pytest.mark.parametrize("variances", [VARIANCES, (1, 1, 1, 1), (0.1, 0.3, 0.2, 0.5)])
@pytest.mark.parametrize("seed", range(3))
def test_offsets_equal_the_loop(seed, variances):
    rng = np.random.default_rng(seed)
    boxes, defaults = random_boxes(rng, (50,)), random_boxes(rng, (50,))
    found = encode_xyxy(boxes, defaults, variances)
    pairs = zip(boxes.tolist(), defaults.tolist(), strict=True)
    expected = [brute_encode(box, default, variances) for box, default in pairs]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("shape", "scale"), [((40,), 1), ((2, 3, 7), 1), ((40,), 300), ((0,), 1)])
def test_decoding_undoes_encoding(shape, scale):
    rng = np.random.default_rng(5)
    boxes, defaults = random_boxes(rng, shape, scale), random_boxes(rng, shape, scale)
    offsets = encode_xyxy(boxes, defaults, VARIANCES)
    assert offsets.shape == (*shape, 4)
    np.testing.assert_allclose(decode_xyxy(offsets, defaults, VARIANCES), boxes, rtol=1e-5, atol=1e-5 * scale)


def test_encoding_undoes_decoding():
    rng = np.random.default_rng(6)
    offsets, defaults = rng.normal(0, 2, (40, 4)).astype(F32), random_boxes(rng, (40,))
    boxes = decode_xyxy(offsets, defaults, VARIANCES)
    np.testing.assert_allclose(encode_xyxy(boxes, defaults, VARIANCES), offsets, rtol=1e-4, atol=1e-4)


def test_one_set_of_default_boxes_serves_a_batch():
    rng = np.random.default_rng(7)
    offsets, defaults = rng.normal(0, 1, (3, 5, 4)).astype(F32), random_boxes(rng, (5,))
    together = decode_xyxy(offsets, defaults, VARIANCES).numpy()
    for image, boxes in zip(offsets, together, strict=True):
        np.testing.assert_allclose(boxes, decode_xyxy(image, defaults, VARIANCES), atol=1e-6)


@pytest.mark.parametrize("huge", [1e3, 1e6, 1e30, -1e3, -1e6, -1e30])
@pytest.mark.parametrize("axis", range(4))
def test_huge_offsets_give_finite_boxes(axis, huge):
    offsets = np.zeros((1, 4), F32)
    offsets[0, axis] = huge
    box = decode_xyxy(offsets, np.array([[0.1, 0.2, 0.4, 0.4]], F32), VARIANCES).numpy()[0]
    assert np.isfinite(box).all()
    assert box[0] <= box[2]
    assert box[1] <= box[3]


def test_boxes_may_be_hundreds_of_times_their_default_box():
    found = decode_xyxy(np.array([[0, 0, math.log(500) / 0.2, 0]], F32), np.array([[-1, -1, 1, 1]], F32), VARIANCES)
    np.testing.assert_allclose(found, [[-500, -1, 500, 1]], rtol=1e-5)
