"""The options of the MultiBox loss against float64 loops over every image and default box."""

import functools
import math

import numpy as np
import pytest
import tensorflow as tf
from pydantic import ValidationError

from ssdcore.model.loss import MultiBoxLoss, multibox_loss
from ssdcore.params import Focal, Loss

F32, F64 = np.float32, np.float64
PREDICTED = tf.TensorSpec([None, None, None], tf.float32)

MINING = {
    "image": {},
    "image, 2.5": {"negative_ratio": 2.5},
    "image, at least 4": {"min_negatives": 4},
    "image, at least 50": {"min_negatives": 50},
    "image, 3 and no ratio": {"min_negatives": 3, "negative_ratio": 0},
    "batch": {"mining": "batch"},
    "batch, 2.5": {"mining": "batch", "negative_ratio": 2.5},
    "batch, at least 1": {"mining": "batch", "min_negatives": 1},
    "batch, at least 11": {"mining": "batch", "min_negatives": 11},
}
SMOOTHING = (0, 0.1, 0.75)
FOCAL = {
    "focal": Focal(),
    "focal, no gamma": Focal(alpha=0.5, gamma=0),
    "focal, small gamma": Focal(gamma=0.5),
    "focal, gamma 1": Focal(alpha=0.9, gamma=1),
    "focal, large gamma": Focal(alpha=0.4, gamma=5),
}
OPTIONS = {f"{name}, smoothing {x}": Loss(**m, label_smoothing=x) for name, m in MINING.items() for x in SMOOTHING} | {
    name: Loss(focal=focal) for name, focal in FOCAL.items()
}
LABELS = {  # positives and ignored ones of each image, of 30 default boxes
    "no objects": [(0, 0), (0, 3)],
    "one object": [(1, 0)],
    "one object in a batch": [(0, 2), (1, 0), (0, 0)],
    "a few": [(3, 4), (0, 0), (7, 9), (1, 29)],
    "all positive": [(30, 0), (30, 0)],
    "all positive or ignored": [(12, 18), (0, 30)],
    "few negatives left": [(10, 15), (28, 0)],
}

each_option = pytest.mark.parametrize("params", OPTIONS.values(), ids=OPTIONS.keys())
each_labelling = pytest.mark.parametrize("counts", LABELS.values(), ids=LABELS.keys())


@functools.cache
def compiled(params):
    """The loss and its gradients, for any number of images, default boxes and classes."""

    @tf.function(input_signature=[PREDICTED, PREDICTED, tf.TensorSpec([None, None], tf.int32), PREDICTED])
    def compute(logits, offsets, labels, targets):
        with tf.GradientTape() as tape:
            tape.watch([logits, offsets])
            loss = multibox_loss(logits, offsets, labels, targets, params)
            total = loss.positive_classes + loss.negative_classes + loss.boxes
        return loss, tape.gradient(total, [logits, offsets])

    return compute


def run(params, logits, labels, offsets=None, targets=None):
    """MultiBoxLoss of floats, and the gradients of its loss sums. Without offsets, they are right everywhere."""
    boxes = np.zeros((*np.shape(labels), 4))
    arrays = logits, boxes if offsets is None else offsets, labels, boxes if targets is None else targets
    arrays = (np.asarray(array, dtype) for array, dtype in zip(arrays, (F32, F32, np.int32, F32), strict=True))
    loss, gradients = compiled(params)(*arrays)
    return MultiBoxLoss(*map(float, loss)), [gradient.numpy() for gradient in gradients]


def log_softmax(row):
    top = max(row)
    total = math.log(sum(math.exp(value - top) for value in row))
    return [value - top - total for value in row]


def class_loss(row, label, params):
    """Class loss of one default box that counts."""
    log_p = log_softmax(row)
    if params.focal is not None:
        weight = params.focal.alpha if label else 1 - params.focal.alpha
        return -weight * (1 - math.exp(log_p[label])) ** params.focal.gamma * log_p[label]
    targets = [params.label_smoothing / len(row)] * len(row)
    targets[label] += 1 - params.label_smoothing
    return -sum(target * value for target, value in zip(targets, log_p, strict=True))


