"""Matching of default boxes to objects against exact greedy loops."""

from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf

from ssdcore.geometry.default_boxes import default_boxes_xyxy
from ssdcore.geometry.matching import match_xyxy
from ssdcore.params import presets

F32 = np.float32
BOXES = tf.TensorSpec([None, 4], tf.float32)
match_in_graph = tf.function(match_xyxy, input_signature=[BOXES, BOXES, tf.TensorSpec([], tf.float32)])


def as_boxes(boxes):
    return np.array(boxes, F32).reshape(-1, 4)


def match(objects, defaults, threshold=0.5):
    return match_in_graph(as_boxes(objects), as_boxes(defaults), threshold).numpy().tolist()


def brute_iou(one, other):
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    if wide <= 0 or high <= 0:
        return 0
    union = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1]) - wide * high
    return wide * high / union


def brute_best_pair(iou, waiting, owner, least):
    """The free (object, default box) pair of highest IoU; None if no IoU exceeds `least`."""
    best, pair = least, None
    for row in sorted(waiting):
        for column in range(len(owner)):
            if owner[column] < 0 and iou[row][column] > best:
                best, pair = iou[row][column], (row, column)
    return pair


def brute_match(objects, defaults, threshold, number=Fraction):
    """Matching from the definition: exact in fractions, or with the ties that rounding to float32 makes."""
    objects = [[number(value) for value in box] for box in objects]
    defaults = [[number(value) for value in box] for box in defaults]
    iou = [[brute_iou(one, default) for default in defaults] for one in objects]
    owner = [-1] * len(defaults)
    waiting = set(range(len(objects)))
    while pair := brute_best_pair(iou, waiting, owner, number(1) / number(10**6)):
        waiting.remove(pair[0])
        owner[pair[1]] = pair[0]
    for column in range(len(defaults)):
        overlaps = [row[column] for row in iou]
        if owner[column] < 0 and overlaps and max(overlaps) >= threshold:
            owner[column] = overlaps.index(max(overlaps))
    return owner


def grid_boxes(rng, count, side):
    """Boxes with whole-number corners, so that ties and exact halves are frequent."""
    low = rng.integers(0, side, (count, 2))
    return np.concatenate([low, low + rng.integers(1, side, (count, 2))], axis=1)


@pytest.mark.parametrize(
    ("objects", "boxes", "side", "threshold"),
    [(1, 8, 6, 0.5), (3, 12, 6, 0.5), (6, 12, 4, 0.5), (10, 10, 3, 0.5), (12, 5, 4, 0.5), (5, 30, 5, 0.25)],
)
def test_matches_on_a_coarse_grid_equal_the_loops(objects, boxes, side, threshold):
    rng = np.random.default_rng(objects * 100 + boxes)
    for _ in range(25):
        things, defaults = grid_boxes(rng, objects, side), grid_boxes(rng, boxes, side)
        assert match(things, defaults, threshold) == brute_match(things.tolist(), defaults.tolist(), threshold)


@pytest.mark.parametrize("seed", range(10))
def test_matches_of_random_boxes_equal_the_loops(seed):
    rng = np.random.default_rng(seed)
    objects, defaults = (grid_boxes(rng, count, 10**6) / F32(2e6) for count in (rng.integers(1, 9), 40))
    objects, defaults = as_boxes(objects), as_boxes(defaults)
    assert match(objects, defaults) == brute_match(objects.tolist(), defaults.tolist(), 0.5, F32)


@pytest.mark.parametrize("count", [1, 2, 15])
def test_matches_to_the_real_default_boxes_equal_the_loops(count):
    model = presets.ssd300()
    defaults = default_boxes_xyxy(model.default_boxes, (300, 300), [(side, side) for side in model.feature_maps])
    rng = np.random.default_rng(count)
    low = rng.uniform(0, 0.7, (count, 2))
    objects = as_boxes(np.concatenate([low, low + rng.uniform(0.02, 0.3, (count, 2))], axis=1))
    matched = match(objects, defaults)
    assert matched == brute_match(objects.tolist(), defaults.tolist(), 0.5, F32)
    assert set(range(count)) <= set(matched)


@pytest.mark.parametrize("run", [match_xyxy, match_in_graph])
def test_without_objects_nothing_is_matched(run):
    matched = run(as_boxes([]), as_boxes([(0, 0, 1, 1), (0, 0, 2, 2)]), 0.5)
    assert matched.dtype == tf.int32
    assert matched.numpy().tolist() == [-1, -1]


@pytest.mark.parametrize("run", [match_xyxy, match_in_graph])
def test_the_two_steps_in_eager_mode_and_in_a_graph(run):
    objects = as_boxes([(0, 0, 4, 4), (3, 0, 7, 4), (20, 20, 21, 21)])
    defaults = as_boxes([(0, 0, 4, 3), (0, 0, 4, 4), (4, 0, 12, 4), (9, 9, 10, 10)])
    matched = run(objects, defaults, 0.5)
    assert matched.dtype == tf.int32
    assert matched.numpy().tolist() == [0, 0, 1, -1]


