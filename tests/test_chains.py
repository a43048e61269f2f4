"""The chains of random changes step by step and as a whole, and what learning makes of marked objects."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf

from ssdcore.data.augment.chain import augment, quarter_turn
from ssdcore.data.augment.photometric import photometric_distortion
from ssdcore.data.augment.windows import boxes_in_window, coverage_window
from ssdcore.data.convert import convert
from ssdcore.data.formats import read_labelled
from ssdcore.data.pipeline import training_stream
from ssdcore.data.records.index import RecordIndex
from ssdcore.data.synth import synthesize
from ssdcore.model.loss import multibox_loss
from ssdcore.model.targets import encode_targets
from ssdcore.params import AugmentParams, CoverageCrop, DataParams, Expand, Loss, PatchCrop, Photometric

NOTHING = AugmentParams(photometric=None, expand=None, crop=None, horizontal_flip=0, interpolations=("bilinear",))
CHAINS = {
    "ssd": AugmentParams(),
    "seeds": AugmentParams(
        expand=None,
        crop=CoverageCrop(aspect_ratio=(0.5, 2)),
        photometric=Photometric(probability=1, hue=72),
        vertical_flip=0.5,
        quarter_turn=0.5,
    ),
}
WHOLE = np.float32([[0, 0, 1, 1]])
F32 = tf.float32
SAMPLE = (F32, F32, tf.int32)


def draw_many(step: Callable[[Any], Any], count: int, dtypes: Any = F32) -> Any:
    """What `step` gives for `count` seeds, compiled, stacked."""
    seeds = tf.stack([tf.range(count), tf.fill([count], 11)], axis=1)
    found = tf.function(lambda: tf.map_fn(step, seeds, fn_output_signature=dtypes))()
    return tf.nest.map_structure(lambda part: part.numpy(), found)


def gradient(height: int, width: int) -> np.ndarray:
    """Red and green are 30 + 180 times x and y, in shares of the image."""
    y, x = np.mgrid[:height, :width]
    red, green = 30 + 180 * (x + 0.5) / width, 30 + 180 * (y + 0.5) / height
    return np.stack([red, green, np.full_like(red, 200)], axis=-1).round().astype(np.uint8)


def test_a_quarter_turn_by_hand() -> None:
    """1 2 3 over 4 5 6 becomes 3 6 over 2 5 over 1 4; the box is that of the 1."""
    image = tf.constant([[1, 2, 3], [4, 5, 6]], tf.uint8)[..., None] * tf.constant([1, 1, 1], tf.uint8)
    turned, boxes = quarter_turn(image, tf.constant([[0, 0, 1 / 3, 0.5]]), 1.0, tf.constant([0, 0]))
    np.testing.assert_array_equal(turned[..., 0], [[3, 6], [2, 5], [1, 4]])
    np.testing.assert_allclose(boxes, [[0, 2 / 3, 0.5, 1]], atol=1e-6)


@pytest.mark.parametrize("crop", [CoverageCrop(aspect_ratio=(0.5, 2)), CoverageCrop(min_covered=0.9, area=(0.3, 0.8))])
def test_coverage_windows_keep_their_bounds(crop: CoverageCrop) -> None:
    """In pixels of an image of 200 by 320, which round sides by one."""
    boxes = np.float32([[0.1, 0.2, 0.4, 0.7], [0.6, 0.1, 0.7, 0.3]])
    windows = draw_many(partial(coverage_window, boxes, tf.constant([200, 320]), crop), 1000)
    sides = np.minimum(windows[:, None, 2:], boxes[:, 2:]) - np.maximum(windows[:, None, :2], boxes[:, :2])
    covered = sides.clip(0).prod(axis=2) / (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    width, height = ((windows[:, 2:] - windows[:, :2]) * [320, 200]).T
    assert covered.max(axis=1).min() >= crop.min_covered - 0.02
    assert np.all((width + 1) / (height - 1) >= crop.aspect_ratio[0])
    assert np.all((width - 1) / (height + 1) <= crop.aspect_ratio[1])
    areas = width * height / 64_000
    assert crop.area[0] - 0.01 <= areas.min() < crop.area[0] + 0.1
    assert crop.area[1] - 0.25 < areas.max() <= crop.area[1] + 0.01


def test_coverage_falls_back_to_the_whole_image_and_takes_it_for_the_object() -> None:
    """An object that no window of a third can cover; and no objects: windows cover half of the image."""
    never = partial(coverage_window, WHOLE, tf.constant([90, 60]), CoverageCrop(min_covered=0.9, area=(0.1, 0.3)))
    np.testing.assert_array_equal(draw_many(never, 20), WHOLE.repeat(20, axis=0))
    none = partial(coverage_window, tf.zeros((0, 4)), tf.constant([90, 60]), CoverageCrop(min_covered=0.5))
    windows = draw_many(none, 200)
    assert 0.49 <= (windows[:, 2:] - windows[:, :2]).prod(axis=1).min() < 0.6


def test_objects_stay_if_more_than_enough_of_them_is_visible() -> None:
    """Random boxes by NumPy, and one of which exactly half is visible, which is not more than half."""
    rng, window = np.random.default_rng(1), np.float32([0.25, 0.125, 0.75, 1.25])
    corners = np.sort(rng.uniform(0, 1, (500, 2, 2)), axis=1).reshape(500, 4)
    boxes = np.float32([*corners, [0.125, 0.25, 0.375, 0.5]])
    clipped = np.concatenate([np.maximum(boxes[:, :2], window[:2]), np.minimum(boxes[:, 2:], window[2:])], axis=1)
    visible = np.clip(clipped[:, 2:] - clipped[:, :2], 0, 1).prod(axis=1) / (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    kept, labels = boxes_in_window(boxes, tf.range(501), tf.constant(window), CoverageCrop(min_visible=0.5))
    np.testing.assert_array_equal(labels, np.flatnonzero(visible > 0.5))
    expected = (clipped[visible > 0.5] - np.tile(window[:2], 2)) / np.float32([0.5, 1.125, 0.5, 1.125])
    np.testing.assert_allclose(kept, expected, atol=1e-6)


@pytest.mark.parametrize("crop", [PatchCrop(), CoverageCrop(), None])
def test_what_is_left_of_an_ignored_region_stays_ignored(crop) -> None:
    """The left half of the image is ignored, the window shows its last fifth."""
    boxes, window = tf.constant([[0.0, 0.0, 0.5, 1.0]]), tf.constant([0.4, 0.0, 0.9, 1.0])
    kept, labels = boxes_in_window(boxes, tf.constant([-1]), window, crop)
    np.testing.assert_array_equal(labels, [-1])
    np.testing.assert_allclose(kept, [[0, 0, 0.2, 1]], atol=1e-6)


GREYS = np.arange(40, 140, 2).repeat(3).reshape(-1, 3)
TINTS = np.array([(120, 90, 70), (70, 120, 90), (90, 70, 120), (120, 70, 90), (90, 120, 70), (70, 90, 120)])


def hsv(colours: np.ndarray) -> np.ndarray:
    """Hue in degrees, saturation, value in 0..1; by OpenCV."""
    return cv2.cvtColor(np.float32(colours / 255)[None], cv2.COLOR_RGB2HSV)[0]


def settings_of(image: np.ndarray) -> np.ndarray:
    """Shift, contrast, saturation and hue, from what became of `GREYS` and `TINTS`, which never saturate.

    A grey g becomes (g + s) c in either order; the shift changes the tints' saturation, as nothing else but S does.
    """
    contrast, moved = np.polyfit(GREYS[:, 0], image[: len(GREYS), 0], 1)
    before, after = hsv(TINTS + moved / contrast), hsv(image[len(GREYS) :][: len(TINTS)])
    turns = (after[:, 0] - before[:, 0] + 180) % 360 - 180
    return np.array([moved / contrast, contrast, np.median(after[:, 1] / before[:, 1]), np.median(turns)])


def brute_colours(pixels: np.ndarray, settings: tuple[float, ...], contrast_last: bool) -> np.ndarray:
    shift, contrast, saturation, degrees = settings
    pixels = np.clip(pixels + shift, 0, 255)
    if not contrast_last:
        pixels = np.clip(pixels * contrast, 0, 255)
    hues = hsv(pixels)
    hues[:, 0] = (hues[:, 0] + degrees) % 360
    hues[:, 1] = np.clip(hues[:, 1] * saturation, 0, 1)
    pixels = cv2.cvtColor(hues[None], cv2.COLOR_HSV2RGB)[0] * 255
    return np.clip(pixels * contrast, 0, 255) if contrast_last else pixels


def distorted(probability: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Greys, tints and random pixels, and what many draws made of them."""
    pixels = np.float32([*GREYS, *TINTS, *np.random.default_rng(5).integers(0, 256, (60, 3))])
    step = partial(photometric_distortion, pixels[None], Photometric(probability=probability))
    return pixels, draw_many(step, count)[:, 0]


