"""How default boxes cover objects, the proposal of better ones, and `ssd anchors`."""

import json
import math
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml

from ssdcore.contract.plugins import Plugins
from ssdcore.data.convert import convert
from ssdcore.data.formats import read_labelled
from ssdcore.data.synth import synthesize
from ssdcore.errors import DataError
from ssdcore.geometry.default_boxes import default_boxes_xyxy
from ssdcore.geometry.propose import LEAST_GAIN, _Score, kmeans_iou, propose, shape_iou
from ssdcore.geometry.recall import BAND_NAMES, best_boxes, sampled_recall, size_bands, sizes_px
from ssdcore.params import DefaultBoxes, ParamSet, presets

Run = Callable[..., subprocess.CompletedProcess[str]]

SIZE = (64, 96)
MAPS = [(8, 12), (4, 6), (1, 1)]
SPEC = DefaultBoxes(min_sizes=(8, 20, 50), max_sizes=(20, None, 60), aspect_ratios=((2,), (2, 3), ()))
PER_LAYER = [8 * 12 * 4, 4 * 6 * 5, 2]
SSD300 = presets.ssd300("voc")
MAPS300 = [(38, 38), (19, 19), (10, 10), (5, 5), (3, 3), (1, 1)]
TINY = DefaultBoxes(min_sizes=(200, 240), max_sizes=(240, 280), aspect_ratios=((2,), (2, 3)), steps=(8, 16))


def random_boxes(count, low=0.02, high=0.5, seed=0):
    """Normalised xyxy boxes inside the image."""
    rng = np.random.default_rng(seed)
    sides = np.exp(rng.uniform(np.log(low), np.log(high), (count, 2)))
    corner = rng.uniform(0, 1 - sides)
    return np.concatenate([corner, corner + sides], axis=1).astype(np.float32)


