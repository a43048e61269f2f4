"""VOC's and COCO's scores against the devkit's rule, written anew, and against `pycocotools`."""

import io
from contextlib import redirect_stdout

import numpy as np
import pytest
from devkit import Guess, Image, Thing, eleven_points, voc_ap, voc_eval_det
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ssdcore.data.records.ground_truth import GroundTruth
from ssdcore.detection import Detections
from ssdcore.evaluation.coco import NUMBERS, category_ids, image_ids
from ssdcore.evaluation.scores import Tally
from ssdcore.params import EvalParams
from ssdcore.params.class_names import COCO as COCO_CLASSES
from ssdcore.params.class_names import PASCAL_VOC

CLASSES = ("cat", "dog", "owl")
HERE, THERE, AWAY = (10, 10, 19, 19), (40, 40, 59, 59), (80, 80, 90, 90)


def truth_of(number: int, things: list[Thing]) -> GroundTruth:
    boxes = np.array([thing.box for thing in things], np.float64).reshape(-1, 4)
    labels, difficult, crowd = (np.array([thing[place] for thing in things]) for place in (1, 2, 3))
    flags = difficult.astype(bool), crowd.astype(bool)
    return GroundTruth(f"{number:04}", (120, 130), boxes, labels.astype(np.int64), *flags)


def found_of(guesses: list[Guess], classes: tuple[str, ...] = CLASSES) -> Detections:
    boxes = np.array([guess.box for guess in guesses], np.float64).reshape(-1, 4)
    scores, labels = (np.array([guess[place] for guess in guesses]) for place in (1, 2))
    return Detections(boxes, scores.astype(np.float64), labels.astype(np.int64), classes)


def scored(images: list[Image], classes: tuple[str, ...] = CLASSES, **params):
    tally = Tally(classes, [f"{number:04}" for number in range(len(images))], EvalParams(**params))
    for number, (things, guesses) in enumerate(images):
        tally.add(truth_of(number, things), found_of(guesses, classes))
    return tally.evaluation(None)