def chosen_negatives(logits, labels, params):
    """(image, box) of the negatives that count; of equally hard ones the first."""
    pairs = [(image, box) for image, row in enumerate(labels) for box, label in enumerate(row) if label == 0]
    if params.focal is not None:
        return pairs
    images = [[image] for image in range(len(labels))] if params.mining == "image" else [[*range(len(labels))]]
    chosen = []
    for pool in images:
        positives = sum(label > 0 for image in pool for label in labels[image])
        wanted = max(int(params.negative_ratio * positives), params.min_negatives * len(pool))
        candidates = [pair for pair in pairs if pair[0] in pool]
        candidates.sort(key=lambda pair: log_softmax(logits[pair[0]][pair[1]])[0])
        chosen += candidates[:wanted]
    return chosen


def slopes(function, row, step=1e-5):
    """The gradient by central differences."""
    steps = step * np.eye(len(row))
    return [(function(row + one) - function(row - one)) / (2 * step) for one in steps]


def brute(params, logits, labels, offsets, targets):
    """MultiBoxLoss and gradients by loops; mining is not differentiated."""
    logits, offsets, targets = (np.asarray(array, F64) for array in (logits, offsets, targets))
    negatives = chosen_negatives(logits.tolist(), labels, params)
    positives = [tuple(pair) for pair in np.argwhere(np.array(labels) > 0)]
    classes, boxes = {0: 0.0, 1: 0.0}, 0.0
    gradients = np.zeros(logits.shape), np.zeros(offsets.shape)
    for pair in positives + negatives:
        one = functools.partial(class_loss, label=labels[pair[0]][pair[1]], params=params)
        classes[pair in negatives] += one(logits[pair])
        gradients[0][pair] = slopes(one, logits[pair])
    for pair in positives:
        miss = offsets[pair] - targets[pair]
        boxes += sum(x * x / 2 if abs(x) < 1 else abs(x) - 0.5 for x in miss)
        gradients[1][pair] = np.clip(miss, -1, 1)
    return MultiBoxLoss(classes[0], classes[1], boxes, len(positives), len(negatives)), gradients


def random_labels(rng, counts, boxes=30, classes=4):
    labels = np.zeros((len(counts), boxes), int)
    for row, (positives, ignored) in zip(labels, counts, strict=True):
        order = rng.permutation(boxes)
        row[order[:positives]] = rng.integers(1, classes + 1, positives)
        row[order[positives : positives + ignored]] = -1
    return labels.tolist()


def random_case(seed, counts):
    rng = np.random.default_rng(seed)
    labels = random_labels(rng, counts)
    logits = rng.normal(0, 2, (*np.shape(labels), 5)).astype(F32)
    offsets, targets = rng.normal(0, 1, (2, *np.shape(labels), 4)).astype(F32)
    return logits, labels, offsets, targets


def assert_as_loops(params, case):
    loss, gradients = run(params, *case)
    expected, expected_gradients = brute(params, *case)
    np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-5)
    for gradient, slope in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, slope, atol=2e-5)
        assert (gradient.any(axis=2) == (slope != 0).any(axis=2)).all()


@each_option
@each_labelling
def test_loss_and_gradients_equal_the_loops(params, counts):
    assert_as_loops(params, random_case(1, counts))


@each_option
def test_of_equally_hard_negatives_the_first_are_taken(params):
    # Every row is one of three, so that nearly all negatives tie, within and across images.
    rng = np.random.default_rng(2)
    rows = np.array([[1, 0, 0.5, -1, 2], [3, 0, 0, 0, 0], [-1, 2, 0, 1, 0.25]], F32)
    labels = random_labels(rng, [(2, 5), (0, 0), (1, 0)])
    boxes = np.zeros((3, 30, 4))
    assert_as_loops(params, (rows[rng.integers(0, 3, (3, 30))], labels, boxes, boxes))


