"""The MultiBox loss and its targets against loops over every image and default box."""

import functools
import math

import numpy as np
import pytest
import tensorflow as tf

from ssdcore.model.loss import multibox_loss, smooth_l1
from ssdcore.model.targets import encode_targets
from ssdcore.params import Loss

F32 = np.float32
VARIANCES = (0.1, 0.1, 0.2, 0.2)


@functools.cache
def loss_and_gradients(params):
    """The compiled loss with these parameters, and the gradients of the whole."""

    @tf.function(reduce_retracing=True)
    def compute(logits, offsets, labels, targets):
        with tf.GradientTape() as tape:
            tape.watch([logits, offsets])
            loss = multibox_loss(logits, offsets, labels, targets, params)
            total = loss.positive_classes + loss.negative_classes + loss.boxes
        return loss, tape.gradient(total, [logits, offsets])

    return compute


def run(logits, offsets, labels, targets, ratio=3.0):
    logits, offsets, targets = (tf.constant(array, tf.float32) for array in (logits, offsets, targets))
    compute = loss_and_gradients(Loss(negative_ratio=ratio))
    loss, gradients = compute(logits, offsets, tf.constant(labels, tf.int32), targets)
    return [float(part) for part in loss], [gradient.numpy() for gradient in gradients]


def brute_softmax(row):
    top = max(row)
    parts = [math.exp(value - top) for value in row]
    return [part / sum(parts) for part in parts]


def brute_cross_entropy(row, label):
    top = max(row)
    return math.log(sum(math.exp(value - top) for value in row)) + top - row[label]


def brute_mined(logits, labels, ratio):
    """For one image, the negatives that look least like background."""
    negatives = [box for box, label in enumerate(labels) if label == 0]
    wanted = min(int(ratio * (len(labels) - len(negatives))), len(negatives))
    return sorted(negatives, key=lambda box: brute_softmax(logits[box])[0])[:wanted]


def brute_loss(logits, offsets, labels, targets, ratio):
    """The five sums of a MultiBoxLoss, and the gradients for logits and offsets."""
    sums = [0.0, 0.0, 0.0, 0, 0]
    slopes = np.zeros(np.shape(logits)), np.zeros(np.shape(offsets))
    for image, image_labels in enumerate(labels):
        positives = [box for box, label in enumerate(image_labels) if label > 0]
        mined = brute_mined(logits[image], image_labels, ratio)
        sums[3] += len(positives)
        sums[4] += len(mined)
        for box in positives + mined:
            row, label = logits[image][box], image_labels[box]
            sums[0 if label else 1] += brute_cross_entropy(row, label)
            slopes[0][image, box] = brute_softmax(row)
            slopes[0][image, box, label] -= 1
        for box in positives:
            for axis in range(4):
                miss = offsets[image][box][axis] - targets[image][box][axis]
                sums[2] += miss * miss / 2 if abs(miss) < 1 else abs(miss) - 0.5
                slopes[1][image, box, axis] = min(1, max(-1, miss))
    return sums, slopes


