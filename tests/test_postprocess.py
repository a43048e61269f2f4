"""Post-processing against loops over classes and boxes, written from the rules of Caffe's DetectionOutput."""

import math

import numpy as np
import pytest
import tensorflow as tf

from ssdcore.geometry.default_boxes import default_boxes_xyxy
from ssdcore.model.postprocess import postprocess
from ssdcore.params import EvalParams, presets

F32 = np.float32
VARIANCES = (0.1, 0.1, 0.2, 0.2)


def run(logits, offsets, defaults, params, variances=VARIANCES):
    call = tf.function(lambda *tensors: postprocess(*tensors, variances, params))
    found = call(*(tf.constant(array, tf.float32) for array in (logits, offsets, defaults)))
    return [part.numpy() for part in found]


def brute_softmax(row):
    top = max(row)
    parts = [math.exp(value - top) for value in row]
    return [part / sum(parts) for part in parts]


def brute_decode(offsets, default):
    wide, high = default[2] - default[0], default[3] - default[1]
    x = (default[0] + default[2]) / 2 + offsets[0] * 0.1 * wide
    y = (default[1] + default[3]) / 2 + offsets[1] * 0.1 * high
    wide, high = wide * math.exp(offsets[2] * 0.2), high * math.exp(offsets[3] * 0.2)
    return x - wide / 2, y - high / 2, x + wide / 2, y + high / 2


def brute_iou(one, other):
    wide = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    high = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    union = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1]) - wide * high
    return wide * high / union if union > 0 else 0.0


def brute_class(scores, boxes, params):
    """Indices of the boxes of one class that survive."""
    queue = [index for index, score in enumerate(scores) if score > params.score_threshold]
    queue = sorted(queue, key=lambda index: -scores[index])[: params.top_k]
    kept = []
    for index in queue:
        if all(brute_iou(boxes[index], boxes[other]) <= params.nms_iou for other in kept):
            kept.append(index)
    return kept


def brute_image(logits, offsets, defaults, params):
    """(score, label, clipped box) of one image, best first."""
    scores = [brute_softmax(row) for row in logits]
    boxes = [brute_decode(row, default) for row, default in zip(offsets, defaults, strict=True)]
    found = []
    for label in range(1, len(logits[0])):
        for index in brute_class([row[label] for row in scores], boxes, params):
            clipped = tuple(min(1.0, max(0.0, value)) for value in boxes[index])
            found.append((scores[index][label], label, clipped))
    return sorted(found, key=lambda row: -row[0])[: params.keep]


def assert_as_loops(logits, offsets, defaults, params):
    """Compares all images, and gives the number of detections of each."""
    boxes, scores, labels, counts = run(logits, offsets, defaults, params)
    assert boxes.shape == (len(logits), params.keep, 4)
    assert labels.dtype == np.int32
    for image, count in enumerate(counts):
        expected = brute_image(logits[image].tolist(), offsets[image].tolist(), defaults.tolist(), params)
        assert count == len(expected)
        assert labels[image, :count].tolist() == [label for _, label, _ in expected]
        np.testing.assert_allclose(scores[image, :count], [score for score, _, _ in expected], atol=1e-5)
        np.testing.assert_allclose(boxes[image, :count], [box for *_, box in expected] or np.zeros((0, 4)), atol=1e-5)
        assert not scores[image, count:].any()
        assert not labels[image, count:].any()
        assert not boxes[image, count:].any()
    return counts.tolist()


def random_boxes(rng, count):
    low = rng.uniform(-0.1, 0.7, (count, 2))
    return np.concatenate([low, low + rng.uniform(0.1, 0.5, (count, 2))], axis=1).astype(F32)


def random_case(seed, boxes=40, classes=3, images=2, background=0.0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (images, boxes, classes + 1)).astype(F32)
    logits[..., 0] += background
    return logits, rng.normal(0, 1, (images, boxes, 4)).astype(F32), random_boxes(rng, boxes)


def certain(*rows):
    """Logits (1, A, C+1) whose softmax is the given rows of probabilities."""
    return np.log(np.array([rows], F32))


def at_default_boxes(probabilities, defaults, **params):
    """Labels, scores and boxes of the detections when every offset is zero."""
    defaults = np.array(defaults, F32)
    offsets = np.zeros((1, len(defaults), 4), F32)
    boxes, scores, labels, counts = run(certain(*probabilities), offsets, defaults, EvalParams(**params))
    count = counts[0]
    return labels[0, :count].tolist(), scores[0, :count].tolist(), boxes[0, :count].tolist()


