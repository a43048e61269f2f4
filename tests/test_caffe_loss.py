"""Training targets and loss against Caffe SSD's MultiBoxLoss, written in float64 from its definition.

Caffe's settings are those of `ssd_pascal.py`: PER_PREDICTION matching at 0.5 with difficult objects,
CENTER_SIZE code, MAX_NEGATIVE mining at 3 to 1 with neg_overlap 0.5, SOFTMAX and SMOOTH_L1, VALID normalisation.
"""

from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from ssdcore.geometry.default_boxes import default_boxes_xyxy
from ssdcore.model.loss import multibox_loss
from ssdcore.model.targets import encode_targets
from ssdcore.params import Loss
from ssdcore.params.presets import ssd300, ssd512

F32, F64 = np.float32, np.float64
CLASSES = 21
VARIANCES = (0.1, 0.1, 0.2, 0.2)
NEG_OVERLAP = 0.5
MODELS = {"ssd300": (ssd300, 8732), "ssd512": (ssd512, 24564)}

TINY = [(0.5031, 0.3071, 0.5113, 0.3168)]
# The first two like the same default box best, and the first fits it better; the third holds both.
RIVALS = [(0.3768, 0.2757, 0.6508, 0.5485), (0.3512, 0.2885, 0.661, 0.5398), (0.0513, 0.1027, 0.9291, 0.9733)]
AT_THE_BORDER = [(0, 0, 0.2213, 0.3107), (0.7119, 0.5523, 1, 1), (0, 0.4127, 1, 0.8071)]
OVERLAPPING = [(0.3011, 0.2517, 0.6533, 0.7219), (0.3517, 0.3023, 0.7039, 0.7541), (0.4021, 0.4013, 0.5527, 0.6029)]


class Case(NamedTuple):
    """Four images: default boxes (A, 4), objects and labels of each, and predictions (4, A, ...), all float32."""

    priors: np.ndarray
    boxes: list[np.ndarray]
    labels: list[np.ndarray]
    logits: np.ndarray
    offsets: np.ndarray


class Result(NamedTuple):
    """Targets, counts of each image, losses divided by the positives of the batch, gradients of the total."""

    labels: np.ndarray
    targets: np.ndarray
    positives: list[int]
    negatives: list[int]
    classes: float
    boxes: float
    total: float
    logit_slopes: np.ndarray
    offset_slopes: np.ndarray


def make_case(name):
    """The batch of a model. No IoU is so close to 0.5 that float32 and float64 differ (tested below)."""
    preset, count = MODELS[name]
    spec = preset()
    priors = default_boxes_xyxy(spec.default_boxes, spec.image_size, [(side, side) for side in spec.feature_maps])
    assert priors.shape == (count, 4)
    rng = np.random.default_rng(18)  # with which every mistake below changes the total by 5 in 10,000 or more
    size = np.exp(rng.uniform(np.log(0.03), np.log(0.6), (6, 2)))
    low = rng.uniform(0, 1, (6, 2)) * (1 - size)
    scattered = np.concatenate([low, low + size], axis=1).tolist()
    images = [[], TINY, RIVALS, AT_THE_BORDER + OVERLAPPING + scattered]
    logits = rng.normal(-1, 1.5, (len(images), count, CLASSES))
    logits[..., 0] = rng.normal(4, 2, (len(images), count))
    return Case(
        priors=priors,
        boxes=[np.array(boxes, F32).reshape(-1, 4) for boxes in images],
        labels=[rng.permutation(np.arange(1, CLASSES))[: len(boxes)].astype(np.int32) for boxes in images],
        logits=logits.astype(F32),
        offsets=rng.normal(0, 1, (len(images), count, 4)).astype(F32),
    )


def jaccard(objects, priors):
    """(N, A) IoU of normalised boxes."""
    table = np.zeros((len(objects), len(priors)))
    px0, py0, px1, py1 = priors.astype(F64).T
    for row, (x0, y0, x1, y1) in enumerate(objects.astype(F64)):
        wide = np.minimum(x1, px1) - np.maximum(x0, px0)
        high = np.minimum(y1, py1) - np.maximum(y0, py0)
        shared = np.where((wide > 0) & (high > 0), wide * high, 0)
        table[row] = shared / ((x1 - x0) * (y1 - y0) + (px1 - px0) * (py1 - py0) - shared)
    return table


def greedy_pairs(table):
    """MatchBBox, step 1: the best pair of a free object and a free prior, again and again, without a threshold."""
    free, pairs = np.where(table > 1e-6, table, -1.0), []
    while free.size and free.max() > 0:
        row, column = np.unravel_index(free.argmax(), free.shape)
        pairs.append((row, column))
        free[row, :] = free[:, column] = -1
    return pairs