@each_option
@each_labelling
def test_extreme_logits_give_the_right_loss_and_finite_gradients(params, counts):
    labels = random_labels(np.random.default_rng(3), counts)
    boxes = np.zeros((*np.shape(labels), 4))
    for size in (1e4, 65504):  # float16's largest
        logits = np.random.default_rng(4).choice([-size, size], (*np.shape(labels), 5))
        loss, gradients = run(params, logits, labels)
        np.testing.assert_allclose(loss, brute(params, logits, labels, boxes, boxes)[0], rtol=1e-5)
        assert all(np.isfinite(gradient).all() for gradient in gradients)


@each_option
@pytest.mark.parametrize("size", [20, 1e4])
def test_certain_and_right_predictions_cost_nothing_but_their_smoothing(params, size):
    labels = np.array([[1, 0, 2, 0, 0, 0], [0, 0, 0, 0, 0, -1]])
    loss, gradients = run(params, size * np.eye(3)[labels], labels)
    each = params.label_smoothing / 3 * 2 * size  # for two of the three classes -log p is the difference of the logits
    assert loss.positive_classes == pytest.approx(loss.positives * each, rel=1e-5, abs=1e-6)
    assert loss.negative_classes == pytest.approx(loss.negatives * each, rel=1e-5, abs=1e-6)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


@each_option
def test_ignored_boxes_change_nothing(params):
    logits, labels, offsets, targets = random_case(5, LABELS["a few"])
    ignored = np.array(labels) == -1
    expected, _ = run(params, logits, labels, offsets, targets)
    logits[ignored], offsets[ignored], targets[ignored] = [-9e3, 9e3, 0, 0, 0], 1e30, 1e30
    loss, gradients = run(params, logits, labels, offsets, targets)
    assert loss == expected
    assert not any(gradient[ignored].any() for gradient in gradients)


@pytest.mark.parametrize("params", [Loss(), Loss(mining="batch", min_negatives=2), Loss(focal=Focal())])
def test_a_device_without_images_adds_nothing(params):
    loss, gradients = run(params, np.zeros((0, 6, 3)), np.zeros((0, 6)))
    assert loss == (0, 0, 0, 0, 0)
    assert gradients[0].shape == (0, 6, 3)


# Two classes and background; the loss of a default box of label n is -ln of its n-th number.
HALF = np.log([1 / 2, 1 / 4, 1 / 4])
SIXTH = np.log([1 / 6, 1 / 2, 1 / 3])
TENTH = np.log([1 / 10, 1 / 10, 8 / 10])


def test_smoothing_of_a_worked_example():
    # With x = 0.3 and three classes: 0.8 for the label, 0.1 for each of the others.
    loss, (gradient, _) = run(Loss(label_smoothing=0.3), [[HALF, HALF]], [[1, 0]])
    assert loss.positive_classes == pytest.approx((0.1 * 1 + 0.8 * 2 + 0.1 * 2) * math.log(2), rel=1e-6)
    assert loss.negative_classes == pytest.approx((0.8 * 1 + 0.1 * 2 + 0.1 * 2) * math.log(2), rel=1e-6)
    expected = [[0.5 - 0.1, 0.25 - 0.8, 0.25 - 0.1], [0.5 - 0.8, 0.25 - 0.1, 0.25 - 0.1]]
    np.testing.assert_allclose(gradient[0], expected, rtol=1e-5)


def test_smoothing_does_not_change_which_negatives_are_hard():
    # The second negative is likelier background, but its smoothed loss is higher: 1.88 against 0.83.
    lopsided = np.log([0.6, 0.399999, 0.000001])
    loss, _ = run(Loss(negative_ratio=1, label_smoothing=0.3), [[HALF, HALF, lopsided]], [[2, 0, 0]])
    assert loss.negative_classes == pytest.approx(1.2 * math.log(2), rel=1e-6)