LIMITS = [
    {},
    {"keep": 5},
    {"top_k": 3},
    {"top_k": 2, "keep": 3},
    {"top_k": 1, "keep": 1},
    {"top_k": 40, "keep": 200},
    {"score_threshold": 0.3},
    {"score_threshold": 0.0, "nms_iou": 0.2},
    {"nms_iou": 1.0},
]


@pytest.mark.parametrize("params", LIMITS)
@pytest.mark.parametrize(("classes", "background"), [(1, 0), (3, 0), (6, 4)])
def test_detections_equal_the_loops(classes, background, params):
    assert_as_loops(*random_case(classes, classes=classes, background=background), EvalParams(**params))


def test_small_limits_bite():
    case = random_case(0)
    many = assert_as_loops(*case, EvalParams())
    assert min(many) > 20
    assert assert_as_loops(*case, EvalParams(keep=5)) == [5, 5]
    assert max(assert_as_loops(*case, EvalParams(top_k=3))) <= 9


@pytest.mark.parametrize(
    ("params", "count"),
    [
        ({}, 200),
        ({"nms_iou": 0.9}, 200),
        ({"top_k": 100, "keep": 50}, 50),
        ({"nms_iou": 1.0, "keep": 1000}, 2 * 400),
    ],
)
def test_detections_from_the_real_default_boxes_equal_the_loops(params, count):
    model = presets.ssd300()
    defaults = default_boxes_xyxy(model.default_boxes, (300, 300), [(side, side) for side in model.feature_maps])
    logits, offsets, _ = random_case(83, boxes=8732, classes=2, images=1, background=9)
    above = [sum(brute_softmax(row)[label] > 0.01 for row in logits[0].tolist()) for label in (1, 2)]
    assert min(above) > 400
    assert assert_as_loops(logits, offsets, defaults, EvalParams(**params)) == [count]


def test_defaults_are_those_of_the_paper():
    params = EvalParams()
    assert (params.score_threshold, params.top_k, params.nms_iou, params.keep) == (0.01, 400, 0.45, 200)


@pytest.mark.parametrize(("threshold", "labels"), [(0.5, []), (0.499, [1])])
def test_a_score_must_exceed_the_threshold(threshold, labels):
    assert at_default_boxes([(0.5, 0.5)], [(0, 0, 0.5, 0.5)], score_threshold=threshold)[0] == labels


@pytest.mark.parametrize(("threshold", "count"), [(0.5, 2), (0.499, 1)])
def test_of_two_boxes_one_goes_if_the_overlap_exceeds_the_threshold(threshold, count):
    defaults = [(0, 0, 0.5, 0.5), (0, 0, 0.5, 0.25)]
    labels, scores, boxes = at_default_boxes([(0.2, 0.8), (0.1, 0.9)], defaults, nms_iou=threshold)
    assert labels == [1] * count
    assert scores == pytest.approx([0.9, 0.8][:count], abs=1e-6)
    assert boxes == [[0, 0, 0.5, 0.25], [0, 0, 0.5, 0.5]][:count]


def test_a_suppressed_box_suppresses_no_other():
    # Each box overlaps its neighbour by 2/3, the outer ones each other by 3/7.
    defaults = [(0, 0, 0.625, 0.5), (0.125, 0, 0.75, 0.5), (0.25, 0, 0.875, 0.5)]
    labels, scores, _ = at_default_boxes([(0.1, 0.9), (0.2, 0.8), (0.3, 0.7)], defaults)
    assert labels == [1, 1]
    assert scores == pytest.approx([0.9, 0.7], abs=1e-6)


def test_boxes_of_different_classes_do_not_suppress_each_other():
    found = at_default_boxes([(0.1, 0.8, 0.1), (0.3, 0.1, 0.6)], [(0, 0, 0.5, 0.5)] * 2, score_threshold=0.2)
    assert found[0] == [1, 2]


def test_one_box_may_be_output_for_several_classes():
    labels, scores, boxes = at_default_boxes([(0.1, 0.2, 0.4, 0.3)], [(0.25, 0.25, 0.5, 0.75)])
    assert labels == [2, 3, 1]
    assert scores == pytest.approx([0.4, 0.3, 0.2], abs=1e-6)
    assert boxes == [[0.25, 0.25, 0.5, 0.75]] * 3