def test_colours_equal_opencv_in_one_of_both_orders() -> None:
    """As nearly as 8 bits tell."""
    (pixels, images), last = distorted(1.0, 2000), []
    for image in images:
        errors = [np.abs(brute_colours(pixels, settings_of(image), order) - image).mean() for order in (False, True)]
        assert min(errors) < 2
        if max(errors) > 3 * min(errors) + 1:
            last.append(errors[1] < errors[0])
    assert len(last) > 250
    assert np.mean(last) == pytest.approx(0.5, abs=0.09)


def test_colour_settings_are_uniform_and_each_is_applied_half_of_the_time() -> None:
    bounds = np.array([[-32, 32], [0.5, 1.5], [0.5, 1.5], [-36, 36]])
    always = np.array([settings_of(image) for image in distorted(1.0, 4000)[1]])
    shares = (always - bounds[:, 0]) / (bounds[:, 1] - bounds[:, 0])
    for quantile in (0.01, 0.1, 0.5, 0.9, 0.99):
        np.testing.assert_allclose(np.quantile(shares, quantile, axis=0), quantile, atol=0.03)
    half = np.array([settings_of(image) for image in distorted(0.5, 4000)[1]])
    applied = np.abs(half - [0, 1, 1, 0]) > [0.5, 0.01, 0.02, 1]
    np.testing.assert_allclose(applied.mean(axis=0), 0.5, atol=0.04)
    np.testing.assert_allclose(np.corrcoef(applied.T), np.eye(4), atol=0.06)


