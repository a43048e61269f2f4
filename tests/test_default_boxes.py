"""Default boxes of the presets against numbers worked by hand and a loop over every cell."""

import math
from itertools import pairwise

import numpy as np
import pytest

from ssdcore.geometry.default_boxes import cell_sizes, default_boxes_xyxy
from ssdcore.params import DefaultBoxes, presets

MODELS = {
    "ssd300-voc": presets.ssd300("voc"),
    "ssd300-coco": presets.ssd300("coco"),
    "ssd512-voc": presets.ssd512("voc", truncate_sizes=False),
    "ssd512-coco": presets.ssd512("coco", truncate_sizes=False),
    "mobilenet": presets.mobilenet_ssd300(),
}
MAPS = {
    "ssd300-voc": (38, 19, 10, 5, 3, 1),
    "ssd300-coco": (38, 19, 10, 5, 3, 1),
    "ssd512-voc": (64, 32, 16, 8, 4, 2, 1),
    "ssd512-coco": (64, 32, 16, 8, 4, 2, 1),
    "mobilenet": (19, 10, 5, 3, 2, 1),
}
SMALL = DefaultBoxes(min_sizes=(4, 8), max_sizes=(9, None), aspect_ratios=((4,), ()), steps=(2, 4))


def boxes_of(name, **changes):
    spec = MODELS[name].default_boxes.model_copy(update=changes)
    return default_boxes_xyxy(spec, MODELS[name].image_size, [(side, side) for side in MAPS[name]])


def to_pixels(box, height, width):
    """Centre and size, px, of one normalised box."""
    left, top, right, bottom = (float(value) for value in box)
    return [(left + right) / 2 * width, (top + bottom) / 2 * height, (right - left) * width, (bottom - top) * height]


def brute_cell(small, large, ratios, truncate):
    """Widths and heights of the boxes of one cell, in order."""
    if truncate:
        small, large = int(small), large and int(large)
    shapes = [(small, small)]
    if large:
        shapes.append((math.sqrt(small * large), math.sqrt(small * large)))
    for ratio in ratios:
        for shape in (ratio, 1 / ratio):
            shapes.append((small * math.sqrt(shape), small / math.sqrt(shape)))
    return shapes


def brute_boxes(spec, image_size, map_sizes):
    """All boxes one after the other, from the formula."""
    height, width = image_size
    found = []
    for source, (rows, columns) in enumerate(map_sizes):
        down, across = (spec.steps[source],) * 2 if spec.steps else (height / rows, width / columns)
        shapes = brute_cell(
            spec.min_sizes[source], spec.max_sizes[source], spec.aspect_ratios[source], spec.truncate_sizes
        )
        for row in range(rows):
            for column in range(columns):
                x, y = (column + spec.offset) * across, (row + spec.offset) * down
                for wide, high in shapes:
                    corners = (x - wide / 2, y - high / 2, x + wide / 2, y + high / 2)
                    found.append([value / side for value, side in zip(corners, (width, height) * 2, strict=True)])
    return [[min(max(value, 0), 1) for value in box] for box in found] if spec.clip else found


@pytest.mark.parametrize(
    ("name", "counts", "total"),
    [
        ("ssd300-voc", (5776, 2166, 600, 150, 36, 4), 8732),
        ("ssd300-coco", (5776, 2166, 600, 150, 36, 4), 8732),
        ("ssd512-voc", (16384, 6144, 1536, 384, 96, 16, 4), 24564),
        ("ssd512-coco", (16384, 6144, 1536, 384, 96, 16, 4), 24564),
        ("mobilenet", (1083, 600, 150, 54, 24, 6), 1917),
    ],
)
def test_number_of_default_boxes(name, counts, total):
    assert MODELS[name].feature_maps == MAPS[name]
    per_cell = MODELS[name].default_boxes.boxes_per_cell()
    assert tuple(side * side * boxes for side, boxes in zip(MAPS[name], per_cell, strict=True)) == counts
    assert tuple(len(sizes) for sizes in cell_sizes(MODELS[name].default_boxes)) == per_cell
    assert boxes_of(name).shape == (total, 4)
    assert boxes_of(name).dtype == np.float32