def brute_iou(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (areas - shared)


# --- recall


@pytest.mark.parametrize("clip", [False, True])
def test_best_boxes_equal_a_loop_over_all_pairs(clip):
    boxes = default_boxes_xyxy(SPEC.model_copy(update={"clip": clip}), SIZE, MAPS)
    objects = random_boxes(60)
    table = np.array([[brute_iou(one, other) for other in boxes.tolist()] for one in objects.tolist()])
    found = best_boxes(objects, boxes)
    np.testing.assert_allclose(found.ious, table.max(axis=1), atol=1e-5)
    np.testing.assert_allclose(table[np.arange(60), found.indices], table.max(axis=1), atol=1e-5)
    recall = found.recall(0.5)
    assert recall.objects == 60
    assert recall.recall == pytest.approx(np.mean(table.max(axis=1) >= 0.5))
    assert recall.mean_iou == pytest.approx(table.max(axis=1).mean(), abs=1e-6)


def test_chunks_do_not_show():
    boxes, objects = default_boxes_xyxy(SSD300.default_boxes, (300, 300), MAPS300), random_boxes(50)
    alone = [best_boxes(one[None], boxes) for one in objects]
    together = best_boxes(objects, boxes)
    assert together.ious.tolist() == [one.ious[0] for one in alone]
    assert together.indices.tolist() == [one.indices[0] for one in alone]


def test_object_equal_to_a_default_box_overlaps_it_wholly_and_counts_for_its_layer():
    boxes = default_boxes_xyxy(SPEC, SIZE, MAPS)
    wanted = [5, PER_LAYER[0] + 7, sum(PER_LAYER) - 1]
    found = best_boxes(boxes[wanted], boxes)
    np.testing.assert_allclose(found.ious, 1, atol=1e-6)
    assert found.indices.tolist() == wanted
    assert found.per_layer(PER_LAYER) == (1, 1, 1)
    assert best_boxes(boxes[:9], boxes).per_layer(PER_LAYER) == (9, 0, 0)


def test_thin_object_is_missed_and_a_square_one_is_not():
    boxes = default_boxes_xyxy(SSD300.default_boxes, (300, 300), MAPS300)
    thin, square = [0.1, 0.5, 0.9, 0.51], [0.4, 0.4, 0.6, 0.6]
    found = best_boxes(np.array([thin, square]), boxes)
    assert found.ious[0] < 0.2
    assert found.ious[1] > 0.6
    assert found.recall(0.5)[:2] == (2, 0.5)
    assert found.recall(0.5, np.array([False, True]))[:2] == (1, 1.0)


def test_recall_counts_an_overlap_at_the_threshold():
    half = best_boxes(np.array([[0, 0, 0.5, 0.25]]), np.array([[0, 0, 0.5, 0.5]]))
    assert half.ious.tolist() == [0.5]
    assert half.recall(0.5).recall == 1.0
    assert half.recall(0.5001).recall == 0.0


def test_no_objects_miss_nothing():
    boxes = default_boxes_xyxy(SPEC, SIZE, MAPS)
    found = best_boxes(np.empty((0, 4)), boxes)
    assert found.recall(0.5) == (0, 1.0, 1.0)
    assert found.per_layer(PER_LAYER) == (0, 0, 0)
    assert sampled_recall(np.empty((0, 4)), boxes, 0.5).recall == 1.0


def test_object_without_area_overlaps_nothing():
    assert best_boxes(np.array([[0.5, 0.5, 0.5, 0.7]]), default_boxes_xyxy(SPEC, SIZE, MAPS)).ious.tolist() == [0]


@pytest.mark.parametrize(
    ("side", "band"),
    [(1, 0), (15.99, 0), (16, 1), (31.99, 1), (32, 2), (63.9, 2), (64, 3), (127, 3), (128, 4), (255, 4), (256, 5)],
)
def test_size_bands_at_their_edges(side, band):
    for left in (0, 0.01, 0.1):  # corners in float32 must not move an object over an edge
        box = np.array([[left, left, left + side / 300, left + side / 300]], np.float32)
        assert size_bands(box, (300, 300)).tolist() == [band]
    assert len(BAND_NAMES) == 6


def test_sizes_are_px_of_an_input_that_is_not_square():
    box = np.array([[0.25, 0.5, 0.75, 0.75]])
    np.testing.assert_allclose(sizes_px(box, (64, 256)), [[128, 16]])
    assert size_bands(box, (64, 256)).tolist() == [2]  # sqrt(128 * 16) = 45 px


def test_sampled_recall_is_that_of_all_objects_where_they_are_few_and_near_it_where_many():
    boxes, objects = default_boxes_xyxy(SPEC, SIZE, MAPS), random_boxes(6000)
    whole = best_boxes(objects, boxes).recall(0.5)
    assert sampled_recall(objects[:500], boxes, 0.5) == best_boxes(objects[:500], boxes).recall(0.5)
    sample = sampled_recall(objects, boxes, 0.5)
    assert sample == sampled_recall(objects, boxes, 0.5)
    assert sample.objects == 2000
    assert abs(sample.recall - whole.recall) < 0.05


# --- clusters


def test_shape_iou_by_hand():
    found = shape_iou(np.array([[4.0, 4.0], [2.0, 8.0]]), np.array([[4.0, 4.0], [8.0, 2.0]]))
    np.testing.assert_allclose(found, [[1, 8 / 24], [8 / 24, 4 / 28]])


def test_kmeans_recovers_planted_clusters():
    planted = np.array([[10, 12], [40, 15], [15, 45], [120, 110]])
    rng = np.random.default_rng(0)
    sizes = np.concatenate([centre * np.exp(rng.normal(0, 0.05, (200, 2))) for centre in planted])
    found = kmeans_iou(sizes, 4)
    order = np.argsort(planted.prod(axis=1))
    np.testing.assert_allclose(found, planted[order], rtol=0.02)
    np.testing.assert_array_equal(found, kmeans_iou(sizes, 4))


def test_kmeans_of_fewer_sizes_than_clusters_repeats_them():
    sizes = np.array([[10.0, 20.0], [10.0, 20.0], [40.0, 40.0]])
    found = kmeans_iou(sizes, 5)
    assert found.shape == (5, 2)
    assert {tuple(one) for one in found.tolist()} == {(10.0, 20.0), (40.0, 40.0)}


# --- proposals


@pytest.mark.parametrize("spec", [SPEC, SPEC.model_copy(update={"steps": (8, 16, 64), "offset": 0.4})])
def test_score_of_the_search_equals_recall_of_all_pairs(spec):
    objects = random_boxes(300)
    found = best_boxes(objects, default_boxes_xyxy(spec, SIZE, MAPS)).recall(0.5)
    score = [_Score(objects, spec, SIZE, MAPS, match_iou)(spec) for match_iou in (0.5, 2.0)]
    assert score[1] == pytest.approx(found.mean_iou, abs=1e-5)
    assert score[0] - score[1] == pytest.approx(10 * found.recall, abs=1e-4)


def assert_same_head(new, old):
    """The proposal is valid, and heads, steps and the rest stay as they are."""
    assert DefaultBoxes.model_validate(new.model_dump()) == new
    assert new.boxes_per_cell() == old.boxes_per_cell()
    assert [one is None for one in new.max_sizes] == [one is None for one in old.max_sizes]
    kept = {"steps", "offset", "clip", "truncate_sizes"}
    assert new.model_dump(include=kept) == old.model_dump(include=kept)
    assert all(one < other for one, other in pairwise(new.min_sizes))
    assert all(ratio > 1 and round(ratio, 2) == ratio for ratios in new.aspect_ratios for ratio in ratios)


MODELS = {
    "ssd300": (SSD300, {}),
    "clipped": (SSD300, {"clip": True}),
    "ssd512-truncated": (presets.ssd512("voc"), {}),
    "mobilenet": (presets.mobilenet_ssd300(), {}),
}


@pytest.mark.parametrize("name", MODELS)
def test_proposal_for_small_objects_keeps_the_head_and_raises_recall(name):
    model, changes = MODELS[name]
    spec, maps = model.default_boxes.model_copy(update=changes), [(side, side) for side in model.feature_maps]
    objects = random_boxes(300, 12 / model.image_size[0], 36 / model.image_size[0])
    found = propose(objects, spec, model.image_size, maps, 0.5)
    assert_same_head(found.default_boxes, spec)
    assert found.improves
    before, after = found.before.recall(0.5), found.after.recall(0.5)
    assert after.recall > before.recall + 0.15
    assert before == best_boxes(objects, default_boxes_xyxy(spec, model.image_size, maps)).recall(0.5)
    assert after == best_boxes(objects, default_boxes_xyxy(found.default_boxes, model.image_size, maps)).recall(0.5)
    for large, above in zip(found.default_boxes.max_sizes[:-1], found.default_boxes.min_sizes[1:], strict=True):
        assert large in (above, None)


def test_proposal_is_the_same_every_time():
    objects = random_boxes(100, 0.1, 0.3)
    one, other = (propose(objects, TINY, (300, 300), MAPS300[:2], 0.5) for _ in range(2))
    assert one.default_boxes == other.default_boxes


@pytest.mark.parametrize("side", [0.5, 2.0, 290.0])
@pytest.mark.parametrize("count", [1, 40])
def test_proposal_for_one_object_and_for_tiny_and_huge_ones(count, side):
    objects = random_boxes(count, 0.9 * side / 300, 1.02 * side / 300)
    for truncate in (False, True):
        spec = SSD300.default_boxes.model_copy(update={"truncate_sizes": truncate})
        found = propose(objects, spec, (300, 300), MAPS300, 0.5)
        assert_same_head(found.default_boxes, spec)
        assert found.after.recall(0.5).recall >= found.before.recall(0.5).recall


def test_thin_objects_get_higher_ratios():
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 0.6, (200, 2))
    objects = np.concatenate([corner, corner + rng.uniform((0.3, 0.04), (0.4, 0.06), (200, 2))], axis=1)
    found = propose(objects, SSD300.default_boxes, (300, 300), MAPS300, 0.5)
    assert found.improves
    assert max(map(max, found.default_boxes.aspect_ratios)) > 4