def augmented(image: Any, boxes: Any, size: tuple[int, int], **changes: Any) -> Callable[[Any], Any]:
    """A step for `draw_many`: image, boxes, labels 1..N, padded to N; the n-th draw takes boxes[n] of several sets."""
    params, count = NOTHING.model_copy(update=changes), boxes.shape[-2]

    def step(seed: Any) -> Any:
        own = tf.constant(boxes) if boxes.ndim == 2 else tf.constant(boxes)[seed[0]]
        labels = tf.range(1, count + 1)
        changed, own, labels = augment(tf.constant(image), own, labels, seed, params, size, "warp")
        rest = count - tf.shape(labels)[0]
        return changed, tf.pad(own, [[0, rest], [0, 0]]), tf.pad(labels, [[0, rest]])

    return step


def test_turns_and_flips_happen_as_often_as_asked() -> None:
    box = np.float32([0.1, 0.2, 0.3, 0.35])
    black = np.zeros((8, 8, 3), np.uint8)
    step = augmented(black, box[None], (4, 4), quarter_turn=0.4, horizontal_flip=0.5, vertical_flip=0.3)
    found = draw_many(lambda seed: step(seed)[1][0], 5000)
    expected, odds = [], []
    for turn, across, down in np.ndindex(2, 2, 2):
        left, top, right, bottom = (box[1], 1 - box[2], box[3], 1 - box[0]) if turn else box
        left, right = (1 - right, 1 - left) if across else (left, right)
        top, bottom = (1 - bottom, 1 - top) if down else (top, bottom)
        expected.append([left, top, right, bottom])
        odds.append((0.4 if turn else 0.6) * 0.5 * (0.3 if down else 0.7))
    same = np.abs(found[:, None] - np.array(expected)).max(axis=2) < 1e-5
    np.testing.assert_array_equal(same.sum(axis=1), 1)
    np.testing.assert_allclose(same.mean(axis=0), odds, atol=0.025)


def test_the_chain_expands_half_of_the_time_and_evenly_far() -> None:
    """The object is the whole image: its side is 1 / ratio, and its place is where the image lies."""
    step = augmented(np.zeros((80, 80, 3), np.uint8), WHOLE, (4, 4), expand=Expand())
    boxes = draw_many(lambda seed: step(seed)[1][0], 4000)
    sides = boxes[:, 2:] - boxes[:, :2]
    expanded = sides[:, 0] < 0.999
    assert expanded.mean() == pytest.approx(0.5, abs=0.03)
    for quantile in (0.1, 0.3, 0.5, 0.7, 0.9):
        assert np.quantile(1 / sides[expanded, 0], quantile) == pytest.approx(1 + 3 * quantile, abs=0.12)
        places = (boxes[:, :2] / (1 - sides).clip(1e-9))[sides[:, 0] < 0.6]
        np.testing.assert_allclose(np.quantile(places, quantile, axis=0), quantile, atol=0.05)


