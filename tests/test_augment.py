"""Augmentation: boxes follow the image, nothing leaves it, and the odds are those asked for."""

import numpy as np
import pytest
import tensorflow as tf

from ssdcore.data.augment.chain import augment, flip
from ssdcore.data.augment.photometric import photometric_distortion
from ssdcore.data.augment.windows import _random_windows, boxes_in_window, crop_window, expand_window
from ssdcore.params import AugmentParams, Expand, PatchCrop, Photometric

NOTHING = AugmentParams(photometric=None, expand=None, crop=None, horizontal_flip=0, interpolations=("nearest",))
BOXES = np.array([[0.25, 0.25, 0.5, 0.5], [0.6, 0.1, 0.9, 0.4]], np.float32)
LABELS = np.array([1, 2], np.int32)


def seed(number: int) -> tf.Tensor:
    return tf.constant([number, 7], tf.int32)


def marked_image(height: int = 80, width: int = 120) -> np.ndarray:
    """A black image whose first box is red and whose second box is green."""
    image = np.zeros((height, width, 3), np.uint8)
    for box, channel in zip(BOXES, (0, 1), strict=True):
        left, top, right, bottom = (box * [width, height, width, height]).round().astype(int)
        image[top:bottom, left:right, channel] = 255
    return image


@tf.function(reduce_retracing=True)
def run_all(image, boxes, labels, number):
    params = AugmentParams(photometric=None, vertical_flip=0.5, interpolations=("nearest",))
    return augment(image, boxes, labels, number, params, (100, 100), "warp")


def test_nothing_asked_for_leaves_image_and_boxes_alone() -> None:
    image = marked_image()
    resized, boxes, labels = augment(image, BOXES, LABELS, seed(0), NOTHING, (80, 120), "warp")
    np.testing.assert_array_equal(resized, image)
    np.testing.assert_allclose(boxes, BOXES, atol=1e-6)
    np.testing.assert_array_equal(labels, LABELS)


@pytest.mark.parametrize("number", range(60))
def test_boxes_follow_the_marks_in_the_image(number: int) -> None:
    """Whatever was drawn: where a box is said to be there is its colour, up to rounding."""
    image, boxes, labels = (part.numpy() for part in run_all(marked_image(), BOXES, LABELS, seed(number)))
    for box, label in zip(boxes, labels, strict=True):
        mask = (image[..., label - 1] > 200) & (image[..., 2 - label] < 60) & (image[..., 2] < 60)
        rows, columns = np.nonzero(mask)
        found = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / 100
        np.testing.assert_allclose(box, found, atol=0.021)


def test_thousands_of_draws_give_no_box_outside_or_without_area() -> None:
    rng = np.random.default_rng(0)
    for number in range(2000):
        low = rng.uniform(0, 0.9, (5, 2))
        boxes = np.concatenate([low, low + rng.uniform(0.001, 0.1, (5, 2))], axis=1).astype(np.float32)
        _, boxes, labels = run_all(np.zeros((30, 40, 3), np.uint8), boxes, np.ones(5, np.int32), seed(number))
        assert len(boxes) == len(labels)
        assert np.all(boxes.numpy() >= 0)
        assert np.all(boxes.numpy() <= 1)
        assert np.all(boxes.numpy()[:, 2:] > boxes.numpy()[:, :2])


def test_images_without_objects_pass_through() -> None:
    image, boxes, _ = run_all(marked_image(), np.zeros((0, 4), np.float32), np.zeros(0, np.int32), seed(1))
    assert image.shape == (100, 100, 3)
    assert boxes.shape == (0, 4)


def test_boxes_in_a_window_by_hand() -> None:
    """The window is the left half: one box is inside, one is cut, one has its centre outside."""
    boxes = np.array([[0.1, 0.1, 0.2, 0.3], [0.3, 0.2, 0.6, 0.4], [0.4, 0.2, 0.8, 0.4]], np.float32)
    kept, labels = boxes_in_window(boxes, np.array([1, 2, 3]), tf.constant([0.0, 0.0, 0.5, 1.0]), None)
    np.testing.assert_allclose(kept, [[0.2, 0.1, 0.4, 0.3], [0.6, 0.2, 1.0, 0.4]], atol=1e-6)
    np.testing.assert_array_equal(labels, [1, 2])


def test_expansion_happens_as_often_and_as_far_as_asked() -> None:
    draw = tf.function(lambda number: expand_window(Expand(probability=0.5, max_ratio=4), number))
    windows = np.array([draw(seed(number)) for number in range(4000)])
    sides = windows[:, 2] - windows[:, 0]
    expanded = sides > 1
    assert expanded.mean() == pytest.approx(0.5, abs=0.03)
    assert sides[expanded].mean() == pytest.approx(2.5, abs=0.06)
    assert sides.max() <= 4
    assert np.all(windows[:, :2] <= 0)
    assert np.all(windows[:, 2:] >= 1)


def test_every_sampler_is_chosen_equally_often_when_all_succeed() -> None:
    """One object as large as the image: IoU is the window's area, so each bound leaves its mark."""
    params = PatchCrop(min_ious=(0.0, 0.5), scale=(0.3, 1.0))
    boxes = tf.constant([[0.0, 0.0, 1.0, 1.0]])
    draw = tf.function(lambda number: crop_window(boxes, params, number))
    windows = np.array([draw(seed(number)) for number in range(4000)])
    areas = (windows[:, 2] - windows[:, 0]) * (windows[:, 3] - windows[:, 1])
    assert (areas == 1).mean() == pytest.approx(1 / 3, abs=0.03)
    # scale² >= 0.5 with scale uniform in (0.3, 1) has probability (1 - 0.7071) / 0.7 = 0.418
    below = (areas < 0.5).mean()
    assert below == pytest.approx((1 - 0.418) / 3, abs=0.03)