def random_case(seed, positives, boxes=30, classes=4):
    """Random predictions, with so many positives in each image."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((len(positives), boxes), int)
    for row, count in zip(labels, positives, strict=True):
        row[rng.permutation(boxes)[:count]] = rng.integers(1, classes + 1, count)
    logits = rng.normal(0, 3, (len(positives), boxes, classes + 1)).astype(F32)
    offsets, targets = rng.normal(0, 1, (2, len(positives), boxes, 4)).astype(F32)
    return logits.tolist(), offsets.tolist(), labels.tolist(), targets.tolist()


def assert_as_loops(case, ratio=3.0):
    loss, gradients = run(*case, ratio)
    sums, slopes = brute_loss(*case, ratio)
    np.testing.assert_allclose(loss, sums, rtol=1e-5, atol=1e-5)
    for gradient, slope in zip(gradients, slopes, strict=True):
        np.testing.assert_allclose(gradient, slope, atol=1e-5)


POSITIVES = {
    "one image": [5],
    "few in each": [3, 1, 6, 2],
    "some images without objects": [0, 4, 0, 1],
    "no objects at all": [0, 0],
    "more negatives wanted than eligible": [20, 2, 29],
    "as many wanted as eligible": [6, 24],
    "every default box is positive": [30, 1],
    "exactly a quarter": [7, 8],
}


@pytest.mark.parametrize("ratio", [3.0, 1.0, 2.5])
@pytest.mark.parametrize("positives", POSITIVES.values(), ids=POSITIVES.keys())
def test_loss_and_gradients_equal_the_loops(positives, ratio):
    for seed in range(3):
        assert_as_loops(random_case(seed, positives), ratio)


def test_loss_of_a_real_number_of_default_boxes_equals_the_loops():
    assert_as_loops(random_case(3, [11, 0, 40], boxes=8732, classes=2))


@pytest.mark.parametrize(
    ("x", "value"),
    [(0, 0), (0.5, 0.125), (-0.5, 0.125), (1, 0.5), (-1, 0.5), (2, 1.5), (-3, 2.5), (0.9, 0.405), (1e30, 1e30)],
)
def test_smooth_l1_of_worked_examples(x, value):
    np.testing.assert_allclose(smooth_l1(tf.constant(x, tf.float32)), value, rtol=1e-6)


def test_a_worked_example():
    # One positive of class 2 at even odds of three; its three hardest negatives have odds e:1, 1:1, 1:e of two.
    low = -1e4
    logits = [[[0, 0, 0], [0, 1, low], [0, 0, low], [1, 0, low], [9, 0, low]]]
    offsets, targets = np.zeros((1, 5, 4)), np.zeros((1, 5, 4))
    offsets[0, 0] = [0.5, -2, 0, 1]
    offsets[0, 1:] = 7
    (matched, mined, boxes, positives, negatives), _ = run(logits, offsets, [[2, 0, 0, 0, 0]], targets)
    assert matched == pytest.approx(math.log(3), rel=1e-5)
    assert mined == pytest.approx(math.log(1 + math.e) + math.log(2) + math.log(1 + 1 / math.e), rel=1e-5)
    assert boxes == pytest.approx(0.125 + 1.5 + 0 + 0.5, rel=1e-5)
    assert (positives, negatives) == (1, 3)


def test_images_without_objects_add_nothing():
    logits, offsets, labels, targets = random_case(4, [3, 0])
    alone, _ = run(logits[:1], offsets[:1], labels[:1], targets[:1])
    both, (logit_slopes, offset_slopes) = run(logits, offsets, labels, targets)
    np.testing.assert_allclose(both, alone, rtol=1e-6)
    assert not logit_slopes[1].any()
    assert not offset_slopes[1].any()


def test_a_batch_without_objects_has_zero_loss_and_zero_gradients():
    loss, gradients = run(*random_case(5, [0, 0, 0]))
    assert loss == [0, 0, 0, 0, 0]
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, 0)


def test_negatives_are_mined_in_each_image_by_itself():
    # The second image's negatives are all harder; the first image's three must be taken nonetheless.
    logits, offsets, labels, targets = random_case(6, [1, 1], boxes=12)
    logits = np.array(logits)
    logits[1, :, 0] -= 20
    _, (slopes, _) = run(logits, offsets, labels, targets)
    assert (np.abs(slopes).sum(axis=2) > 0).sum(axis=1).tolist() == [4, 4]


@pytest.mark.parametrize("seed", range(5))
def test_gradients_reach_positives_and_the_hardest_negatives_only(seed):
    case = random_case(seed, [4, 0, 20])
    _, (logit_slopes, offset_slopes) = run(*case)
    for image, labels in enumerate(case[2]):
        positives = {box for box, label in enumerate(labels) if label > 0}
        mined = set(brute_mined(case[0][image], labels, 3))
        assert set(np.flatnonzero(np.abs(logit_slopes[image]).sum(axis=1)).tolist()) == positives | mined
        assert set(np.flatnonzero(np.abs(offset_slopes[image]).sum(axis=1)).tolist()) == positives


def test_easier_negatives_are_left_out():
    # Hardness falls along the row; only boxes 1, 2 and 3 may be mined.
    logits = [[[0, 5], [0, 4], [0, 3], [0, 2], [0, 1], [0, 0]]]
    _, (slopes, _) = run(logits, np.zeros((1, 6, 4)), [[1, 0, 0, 0, 0, 0]], np.zeros((1, 6, 4)))
    assert slopes.any(axis=2).tolist() == [[True, True, True, True, False, False]]


def test_hardness_is_low_background_probability_not_a_high_object_logit():
    # Box 2's object logit is the highest, but its background logit is higher still.
    logits = [[[0, 0], [1, 2], [20, 10], [0, 3]]]
    _, (slopes, _) = run(logits, np.zeros((1, 4, 4)), [[1, 0, 0, 0]], np.zeros((1, 4, 4)), ratio=2.0)
    assert slopes.any(axis=2).tolist() == [[True, True, False, True]]


def test_target_offsets_of_negatives_are_not_read():
    logits, offsets, labels, targets = random_case(8, [4, 1])
    expected, _ = run(logits, offsets, labels, targets)
    wild = np.where(np.array(labels)[..., None] > 0, targets, 1e30)
    loss, gradients = run(logits, offsets, labels, wild)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("size", [1e3, 1e6])
def test_extreme_predictions_give_finite_loss_and_gradients(size):
    logits, offsets, labels, targets = random_case(9, [4, 0, 25])
    loss, gradients = run(np.array(logits) * size, np.array(offsets) * size, labels, targets)
    assert np.isfinite(loss).all()
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def brute_iou(one, other):
    wide = max(0, min(one[2], other[2]) - max(one[0], other[0]))
    high = max(0, min(one[3], other[3]) - max(one[1], other[1]))
    union = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1]) - wide * high
    return wide * high / union


def brute_owners(objects, defaults, match_iou):
    """For each default box its object: first the best pairs one to one, then by threshold."""
    table = {
        (row, column): brute_iou(one, default)
        for row, one in enumerate(objects)
        for column, default in enumerate(defaults)
    }
    owners = {}
    while True:
        free = [pair for pair in table if pair[0] not in owners.values() and pair[1] not in owners]
        free = [pair for pair in free if table[pair] > 1e-6]
        if not free:
            break
        row, column = max(free, key=lambda pair: (table[pair], -pair[0], -pair[1]))
        owners[column] = row
    for column in range(len(defaults)):
        if objects and column not in owners:
            row = max(range(len(objects)), key=lambda row: table[row, column])
            if table[row, column] >= match_iou:
                owners[column] = row
    return owners


def brute_offsets(box, default):
    wide, high = default[2] - default[0], default[3] - default[1]
    return [
        (box[0] + box[2] - default[0] - default[2]) / 2 / wide / 0.1,
        (box[1] + box[3] - default[1] - default[3]) / 2 / high / 0.1,
        math.log((box[2] - box[0]) / wide) / 0.2,
        math.log((box[3] - box[1]) / high) / 0.2,
    ]


BOXES = tf.TensorSpec([None, 4], tf.float32)


@tf.function(input_signature=[BOXES, tf.TensorSpec([None], tf.int32), BOXES, tf.TensorSpec([], tf.float32)])
def encode_in_graph(boxes, labels, defaults, match_iou):
    return encode_targets(boxes, labels, defaults, match_iou, VARIANCES)


def random_boxes(rng, count):
    low = rng.uniform(0, 0.6, (count, 2))
    return np.concatenate([low, low + rng.uniform(0.1, 0.4, (count, 2))], axis=1).astype(F32)


@pytest.mark.parametrize("match_iou", [0.5, 0.3])
@pytest.mark.parametrize("count", [0, 1, 2, 5, 9])
def test_targets_equal_the_loops(count, match_iou):
    rng = np.random.default_rng(count)
    objects, defaults, labels = random_boxes(rng, count), random_boxes(rng, 40), rng.integers(1, 21, count)
    owners = brute_owners(objects.tolist(), defaults.tolist(), match_iou)
    found_labels, found_offsets = encode_in_graph(objects, labels.astype(np.int32), defaults, match_iou)
    assert len(set(owners.values())) == count
    assert found_labels.numpy().tolist() == [labels[owners[box]] if box in owners else 0 for box in range(40)]
    for box, row in enumerate(found_offsets.numpy()):
        expected = brute_offsets(objects[owners[box]].tolist(), defaults[box].tolist()) if box in owners else [0] * 4
        np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("encode", [encode_targets, lambda *args: encode_in_graph(*args[:4])], ids=["eager", "graph"])
def test_targets_without_objects_are_background(encode):
    defaults = random_boxes(np.random.default_rng(0), 6)
    labels, offsets = encode(np.zeros((0, 4), F32), np.zeros(0, np.int32), defaults, 0.5, VARIANCES)
    assert labels.dtype == tf.int32
    np.testing.assert_array_equal(labels, np.zeros(6))
    np.testing.assert_array_equal(offsets, np.zeros((6, 4)))


def test_targets_of_a_worked_example():
    # The object is 1.6 times as wide as box 0 and 0.25 of its side to the right; box 1 overlaps too little.
    defaults = np.array([[0.2, 0.2, 0.6, 0.6], [0.6, 0.6, 1, 1], [0, 0.9, 0.1, 1]], F32)
    objects = np.array([[0.18, 0.2, 0.82, 0.6]], F32)
    labels, offsets = encode_targets(objects, np.array([7], np.int32), defaults, 0.5, VARIANCES)
    assert labels.numpy().tolist() == [7, 0, 0]
    np.testing.assert_allclose(offsets, [[2.5, 0, math.log(1.6) / 0.2, 0], [0] * 4, [0] * 4], rtol=1e-5, atol=1e-5)
