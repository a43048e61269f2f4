"""Average precision against a separate, exact version of the VOC devkit's program."""

from fractions import Fraction

import numpy as np
import pytest

from ssdcore.data.records.ground_truth import GroundTruth
from ssdcore.detection import Detections
from ssdcore.evaluation.voc import (
    AveragePrecision,
    average_precision_voc07,
    average_precision_voc12,
    mean,
    precision_recall,
)

HERE, THERE, AWAY = (0, 0, 10, 10), (20, 20, 30, 30), (50, 50, 60, 60)
PARTLY = (0, 0, 10, 6)
METRICS = ("voc07", "voc12")


def image(detections=(), objects=()):
    """One image of (box, score, label) detections and (box, label, difficult) objects."""
    return list(detections), list(objects)


def with_types(detections, objects):
    hard = np.array([hard for _, _, hard in objects], bool)
    truth = GroundTruth(
        "",
        (100, 100),
        np.array([box for box, _, _ in objects], np.float32).reshape(-1, 4),
        np.array([label for _, label, _ in objects], np.int32),
        hard,
        np.zeros_like(hard),
    )
    found = Detections(
        np.array([box for box, _, _ in detections], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in detections], np.float32),
        np.array([label for _, _, label in detections], np.int32),
        tuple("abcde"),
    )
    return truth, found


def scored(images, metric, num_classes=1, match_iou=0.5):
    tally = AveragePrecision(num_classes, match_iou)
    for detections, objects in images:
        tally.add(*with_types(detections, objects))
    return tally.result(metric)


def brute_iou(one, other):
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    if wide <= 0 or high <= 0:
        return Fraction(0)
    union = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1]) - wide * high
    return Fraction(int(wide * high), int(union))


def devkit_curve(images, label, match_iou):
    """Precision and recall after each detection, or None without objects."""
    objects = {
        (image, place): (box, hard)
        for image, (_, things) in enumerate(images)
        for place, (box, of_class, hard) in enumerate(things)
        if of_class == label
    }
    wanted = sum(not hard for _, hard in objects.values())
    if wanted == 0:
        return None
    queue = [(image, box, score) for image, (found, _) in enumerate(images) for box, score, of in found if of == label]
    queue.sort(key=lambda row: -row[2])
    taken, curve, right, wrong = set(), [], 0, 0
    for image, box, _ in queue:
        best, best_key = Fraction(-1), None
        for key in objects:
            if key[0] == image and brute_iou(box, objects[key][0]) > best:
                best, best_key = brute_iou(box, objects[key][0]), key
        if best >= match_iou and objects[best_key][1]:
            continue
        if best >= match_iou and best_key not in taken:
            right += 1
            taken.add(best_key)
        else:
            wrong += 1
        curve.append((Fraction(right, right + wrong), Fraction(right, wanted)))
    return curve


def devkit_ap(images, label, metric, match_iou=Fraction(1, 2)):
    curve = devkit_curve(images, label, match_iou)
    if curve is None:
        return None
    if metric == "voc07":
        levels = [Fraction(tenth, 10) for tenth in range(11)]
        return float(sum(max((p for p, r in curve if r >= level), default=0) for level in levels) / 11)
    area, before = Fraction(0), Fraction(0)
    for place, (_, recall) in enumerate(curve):
        area += (recall - before) * max(precision for precision, _ in curve[place:])
        before = recall
    return float(area)


def assert_as_devkit(images, num_classes, match_iou=Fraction(1, 2)):
    for metric in METRICS:
        found = scored(images, metric, num_classes, float(match_iou))
        assert list(found) == list(range(1, num_classes + 1))
        for label, value in found.items():
            expected = devkit_ap(images, label, metric, match_iou)
            assert value is None if expected is None else value == pytest.approx(expected, abs=1e-9), (metric, label)


def random_image(rng, num_classes, hard_share):
    """Objects with whole-number corners; detections near them, near nothing, doubled, with tied scores."""
    low = rng.integers(0, 30, (rng.integers(0, 7), 2))
    boxes = np.concatenate([low, low + rng.integers(4, 20, low.shape)], axis=1)
    labels = rng.integers(1, num_classes + 1, len(boxes))
    objects = [
        (tuple(box), int(label), bool(rng.random() < hard_share))
        for box, label in zip(boxes.tolist(), labels, strict=True)
    ]
    detections = []
    for _ in range(rng.integers(0, 12)):
        stray = rng.integers(0, 30, 2).tolist()
        box, label, _ = objects[rng.integers(len(objects))] if objects else ((*stray, stray[0] + 9, stray[1] + 9), 1, 0)
        shift = rng.integers(-2, 3, 4)
        if rng.random() < 0.2:
            label = int(rng.integers(1, num_classes + 1))
        moved = tuple(int(value) for value in np.array(box) + shift)
        detections.append((moved, float(rng.integers(1, 9)) / 8, label))
    return image(detections, objects)