def test_a_set_that_fits_is_left_alone():
    boxes = default_boxes_xyxy(SSD300.default_boxes, (300, 300), MAPS300)
    found = propose(boxes[5776::7], SSD300.default_boxes, (300, 300), MAPS300, 0.5)
    assert found.before.recall(0.5).mean_iou > 1 - LEAST_GAIN
    assert not found.improves


@pytest.mark.parametrize("changes", [{"aspect_ratios": ((0.5,), (1.0, 2.0))}, {"min_sizes": (240, 200)}])
def test_sets_of_another_order_can_be_replaced(changes):
    spec = TINY.model_copy(update=changes)
    found = propose(random_boxes(100, 0.05, 0.2), spec, (300, 300), MAPS300[:2], 0.5)
    assert found.improves
    assert_same_head(found.default_boxes, spec)


def test_no_objects_are_a_clear_error():
    with pytest.raises(DataError, match="no objects"):
        propose(np.empty((0, 4), np.float32), SPEC, SIZE, MAPS, 0.5)


# --- the command


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("anchors")
    synthesize(root / "voc", 30, 5, seed=1)
    convert(read_labelled(root / "voc"), root / "records")
    return root / "records"


@pytest.fixture(scope="module")
def ssd(ssd_in_process: Run) -> Run:
    return ssd_in_process


