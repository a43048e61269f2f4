"""Numbers of an analysis against numbers worked out by hand, and a slow version that shares no code with it."""

import numpy as np
import pytest
from pytest import approx

from ssdcore.data.records.ground_truth import GroundTruth
from ssdcore.detection import Detections
from ssdcore.evaluation.analysis import analyse
from ssdcore.evaluation.analysis.curves import best_f1, calibration, curve, histogram, point_at
from ssdcore.evaluation.analysis.errors import KINDS
from ssdcore.evaluation.analysis.matched import IOUS
from ssdcore.evaluation.voc import AveragePrecision, average_precision_voc07, average_precision_voc12
from ssdcore.params import EvalParams

CLASSES = ("cat", "dog", "owl")
LEFT, RIGHT, FAR = (0, 0, 40, 40), (100, 0, 140, 40), (300, 300, 340, 340)
SIZE = (400, 400)


def truth(*objects, size=SIZE):
    """An image of (box, label) objects; (box, label, True) is difficult."""
    hard = np.array([len(one) > 2 for one in objects], bool)
    boxes = np.array([one[0] for one in objects], float).reshape(-1, 4)
    return GroundTruth("", size, boxes, np.array([one[1] for one in objects], int), hard, np.zeros_like(hard))


def found(*detections):
    """What was found in an image: (box, label, score)."""
    boxes = np.array([one[0] for one in detections], float).reshape(-1, 4)
    scores, labels = np.array([one[2] for one in detections], float), np.array([one[1] for one in detections], int)
    return Detections(boxes, scores, labels, CLASSES)


def analysed(*images, score=None, **params):
    return analyse([one for one, _ in images], [one for _, one in images], CLASSES, EvalParams(**params), score)


def moved(box, share):
    """A box with IoU `share` with another: as high, cut to a part of its width."""
    return (box[0], box[1], box[0] + (box[2] - box[0]) * share, box[3])


# What is found, and of what kind each error is: (detections, objects) -> kinds by class of the detection.
WORKED = {
    "true": ([(LEFT, 1, 0.9)], [(LEFT, 1)], {}),
    "nothing there": ([(FAR, 1, 0.9)], [(LEFT, 2, True)], {("background", 1): 1}),
    "hardly any overlap": ([(moved(LEFT, 0.05), 1, 0.9)], [(LEFT, 1)], {("background", 1): 1, ("missed", 1): 1}),
    # A bad box explains that the object is not found.
    "bad box": ([(moved(LEFT, 0.3), 1, 0.9)], [(LEFT, 1)], {("localisation", 1): 1}),
    "another class": ([(LEFT, 2, 0.9)], [(LEFT, 1)], {("classification", 2): 1}),
    "another class, bad box": ([(moved(LEFT, 0.3), 2, 0.9)], [(LEFT, 1)], {("both", 2): 1, ("missed", 1): 1}),
    "twice": ([(LEFT, 1, 0.9), (LEFT, 1, 0.8)], [(LEFT, 1)], {("duplicate", 1): 1}),
    "not found": ([], [(LEFT, 1)], {("missed", 1): 1}),
    "scored too low": ([(LEFT, 1, 0.4)], [(LEFT, 1)], {("missed", 1): 1}),
    "difficult and not found": ([], [(LEFT, 1, True)], {}),
    "difficult and found": ([(LEFT, 1, 0.9), (LEFT, 1, 0.8)], [(LEFT, 1, True)], {}),
    # Its own class is looked at first.
    "bad box, on another class": (
        [(LEFT, 1, 0.9)],
        [(LEFT, 2), ((0, 0, 40, 10), 1)],
        {("localisation", 1): 1, ("missed", 2): 1},
    ),
    # A second one of an object that lies on an object of another class, too, confuses the classes.
    "twice, on another class": (
        [(LEFT, 1, 0.9), (LEFT, 1, 0.8)],
        [(LEFT, 1), (LEFT, 2)],
        {("classification", 1): 1},
    ),
}


@pytest.mark.parametrize("fact", WORKED)
def test_kinds_of_errors(fact):
    detections, objects, expected = WORKED[fact]
    counts = analysed((truth(*objects), found(*detections)), score=0.5).error_counts()
    assert {(kind, label): n for kind, row in counts.items() for label, n in enumerate(row, 1) if n} == expected


def test_the_edges_of_kinds_of_errors():
    """IoU of exactly 0.1 is a bad box, of exactly 0.5 a match."""
    images = [
        (truth((LEFT, 1)), found((moved(LEFT, 0.1), 1, 0.9))),
        (truth((LEFT, 1)), found((moved(LEFT, 0.5), 1, 0.9))),
        (truth((LEFT, 1)), found((moved(LEFT, 0.1), 2, 0.9))),
    ]
    counts = analysed(*images, score=0.9).error_counts()
    assert {kind: sum(row) for kind, row in counts.items() if sum(row)} == {"localisation": 1, "both": 1, "missed": 1}