def test_one_object_owns_its_best_default_box_below_the_threshold():
    assert match([(0, 0, 10, 10)], [(0, 0, 10, 1), (0, 0, 10, 2), (9, 9, 20, 20)]) == [-1, 0, -1]


def test_further_default_boxes_need_the_threshold():
    defaults = [(0, 0, 10, 10), (0, 0, 10, 6), (0, 0, 10, 5), (0, 0, 10, 4)]
    assert match([(0, 0, 10, 10)], defaults, 0.5) == [0, 0, 0, -1]
    assert match([(0, 0, 10, 10)], defaults, 0.55) == [0, 0, -1, -1]


def test_a_default_box_goes_to_the_object_it_overlaps_most():
    objects = [(0, 0, 10, 10), (0, 0, 10, 8)]
    defaults = [(0, 0, 10, 10), (0, 0, 10, 8), (0, 0, 10, 7), (0, 0, 10, 12)]
    assert match(objects, defaults) == [0, 1, 1, 0]


def test_the_globally_best_pair_goes_first():
    # Both objects like box 0 best; object 1 fits it better, so object 0 must take box 1.
    objects = [(0, 0, 10, 6), (0, 0, 10, 9)]
    assert match(objects, [(0, 0, 10, 10), (0, 0, 10, 1)]) == [1, 0]


def test_a_box_of_its_own_beats_a_better_overlap_with_another_object():
    # Box 1 overlaps object 0 by 0.9 but is all that object 1 can have.
    objects, defaults = [(0, 0, 10, 10), (0, 0, 10, 4)], [(0, 0, 10, 10), (0, 0, 10, 9)]
    assert match(objects, defaults) == [0, 1]


def test_many_objects_contend_for_one_default_box():
    objects = [(0, 0, 10, 10 - lost) for lost in range(1, 9)]
    defaults = [(0, 0, 10, 10)] + [(0, 0, 1, high) for high in range(1, 8)]
    matched = match(objects, defaults)
    assert matched == brute_match(objects, defaults, 0.5)
    assert sorted(matched) == list(range(8))


def test_copies_of_an_object_own_a_default_box_each():
    defaults = [(0, 0, 10, 5), (0, 0, 10, 10), (0, 0, 10, 6), (0, 0, 10, 2)]
    assert match([(0, 0, 10, 10)] * 3, defaults) == [2, 0, 1, -1]


def test_copies_of_a_default_box_go_to_the_lowest_index_first():
    assert match([(0, 0, 10, 3)], [(50, 50, 60, 60)] + [(0, 0, 10, 10)] * 4) == [-1, 0, -1, -1, -1]


def test_ties_of_objects_go_to_the_lowest_object():
    assert match([(0, 0, 2, 4), (2, 0, 4, 4)], [(0, 0, 4, 4)]) == [0]
    assert match([(0, 0, 2, 4), (2, 0, 4, 4)], [(0, 0, 2, 4), (2, 0, 4, 4), (0, 0, 4, 4)]) == [0, 1, 0]


def test_an_object_that_overlaps_nothing_owns_nothing():
    assert match([(50, 50, 60, 60), (0, 0, 10, 10)], [(0, 0, 10, 9), (20, 20, 30, 30)]) == [1, -1]
    assert match([(50, 50, 60, 60)], [(0, 0, 10, 9), (20, 20, 30, 30)]) == [-1, -1]


def test_touching_is_no_overlap():
    assert match([(0, 0, 10, 10)], [(10, 0, 20, 10), (0, 10, 10, 20)]) == [-1, -1]


@pytest.mark.parametrize(("side", "owner"), [(1, -1), (4, 0)])
def test_an_overlap_up_to_a_millionth_is_none(side, owner):
    # IoU is 0.5 millionths for side 1 and 8 millionths for side 4.
    assert match([(0, 0, 2000, 1000)], [(2000 - side, 1000 - side, 2000, 1000)]) == [owner]


def test_more_objects_than_default_boxes():
    objects = [(0, 0, 10, 10), (0, 0, 10, 9), (0, 0, 10, 8), (0, 0, 10, 7)]
    assert match(objects, [(0, 0, 10, 8), (0, 0, 10, 10)]) == [2, 0]


@pytest.mark.parametrize("seed", range(5))
def test_every_object_owns_a_default_box(seed):
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 10, (12, 2))
    objects = np.concatenate([low, low + rng.integers(20, 40, (12, 2))], axis=1)
    low = rng.integers(0, 15, (30, 2))
    defaults = np.concatenate([low, low + rng.integers(10, 30, (30, 2))], axis=1)
    assert set(range(12)) <= set(match(objects, defaults))