TOO_LARGE = (
    "model.default_boxes.min_sizes=[150,170,190,210,230,264]",
    "model.default_boxes.max_sizes=[170,190,210,230,264,290]",
)
FEW = ("--params", "mobilenet025-ssd300", *TOO_LARGE)


def test_table_proposal_plot_and_written_set(ssd: Run, records: Path, tmp_path: Path, plugins: Plugins) -> None:
    out, plot = tmp_path / "better.yaml", tmp_path / "sizes.png"
    done = ssd("anchors", records, *FEW, "--write", out, "--plot", plot)
    assert done.returncode == 0, done.stderr
    objects = json.loads((records / "manifest.json").read_text())["splits"]["trainval"]["objects"]
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[1] for row in rows if row[:1] == ["all"]] == [str(objects)] * 2
    assert {"circle", "square", "triangle", "32-64", "64-128"} <= {row[0] for row in rows if row}
    served = [int(row[2]) for row in rows if len(row) == 3 and "x" in row[1]]
    assert (len(served), sum(served)) == (6, objects)
    assert "proposed default boxes: recall " in done.stdout
    written = ParamSet.load(out)
    lines = [line.strip('"') for line in done.stdout.splitlines() if line.startswith('"model.')]
    current = plugins.param_sets["mobilenet025-ssd300"].override(TOO_LARGE)
    assert current.override(lines) == written
    assert_same_head(written.model.default_boxes, current.model.default_boxes)
    assert plot.read_bytes().startswith(b"\x89PNG")
    again = ssd("anchors", records, *FEW, "--write", out)
    assert (again.returncode, again.stdout, again.stderr.count("\n")) == (1, "", 1)
    assert "exists already" in again.stderr
    assert ParamSet.load(out) == written


def test_json_tells_the_same_and_recall_rises(ssd: Run, records: Path) -> None:
    done = ssd("anchors", records, *FEW, "--json", "--split", "trainval")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    count = found["all"]["objects"]
    assert sum(one["objects"] for one in found["classes"].values()) == count
    assert sum(one["objects"] for one in found["sizes"].values()) == count
    assert sum(one["objects"] for one in found["layers"]) == count
    mean = sum(one["objects"] * one["recall"] for one in found["classes"].values()) / count
    assert math.isclose(mean, found["all"]["recall"])
    assert found["all"]["recall"] < 0.5
    assert found["proposal"]["recall"] > 0.95
    values = [yaml.safe_load(line.partition("=")[2]) for line in found["proposal"]["overrides"]]
    assert values == [found["proposal"]["default_boxes"][key] for key in ("min_sizes", "max_sizes", "aspect_ratios")]


@pytest.mark.parametrize(
    ("arguments", "telling"),
    [
        (["--plot", "sizes.gif"], ".png"),
        (["--write", "nowhere/new.yaml"], "nowhere"),
        (["--split", "trian"], "'trian'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_clear_line(ssd: Run, records: Path, arguments: list[str], telling: str) -> None:
    done = ssd("anchors", records, *FEW, *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("error: ")
    assert telling in done.stderr


def test_records_without_objects_to_learn_from_are_one_clear_line(ssd: Run, tmp_path: Path) -> None:
    synthesize(tmp_path / "voc", 2, 1)
    for path in (tmp_path / "voc/Annotations").iterdir():
        path.write_text(path.read_text().replace("<difficult>0", "<difficult>1"))
    convert(read_labelled(tmp_path / "voc"), tmp_path / "records")
    done = ssd("anchors", tmp_path / "records", *FEW, "data.difficult=drop")
    assert done.returncode == 1
    assert "no objects" in done.stderr.splitlines()[-1]
    assert "unexpected" not in done.stderr


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["mobilenet025-ssd300", "vgg16-ssd300"])
def test_bccd_recall_before_and_after(name: str, bccd: Path, tmp_path: Path, plugins: Plugins, ssd: Run) -> None:
    convert(read_labelled(bccd), tmp_path / "records")
    done = ssd("anchors", tmp_path / "records", "--params", name, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(name, found["all"], found["proposal"])
    assert found["all"]["recall"] > 0.95
    assert found["proposal"]["recall"] >= found["all"]["recall"]
    assert found["proposal"]["mean_iou"] > found["all"]["mean_iou"] + 0.02