def test_confusion_matrix():
    images = [
        (truth((LEFT, 1), (RIGHT, 2)), found((LEFT, 1, 0.9), (RIGHT, 3, 0.8), (FAR, 1, 0.7))),
        # Of two wrong ones on an object the better takes it, the other is a false alarm; one scores too low.
        (truth((LEFT, 2)), found((LEFT, 1, 0.7), (LEFT, 3, 0.8), (FAR, 3, 0.4))),
        # A duplicate is a false alarm; what lies on a difficult object is left out, and so is that.
        (truth((LEFT, 3), (RIGHT, 1, True)), found((LEFT, 3, 0.9), (LEFT, 3, 0.8), (RIGHT, 1, 0.9))),
        (truth((LEFT, 1)), found()),
    ]
    assert analysed(*images, score=0.5).confusion.tolist() == [
        [0, 2, 0, 1],
        [1, 1, 0, 0],
        [0, 0, 0, 2],
        [0, 0, 0, 1],
    ]


def test_a_true_detection_keeps_its_object_from_a_better_scoring_one_of_another_class():
    images = [(truth((LEFT, 1)), found((LEFT, 2, 0.9), (LEFT, 1, 0.6)))]
    assert analysed(*images, score=0.5).confusion.tolist() == [[0, 0, 1, 0], [0, 1, 0, 0], [0] * 4, [0] * 4]


def test_a_duplicate_does_not_take_the_next_best_object_of_its_class():
    """Pascal VOC's rule looks at the best overlap only: the second detection is a false alarm, an object is missed."""
    images = [(truth((LEFT, 1), ((0, 0, 40, 36), 1)), found((LEFT, 1, 0.9), (LEFT, 1, 0.8)))]
    assert analysed(*images, score=0.5).confusion.tolist() == [[0, 1, 0, 0], [1, 1, 0, 0], [0] * 4, [0] * 4]


def test_calibration_by_hand():
    """Bins of a half: 0.2 and 0.4, one of two true; 0.5, 0.9 and 1.0, all but one true."""
    scores, true = np.array([1.0, 0.9, 0.5, 0.4, 0.2]), np.array([True, True, False, True, False])
    result = calibration(scores, true, bins=2)
    assert result.counts.tolist() == [2, 3]
    assert result.true.tolist() == [1, 2]
    assert result.mean_scores.tolist() == approx([0.3, 0.8])
    assert result.precision.tolist() == approx([1 / 2, 2 / 3])
    assert result.error == approx(2 / 5 * abs(1 / 2 - 0.3) + 3 / 5 * abs(2 / 3 - 0.8))
    assert histogram(scores, true, bins=2).tolist() == [[1, 1], [1, 2]]
    assert calibration(scores[:0], true[:0]).error is None


def test_perfect_calibration_is_no_error():
    scores = np.array([0.25] * 4 + [0.75] * 4)
    true = np.array([True, False, False, False, True, True, True, False])
    assert calibration(scores, true).error == approx(0)


def test_calibration_from_the_score_of_the_errors_on():
    """Detections of that very score are among them: |1 - 0.9| and |0 - 0.5|, on average."""
    result = analysed((truth((LEFT, 1)), found((LEFT, 1, 0.9), (FAR, 1, 0.5), (FAR, 2, 0.2))), score=0.5)
    assert result.calibration_above.error == approx((0.1 + 0.5) / 2)
    assert result.calibration.error == approx((0.1 + 0.5 + 0.2) / 3)


def test_best_f1_by_hand():
    """Two objects: at 0.9 F1 is 2/3, at 0.6 4/5, since the two of 0.6 come together."""
    scores, true = np.array([0.9, 0.6, 0.6]), np.array([True, True, False])
    assert best_f1(scores, true, 2) == (0.6, approx(2 / 3), 1, approx(4 / 5))
    # Of two scores with the same F1, 1/2, the higher one.
    assert best_f1(np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([True, False, False, False, True]), 3) == (
        0.9,
        approx(1),
        approx(1 / 3),
        approx(1 / 2),
    )
    assert best_f1(scores, np.zeros(3, bool), 2) is None


def test_what_is_found_from_a_score_on():
    scores, true = np.array([0.9, 0.8, 0.7]), np.array([True, False, True])
    assert point_at(0.8, scores, true, 4) == (0.8, 1 / 2, 1 / 4, 2 / 6)
    assert point_at(0.95, scores, true, 4) == (0.95, 1, 0, 0)