# Index, then centre and size in px. Sizes by hand: min, sqrt(min * max), min * sqrt(r) by min / sqrt(r).
BY_HAND = {
    "ssd300-voc": [
        (0, 4, 4, 30, 30),
        (1, 4, 4, 42.426407, 42.426407),
        (2, 4, 4, 42.426407, 21.213203),
        (3, 4, 4, 21.213203, 42.426407),
        (4, 12, 4, 30, 30),
        (152, 4, 12, 30, 30),
        (5772, 300, 300, 30, 30),
        (5775, 300, 300, 21.213203, 42.426407),
        (5776, 8, 8, 60, 60),
        (5777, 8, 8, 81.608823, 81.608823),
        (5778, 8, 8, 84.852814, 42.426407),
        (5779, 8, 8, 42.426407, 84.852814),
        (5780, 8, 8, 103.923048, 34.641016),
        (5781, 8, 8, 34.641016, 103.923048),
        (5782, 24, 8, 60, 60),
        (7941, 296, 296, 34.641016, 103.923048),
        (7942, 16, 16, 111, 111),
        (7943, 16, 16, 134.09698, 134.09698),
        (8541, 304, 304, 64.08588, 192.25764),
        (8542, 32, 32, 162, 162),
        (8691, 288, 288, 93.530744, 280.592231),
        (8692, 50, 50, 213, 213),
        (8693, 50, 50, 237.132874, 237.132874),
        (8724, 250, 250, 213, 213),
        (8728, 150, 150, 264, 264),
        (8729, 150, 150, 288.374756, 288.374756),
        (8730, 150, 150, 373.35238, 186.67619),
        (8731, 150, 150, 186.67619, 373.35238),
    ],
    "ssd300-coco": [
        (0, 4, 4, 21, 21),
        (1, 4, 4, 30.740852, 30.740852),
        (2, 4, 4, 29.698485, 14.849242),
        (3, 4, 4, 14.849242, 29.698485),
        (5776, 8, 8, 45, 45),
        (5777, 8, 8, 66.745786, 66.745786),
        (5780, 8, 8, 77.942286, 25.980762),
        (8728, 150, 150, 261, 261),
        (8729, 150, 150, 286.731582, 286.731582),
        (8731, 150, 150, 184.55487, 369.10974),
    ],
    "ssd512-voc": [
        (0, 4, 4, 35.84, 35.84),
        (1, 4, 4, 52.464388, 52.464388),
        (3, 4, 4, 25.342707, 50.685414),
        (16383, 508, 508, 25.342707, 50.685414),
        (16384, 8, 8, 76.8, 76.8),
        (16385, 8, 8, 108.611602, 108.611602),
        (16388, 8, 8, 133.021502, 44.340501),
        (24560, 256, 256, 460.8, 460.8),
        (24561, 256, 256, 497.720886, 497.720886),
        (24562, 256, 256, 651.66961, 325.834805),
    ],
    "ssd512-coco": [
        (0, 4, 4, 20.48, 20.48),
        (1, 4, 4, 32.381723, 32.381723),
        (2, 4, 4, 28.963094, 14.481547),
        (16384, 8, 8, 51.2, 51.2),
        (16385, 8, 8, 82.557519, 82.557519),
        (24561, 256, 256, 500.085369, 500.085369),
        (24563, 256, 256, 325.834805, 651.66961),
    ],
    "mobilenet": [
        (0, 7.894737, 7.894737, 60, 60),
        (1, 7.894737, 7.894737, 84.852814, 42.426407),
        (2, 7.894737, 7.894737, 42.426407, 84.852814),
        (3, 23.684211, 7.894737, 60, 60),
        (57, 7.894737, 23.684211, 60, 60),
        (1080, 292.105263, 292.105263, 60, 60),
        (1083, 15, 15, 105, 105),
        (1084, 15, 15, 125.499004, 125.499004),
        (1085, 15, 15, 148.492424, 74.246212),
        (1087, 15, 15, 181.865335, 60.621778),
        (1683, 30, 30, 150, 150),
        (1833, 50, 50, 195, 195),
        (1834, 50, 50, 216.333077, 216.333077),
        (1887, 75, 75, 240, 240),
        (1911, 150, 150, 285, 285),
        (1912, 150, 150, 292.40383, 292.40383),
        (1916, 150, 150, 164.544827, 493.63448),
    ],
}


@pytest.mark.parametrize("name", BY_HAND)
def test_boxes_worked_by_hand(name):
    boxes, side = boxes_of(name), MODELS[name].image_size[0]
    for index, *expected in BY_HAND[name]:
        np.testing.assert_allclose(to_pixels(boxes[index], side, side), expected, atol=1e-4, err_msg=f"box {index}")


def test_boxes_are_corners_normalised_to_the_image():
    # Centre (4, 4) px and 30 x 30 px in a 300 px image reach from -11 to 19 px.
    np.testing.assert_allclose(boxes_of("ssd300-voc")[0], [-11 / 300, -11 / 300, 19 / 300, 19 / 300], atol=1e-7)