def match(table, first_step=greedy_pairs, threshold=0.5):
    """MatchBBox: the object of every prior, -1 for none."""
    owner = np.full(table.shape[1], -1)
    for row, column in first_step(table):
        owner[column] = row
    for column in range(table.shape[1]):
        if owner[column] < 0 and len(table) and table[:, column].max() >= threshold:
            owner[column] = table[:, column].argmax()
    return owner


def encode(box, prior, variances):
    """EncodeBBox with CENTER_SIZE."""
    (x0, y0, x1, y1), (px0, py0, px1, py1) = box.astype(F64), prior.astype(F64)
    wide, high = px1 - px0, py1 - py0
    code = [
        ((x0 + x1) / 2 - (px0 + px1) / 2) / wide,
        ((y0 + y1) / 2 - (py0 + py1) / 2) / high,
        np.log((x1 - x0) / wide),
        np.log((y1 - y0) / high),
    ]
    return np.array(code) / variances


def mine_each(hardness, eligible, positives, ratio):
    """MineHardExamples with MAX_NEGATIVE: (image, prior) of the hardest eligible priors of each image."""
    chosen = []
    for image, count in enumerate(positives):
        candidates = np.flatnonzero(eligible[image])
        hardest_first = candidates[np.argsort(-hardness[image, candidates])]
        chosen += [(image, prior) for prior in hardest_first[: min(int(count * ratio), len(candidates))]]
    return chosen


def mine_batch(hardness, eligible, positives, ratio):
    """Wrong on purpose: the hardest of the whole batch."""
    pairs = sorted(np.argwhere(eligible).tolist(), key=lambda pair: -hardness[tuple(pair)])
    return [tuple(pair) for pair in pairs[: int(sum(positives) * ratio)]]


def own_best_pairs(table):
    """Wrong on purpose: every object takes its best prior, even one that another has taken."""
    return [(row, overlaps.argmax()) for row, overlaps in enumerate(table)]


def caffe(case, first_step=greedy_pairs, threshold=0.5, mine=mine_each, ratio=3.0, variances=VARIANCES):
    """MultiBoxLoss of a batch; the options are there to get it wrong."""
    labels, targets = np.zeros(case.logits.shape[:2], int), np.zeros(case.offsets.shape)
    eligible = np.zeros(labels.shape, bool)
    for image, boxes in enumerate(case.boxes):
        table = jaccard(boxes, case.priors)
        owner = match(table, first_step, threshold)
        eligible[image] = (owner < 0) & (table.max(axis=0, initial=0) < NEG_OVERLAP)
        for prior in np.flatnonzero(owner >= 0):
            labels[image, prior] = case.labels[image][owner[prior]]
            targets[image, prior] = encode(boxes[owner[prior]], case.priors[prior], variances)
    logits = case.logits.astype(F64)
    log_p = logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))
    positives = (labels > 0).sum(axis=1).tolist()
    mined = mine(-log_p[..., 0], eligible, positives, ratio)
    matched = [tuple(pair) for pair in np.argwhere(labels > 0)]
    n = max(1, len(matched))
    classes = boxes = 0.0
    logit_slopes, offset_slopes = np.zeros(logits.shape), np.zeros(targets.shape)
    for pair in matched + mined:
        classes -= log_p[pair][labels[pair]]
        logit_slopes[pair] = np.exp(log_p[pair]) - np.eye(CLASSES)[labels[pair]]
    for pair in matched:
        error = case.offsets[pair].astype(F64) - targets[pair]
        boxes += sum(x * x / 2 if abs(x) < 1 else abs(x) - 0.5 for x in error)
        offset_slopes[pair] = [x if abs(x) < 1 else np.sign(x) for x in error]
    negatives = [sum(image == other for other, _ in mined) for image in range(len(labels))]
    losses = classes / n, boxes / n, (classes + boxes) / n
    return Result(labels, targets, positives, negatives, *losses, logit_slopes / n, offset_slopes / n)


BOXES = tf.TensorSpec([None, 4], tf.float32)


@tf.function(input_signature=[BOXES, tf.TensorSpec([None], tf.int32), BOXES])
def encode_ours(boxes, labels, priors):
    return encode_targets(boxes, labels, priors, 0.5, VARIANCES)