def test_the_points_of_a_curve_give_its_average_precision():
    rng = np.random.default_rng(7)
    for objects in (1, 5, 40):
        true = np.zeros(100, bool)
        true[rng.choice(100, objects, replace=False)] = True
        scores = np.sort(rng.random(100))[::-1]
        hits = true.cumsum()
        whole = hits / np.arange(1, 101), hits / objects
        points = curve(scores, true, objects)
        assert len(points.scores) <= objects + 1
        assert [part[-1] for part in points] == [scores[-1], whole[0][-1], 1]
        for rule in (average_precision_voc07, average_precision_voc12):
            assert rule(points.precision, points.recall) == approx(rule(*whole), abs=1e-12)


# Areas of 31², 32², 96² and 97² px²; COCO's small, medium, medium, large.
SQUARES = [(0, 0, 31, 31), (50, 50, 82, 82), (100, 100, 196, 196), (200, 200, 297, 297)]


def test_sizes_by_area():
    result = analysed((truth(*((box, 1) for box in SQUARES)), found((SQUARES[1], 1, 0.9), (SQUARES[3], 1, 0.8))))
    assert result.by_area[0] == [(1, 0), (2, approx(6 / 11)), (1, 1)]
    assert result.by_area[1] == [(0, None)] * 3


def test_sizes_of_the_image():
    """Sides of 100 images' sides of 1000 px: 0.099, 0.1, 0.3 and 0.301."""
    boxes = [(0, 0, side, side) for side in (99, 100, 300, 301)]
    images = [(truth((box, 1), size=(1000, 1000)), found((box, 1, 0.9))) for box in boxes]
    assert analysed(*images).by_share[0] == [(1, 1), (2, 1), (1, 1)]


def test_false_detections_count_among_their_own_size():
    """A false one of 20 px hurts small objects only; one on a large object, as a duplicate, hurts large ones."""
    small, large = (0, 0, 20, 20), (100, 100, 250, 250)
    detections = [((60, 60, 80, 80), 1, 0.95), (small, 1, 0.9), (large, 1, 0.8)]
    result = analysed((truth((small, 1), (large, 1)), found(*detections)), metric="voc12")
    assert result.by_area[0] == [(1, approx(1 / 2)), (0, None), (1, 1)]
    # 110 x 80 px, of medium size itself, on an object of 110 x 110 px: judged with that, it is no false medium one.
    large, medium, duplicate = (100, 100, 210, 210), (300, 300, 350, 350), ((100, 100, 210, 180), 1, 0.97)
    things = truth((large, 1), (medium, 1))
    result = analysed((things, found(duplicate, (medium, 1, 0.9), (large, 1, 0.99))), metric="voc12")
    assert result.by_area[0] == [(0, None), (1, 1), (1, 1)]