def test_a_class_that_is_not_the_likeliest_is_output_too():
    labels, scores, _ = at_default_boxes([(0.95, 0.02, 0.03)], [(0, 0, 0.5, 0.5)])
    assert labels == [2, 1]
    assert scores == pytest.approx([0.03, 0.02], abs=1e-6)


def test_background_is_never_output():
    assert at_default_boxes([(0.999, 0.0005, 0.0005)], [(0, 0, 0.5, 0.5)]) == ([], [], [])


def test_without_detections_everything_is_padding():
    _, offsets, defaults = random_case(2)
    logits = np.zeros((2, 40, 4), F32)
    logits[..., 0] = 20
    assert assert_as_loops(logits, offsets, defaults, EvalParams(keep=7)) == [0, 0]


def test_images_of_a_batch_do_not_mix():
    logits, offsets, defaults = random_case(3, images=3)
    logits[1, :, 0] = 50
    together = run(logits, offsets, defaults, EvalParams(keep=30))
    assert together[3][1] == 0
    for image in range(3):
        alone = run(logits[image : image + 1], offsets[image : image + 1], defaults, EvalParams(keep=30))
        for whole, part in zip(together, alone, strict=True):
            np.testing.assert_allclose(whole[image], part[0], atol=1e-6)


def test_top_k_counts_boxes_before_suppression():
    # The two best boxes are the same; the third, far away, is not among the best two.
    defaults = [(0, 0, 0.5, 0.5), (0, 0, 0.5, 0.5), (0.5, 0.5, 1, 1)]
    probabilities = [(0.1, 0.9), (0.2, 0.8), (0.3, 0.7)]
    assert at_default_boxes(probabilities, defaults, top_k=2)[0] == [1]
    assert at_default_boxes(probabilities, defaults, top_k=3)[0] == [1, 1]


def test_top_k_counts_each_class_by_itself():
    defaults = [(0, 0, 0.25, 0.25), (0.5, 0.5, 0.75, 0.75), (0.75, 0, 1, 0.25)]
    probabilities = [(0.1, 0.7, 0.2), (0.1, 0.6, 0.3), (0.1, 0.5, 0.4)]
    labels, scores, _ = at_default_boxes(probabilities, defaults, top_k=1)
    assert labels == [1, 2]
    assert scores == pytest.approx([0.7, 0.4], abs=1e-6)


def test_keep_takes_the_best_over_all_classes():
    defaults = [(0, 0, 0.25, 0.25), (0.5, 0.5, 0.75, 0.75)]
    labels, scores, _ = at_default_boxes([(0.1, 0.55, 0.35), (0.2, 0.05, 0.75)], defaults, keep=3)
    assert labels == [2, 1, 2]
    assert scores == pytest.approx([0.75, 0.55, 0.35], abs=1e-6)


def test_boxes_are_clipped_to_the_image_after_suppression():
    # Unclipped, the boxes overlap by 1/3; the parts inside the image are equal.
    defaults = [(-0.5, 0, 0.5, 0.5), (0, 0, 1, 0.5), (0.5, 0.75, 1.5, 1.25)]
    _, _, boxes = at_default_boxes([(0.1, 0.9), (0.2, 0.8), (0.3, 0.7)], defaults)
    assert boxes == [[0, 0, 0.5, 0.5], [0, 0, 1, 0.5], [0.5, 0.75, 1, 1]]
    outer = [(0.5, 0.5, 1.5, 1), (0.5, 0.5, 1, 1.5)]
    assert at_default_boxes([(0.1, 0.9), (0.2, 0.8)], outer)[2] == [[0.5, 0.5, 1, 1]] * 2


def test_offsets_are_scaled_by_the_variances():
    logits, defaults = certain((0.1, 0.9)), np.array([[0.25, 0.25, 0.5, 0.75]], F32)
    offsets = np.array([[[1, 0.5, 0, math.log(0.5)]]], F32)
    boxes, *_ = run(logits, offsets, defaults, EvalParams(), (0.5, 0.25, 1, 1))
    np.testing.assert_allclose(boxes[0, 0], [0.375, 0.4375, 0.625, 0.6875], atol=1e-6)


def test_huge_offsets_give_boxes_inside_the_image():
    logits, offsets, defaults = random_case(4, images=1)
    boxes, scores, _, counts = run(logits, offsets * 1e6, defaults, EvalParams())
    assert counts[0] > 0
    assert np.isfinite(scores).all()
    assert boxes.min() >= 0
    assert boxes.max() <= 1