def test_focal_of_a_worked_example():
    rows, labels = [[HALF, SIXTH, HALF, TENTH, TENTH]], [[1, 2, 0, 0, -1]]
    loss, _ = run(Loss(focal=Focal(alpha=0.25, gamma=2)), rows, labels)
    objects = 0.25 * ((3 / 4) ** 2 * math.log(4) + (2 / 3) ** 2 * math.log(3))
    background = 0.75 * ((1 / 2) ** 2 * math.log(2) + (9 / 10) ** 2 * math.log(10))
    assert loss.positive_classes == pytest.approx(objects, rel=1e-6)
    assert loss.negative_classes == pytest.approx(background, rel=1e-6)
    assert loss[3:] == (2, 2)


BATCH = [[HALF, TENTH, TENTH], [SIXTH, HALF, HALF]]


@pytest.mark.parametrize(
    ("labels", "options", "losses"),
    [
        # In the first image only, which has the object.
        ([[1, 0, 0], [0, 0, 0]], {"negative_ratio": 1}, [10]),
        # The two hardest of both: 1/10 and 1/10; then also 1/6, then 1/2 (twice there, once wanted).
        ([[1, 0, 0], [0, 0, 0]], {"negative_ratio": 2, "mining": "batch"}, [10, 10]),
        ([[1, 0, 0], [0, 0, 0]], {"negative_ratio": 4, "mining": "batch"}, [10, 10, 6, 2]),
        # The object's image has nothing else to offer: its negative is taken from the other.
        ([[1, -1, -1], [0, 0, 0]], {"negative_ratio": 1, "mining": "batch"}, [6]),
        # Two of each image, though one has an object and the other none; then one of each, or two of both.
        ([[1, 0, 0], [0, 0, 0]], {"negative_ratio": 1, "min_negatives": 2}, [10, 10, 6, 2]),
        ([[0, 0, 0], [0, 0, 0]], {"min_negatives": 1}, [10, 6]),
        ([[0, 0, 0], [0, 0, 0]], {"min_negatives": 1, "mining": "batch"}, [10, 10]),
        # The ratio asks for more than the minimum; there is no more to be had than there is.
        ([[1, 0, 0], [0, 0, 0]], {"negative_ratio": 3, "min_negatives": 1, "mining": "batch"}, [10, 10, 6]),
        ([[1, 0, 0], [0, 0, -1]], {"min_negatives": 9}, [10, 10, 6, 2]),
        ([[0, 0, 0], [0, 0, 0]], {"mining": "batch"}, []),
    ],
)
def test_mining_of_worked_examples(labels, options, losses):
    loss, _ = run(Loss(**options), BATCH, labels)
    assert loss.negatives == len(losses)
    assert loss.negative_classes == pytest.approx(sum(map(math.log, losses)), rel=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mining": "batch"}, "ignores mining"),
        ({"negative_ratio": 2.5}, "ignores negative_ratio"),
        ({"min_negatives": 1, "label_smoothing": 0.1}, "ignores min_negatives and label_smoothing"),
    ],
)
def test_what_the_focal_loss_would_not_heed_is_refused(options, words):
    with pytest.raises(ValidationError, match=words):
        Loss(focal=Focal(), **options)


@pytest.mark.parametrize(
    "options",
    [
        {"label_smoothing": 1},
        {"label_smoothing": -0.1},
        {"min_negatives": -1},
        {"mining": "pixel"},
        {"focal": {"alpha": 1}},
        {"focal": {"alpha": 0}},
        {"focal": {"gamma": -1}},
    ],
)
def test_values_out_of_bounds_are_refused(options):
    with pytest.raises(ValidationError, match=next(iter(options))):
        Loss(**options)


def test_the_focal_loss_goes_with_matching_and_box_weight():
    assert Loss(focal={}, match_iou=0.4, box_weight=2).focal == Focal(alpha=0.25, gamma=2)