def test_the_chain_chooses_evenly_among_seven_crops() -> None:
    """The object is the whole image, so IoU is area = scale²; the ends of the rows of `gradient` tell the window.

    A sampler with bound t has scales uniform in (max(0.3, √t), 1).
    """
    step = augmented(gradient(100, 100), WHOLE, (16, 16), crop=PatchCrop(trials=200))
    corners = draw_many(lambda seed: tf.stack([step(seed)[0][0, 0], step(seed)[0][15, 15]]), 4000)
    areas = ((corners[:, 1, :2] - corners[:, 0, :2]) / 180 * 16 / 15).prod(axis=1)
    for area in (0.2, 0.4, 0.6, 0.8, 0.95, 0.98):
        lowest = np.array([max(0.3, t**0.5) for t in (0, 0.1, 0.3, 0.5, 0.7, 0.9)])
        below = ((area**0.5 - lowest) / (1 - lowest)).clip(0).sum() / 7
        assert (areas < area).mean() == pytest.approx(below, abs=0.025)


def test_interpolations_are_chosen_evenly() -> None:
    image = np.random.default_rng(2).integers(0, 256, (13, 11, 3), np.uint8)
    methods = ("bilinear", "nearest", "bicubic", "area", "lanczos3")
    step = augmented(image, WHOLE, (7, 9), interpolations=CHAINS["ssd"].interpolations)
    images = draw_many(lambda seed: step(seed)[0], 4000)
    each = [np.clip(tf.image.resize(image, (7, 9), method), 0, 255) for method in methods]
    same = np.abs(images[:, None] - each).max(axis=(2, 3, 4)) < 0.01
    np.testing.assert_array_equal(same.sum(axis=1), 1)
    np.testing.assert_allclose(same.mean(axis=0), 0.2, atol=0.025)


def extreme_boxes(rng: np.random.Generator, count: int, height: int, width: int) -> np.ndarray:
    """Nine to an image: four random ones, the whole, a corner, a row, a pixel at the edge, and a speck."""
    corners = np.sort(rng.uniform(0, 1, (count, 6, 2, 2)), axis=2).reshape(count, 6, 4)
    boxes = np.concatenate([corners, np.tile(WHOLE, (count, 3, 1))], axis=1)
    boxes[:, 3, :2] = 0
    boxes[:, 4, [1, 3]] = boxes[:, 4, 1:2] * (1 - 1 / height) + [[0, 1 / height]]
    boxes[:, 5] = [1 - 1 / width, 0.5, 1, 0.5 + 1 / height]
    boxes[:, 6] = rng.uniform(0, 0.9999, (count, 4))
    boxes[:, 6, 2:] = boxes[:, 6, :2] + 1e-4
    boxes[:, 8] = [0, 0, 1, 1 / height]
    return boxes.astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name", CHAINS)
def test_ten_thousand_draws_leave_only_boxes_that_can_be_learnt(name: str) -> None:
    rng, kept = np.random.default_rng(9), 0
    for height, width in ((24, 36), (60, 20), (17, 97), (64, 64), (3, 50)):
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        step = augmented(image, extreme_boxes(rng, 2000, height, width), (30, 40), **dict(CHAINS[name]))
        images, boxes, labels = draw_many(step, 2000, SAMPLE)
        assert 0 <= images.min() <= images.max() <= 255.001
        boxes, steps = boxes[labels > 0], np.diff(labels, axis=1)
        assert np.all((steps > 0) | (labels[:, 1:] == 0))  # in their order, each at most once
        assert 0 <= boxes.min() <= boxes.max() <= 1
        assert np.all(boxes[:, 2:] > boxes[:, :2])
        kept += len(boxes)
    assert kept > 15_000


@pytest.mark.parametrize("name", CHAINS)
def test_labels_stay_with_their_boxes(name: str) -> None:
    """Nine objects, each in a cell of its own: the colour in the middle of a box tells whose it is."""
    params = CHAINS[name].model_copy(update={"photometric": None, "interpolations": ("bilinear",)})
    cells = np.array([[x, y, x, y] for y in range(3) for x in range(3)]) / 3
    boxes = cells + np.random.default_rng(4).uniform(0, 0.12, (1000, 9, 4)) + np.float32([0.02, 0.02, 0.18, 0.18])
    step = augmented(gradient(80, 120), boxes.astype(np.float32), (30, 40), **dict(params))
    images, found, labels = draw_many(step, 1000, SAMPLE)
    checked = 0
    for image, own, mine, ids in zip(images, boxes, found, labels, strict=True):
        for box, label in zip(mine[ids > 0], ids[ids > 0], strict=True):
            if min((box[2:] - box[:2]) * [40, 30]) > 3:
                column, row = ((box[:2] + box[2:]) / 2 * [40, 30]).astype(int)
                place = (image[row, column, :2] - 30) / 180
                assert np.all(place > own[label - 1, :2] - 0.04)
                assert np.all(place < own[label - 1, 2:] + 0.04)
                checked += 1
    assert checked > 1500


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("chains")
    synthesize(root / "voc", 16, 1, seed=3)
    convert(read_labelled(root / "voc"), root / "records")
    return root / "records"


