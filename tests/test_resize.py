"""How a record becomes network input, and how boxes find their way back: against the definitions.

`scale_of` and `positions` are the whole reference: a mode has a scale, network px per image px,
and shows the image's centre at the centre of the input. Everything else follows from that.
"""

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ssdcore.contract.plugins import Plugins
from ssdcore.data.annotations import Annotation
from ssdcore.data.images import UprightImage
from ssdcore.data.pipeline import evaluation_batches, training_stream
from ssdcore.data.records.index import RecordIndex
from ssdcore.data.records.record import EncodedImage, decode, read_part, serialize, size_of
from ssdcore.data.resize import resize_image, resize_part
from ssdcore.data.validation import ValidBox
from ssdcore.detection.detector import Detector, read_image
from ssdcore.detection.predict import _inside, make_predict
from ssdcore.geometry.boxes import from_window_xyxy, to_window_xyxy
from ssdcore.model import SSD, build_ssd
from ssdcore.model.postprocess import DetectionBatch
from ssdcore.params import AugmentParams, DataParams, EvalParams

MODES = ("warp", "pad", "central_crop")
NETWORKS = ((100, 100), (60, 90))
IMAGES = ((40, 60), (120, 50), (333, 101), (77, 301), (50, 640), (641, 427), (7, 5), (1, 1), (1, 500), (60, 90))
MEAN = (123, 117, 104)


def scale_of(mode: str, network: tuple[int, int], image: tuple[int, int]) -> tuple[float, float]:
    """Network px per image px, along y and x."""
    across = network[0] / image[0], network[1] / image[1]
    if mode == "warp":
        return across
    return (1.0, 1.0) if mode == "central_crop" else (min(1.0, *across),) * 2


def positions(mode: str, network: tuple[int, int], image: tuple[int, int]) -> list[np.ndarray]:
    """For each row and each column of the input: where in the image its middle lies, in shares."""
    scales = scale_of(mode, network, image)
    return [
        (np.arange(small) + 0.5 - small / 2) / scale / side + 0.5
        for small, side, scale in zip(network, image, scales, strict=True)
    ]


def gradient(height: int, width: int) -> np.ndarray:
    """An image whose red tells x, whose green tells y, and whose blue is 200."""
    y, x = np.mgrid[:height, :width]
    red, green = 30 + 180 * (x + 0.5) / width, 30 + 180 * (y + 0.5) / height
    return np.stack([red, green, np.full_like(red, 200)], axis=-1).round().astype(np.uint8)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


def marked(height: int, width: int, mark: tuple[int, int, int, int]) -> np.ndarray:
    """A black image with a red rectangle (left, top, right, bottom), px."""
    image = np.zeros((height, width, 3), np.uint8)
    image[mark[1] : mark[3], mark[0] : mark[2], 0] = 255
    return image


def mark_extent(image: np.ndarray) -> np.ndarray:
    """xyxy px of what is red."""
    rows, columns = np.nonzero(image[..., 0] - image[..., 1] > 127)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


def middle_mark(height: int, width: int) -> tuple[int, int, int, int]:
    """A mark off the middle that every mode shows whole on the networks of this file."""
    return width // 2 - 20, height // 2 - 12, width // 2 + 10, height // 2 + 16


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("image", IMAGES)
def test_every_pixel_shows_the_place_that_the_definition_says(image, mode, network) -> None:
    """To one network pixel and half an image's pixel, which is as far as edges are rounded."""
    resized, _ = (part.numpy() for part in resize_image(gradient(*image), network, mode))
    assert resized.shape == (*network, 3)
    shown = resized[..., 2] > 150  # the image's blue is 200, the frame's is 104
    inside, outside = [], []
    for axis, share in enumerate(positions(mode, network, image)):
        pixel = 1 / (scale_of(mode, network, image)[axis] * image[axis])
        inside.append((share > pixel) & (share < 1 - pixel))
        outside.append((share < -pixel) | (share > 1 + pixel))
        found = (resized[..., 1 - axis] * shown).sum(axis=1 - axis) / np.maximum(shown.sum(axis=1 - axis), 1)
        error = np.abs(found - (30 + 180 * share))[inside[axis]]
        assert np.all(error <= 180 * (pixel + 0.5 / image[axis]) + 0.6)
    assert np.all(resized[np.ix_(*inside)][..., 2] == 200)
    frame = outside[0][:, None] | outside[1][None, :]
    np.testing.assert_allclose(resized[frame], np.tile(MEAN, (frame.sum(), 1)), atol=1e-4)