def random_images(seed: int, fractional: bool) -> list[Image]:
    """Objects that may overlap, and detections near them, doubled, astray, with many equal scores."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(rng.integers(0, 12)):
        things = []
        for _ in range(rng.integers(0, 6)):
            left, top = rng.integers(0, 60, 2)
            box = (left, top, left + rng.integers(3, 60), top + rng.integers(3, 60))
            things.append(Thing(tuple(map(int, box)), int(rng.integers(1, 4)), bool(rng.random() < 0.25)))
        guesses = []
        for _ in range(rng.integers(0, 14)):
            label = int(rng.integers(1, 4))
            if things and rng.random() < 0.8:
                thing = things[rng.integers(len(things))]
                spread = rng.normal(0, 4, 4) if fractional else rng.integers(-3, 4, 4)
                left, top, right, bottom = (np.array(thing.box) + spread).tolist()
                box = (min(left, right), min(top, bottom), max(left, right), max(top, bottom))
                label = thing.label if rng.random() < 0.9 else label
            else:
                left, top, wide, high = rng.integers(0, 60, 4).tolist()
                box = (left, top, left + wide, top + high)
            guesses.append(
                Guess(box, float(rng.integers(1, 9)) / 8 if rng.random() < 0.5 else float(rng.random()), label)
            )
        guesses.sort(key=lambda guess: -guess.score)
        images.append((things, guesses))
    return images


def assert_as_devkit(images: list[Image], match_iou: float, inclusive: bool) -> None:
    for metric, rule in (("voc07", eleven_points), ("voc12", voc_ap)):
        result = scored(images, metric=metric, match_iou=match_iou, inclusive_pixels=inclusive)
        values = []
        for label, name in enumerate(CLASSES, start=1):
            precision, recall, wanted = voc_eval_det(images, label, match_iou, int(inclusive))
            if wanted:
                values.append(rule(precision, recall))
                assert result.average_precisions[name] == pytest.approx(values[-1], abs=1e-9), (metric, name)
            else:
                assert result.average_precisions[name] is None
        expected = pytest.approx(sum(values) / len(values), abs=1e-9) if values else None
        assert result.mean_average_precision == expected


@pytest.mark.parametrize("seed", range(200))
def test_random_images_score_as_by_the_devkit(seed: int) -> None:
    match_iou = (0.5, 0.5, 0.3, 0.75)[seed % 4]
    assert_as_devkit(random_images(seed, fractional=seed % 2 == 0), match_iou, inclusive=seed % 3 == 0)


# From here on the numbers are worked out by hand. HERE is 9 x 9, with the devkit's last pixels 10 x 10.
EXAMPLES = {
    # True, false: recall 1 at precision 1.
    "a duplicate behind": ([([Thing(HERE)], [Guess(HERE, 0.9), Guess(HERE, 0.8)])], 1, 1),
    # True, false, true: precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1.
    "a duplicate between": (
        [([Thing(HERE), Thing(THERE)], [Guess(HERE, 0.9), Guess(HERE, 0.8), Guess(THERE, 0.7)])],
        (6 + 5 * 2 / 3) / 11,
        1 / 2 + 1 / 3,
    ),
    "a duplicate of a difficult object": (
        [([Thing(HERE, difficult=True), Thing(THERE)], [Guess(HERE, 0.9), Guess(HERE, 0.8), Guess(THERE, 0.7)])],
        1,
        1,
    ),
    # It overlaps both enough, the difficult one more: it is left out, and the other object is missed.
    "the best match is difficult": (
        [([Thing(HERE, difficult=True), Thing((10, 10, 19, 18))], [Guess(HERE, 0.9)])],
        0,
        0,
    ),
    "a stray detection though its image has difficult objects only": (
        [([Thing(HERE, difficult=True)], [Guess(AWAY, 0.9)]), ([Thing(HERE)], [Guess(HERE, 0.8)])],
        1 / 2,
        1 / 2,
    ),
    "a group counts neither way": (
        [([Thing(HERE, crowd=True), Thing(THERE)], [Guess(HERE, 0.9), Guess(THERE, 0.7)])],
        1,
        1,
    ),
    "equal scores, the true one first": ([([Thing(HERE)], [Guess(HERE, 0.5), Guess(AWAY, 0.5)])], 1, 1),
    "equal scores, the true one last": ([([Thing(HERE)], [Guess(AWAY, 0.5), Guess(HERE, 0.5)])], 1 / 2, 1 / 2),
    "no objects": ([([], [Guess(HERE, 0.9)])], None, None),
    "only difficult objects": ([([Thing(HERE, difficult=True)], [Guess(HERE, 0.9)])], None, None),
    "no detections": ([([Thing(HERE)], [])], 0, 0),
    "no images": ([], None, None),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_worked_example(name: str) -> None:
    images, voc07, voc12 = EXAMPLES[name]
    assert_as_devkit(
        [([t._replace(difficult=t.difficult or t.crowd) for t in things], g) for things, g in images], 0.5, False
    )
    for metric, expected in (("voc07", voc07), ("voc12", voc12)):
        found = scored(images, metric=metric).average_precisions["cat"]
        assert found == (None if expected is None else pytest.approx(expected, abs=1e-12))


def test_the_devkit_counts_the_last_pixel() -> None:
    # 9 x 4 of 9 x 9 px overlap by 4/9; with the last pixels 10 x 5 of 10 x 10 by exactly one half.
    images = [([Thing(HERE)], [Guess((10, 10, 19, 14), 0.9)])]
    assert scored(images).mean_average_precision == 0
    assert scored(images, inclusive_pixels=True).mean_average_precision == 1
    assert scored(images, match_iou=0.44).mean_average_precision == 1


def test_boxes_that_only_touch_share_the_devkits_last_pixel() -> None:
    images = [([Thing((0, 0, 9, 9))], [Guess((9, 0, 18, 9), 0.9)])]
    # 1 x 10 px of 2 x 100 - 10.
    assert scored(images, inclusive_pixels=True, match_iou=10 / 190).mean_average_precision == 1
    assert scored(images, inclusive_pixels=True, match_iou=10 / 189).mean_average_precision == 0
    assert scored(images, match_iou=1e-6).mean_average_precision == 0


def test_what_was_counted_is_said() -> None:
    things = [Thing(HERE), Thing(THERE, difficult=True), Thing(AWAY, 2, crowd=True), Thing(AWAY, 2, True, True)]
    result = scored([(things, []), ([], [])], metric="voc12", match_iou=0.6)
    assert (result.images, result.objects, result.difficult) == (2, 1, 3)
    assert (result.metric, result.match_iou, result.score_threshold, result.speed) == ("voc12", 0.6, None, None)


# --- COCO


def by_pycocotools(images: list[Image], class_count: int = len(CLASSES)) -> tuple[list[float], list[float]]:
    """The twelve numbers, and AP of each class from a run for it alone; -1 without objects."""
    objects, results = [], []
    for number, (things, guesses) in enumerate(images):
        for thing in things:
            left, top, right, bottom = thing.box
            box = {"bbox": [left, top, right - left, bottom - top], "area": (right - left) * (bottom - top)}
            keys = {"id": len(objects) + 1, "image_id": number, "category_id": thing.label}
            objects.append({**keys, **box, "iscrowd": int(thing.difficult or thing.crowd)})
        for box, score, label in guesses:
            sides = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            results.append({"image_id": number, "category_id": label, "bbox": sides, "score": score})
    with redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": number} for number in range(len(images))],
            "annotations": objects,
            "categories": [{"id": label + 1} for label in range(class_count)],
            "info": {},
        }
        truth.createIndex()
        found = COCO()
        found.dataset = {**truth.dataset, "annotations": []}
        found.createIndex()
        if results:
            found = truth.loadRes(results)

        def run(categories: list[int]) -> list[float]:
            scores = COCOeval(truth, found, "bbox")
            scores.params.catIds = categories
            scores.evaluate()
            scores.accumulate()
            scores.summarize()
            return scores.stats.tolist()

        every = list(range(1, class_count + 1))
        return run(every), [run([label])[0] for label in every]


@pytest.mark.parametrize("seed", range(300, 330))
def test_random_images_score_as_by_pycocotools(seed: int) -> None:
    images = random_images(seed, fractional=True)
    result = scored(images, metric="coco")
    twelve, by_class = by_pycocotools(images)
    assert result.coco is not None
    assert list(result.coco) == list(NUMBERS)
    assert [-1 if value is None else value for value in result.coco.values()] == twelve
    assert [-1 if value is None else value for value in result.average_precisions.values()] == by_class
    assert result.mean_average_precision == result.coco["AP"]
    assert result.match_iou is None


def test_coco_numbers_by_hand() -> None:
    # One object of 80 x 80 px (medium: 32² to 96²), found with an IoU of 0.8: right at .5 to .8, seven of ten.
    big = (10, 10, 90, 90)
    result = scored([([Thing(big)], [Guess((10, 10, 90, 74), 0.9)])], metric="coco")
    found = result.coco
    assert found is not None
    for name in ("AP", "AP medium", "AR 1", "AR 10", "AR 100", "AR medium"):
        assert found[name] == pytest.approx(0.7, abs=1e-12)
    assert (found["AP50"], found["AP75"]) == pytest.approx((1, 1), abs=1e-12)
    assert [found[f"{kind} {size}"] for kind in ("AP", "AR") for size in ("small", "large")] == [None] * 4
    assert result.average_precisions == {"cat": pytest.approx(0.7, abs=1e-12), "dog": None, "owl": None}


def test_coco_leaves_what_is_difficult_out() -> None:
    # Both detections of difficult objects would be false otherwise, and better than the true one.
    things = [Thing(HERE, difficult=True), Thing(AWAY, crowd=True), Thing(THERE)]
    guesses = [Guess(HERE, 0.9), Guess(AWAY, 0.8), Guess(THERE, 0.7)]
    assert scored([(things, guesses)], metric="coco").coco["AP"] == pytest.approx(1, abs=1e-12)


def test_coco_of_nothing() -> None:
    assert set(scored([([], [Guess(HERE, 0.9)])], metric="coco").coco.values()) == {None}
    assert scored([([Thing(HERE)], [])], metric="coco").mean_average_precision == 0


def test_numbers_of_images_and_classes() -> None:
    assert image_ids(["000000397133", "000000000009"]) == [397133, 9]
    assert image_ids(["007", "7"]) == [1, 2]
    assert image_ids(["1", "2008_000001"]) == [1, 2]
    assert image_ids(["٣", "4"]) == [1, 2]
    assert category_ids(PASCAL_VOC) == list(range(1, 21))
    numbers = dict(zip(COCO_CLASSES, category_ids(COCO_CLASSES), strict=True))
    # As in instances_val2017.json.
    known = {"person": 1, "fire hydrant": 11, "stop sign": 13, "backpack": 27, "umbrella": 28, "handbag": 31}
    known |= {"wine glass": 46, "dining table": 67, "toilet": 70, "tv": 72, "book": 84, "toothbrush": 90}
    assert {name: numbers[name] for name in known} == known
    assert len(set(numbers.values())) == 80