@tf.function(reduce_retracing=True)
def loss_ours(logits, offsets, labels, targets):
    with tf.GradientTape() as tape:
        tape.watch([logits, offsets])
        sums = multibox_loss(logits, offsets, labels, targets, Loss())
        n = tf.maximum(sums.positives, 1.0)
        classes = (sums.positive_classes + sums.negative_classes) / n
        total = classes + sums.boxes / n
    return sums, (classes, sums.boxes / n, total), tape.gradient(total, [logits, offsets])


def ours(case):
    """The same from our code; the counts of an image come from a batch of that image alone."""
    pairs = [encode_ours(boxes, ids, case.priors) for boxes, ids in zip(case.boxes, case.labels, strict=True)]
    batch = (
        tf.constant(case.logits),
        tf.constant(case.offsets),
        *(tf.stack(part) for part in zip(*pairs, strict=True)),
    )
    alone = [loss_ours(*(part[image : image + 1] for part in batch))[0] for image in range(len(pairs))]
    sums, losses, slopes = loss_ours(*batch)
    assert float(sums.positives) == sum(float(one.positives) for one in alone)
    assert float(sums.negatives) == sum(float(one.negatives) for one in alone)
    counts = [float(one.positives) for one in alone], [float(one.negatives) for one in alone]
    return Result(
        *(part.numpy() for part in batch[2:]), *counts, *map(float, losses), *(part.numpy() for part in slopes)
    )


def select(case, images):
    """Only some of the images."""
    return Case(case.priors, *([part[image] for image in images] for part in case[1:3]), *(p[images] for p in case[3:]))


@pytest.fixture(scope="module", params=MODELS)
def case(request):
    return make_case(request.param)


@pytest.fixture(scope="module")
def expected(case):
    return caffe(case)


@pytest.fixture(scope="module")
def found(case):
    return ours(case)


def test_the_batch_holds_the_hard_cases_and_no_undecided_one(case):
    tables = [jaccard(boxes, case.priors) for boxes in case.boxes]
    assert [len(table) for table in tables] == [0, 1, 3, 12]
    assert tables[1].max() < 0.5, "the tiny object is matched by the bipartite step only"
    assert tables[2][0].argmax() == tables[2][1].argmax(), "the rivals like the same default box best"
    assert tables[2][0].max() > tables[2][1].max() > 0.5
    # float32 gets an IoU wrong by 2e-7 here: the threshold must be further away.
    assert min(np.abs(table - 0.5).min() for table in tables[1:]) > 1e-5


def test_targets_equal_caffes(expected, found):
    np.testing.assert_array_equal(found.labels, expected.labels)
    # Offsets near 0 are differences of float32 centres near 1: hence the absolute part.
    np.testing.assert_allclose(found.targets, expected.targets, rtol=1e-5, atol=1e-5)


def test_positives_and_negatives_of_each_image_equal_caffes(expected, found):
    assert found.positives == expected.positives
    assert found.negatives == expected.negatives
    assert expected.positives[:2] == [0, 1]
    assert expected.negatives == [3 * count for count in expected.positives]


@pytest.mark.parametrize("part", ["classes", "boxes", "total"])
def test_losses_equal_caffes(expected, found, part):
    assert getattr(found, part) == pytest.approx(getattr(expected, part), rel=1e-5)


@pytest.mark.parametrize("part", ["logit_slopes", "offset_slopes"])
def test_gradients_equal_caffes(expected, found, part):
    gradient, slopes = getattr(found, part), getattr(expected, part)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-5, atol=1e-5 * np.abs(slopes).max())
    assert ((gradient != 0).any(axis=2) == (slopes != 0).any(axis=2)).all()


def test_a_image_without_positives_adds_nothing(case, expected, found):
    rest = ours(select(case, [1, 2, 3]))
    assert rest.total == pytest.approx(expected.total, rel=1e-5)
    np.testing.assert_allclose(rest.logit_slopes, found.logit_slopes[1:], rtol=1e-6)
    assert not found.logit_slopes[0].any()
    assert not found.offset_slopes[0].any()
    alone = ours(select(case, [0]))
    assert (alone.positives, alone.negatives, alone.total) == ([0], [0], 0)


MISTAKES = {
    "no bipartite step": {"first_step": lambda _: []},
    "every object takes its best prior": {"first_step": own_best_pairs},
    "no threshold step": {"threshold": 2},
    "negatives mined over the batch": {"mine": mine_batch},
    "two negatives per positive": {"ratio": 2},
    "variances left out": {"variances": (1, 1, 1, 1)},
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_would_show(case, found, mistake):
    assert caffe(case, **mistake).total != pytest.approx(found.total, rel=5e-4)