def brute_pad(image: np.ndarray, network: tuple[int, int]) -> np.ndarray:
    """By OpenCV; only where the image's place on the canvas is whole pixels."""
    factor = min(1, network[0] / image.shape[0], network[1] / image.shape[1])
    height, width = (round(side * factor) for side in image.shape[:2])
    small = cv2.resize(image.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    canvas = np.tile(np.float32(MEAN), (*network, 1))
    top, left = (network[0] - height) // 2, (network[1] - width) // 2
    canvas[top : top + height, left : left + width] = small
    return canvas


@pytest.mark.parametrize("image", [(240, 120), (120, 300), (30, 40), (60, 90), (600, 900), (60, 20), (2, 2)])
def test_padding_equals_opencv(image) -> None:
    resized, _ = resize_image(noise(*image), (60, 90), "pad")
    np.testing.assert_allclose(resized, brute_pad(noise(*image), (60, 90)), atol=0.01)


@pytest.mark.parametrize("image", IMAGES)
def test_warping_equals_opencv(image) -> None:
    resized, window = resize_image(noise(*image), (60, 90), "warp")
    expected = cv2.resize(noise(*image).astype(np.float32), (90, 60), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(resized, expected, atol=0.05)
    np.testing.assert_array_equal(window, [0, 0, 1, 1])


@pytest.mark.parametrize("size", [(40, 50), (90, 120), (210, 170)])
@pytest.mark.parametrize(
    ("method", "flag", "tolerance"),
    [
        ("bilinear", cv2.INTER_LINEAR, 0.1),
        ("nearest", cv2.INTER_NEAREST_EXACT, 8),
        ("bicubic", cv2.INTER_CUBIC, 1),
        ("area", cv2.INTER_AREA, 8),
        ("lanczos3", cv2.INTER_LANCZOS4, 1),
    ],
)
def test_interpolations_equal_opencv_on_a_smooth_image(method, flag, tolerance, size) -> None:
    y, x = np.mgrid[:90, :120] / 90
    smooth = np.stack([np.sin(5 * x + 2 * y), np.cos(4 * y), np.cos(3 * x * y)], axis=-1) * 100 + 128
    found = resize_part(tf.constant(smooth.astype(np.uint8)), tf.constant([0.0, 0.0, 1.0, 1.0]), size, method)
    expected = cv2.resize(smooth.astype(np.uint8).astype(np.float32), size[::-1], interpolation=flag)
    assert np.abs(found - expected).max() <= tolerance
    assert np.abs(found - expected).mean() <= tolerance / 4


def brute_central(image: np.ndarray, network: tuple[int, int], round_offset) -> np.ndarray:
    """Cut, or put on the mean colour, around the centre, pixel by pixel."""
    canvas = np.tile(np.float32(MEAN), (*network, 1))
    top, left = (round_offset((net - side) / 2) for net, side in zip(network, image.shape[:2], strict=True))
    for y in range(max(top, 0), min(top + image.shape[0], network[0])):
        for x in range(max(left, 0), min(left + image.shape[1], network[1])):
            canvas[y, x] = image[y - top, x - left]
    return canvas


@pytest.mark.parametrize("image", [(20, 30), (60, 90), (80, 50), (110, 200), (50, 190)])
def test_central_crop_keeps_pixels_as_they_are(image) -> None:
    resized, _ = resize_image(noise(*image), (60, 90), "central_crop")
    np.testing.assert_array_equal(resized, brute_central(noise(*image), (60, 90), int))


@pytest.mark.parametrize("mode", ["pad", "central_crop"])
def test_odd_images_at_their_own_scale_are_not_resampled(mode) -> None:
    """The middle is between pixels then, so either neighbour will do."""
    network, wrong = (60, 60), []
    for side in range(1, 160 if mode == "central_crop" else 60):
        image = resize_image(noise(side, side), network, mode)[0].numpy()
        either = [brute_central(noise(side, side), network, way) for way in (math.floor, math.ceil)]
        if not any(np.array_equal(image, expected) for expected in either):
            wrong.append(side)
    assert wrong == []


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("image", [(60, 90), (45, 61), (333, 101), (77, 301), (450, 640)])
def test_boxes_seen_from_the_window_lie_on_the_marks(image, mode, network) -> None:
    mark = middle_mark(*image)
    resized, window = resize_image(marked(*image, mark), network, mode)
    sides = np.float32([image[1], image[0]] * 2)
    seen = to_window_xyxy(tf.constant([mark], tf.float32) / sides, window)[0] * np.float32([network[1], network[0]] * 2)
    np.testing.assert_allclose(seen, mark_extent(resized.numpy()), atol=1.01)


def test_from_window_by_hand_and_as_the_inverse() -> None:
    """A window of sides 2 and 0.5 at (-0.5, 0.25): (0.25, 0.5) is 0 and 0.5 in the image."""
    windows = np.float32([[-0.5, 0.25, 1.5, 0.75], [0, 0, 1, 1]])
    boxes = np.float32([[[0.25, 0.5, 0.5, 1.0]], [[0.1, 0.2, 0.3, 0.4]]])
    found = from_window_xyxy(boxes, windows[:, None])
    np.testing.assert_allclose(found, [[[0.0, 0.5, 0.5, 0.75]], [[0.1, 0.2, 0.3, 0.4]]], atol=1e-6)
    rng = np.random.default_rng(0)
    for _ in range(50):
        window = np.float32([*rng.uniform(-3, 0.4, 2), *rng.uniform(0.6, 4, 2)])
        boxes = rng.uniform(-2, 2, (7, 4)).astype(np.float32)
        np.testing.assert_allclose(from_window_xyxy(to_window_xyxy(boxes, window), window), boxes, atol=1e-5)


def find_mark(images: tf.Tensor, training: bool) -> dict[str, tf.Tensor]:
    """A network that sees red: one default box, the whole input, moved onto the mark by variances 0.1 and 0.2."""
    assert not training
    red = images[..., 0] - images[..., 1] > 127
    ends = []
    for any_red in (tf.reduce_any(red, axis=1), tf.reduce_any(red, axis=2)):
        seen = tf.cast(any_red, tf.int32)
        side = tf.shape(seen)[1]
        low, high = tf.argmax(seen, axis=1, output_type=tf.int32), side - tf.argmax(seen[:, ::-1], 1, tf.int32)
        ends.append((tf.cast(low / side, tf.float32), tf.cast(high / side, tf.float32)))
    centre = [((low + high) / 2 - 0.5) / 0.1 for low, high in ends]
    size = [tf.math.log(high - low) / 0.2 for low, high in ends]
    logits = tf.tile([[[0.0, 5.0]]], [tf.shape(images)[0], 1, 1])
    return {"logits": logits, "offsets": tf.stack(centre + size, axis=1)[:, None]}


@pytest.fixture(scope="module")
def seer(plugins: Plugins):
    """A function from a mode to a detector of marks, with an input of 60 by 90 px."""

    def make(mode: str) -> SSD:
        params = plugins.param_sets["mobilenet025-ssd300"].override(
            ["model.image_size=[60, 90]", f"data.resize={mode}"]
        )
        whole = np.float32([[0, 0, 1, 1]])
        return SSD(find_mark, SimpleNamespace(), whole, (), ("mark",), params.model, params.data.resize)

    return make


@pytest.mark.parametrize("mode", MODES)
def test_detections_are_in_pixels_of_the_original_image(mode, seer) -> None:
    """Images of several sizes in one batch; to a pixel of the input, as a box cannot be told better."""
    sizes = [(60, 90), (45, 61), (333, 101), (77, 301), (450, 640), (51, 51)]
    images = [marked(*size, middle_mark(*size)) for size in sizes]
    for size, found in zip(sizes, Detector(seer(mode), EvalParams())(images), strict=True):
        pixel = 1 / np.array(scale_of(mode, (60, 90), size))[[1, 0, 1, 0]]
        assert np.all(np.abs(found.boxes - middle_mark(*size)) <= np.maximum(pixel, 1) + 0.51)


def test_of_a_mark_that_the_crop_cuts_the_visible_part_is_found(seer) -> None:
    """The crop of 60 by 90 px shows rows 70 to 130 and columns 105 to 195."""
    found = Detector(seer("central_crop"), EvalParams())(marked(200, 300, (20, 90, 150, 190)))
    np.testing.assert_allclose(found.boxes, [[105, 90, 150, 130]], atol=0.01)


@pytest.mark.parametrize("mode", MODES)
def test_evaluation_carries_each_images_window(mode, seer) -> None:
    """Batches of differently shaped images: windows as defined, and detections on the true boxes."""
    sizes = [(60, 90), (333, 101), (120, 50), (77, 301), (50, 640)]
    records = tf.data.Dataset.from_tensor_slices([record(size) for size in sizes])
    predict, seen = make_predict(seer(mode), EvalParams()), 0
    for batch in evaluation_batches(records, (60, 90), mode, 2):
        boxes = predict(batch.images, batch.windows).boxes[:, 0]
        for index in range(len(batch.images)):
            size = sizes[seen]
            np.testing.assert_array_equal(batch.sizes[index], size)
            assert_window(batch.windows[index].numpy(), mode, size)
            pixel = np.maximum(1 / np.array(scale_of(mode, (60, 90), size)), 1)[[1, 0, 1, 0]]
            error = np.abs(boxes[index] - batch.boxes[index, 0]) * np.float32([size[1], size[0]] * 2)
            assert np.all(error <= pixel + 0.51)
            seen += 1
    assert seen == len(sizes)


def record(size: tuple[int, int]) -> bytes:
    height, width = size
    mark = middle_mark(height, width)
    box = (mark[0] / width, mark[1] / height, mark[2] / width, mark[3] / height)
    return serialize("any", as_png(marked(height, width, mark)), [ValidBox(Annotation("mark", mark), box)], ("mark",))


def as_png(image: np.ndarray) -> UprightImage:
    return UprightImage(tf.io.encode_png(image).numpy(), image.shape[:2], ())


def assert_window(window: np.ndarray, mode: str, size: tuple[int, int]) -> None:
    """Around the middle, as large as the input divided by the scale; edges are whole pixels."""
    shares = (np.array([60, 90]) / scale_of(mode, (60, 90), size) / size)[::-1]
    expected = np.concatenate([0.5 - shares / 2, 0.5 + shares / 2])
    pixels = (window - expected) * np.array([size[1], size[0], size[1], size[0]])
    assert np.abs(pixels).max() <= 1.01


@pytest.fixture(scope="module")
def real(plugins: Plugins) -> SSD:
    keras.utils.set_random_seed(3)
    return build_ssd(plugins.param_sets["mobilenet025-ssd300"], ("one", "two"), plugins)


def with_mode(ssd: SSD, mode: str) -> SSD:
    return replace(ssd, resize=mode)


def test_a_real_network_finds_in_a_padded_image_what_it_finds_in_one_padded_by_hand(real: SSD) -> None:
    """600 by 400 px of 2x2 equal pixels shrink to exactly 300 by 200, with 50 px on either side."""
    small = noise(300, 200)
    by_hand = np.tile(np.uint8(MEAN), (300, 300, 1))
    by_hand[:, 50:250] = small
    padded = Detector(with_mode(real, "pad"), EvalParams())(small.repeat(2, axis=0).repeat(2, axis=1))
    warped = Detector(with_mode(real, "warp"), EvalParams())(by_hand)
    expected = np.clip((warped.boxes - [50, 0, 50, 0]) * 2, 0, [400, 600, 400, 600])
    inside = (expected[:, 2] > expected[:, 0]) & (expected[:, 3] > expected[:, 1])
    assert len(padded) == inside.sum() > 50
    assert not inside.all()  # some lie wholly in the padding
    np.testing.assert_array_equal(padded.labels, warped.labels[inside])
    np.testing.assert_allclose(padded.scores, warped.scores[inside], atol=1e-5)
    np.testing.assert_allclose(padded.boxes, expected[inside], atol=0.02)


@pytest.mark.parametrize("mode", MODES)
def test_a_image_turned_by_its_exif_data_is_detected_upright(mode, seer, tmp_path: Path) -> None:
    """Orientation 6: the stored image has to be turned by 90° with the clock."""
    upright = marked(80, 120, (16, 24, 64, 56))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(upright)).save(tmp_path / "turned.jpg", quality=98, subsampling=0, exif=exif)
    image = read_image(tmp_path / "turned.jpg")
    assert image.shape == (80, 120, 3)
    np.testing.assert_allclose(image[28:52, 20:60].mean(axis=(0, 1)), [255, 0, 0], atol=4)
    found = Detector(seer(mode), EvalParams())(tmp_path / "turned.jpg")
    np.testing.assert_allclose(found.boxes, [[16, 24, 64, 56]], atol=2.1)


LEARNT = {  # by the treatment of difficult objects, then that of groups: train, ignore, drop; 0 is dropped
    "train": {"train": [1, 2, 3, 1], "ignore": [1, 2, -1, -1], "drop": [1, 2, 0, 0]},
    "ignore": {"train": [1, -1, 3, -1], "ignore": [1, -1, -1, -1], "drop": [1, -1, 0, 0]},
    "drop": {"train": [1, 0, 3, 0], "ignore": [1, 0, -1, 0], "drop": [1, 0, 0, 0]},
}


@pytest.mark.parametrize("crowd", LEARNT)
@pytest.mark.parametrize("difficult", LEARNT)
def test_marked_objects_are_learnt_ignored_or_dropped(difficult: str, crowd: str, tmp_path: Path) -> None:
    """A plain object of class a, a difficult b, a group of c, and a difficult group of a."""
    boxes = np.float32([[0.25 * n, 0.25, 0.25 * n + 0.25, 0.5] for n in range(4)])
    marks = ((False, False), (True, False), (False, True), (True, True))
    objects = [
        ValidBox(Annotation(name, box, difficult=hard, crowd=group), box)
        for name, box, (hard, group) in zip("abca", boxes, marks, strict=True)
    ]
    with tf.io.TFRecordWriter(str(tmp_path / "one")) as writer:
        writer.write(serialize("any", as_png(noise(20, 20)), objects, ("a", "b", "c")))
    plain = AugmentParams(photometric=None, expand=None, crop=None, horizontal_flip=0, interpolations=("bilinear",))
    data = DataParams(difficult=difficult, crowd=crowd)
    index = RecordIndex([tmp_path / "one"])
    found = next(training_stream(index, (1, 0), 0, (20, 20), data, plain).as_numpy_iterator())
    labels = np.array(LEARNT[difficult][crowd])
    np.testing.assert_array_equal(found.labels, labels[labels != 0])
    np.testing.assert_array_equal(found.boxes, boxes[labels != 0])
    np.testing.assert_array_equal(found.image, noise(20, 20))


def test_detections_in_the_padding_are_dropped_and_the_others_move_up() -> None:
    """By hand: of four detections the second has no area, and the fourth is padding of the batch."""
    boxes = np.array([[[0, 0, 0.5, 0.5], [0, 0.2, 0, 0.6], [0.1, 0.1, 0.2, 0.2], [0, 0, 0, 0]]], np.float32)
    scores, labels = np.array([[0.9, 0.8, 0.7, 0]], np.float32), np.array([[1, 2, 3, 0]], np.int32)
    found = _inside(DetectionBatch(*(tf.constant(part) for part in (boxes, scores, labels)), tf.constant([3])))
    assert found.counts.numpy().tolist() == [2]
    np.testing.assert_allclose(found.scores, [[0.9, 0.7, 0, 0]])
    assert found.labels.numpy().tolist() == [[1, 3, 0, 0]]
    np.testing.assert_allclose(found.boxes[0, 1], boxes[0, 2])


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_a_part_of_an_encoded_image_is_that_part_of_the_whole(form: str) -> None:
    """Decoding only a part may differ from cutting it out at the seams of JPEG's blocks, by rounding."""
    pixels = cv2.GaussianBlur(noise(150, 200), (0, 0), 4)
    encoded = cv2.imencode(".jpg" if form == "JPEG" else ".png", pixels)[1].tobytes()
    whole = decode(tf.constant(encoded))
    image = EncodedImage(tf.constant(encoded), tf.constant([150, 200], tf.int64))
    assert size_of(image).numpy().tolist() == [150, 200]
    for left, top, right, bottom in ((0, 0, 200, 150), (13, 7, 14, 8), (31, 17, 190, 149)):
        found = read_part(image, tf.constant([left, top, right, bottom]))
        expected = whole[top:bottom, left:right].numpy().astype(int)
        assert found.shape == (bottom - top, right - left, 3)
        assert np.abs(found.numpy() - expected).max() <= 2