def test_a_window_overlaps_some_object_as_much_as_its_sampler_demands() -> None:
    params = PatchCrop(min_ious=(0.7,), trials=200)
    box = np.array([0.2, 0.2, 0.9, 0.8])
    draw = tf.function(lambda number: crop_window(tf.constant(box[None], tf.float32), params, number))
    for window in (draw(seed(number)).numpy() for number in range(100)):
        inter = np.prod(np.minimum(window[2:], box[2:]) - np.maximum(window[:2], box[:2]))
        union = np.prod(window[2:] - window[:2]) + np.prod(box[2:] - box[:2]) - inter
        assert tuple(window) == (0, 0, 1, 1) or inter / union >= 0.7 - 1e-6


def test_without_objects_no_sampler_succeeds() -> None:
    window = crop_window(tf.zeros((0, 4)), PatchCrop(), seed(3))
    np.testing.assert_array_equal(window, [0, 0, 1, 1])


def test_windows_have_the_scale_and_shape_asked_for() -> None:
    windows = _random_windows(20_000, PatchCrop(), seed(0)).numpy()
    width, height = windows[:, 2] - windows[:, 0], windows[:, 3] - windows[:, 1]
    scale, ratio = np.sqrt(width * height), width / height
    assert 0.299 <= scale.min() <= 0.31
    assert 0.99 <= scale.max() <= 1.0001
    assert ratio.min() >= 0.5 - 1e-4
    assert ratio.max() <= 2 + 1e-3
    assert windows.min() >= -1e-6
    assert windows.max() <= 1 + 1e-6


@pytest.mark.parametrize(
    ("flips", "box"),
    [
        ({"horizontal_flip": 1.0}, [0.5, 0.25, 0.75, 0.5]),
        ({"vertical_flip": 1.0}, [0.25, 0.5, 0.5, 0.75]),
    ],
)
def test_flips_by_hand(flips: dict[str, float], box: list[float]) -> None:
    params = NOTHING.model_copy(update=flips)
    _, boxes = flip(marked_image().astype(np.float32), BOXES, params, seed(0))
    np.testing.assert_allclose(boxes[0], box, atol=1e-6)


def test_flips_happen_as_often_as_asked() -> None:
    params = NOTHING.model_copy(update={"horizontal_flip": 0.3})
    draw = tf.function(lambda number: flip(tf.zeros((1, 1, 3)), BOXES, params, number)[1])
    flipped = [draw(seed(number))[0, 0] > 0.3 for number in range(2000)]
    assert np.mean(flipped) == pytest.approx(0.3, abs=0.035)


def test_space_around_an_expanded_image_has_the_mean_colour() -> None:
    params = NOTHING.model_copy(update={"expand": Expand(probability=1.0, max_ratio=4.0)})
    image, _, _ = augment(np.full((50, 50, 3), 255, np.uint8), BOXES, LABELS, seed(2), params, (60, 60), "warp")
    colours = {tuple(colour) for colour in image.numpy().reshape(-1, 3).round(3)}
    assert colours == {(255.0, 255.0, 255.0), (123.0, 117.0, 104.0)}


def test_saturation_of_red_by_hand() -> None:
    """Half the saturation of (200, 0, 0) at the same value is (200, 100, 100)."""
    only = Photometric(probability=1, brightness=0, contrast=(1, 1), saturation=(0.5, 0.5), hue=0)
    found = photometric_distortion(tf.constant([[[200.0, 0.0, 0.0]]]), only, seed(0))
    np.testing.assert_allclose(found, [[[200, 100, 100]]], atol=0.01)


def test_hue_turns_by_no_more_than_asked_and_keeps_the_value() -> None:
    only = Photometric(probability=1, brightness=0, contrast=(1, 1), saturation=(1, 1), hue=60)
    draw = tf.function(lambda number: photometric_distortion(tf.constant([[[200.0, 0.0, 0.0]]]), only, number))
    found = np.array([draw(seed(number))[0, 0] for number in range(200)])
    # Red turned by up to 60 degrees: green grows up to yellow, or blue up to magenta.
    np.testing.assert_allclose(found[:, 0], 200, atol=0.1)
    assert np.abs(found[:, 1:].min(axis=1)).max() < 0.1
    assert found[:, 1].max() > 150
    assert found[:, 2].max() > 150
    assert found[:, 1:].max() <= 200.1


def test_colour_distortion_of_grey_stays_within_its_bounds() -> None:
    """Grey has no hue: 100 ± 32, times 0.5 to 1.5, is 34 to 198; with no draw it stays 100."""
    grey = tf.fill((1, 1, 3), 100.0)
    draw = tf.function(lambda number: photometric_distortion(grey, Photometric(), number))
    values = np.array([draw(seed(number))[0, 0, 0] for number in range(3000)])
    assert values.min() >= 34 - 1e-3
    assert values.max() <= 198 + 1e-3
    assert (np.abs(values - 100) < 1e-3).mean() == pytest.approx(0.25, abs=0.03)