@pytest.mark.parametrize(("num_classes", "hard_share"), [(1, 0), (1, 0.4), (3, 0.2), (5, 0.9)])
@pytest.mark.parametrize("seed", range(10))
def test_random_images_score_as_in_the_devkit(seed, num_classes, hard_share):
    rng = np.random.default_rng([seed, num_classes])
    images = [random_image(rng, num_classes, hard_share) for _ in range(rng.integers(1, 25))]
    assert_as_devkit(images, num_classes)


@pytest.mark.parametrize("match_iou", [Fraction(1, 4), Fraction(3, 4)])
def test_random_images_score_as_in_the_devkit_at_other_overlaps(match_iou):
    rng = np.random.default_rng(77)
    assert_as_devkit([random_image(rng, 2, 0.2) for _ in range(30)], 2, match_iou)


ALL = {
    "a perfect detection": ([image([(HERE, 0.9, 1)], [(HERE, 1, False)])], 1, 1),
    "overlap of exactly one half": ([image([((0, 0, 10, 5), 0.9, 1)], [(HERE, 1, False)])], 1, 1),
    "overlap below one half": ([image([((0, 0, 10, 4), 0.9, 1)], [(HERE, 1, False)])], 0, 0),
    "no detections": ([image([], [(HERE, 1, False)])], 0, 0),
    "another class": ([image([(HERE, 0.9, 2)], [(HERE, 1, False)])], 0, 0),
    "another image": ([image([(HERE, 0.9, 1)]), image([], [(HERE, 1, False)])], 0, 0),
    "no objects": ([image([(HERE, 0.9, 1)])], None, None),
    "only difficult objects": ([image([(HERE, 0.9, 1)], [(HERE, 1, True)])], None, None),
    "nothing at all": ([image()], None, None),
    # Recall 1/2 at precision 1: six of eleven levels, or half the area.
    "one of two objects": ([image([(HERE, 0.9, 1)], [(HERE, 1, False), (THERE, 1, False)])], 6 / 11, 1 / 2),
    "a worse duplicate after everything": (
        [image([(HERE, 0.9, 1), (HERE, 0.8, 1)], [(HERE, 1, False)])],
        1,
        1,
    ),
    # true, false, true: precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1.
    "a duplicate is false": (
        [image([(HERE, 0.9, 1), (PARTLY, 0.8, 1), (THERE, 0.7, 1)], [(HERE, 1, False), (THERE, 1, False)])],
        (6 + 5 * 2 / 3) / 11,
        1 / 2 + 1 / 2 * 2 / 3,
    ),
    # The better score is the duplicate's: it takes the object.
    "the better score takes the object": (
        [image([(HERE, 0.6, 1), (PARTLY, 0.8, 1), (THERE, 0.7, 1)], [(HERE, 1, False), (THERE, 1, False)])],
        1,
        1,
    ),
    # Of two detections only the second overlaps enough.
    "a false detection before the true one": (
        [image([(AWAY, 0.9, 1), (HERE, 0.8, 1)], [(HERE, 1, False)])],
        1 / 2,
        1 / 2,
    ),
    "a matched difficult object counts neither way": (
        [image([(THERE, 0.9, 1), (HERE, 0.8, 1)], [(HERE, 1, False), (THERE, 1, True)])],
        1,
        1,
    ),
    "duplicates of a difficult object count neither way": (
        [image([(THERE, 0.9, 1), (THERE, 0.85, 1), (HERE, 0.8, 1)], [(HERE, 1, False), (THERE, 1, True)])],
        1,
        1,
    ),
    "a missed difficult object costs nothing": (
        [image([(HERE, 0.8, 1)], [(HERE, 1, False), (THERE, 1, True)])],
        1,
        1,
    ),
    "a stray detection is false though difficult objects exist": (
        [image([(AWAY, 0.9, 1), (HERE, 0.8, 1)], [(THERE, 1, True), (HERE, 1, False)])],
        1 / 2,
        1 / 2,
    ),
    "a stray detection is false in an image of difficult objects only": (
        [image([(AWAY, 0.9, 1)], [(THERE, 1, True)]), image([(HERE, 0.8, 1)], [(HERE, 1, False)])],
        1 / 2,
        1 / 2,
    ),
    # The best overlap decides, also where a second object overlaps enough.
    "the best match is difficult": (
        [image([(HERE, 0.9, 1)], [(HERE, 1, True), ((0, 0, 10, 9), 1, False)])],
        0,
        0,
    ),
    "of two equal matches the first counts, and is difficult": (
        [image([(HERE, 0.9, 1)], [(HERE, 1, True), (HERE, 1, False)])],
        0,
        0,
    ),
    "of two equal matches the first counts, and is not difficult": (
        [image([(HERE, 0.9, 1)], [(HERE, 1, False), (HERE, 1, True)])],
        1,
        1,
    ),
    "the best match is taken": (
        [image([(HERE, 0.9, 1), (HERE, 0.8, 1)], [(HERE, 1, False), ((0, 0, 10, 9), 1, False)])],
        6 / 11,
        1 / 2,
    ),
    "scores compare across images": (
        [image([(AWAY, 0.5, 1)], [(HERE, 1, False)]), image([(HERE, 0.9, 1)], [(HERE, 1, False)])],
        6 / 11,
        1 / 2,
    ),
}