def batches(shapes: Path, name: str, start: int, calls: int) -> list[np.ndarray]:
    """Images and padded boxes and labels of batches of two, from image `start` on, up to image 48."""
    index = RecordIndex.of_split(shapes, "trainval")
    stream = training_stream(index, (4, 1), start, (48, 64), DataParams(parallel_calls=calls), CHAINS[name])
    return [part for item in stream.padded_batch(2).take(24 - start // 2).as_numpy_iterator() for part in item]


@pytest.mark.parametrize("name", CHAINS)
def test_batch_7_of_epoch_3_is_the_same_however_it_is_reached(name: str, shapes: Path) -> None:
    """Eight batches to an epoch: epoch 3, batch 7 starts at image 2 * 16 + 6 * 2 = 44. 0 calls are AUTOTUNE."""
    whole = batches(shapes, name, 0, 1)
    for start in (0, 44):
        again = batches(shapes, name, start, 0)
        assert len(again) == 3 * (24 - start // 2)
        for one, other in zip(whole[-len(again) :], again, strict=True):
            np.testing.assert_array_equal(one, other)
    assert not any(np.array_equal(whole[-6], earlier) for earlier in whole[:-6:3])


# The object's own; inside of the right half, two thirds of it inside, exactly half of it, and two outside.
DEFAULTS = np.float32([[0, 0, 1, 1], [3, 0, 4, 4], [1, 0, 4, 4], [1, 0, 3, 4], [0, 2, 1, 3], [0, 3, 1, 4]]) / 4
ODDS = (3, 15, 7, 3, 1, 1 / 3)  # of class 1 against background
OBJECT, RIGHT, ALL = [0, 0, 0.25, 0.25], [0.5, 0, 1, 1], [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("boxes", "labels", "targets", "loss"),
    [
        # All can be mined: the hardest three cost ln 16, ln 8 and ln 4, the object ln 4/3.
        ([OBJECT], [1], [1, 0, 0, 0, 0, 0], np.log(4 / 3 * 16 * 8 * 4)),
        # The hardest two are ignored: ln 4, ln 2 and ln 4/3 are left.
        ([OBJECT, RIGHT], [1, -1], [1, -1, -1, 0, 0, 0], np.log(4 / 3 * 4 * 2 * 4 / 3)),
        ([ALL, OBJECT], [-1, 1], [1, -1, -1, -1, -1, -1], np.log(4 / 3)),
        ([RIGHT], [-1], [0, -1, -1, 0, 0, 0], 0),
        ([RIGHT, ALL], [-1, -1], [-1] * 6, 0),
    ],
)
def test_what_is_mostly_in_an_ignored_region_is_never_mined(boxes, labels, targets, loss) -> None:
    """The same beside an image of which everything is ignored, which adds nothing."""
    encode = partial(encode_targets, default_boxes=DEFAULTS, match_iou=0.5, variances=(0.1, 0.1, 0.2, 0.2))
    both = [encode(tf.constant(b, F32), tf.constant(n)) for b, n in ((boxes, labels), ([ALL], [-1]))]
    found, offsets = (tf.stack(parts) for parts in zip(*both, strict=True))
    np.testing.assert_array_equal(found, [targets, [-1] * 6])
    logits = tf.tile(tf.constant([[[0, np.log(odds)] for odds in ODDS]], F32), [2, 1, 1])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        result = multibox_loss(logits, tf.zeros((2, 6, 4)), found, offsets, Loss())
        classes = result.positive_classes + result.negative_classes
    slopes = tape.gradient(classes, logits).numpy()
    assert float(classes + result.boxes) == pytest.approx(loss, abs=1e-5)
    assert np.isfinite(slopes).all()
    assert np.all(slopes[found.numpy() < 0] == 0)
    assert (result.positives, result.negatives) == (targets.count(1), min(3, targets.count(0)) * targets.count(1))