@pytest.mark.parametrize("changes", [{}, {"truncate_sizes": True}, {"clip": True}, {"steps": None}, {"offset": 0.25}])
@pytest.mark.parametrize("name", ["ssd300-voc", "ssd512-coco", "mobilenet"])
def test_all_boxes_equal_the_loop(name, changes):
    spec = MODELS[name].default_boxes.model_copy(update=changes)
    expected = brute_boxes(spec, MODELS[name].image_size, [(side, side) for side in MAPS[name]])
    np.testing.assert_allclose(boxes_of(name, **changes), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "source", "sizes"),
    [
        ("ssd512-voc", 0, (35, 51.575188, 49.497475, 24.748737)),
        ("ssd512-voc", 1, (76, 107.833205, 107.480231, 53.740115)),
        ("ssd512-voc", 6, (460, 497.011066, 650.538239, 325.269119)),
        ("ssd512-coco", 0, (20, 31.937439, 28.284271, 14.142136)),
        ("ssd512-coco", 1, (51, 82.35897, 72.124892, 36.062446)),
        ("ssd512-coco", 6, (460, 499.319537, 650.538239, 325.269119)),
    ],
)
def test_sizes_truncated_as_in_caffe(name, source, sizes):
    spec = MODELS[name].default_boxes.model_copy(update={"truncate_sizes": True})
    small, large, wide, high = sizes
    expected = [(small, small), (large, large), (wide, high), (high, wide)]
    np.testing.assert_allclose(cell_sizes(spec)[source][:4], expected, atol=1e-5)


def test_all_sizes_of_the_512_sets_truncated():
    squares = {}
    for name, dataset in (("ssd512-voc", "voc"), ("ssd512-coco", "coco")):
        spec = presets.ssd512(dataset).default_boxes
        squares[name] = [(sizes[0][0], round(sizes[1][0] ** 2)) for sizes in cell_sizes(spec)]
    voc, coco = (35, 76, 153, 230, 307, 384, 460, 537), (20, 51, 133, 215, 296, 378, 460, 542)
    assert squares["ssd512-voc"] == [(small, small * large) for small, large in pairwise(voc)]
    assert squares["ssd512-coco"] == [(small, small * large) for small, large in pairwise(coco)]


def test_without_maximum_a_cell_has_no_large_square():
    spec = MODELS["mobilenet"].default_boxes
    first = cell_sizes(spec)[0]
    np.testing.assert_allclose(first, [(60, 60), (84.852814, 42.426407), (42.426407, 84.852814)], atol=1e-5)


def test_order_is_source_row_column_shape():
    boxes = default_boxes_xyxy(SMALL, (8, 8), [(2, 2), (1, 1)])
    pixels = [to_pixels(box, 8, 8) for box in boxes]
    shapes = [(4, 4), (6, 6), (8, 2), (2, 8)]
    centres = [(1, 1), (3, 1), (1, 3), (3, 3)]
    expected = [(*centre, *shape) for centre in centres for shape in shapes] + [(2, 2, 8, 8)]
    np.testing.assert_allclose(pixels, expected, atol=1e-5)


def test_without_steps_cells_divide_a_image_that_is_not_square():
    spec = SMALL.model_copy(update={"steps": None})
    boxes = default_boxes_xyxy(spec, (20, 60), [(2, 3), (1, 1)])
    centres = [to_pixels(box, 20, 60)[:2] for box in boxes]
    cells = [(10, 5), (30, 5), (50, 5), (10, 15), (30, 15), (50, 15)]
    np.testing.assert_allclose(centres, [cell for cell in cells for _ in range(4)] + [(30, 10)], atol=1e-5)


def test_sizes_are_pixels_in_a_image_that_is_not_square():
    boxes = default_boxes_xyxy(SMALL, (20, 60), [(1, 1), (1, 1)])
    np.testing.assert_allclose(boxes[0], [-1 / 60, -1 / 20, 3 / 60, 3 / 20], atol=1e-6)
    np.testing.assert_allclose(boxes[2], [-3 / 60, 0, 5 / 60, 2 / 20], atol=1e-6)


@pytest.mark.parametrize("steps", [None, (2, 4)])
def test_boxes_of_images_that_are_not_square_equal_the_loop(steps):
    spec = SMALL.model_copy(update={"steps": steps, "offset": 0.4})
    for image_size, maps in (((20, 60), [(2, 5), (1, 3)]), ((50, 24), [(7, 3), (4, 1)])):
        expected = brute_boxes(spec, image_size, maps)
        np.testing.assert_allclose(default_boxes_xyxy(spec, image_size, maps), expected, atol=1e-6)


def test_clip_cuts_boxes_at_the_edges_and_is_off_by_default():
    free, cut = boxes_of("ssd300-voc"), boxes_of("ssd300-voc", clip=True)
    assert free.min() < 0
    assert free.max() > 1
    np.testing.assert_allclose(cut[0], [0, 0, 19 / 300, 19 / 300], atol=1e-7)
    np.testing.assert_allclose(cut[8731], [(150 - 93.338095) / 300, 0, (150 + 93.338095) / 300, 1], atol=1e-6)


def test_as_many_maps_as_sources_are_needed():
    with pytest.raises(ValueError, match="zip"):
        default_boxes_xyxy(SMALL, (8, 8), [(2, 2)])