def random_images(seed):
    """Crowded images with ties, difficult objects, duplicates and confusions."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(6):
        corners = rng.integers(0, 6, (rng.integers(0, 6), 2)) * 10
        sizes = rng.integers(2, 6, corners.shape) * 10
        objects = [
            ((*low, *(low + size)), int(rng.integers(1, 4)), *((True,) if rng.random() < 0.2 else ()))
            for low, size in zip(corners, sizes, strict=True)
        ]
        detections = []
        for _ in range(rng.integers(0, 12)):
            low, size = rng.integers(0, 6, 2) * 10, rng.integers(2, 6, 2) * 10
            box = (*low, *(low + size))
            if objects and rng.random() < 0.6:
                box = np.array(objects[rng.integers(len(objects))][0]) + rng.integers(-1, 2, 4) * 4
            detections.append((tuple(map(int, box)), int(rng.integers(1, 4)), float(rng.integers(1, 20) / 20)))
        images.append((objects, detections))
    return images


def slow_iou(one, other):
    wide = max(0, min(one[2], other[2]) - max(one[0], other[0]))
    high = max(0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return wide * high / (sum(areas) - wide * high)


def slow_verdicts(images, least=0.5):
    """(image, box, label, score, verdict, own object) of all detections, best first; None: counts neither way."""
    queue = [(place, *one) for place, (_, many) in enumerate(images) for one in many]
    queue.sort(key=lambda row: -row[3])
    taken, rows = set(), []
    for place, box, label, score in queue:
        own = [(slow_iou(box, thing[0]), -number) for number, thing in enumerate(images[place][0]) if thing[1] == label]
        overlap, number = max(own, default=(0, 1))
        number = -number
        if overlap < least:
            rows.append((place, box, label, score, False, None))
        elif len(images[place][0][number]) > 2:
            rows.append((place, box, label, score, None, number))
        else:
            rows.append((place, box, label, score, (place, number) not in taken, number))
            taken.add((place, number))
    return rows


def slow_confusion(images, score):
    table = [[0] * 4 for _ in range(4)]
    rows = [row for row in slow_verdicts(images) if row[4] is not None and row[3] >= score]
    free = {
        (place, number)
        for place, (things, _) in enumerate(images)
        for number, thing in enumerate(things)
        if len(thing) == 2
    }
    for place, _, label, _, verdict, number in rows:
        if verdict:
            table[label][label] += 1
            free.discard((place, number))
    for place, box, label, _, verdict, _ in rows:
        if not verdict:
            things = images[place][0]
            choice = [
                (slow_iou(box, things[number][0]), -number)
                for where, number in free
                if where == place and things[number][1] != label
            ]
            overlap, number = max(choice, default=(0, 0))
            if overlap >= 0.5:
                free.discard((place, -number))
                table[things[-number][1]][label] += 1
            else:
                table[0][label] += 1
    for place, number in free:
        table[images[place][0][number][1]][0] += 1
    return table


def slow_kinds(images, score):
    """How many errors of each kind."""
    counts, explained, right = dict.fromkeys(KINDS, 0), set(), set()
    for place, box, label, value, verdict, number in slow_verdicts(images):
        if value < score or verdict is None:
            continue
        if verdict:
            right.add((place, number))
            continue
        things = images[place][0]
        near = {
            same: max(
                ((slow_iou(box, thing[0]), -n) for n, thing in enumerate(things) if (thing[1] == label) == same),
                default=(0, 1),
            )
            for same in (True, False)
        }
        (own, own_at), (other, other_at) = near[True], near[False]
        if 0.1 <= own < 0.5:
            kind = "localisation"
            explained.add((place, -own_at))
        elif other >= 0.5:
            kind = "classification"
            explained.add((place, -other_at))
        elif own >= 0.5:
            kind = "duplicate"
        else:
            kind = "background" if max(own, other) < 0.1 else "both"
        counts[kind] += 1
    everything = {
        (place, number)
        for place, (things, _) in enumerate(images)
        for number, thing in enumerate(things)
        if len(thing) == 2
    }
    counts["missed"] = len(everything - right - explained)
    return counts


@pytest.mark.parametrize("seed", range(40))
def test_random_images_are_analysed_as_by_the_slow_version(seed):
    images = random_images(seed)
    result = analysed(*((truth(*things), found(*many)) for things, many in images), score=0.3)
    assert result.confusion.tolist() == slow_confusion(images, 0.3)
    assert {kind: sum(row) for kind, row in result.error_counts().items()} == slow_kinds(images, 0.3)
    rows = [(row[3], row[4]) for row in slow_verdicts(images) if row[4] is not None]
    wanted = sum(len(thing) == 2 for things, _ in images for thing in things)
    chosen = {least: [true for score, true in rows if score >= least] for least, _ in rows}
    sums = [(2 * sum(many) / (len(many) + wanted), least) for least, many in chosen.items()]
    best = max(sums, default=(0, 0))
    assert (result.best.f1, result.best.score) == (approx(best[0]), best[1]) if best[0] else result.best is None
    # A row of the confusions is the objects of a class, a column its detections.
    assert result.confusion[1:].sum(axis=1).tolist() == [one.objects for one in result.classes]
    assert result.confusion[:, 1:].sum() == sum(score >= 0.3 for score, _ in rows)


@pytest.mark.parametrize("seed", range(10))
def test_average_precisions_are_those_of_an_evaluation(seed):
    images = [(truth(*things), found(*many)) for things, many in random_images(seed)]
    result = analysed(*images)
    for place, least in enumerate((0.5, *IOUS)):
        tally = AveragePrecision(3, least)
        for one, many in images:
            tally.add(one, many)
        expected = list(tally.result("voc12").values())
        assert [one.voc12 if place == 0 else one.at_ious[place - 1] for one in result.classes] == expected
        if place == 0:
            assert [one.voc07 for one in result.classes] == list(tally.result("voc07").values())


def test_without_images_nothing_is_known():
    result = analysed()
    assert result.as_dict()["map"] == {"voc07": None, "voc12": None, "over_ious": None}
    assert result.best is None
    assert result.confusion.tolist() == [[0] * 4] * 4


def test_images_without_objects_have_false_alarms_only():
    result = analysed((truth(), found((LEFT, 2, 0.9))), (truth(), found()))
    assert result.error_counts()["background"] == [0, 1, 0]
    assert result.confusion.tolist() == [[0, 0, 1, 0], *[[0] * 4] * 3]
    assert result.at.score == 0.5  # no score is better than another


def test_equal_scores_count_in_the_order_of_the_images():
    """Both detections score the same, one is true."""
    images = [(truth((LEFT, 1)), found((FAR, 1, 0.5))), (truth((LEFT, 1)), found((LEFT, 1, 0.5)))]
    assert analysed(*images).classes[0].voc12 == approx(1 / 4)
    assert analysed(*reversed(images)).classes[0].voc12 == approx(1 / 2)
