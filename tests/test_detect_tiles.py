"""Tiled inference: where tiles lie, and what becomes of what they show."""

import numpy as np
import pytest
import supervision as sv
from detect_helpers import RedFinder, red_square
from ssdcli.detect.tiles import TiledDetector, tile_origins, without_duplicates

from ssdcore.detection import Detections


def test_tiles_by_hand() -> None:
    """100 px tiles that overlap by at least 25: steps of at most 75 px."""
    assert tile_origins((100, 100), 100, 0.25) == []
    assert tile_origins((100, 101), 100, 0.25) == [(0, 0), (1, 0)]
    assert tile_origins((60, 250), 100, 0.25) == [(0, 0), (75, 0), (150, 0)]
    assert tile_origins((251, 100), 100, 0.25) == [(0, 0), (0, 50), (0, 101), (0, 151)]
    assert tile_origins((150, 200), 100, 0.0) == [(0, 0), (100, 0), (0, 50), (100, 50)]


@pytest.mark.parametrize("size", [(800, 700), (333, 1001), (97, 96), (64, 2000)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.9])
def test_every_pixel_is_in_a_tile_and_neighbours_overlap(size: tuple[int, int], overlap: float) -> None:
    origins = tile_origins(size, 96, overlap)
    covered = np.zeros(size, bool)
    for left, top in origins:
        assert 0 <= left <= max(size[1] - 96, 0)
        assert 0 <= top <= max(size[0] - 96, 0)
        covered[top : top + 96, left : left + 96] = True
    assert covered.all()
    for starts in map(sorted, map(set, zip(*origins, strict=True))):
        assert all(step <= 96 * (1 - overlap) for step in np.diff(starts))


def test_merging_by_hand() -> None:
    """Box 0 keeps out 1 (IoU 0.6) and 2 (80 % inside), not 3 (IoU 1/3), 4 (60 % inside) and 5 (another class)."""
    boxes = [
        (0, 0, 100, 100),
        (0, 0, 100, 60),
        (90, 40, 102.5, 60),
        (50, 0, 150, 100),
        (-4, 0, 6, 10),
        (0, 0, 100, 100),
    ]
    scores, labels = [0.9, 0.8, 0.7, 0.6, 0.95, 0.5], [1, 1, 1, 1, 1, 2]
    kept = without_duplicates(np.float32(boxes), np.float32(scores), np.int32(labels))
    assert kept.tolist() == [4, 0, 3, 5]


def test_a_better_small_box_keeps_out_a_worse_large_one_around_it() -> None:
    kept = without_duplicates(
        np.float32([(0, 0, 100, 100), (10, 10, 20, 20)]), np.float32([0.5, 0.6]), np.int32([1, 1])
    )
    assert kept.tolist() == [1]


def test_merging_equals_a_plain_double_loop() -> None:
    rng = np.random.default_rng(3)
    low = rng.uniform(0, 120, (100, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 80, (100, 2))], axis=1).astype(np.float32)
    scores, labels = rng.permutation(100).astype(np.float32) / 100, rng.integers(1, 4, 100).astype(np.int32)
    expected: list[int] = []
    for place in sorted(range(100), key=lambda index: -scores[index]):
        if not any(
            labels[place] == labels[other] and show_one_object(boxes[place], boxes[other]) for other in expected
        ):
            expected.append(place)
    assert without_duplicates(boxes, scores, labels).tolist() == expected
    assert 20 < len(expected) < 90


def show_one_object(one: np.ndarray, other: np.ndarray) -> bool:
    """By supervision's two measures."""
    iou, ios = (sv.box_iou(one, other, measure) for measure in (sv.OverlapMetric.IOU, sv.OverlapMetric.IOS))
    return bool(iou > 0.45 or ios > 0.7)


def test_an_object_on_a_border_of_tiles_is_found_once_and_whole() -> None:
    """Tiles of 100 px at 0, 60 in both directions: one shows all of the square, the others parts."""
    detector = RedFinder()
    found = TiledDetector(detector, 100, 0.4)([red_square(70, 65)])
    assert detector.batches == [1 + 4]
    np.testing.assert_array_equal(found[0].boxes, [[70, 65, 110, 105]])


class Told:
    """Gives what it was told for the parts of an image, in turn."""

    classes = ("thing",)

    def __init__(self, *answers: list[tuple[float, ...]]) -> None:
        self.answers = answers

    def __call__(self, images: list[np.ndarray]) -> list[Detections]:
        assert len(images) == len(self.answers)
        rows = [np.float32(answer).reshape(-1, 5) for answer in self.answers]
        return [Detections(row[:, :4], row[:, 4], np.ones(len(row), np.int32), self.classes) for row in rows]


def test_the_whole_image_counts_for_what_is_longer_than_half_a_tile() -> None:
    """Two tiles of 100 px at 0 and 60. Tiles win for the small object, the whole image for the large one."""
    told = Told(
        [(10, 10, 60, 40, 0.9), (20, 20, 130, 90, 0.8)],  # the whole image: sides of 50, and of 110 px
        [(11, 11, 60, 41, 0.6), (20, 20, 100, 90, 0.7)],  # the second is cut, and inside the large one
        [(65, 0, 95, 30, 0.5)],
    )
    (found,) = TiledDetector(told, 100, 0.4)([np.zeros((100, 160, 3), np.uint8)])
    np.testing.assert_array_equal(found.boxes, [(20, 20, 130, 90), (11, 11, 60, 41), (125, 0, 155, 30)])
    np.testing.assert_array_equal(found.scores, np.float32([0.8, 0.6, 0.5]))


def test_images_of_a_batch_keep_apart_and_small_ones_are_not_cut() -> None:
    detector = RedFinder()
    images = [red_square(5, 5, 80, 80), red_square(110, 70, 160, 120), np.zeros((90, 300, 3), np.uint8)]
    found = TiledDetector(detector, 100, 0.25)(images)
    assert detector.batches == [1 + (1 + 4) + (1 + 4)]
    assert [one.boxes.tolist() for one in found] == [[[5, 5, 45, 45]], [[110, 70, 150, 110]], []]