@pytest.mark.parametrize("fact", ALL)
def test_worked_example(fact):
    images, voc07, voc12 = ALL[fact]
    for metric, expected in (("voc07", voc07), ("voc12", voc12)):
        assert scored(images, metric)[1] == (None if expected is None else pytest.approx(expected, abs=1e-9))
        assert devkit_ap(images, 1, metric) == (None if expected is None else pytest.approx(expected, abs=1e-9))


@pytest.mark.parametrize(("first", "second", "voc12"), [(HERE, AWAY, 1), (AWAY, HERE, 0.5)])
def test_tied_scores_keep_the_order_of_arrival(first, second, voc12):
    together = [image([(first, 0.5, 1), (second, 0.5, 1)], [(HERE, 1, False)])]
    assert scored(together, "voc12")[1] == pytest.approx(voc12, abs=1e-9)
    apart = [image([(box, 0.5, 1)], [(HERE, 1, False)]) for box in (first, second)]
    # Two objects, one found: true then false, or false then true.
    assert scored(apart, "voc12")[1] == pytest.approx(voc12 / 2, abs=1e-9)


def test_many_tied_scores_keep_the_order_of_arrival():
    images = [image([(HERE if number % 3 else AWAY, 0.5, 1)], [(HERE, 1, False)]) for number in range(60)]
    assert_as_devkit(images, 1)


def test_every_class_is_scored_on_its_own():
    objects = [(HERE, 1, False), (HERE, 2, False), (THERE, 3, False), (AWAY, 4, True)]
    detections = [(HERE, 0.9, 1), (THERE, 0.8, 2), (THERE, 0.7, 3), (AWAY, 0.6, 4), (HERE, 0.5, 5)]
    found = scored([image(detections, objects)], "voc12", num_classes=6)
    assert found == {1: 1, 2: 0, 3: 1, 4: None, 5: None, 6: None}


@pytest.mark.parametrize("metric", METRICS)
def test_without_images_no_class_has_a_value(metric):
    assert AveragePrecision(2).result(metric) == {1: None, 2: None}


def test_the_result_may_be_asked_for_between_images():
    tally = AveragePrecision(1)
    tally.add(*with_types([], [(HERE, 1, False)]))
    assert tally.result("voc12") == {1: 0}
    tally.add(*with_types([(HERE, 0.9, 1)], [(HERE, 1, False)]))
    assert tally.result("voc12") == {1: pytest.approx(0.5)}


def test_the_overlap_to_match_can_be_chosen():
    images = [image([(PARTLY, 0.9, 1)], [(HERE, 1, False)])]
    assert scored(images, "voc12", match_iou=0.55) == {1: 1}
    assert scored(images, "voc12", match_iou=0.65) == {1: 0}


def test_precision_and_recall_go_by_falling_score():
    precision, recall = precision_recall([0.1, 0.9, 0.5, 0.7], [True, True, False, True], 5)
    np.testing.assert_allclose(precision, [1, 1, 2 / 3, 3 / 4], atol=1e-12)
    np.testing.assert_allclose(recall, [1 / 5, 2 / 5, 2 / 5, 3 / 5], atol=1e-12)


@pytest.mark.parametrize("objects", [10, 20, 30, 70])
def test_a_recall_of_whole_tenths_reaches_its_level(objects):
    for found in range(1, objects + 1):
        curve = precision_recall([1.0] * found, [True] * found, objects)
        assert average_precision_voc07(*curve) == pytest.approx((10 * found // objects + 1) / 11, abs=1e-9)
        assert average_precision_voc12(*curve) == pytest.approx(found / objects, abs=1e-9)


@pytest.mark.parametrize(
    ("values", "expected"), [((0.5, None, 1.0), 0.75), ((None, None), None), ((), None), ((0.0,), 0.0)]
)
def test_the_mean_is_over_classes_with_objects(values, expected):
    assert mean(values) == expected
