"""Box formats, areas and overlaps against hand-worked numbers and pairwise loops."""

import numpy as np
import pytest

from ssdcore.geometry.boxes import (
    area_xyxy,
    clip_xyxy,
    cxcywh_to_xyxy,
    intersection_xyxy,
    iou_xyxy,
    to_window_xyxy,
    xyxy_to_cxcywh,
)

F32 = np.float32


def random_boxes(rng, count):
    low = rng.uniform(-0.2, 0.8, (count, 2))
    return np.concatenate([low, low + rng.uniform(0.01, 0.6, (count, 2))], axis=1).astype(F32)


def brute_overlap(one, other):
    """Intersection and union of two boxes."""
    wide = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    high = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    both = wide * high
    areas = [max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1]) for box in (one, other)]
    return both, sum(areas) - both


def brute_tables(ones, others):
    """(N, M) intersections and IoUs."""
    pairs = [[brute_overlap(one, other) for other in others.tolist()] for one in ones.tolist()]
    both = [[inside for inside, _ in row] for row in pairs]
    iou = [[inside / union if union > 0 else 0.0 for inside, union in row] for row in pairs]
    return np.array(both), np.array(iou)


FORMATS = [
    ((1, 2, 5, 10), (3, 6, 4, 8)),
    ((-4, 0, 2, 1), (-1, 0.5, 6, 1)),
    ((0.25, 0.25, 0.25, 0.75), (0.25, 0.5, 0, 0.5)),
]


@pytest.mark.parametrize(("corners", "centred"), FORMATS)
def test_corners_become_centre_and_size(corners, centred):
    np.testing.assert_allclose(xyxy_to_cxcywh(np.array([corners], F32)), [centred], atol=1e-6)


@pytest.mark.parametrize(("corners", "centred"), FORMATS)
def test_centre_and_size_become_corners(corners, centred):
    np.testing.assert_allclose(cxcywh_to_xyxy(np.array([centred], F32)), [corners], atol=1e-6)


def test_conversions_keep_leading_dimensions():
    boxes = random_boxes(np.random.default_rng(0), 24).reshape(2, 3, 4, 4)
    centred = xyxy_to_cxcywh(boxes)
    assert centred.shape == (2, 3, 4, 4)
    for place in np.ndindex(2, 3, 4):
        left, top, right, bottom = boxes[place]
        expected = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
        np.testing.assert_allclose(centred[place], expected, atol=1e-6)
    np.testing.assert_allclose(cxcywh_to_xyxy(centred), boxes, atol=1e-6)


@pytest.mark.parametrize(
    ("box", "area"),
    [
        ((0, 0, 1, 1), 1),
        ((2, 3, 5, 10), 21),
        ((-2, -3, 1, 1), 12),
        ((4, 4, 4, 9), 0),
        ((5, 0, 1, 2), 0),
        ((0, 5, 2, 1), 0),
        ((5, 5, 1, 1), 0),
    ],
)
def test_area_is_width_by_height_and_zero_if_inverted(box, area):
    assert float(area_xyxy(np.array(box, F32))) == area


@pytest.mark.parametrize(
    ("one", "other", "intersection", "iou"),
    [
        ((0, 0, 2, 2), (0, 0, 2, 2), 4, 1),
        ((0, 0, 2, 2), (1, 1, 3, 3), 1, 1 / 7),
        ((0, 0, 4, 2), (1, 0, 3, 2), 4, 0.5),
        ((0, 0, 4, 1), (2, 0, 8, 3), 2, 2 / 20),
        ((0, 0, 1, 4), (0, 2, 3, 8), 2, 2 / 20),
        ((0, 0, 2, 2), (2, 0, 4, 2), 0, 0),
        ((0, 0, 2, 2), (0, 2, 2, 4), 0, 0),
        ((0, 0, 2, 2), (5, 5, 6, 6), 0, 0),
        ((0, 0, 2, 2), (0, 5, 2, 6), 0, 0),
        ((1, 1, 1, 1), (1, 1, 1, 1), 0, 0),
        ((0, 0, 2, 2), (1, 1, 1, 1), 0, 0),
        ((-2, -2, 0, 0), (-1, -1, 1, 1), 1, 1 / 7),
        ((3, 3, 1, 1), (0, 0, 4, 4), 0, 0),
    ],
)
def test_overlap_of_two_boxes(one, other, intersection, iou):
    one, other = np.array([one], F32), np.array([other], F32)
    for first, second in ((one, other), (other, one)):
        np.testing.assert_allclose(intersection_xyxy(first, second), [[intersection]], atol=1e-6)
        np.testing.assert_allclose(iou_xyxy(first, second), [[iou]], atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_overlaps_of_all_pairs_equal_the_loops(seed):
    rng = np.random.default_rng(seed)
    ones, others = random_boxes(rng, 17), random_boxes(rng, 23)
    intersection, iou = brute_tables(ones, others)
    assert (iou > 0).any()
    assert (iou == 0).any()
    np.testing.assert_allclose(intersection_xyxy(ones, others), intersection, atol=1e-5)
    np.testing.assert_allclose(iou_xyxy(ones, others), iou, atol=1e-5)


@pytest.mark.parametrize(("count", "other_count"), [(0, 3), (3, 0), (0, 0)])
def test_overlaps_of_no_boxes_are_an_empty_table(count, other_count):
    rng = np.random.default_rng(1)
    assert iou_xyxy(random_boxes(rng, count), random_boxes(rng, other_count)).shape == (count, other_count)


@pytest.mark.parametrize(
    ("box", "clipped"),
    [
        ((-0.5, 0.25, 0.5, 1.5), (0, 0.25, 0.5, 1)),
        ((0.25, -1, 2, 0.75), (0.25, 0, 1, 0.75)),
        ((0, 0, 1, 1), (0, 0, 1, 1)),
        ((1.5, 1.5, 2, 2), (1, 1, 1, 1)),
        ((-2, -2, -1, -1), (0, 0, 0, 0)),
    ],
)
def test_clipping_cuts_at_the_image(box, clipped):
    np.testing.assert_array_equal(clip_xyxy(np.array([box], F32)), [clipped])


@pytest.mark.parametrize(
    ("window", "box", "seen"),
    [
        ((2, 4, 6, 12), (2, 4, 6, 12), (0, 0, 1, 1)),
        ((2, 4, 6, 12), (3, 6, 5, 8), (0.25, 0.25, 0.75, 0.5)),
        ((2, 4, 6, 12), (0, 0, 8, 16), (-0.5, -0.5, 1.5, 1.5)),
        ((0.5, 0, 1, 0.25), (0.5, 0, 0.75, 0.125), (0, 0, 0.5, 0.5)),
        ((-1, -1, 1, 3), (0, 0, 1, 1), (0.5, 0.25, 1, 0.5)),
    ],
)
def test_window_corners_become_zero_and_one(window, box, seen):
    np.testing.assert_allclose(to_window_xyxy(np.array([box], F32), np.array(window, F32)), [seen], atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_boxes_in_a_window_equal_the_loop(seed):
    rng = np.random.default_rng(seed)
    boxes, window = random_boxes(rng, 11), random_boxes(rng, 1)[0]
    seen = to_window_xyxy(boxes, window).numpy()
    for row, (left, top, right, bottom) in zip(seen, boxes.tolist(), strict=True):
        x, y, wide, high = window[0], window[1], window[2] - window[0], window[3] - window[1]
        expected = ((left - x) / wide, (top - y) / high, (right - x) / wide, (bottom - y) / high)
        np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-5)
