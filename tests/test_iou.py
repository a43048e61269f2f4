"""Overlaps in NumPy against values worked out by hand, and against loops over pixels."""

import numpy as np
import pytest

from ssdcore.geometry.iou import ios_matrix_xyxy, iou_matrix_xyxy

ONE = [(0, 0, 10, 10), (5, 5, 5, 9)]
OTHER = [(0, 0, 10, 10), (5, 0, 15, 10), (2, 2, 4, 7), (10, 10, 20, 20)]


def test_values_by_hand() -> None:
    # Intersections with the first box are 100, 50, 10 and 0; areas 100, 100, 10 and 100.
    np.testing.assert_allclose(iou_matrix_xyxy(ONE, OTHER), [[1, 1 / 3, 1 / 10, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(ios_matrix_xyxy(ONE, OTHER), [[1, 1 / 2, 1, 0], [0, 0, 0, 0]])
    # The last pixels belong to the boxes: areas 121, 121, 18 and 121, intersections 121, 66, 18 and 1.
    expected = [1, 66 / 176, 18 / 121, 1 / 241]
    np.testing.assert_allclose(iou_matrix_xyxy(ONE[:1], OTHER, inclusive_pixels=True), [expected])


def test_empty_boxes_and_no_boxes() -> None:
    assert iou_matrix_xyxy([(1, 1, 1, 1)], [(1, 1, 1, 1)]).tolist() == [[0]]
    assert ios_matrix_xyxy(np.zeros((0, 4)), OTHER).shape == (0, 4)
    assert iou_matrix_xyxy(ONE, []).shape == (2, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_random_boxes_as_by_counting_pixels(dtype: type) -> None:
    rng = np.random.default_rng(0)
    boxes = np.sort(rng.integers(0, 12, (30, 2, 2)), axis=1).reshape(-1, 4)
    masks = np.zeros((30, 12, 12), bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = True
    found = iou_matrix_xyxy(boxes.astype(dtype), boxes.astype(dtype))
    assert found.dtype == dtype
    for row, one in zip(found, masks, strict=True):
        expected = [(one & other).sum() / max((one | other).sum(), 1) for other in masks]
        np.testing.assert_allclose(row, expected, rtol=1e-6)
