"""Files of detections: written as the official programs want them, and scored as what was written."""

import io
import json
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from devkit import Guess, Thing, eleven_points, voc_ap, voc_eval_det
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from three_images import CLASSES, NAMES, OBJECTS, SIZE, three_images
from voc_files import write_voc

from ssdcore.data.convert import convert
from ssdcore.data.formats import read_labelled
from ssdcore.data.records.ground_truth import GroundTruth, read_ground_truth
from ssdcore.detection import Detections
from ssdcore.errors import DataError
from ssdcore.evaluation.read_results import evaluate_files, read_results
from ssdcore.evaluation.scores import Tally
from ssdcore.evaluation.write_results import write_results
from ssdcore.params import EvalParams


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return three_images(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def truths(data: Path) -> list[GroundTruth]:
    return read_ground_truth(data, "test")


def random_found(truths: list[GroundTruth], seed: int = 0) -> list[Detections]:
    """Detections as a network makes them: shares of the image in float32; some of equal scores."""
    rng = np.random.default_rng(seed)
    found = []
    for truth in truths:
        boxes = np.concatenate([np.repeat(truth.boxes, 4, axis=0), rng.uniform(0, 300, (10, 4))])
        boxes = np.sort((boxes + rng.normal(0, 8, boxes.shape)).reshape(-1, 2, 2), axis=1).reshape(-1, 4)
        labels = np.concatenate([np.repeat(truth.labels, 4), rng.integers(1, 4, 10)])
        scores = np.sort(rng.random(len(boxes)).astype(np.float32))[::-1].astype(np.float64)
        scores[3:6] = scores[3]
        sides = np.array([*SIZE[::-1], *SIZE[::-1]], np.float64)
        found.append(Detections((boxes / sides).astype(np.float32) * sides, scores, rng.permutation(labels), CLASSES))
    return found


def write(out: Path, truths: list[GroundTruth], found: list[Detections]) -> Path:
    with write_results(out, "test", CLASSES, truths) as add:
        for truth, one in zip(truths, found, strict=True):
            add(truth, one)
    return out


def scored(truths: list[GroundTruth], found: list[Detections], metric: str) -> dict:
    tally = Tally(CLASSES, [truth.name for truth in truths], EvalParams(metric=metric))
    for truth, one in zip(truths, found, strict=True):
        tally.add(truth, one)
    return tally.evaluation(None).as_dict()


def pycocotools_on(annotations: Path, results: Path) -> list[float]:
    with redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        scores = COCOeval(truth, truth.loadRes(str(results)), "bbox")
        scores.evaluate()
        scores.accumulate()
        scores.summarize()
    return scores.stats.tolist()


# --- what is to be found


def test_boxes_are_the_very_numbers_of_the_annotations(truths: list[GroundTruth]) -> None:
    assert {truth.name for truth in truths} == set(NAMES)
    for truth in truths:
        of_image = [one for one in OBJECTS if NAMES[one[0]] == truth.name]
        corners = [[x, y, round(x + w, 2), round(y + h, 2)] for _, _, (x, y, w, h), _, _ in of_image]
        assert truth.boxes.tolist() == corners
        assert truth.labels.tolist() == [label + 1 for _, label, *_ in of_image]
        assert truth.difficult.tolist() == [bool(ignore) for *_, ignore, _ in of_image]
        assert truth.crowd.tolist() == [bool(crowd) for *_, crowd in of_image]
        assert truth.size == SIZE


def test_vocs_numbers_are_taken_as_they_are(tmp_path: Path) -> None:
    """No 1 is taken from them, nor added to those of detections."""
    box = (1, 1, 353, 499)
    write_voc(tmp_path / "voc", {"a": [("cat", box)]}, size=(500, 353))
    convert(read_labelled(tmp_path / "voc"), tmp_path / "records")
    (truth,) = read_ground_truth(tmp_path / "records", "trainval")
    assert truth.boxes.tolist() == [list(box)]


# --- writing


def test_the_lines_of_the_files(truths: list[GroundTruth], tmp_path: Path) -> None:
    found = [Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64), CLASSES)] * len(truths)
    place = [truth.name for truth in truths].index("2008 x.1")
    boxes = np.array([[10.5, 20, 30.25, 60], [1, 2, 3, 4]])
    found[place] = Detections(boxes, np.array([0.75, float(np.float32(0.1))]), np.array([2, 1]), CLASSES)
    out = write(tmp_path / "out", truths, found)
    voc = {path.name: path.read_text() for path in out.glob("comp4*")}
    assert voc == {
        "comp4_det_test_cat.txt": "2008 x.1 0.10000000149011612 1.0 2.0 3.0 4.0\n",
        "comp4_det_test_polar bear.txt": "2008 x.1 0.75 10.5 20.0 30.25 60.0\n",
        "comp4_det_test_bear.txt": "",
    }
    annotations = json.loads((out / "coco_annotations.json").read_text())
    number = next(item["id"] for item in annotations["images"] if item["file_name"] == "2008 x.1.jpg")
    assert json.loads((out / "coco_results.json").read_text()) == [
        {"image_id": number, "category_id": 2, "bbox": [10.5, 20, 19.75, 40], "score": 0.75},
        {"image_id": number, "category_id": 1, "bbox": [1, 2, 2, 2], "score": 0.10000000149011612},
    ]
    assert [(item["id"], item["name"]) for item in annotations["categories"]] == list(enumerate(CLASSES, start=1))
    names = {item["id"]: item["file_name"].removesuffix(".jpg") for item in annotations["images"]}
    written = [
        (names[item["image_id"]], item["category_id"], item["bbox"], item["ignore"], item["iscrowd"], item["area"])
        for item in annotations["annotations"]
    ]
    expected = [
        (NAMES[image], label + 1, box, ignore, int(ignore or crowd), box[2] * box[3])
        for image, label, box, ignore, crowd in OBJECTS
    ]
    assert sorted(written) == sorted(expected)


def test_without_detections_the_files_are_whole(truths: list[GroundTruth], tmp_path: Path) -> None:
    none = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64), CLASSES)
    out = write(tmp_path / "out", truths, [none] * len(truths))
    assert json.loads((out / "coco_results.json").read_text()) == []
    for source in (out, out / "coco_results.json"):
        assert [len(one) for one, _ in read_results(source, truths, CLASSES).by_image()] == [0, 0, 0]


def test_files_that_were_not_finished_are_not_there(truths: list[GroundTruth], tmp_path: Path) -> None:
    with pytest.raises(KeyError), write_results(tmp_path / "out", "test", CLASSES, truths) as add:
        add(truths[0], random_found(truths)[0])
        raise KeyError
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_in_use_is_refused(truths: list[GroundTruth], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="exists already"):
        write(tmp_path, truths, [])


def test_classes_whose_names_are_no_file_names(truths: list[GroundTruth], tmp_path: Path) -> None:
    with write_results(tmp_path / "out", "test", ("a/b", "..\\c"), truths):
        pass
    files = {path.name for path in (tmp_path / "out").glob("*.txt")}
    assert files == {"comp4_det_test_a_b.txt", "comp4_det_test_.._c.txt"}
    with pytest.raises(DataError, match="two classes differ in"):
        write_results(tmp_path / "other", "test", ("a/b", "a_b"), truths).__enter__()


# --- scoring


@pytest.mark.parametrize("metric", ["voc07", "voc12", "coco"])
def test_files_score_as_what_was_written(data: Path, truths: list[GroundTruth], tmp_path: Path, metric: str) -> None:
    for seed in range(5):
        found = random_found(truths, seed)
        out, expected = write(tmp_path / f"out{seed}", truths, found), scored(truths, found, metric)
        assert expected["mean_average_precision"] > 0.02
        for source in (out, out / "coco_results.json"):
            assert evaluate_files(source, data, "test", EvalParams(metric=metric)).as_dict() == expected


def test_pycocotools_finds_the_same_on_the_files(truths: list[GroundTruth], tmp_path: Path) -> None:
    for seed in range(5):
        found = random_found(truths, seed)
        out = write(tmp_path / f"out{seed}", truths, found)
        twelve = scored(truths, found, "coco")["coco"]
        expected = pycocotools_on(out / "coco_annotations.json", out / "coco_results.json")
        assert [-1 if value is None else value for value in twelve.values()] == expected


@pytest.mark.parametrize("inclusive", [False, True])
def test_the_devkits_rule_finds_the_same_on_the_files(data: Path, truths, tmp_path: Path, inclusive: bool) -> None:
    out = write(tmp_path / "out", truths, random_found(truths))
    for metric, rule in (("voc07", eleven_points), ("voc12", voc_ap)):
        params = EvalParams(metric=metric, inclusive_pixels=inclusive)
        result = evaluate_files(out, data, "test", params).average_precisions
        for label, name in enumerate(CLASSES):
            lines = (out / f"comp4_det_test_{name}.txt").read_text().splitlines()
            guesses = {image: [] for image in NAMES}
            for line in lines:
                image, score, *box = line.rsplit(" ", 5)
                guesses[image].append(Guess(tuple(map(float, box)), float(score)))
            things = {image: [] for image in NAMES}
            for image, of, (x, y, w, h), ignore, crowd in OBJECTS:
                if of == label:
                    things[NAMES[image]].append(Thing((x, y, x + w, y + h), 1, bool(ignore or crowd)))
            order = [truth.name for truth in truths]
            images = [(things[image], guesses[image]) for image in order]
            precision, recall, wanted = voc_eval_det(images, 1, 0.5, int(inclusive))
            assert wanted
            assert result[name] == pytest.approx(rule(precision, recall), abs=1e-9)


def test_equal_scores_go_by_their_lines(data: Path, tmp_path: Path) -> None:
    """True in the last image, then false in the first: the devkit's sort is stable, whatever order images have."""
    right, wrong = "000007 0.5 10.01 20.02 310.04 220.06", "000012 0.5 300 300 310 310"
    for lines, expected in (((right, wrong), 1 / 2), ((wrong, right), 1 / 4)):
        (tmp_path / "comp3_det_val_cat.txt").write_text("\n".join(lines))
        found = evaluate_files(tmp_path, data, "test", EvalParams(metric="voc12"))
        assert found.average_precisions["cat"] == expected  # one of two objects, at precision 1 or 1/2


def test_files_are_scored_without_tensorflow(data: Path, truths: list[GroundTruth], tmp_path: Path) -> None:
    out = write(tmp_path / "out", truths, random_found(truths))
    code = "import sys; sys.modules['tensorflow'] = None\nfrom ssdcli.main import main\nmain(sys.argv[1:])"
    arguments = ["eval", str(out), "--data", str(data), "--metric", "coco", "--json"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = scored(truths, random_found(truths), "coco")
    assert json.loads(done.stdout) == {"detections": str(out), "split": "test", **expected}


# --- records


@pytest.mark.parametrize("place", [3, 40, -30])
def test_damaged_records_are_one_clear_error(data: Path, tmp_path: Path, place: int) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in data.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (shard,) = copy.glob("*.tfrecord")
    content = shard.read_bytes()
    shard.write_bytes(content[:place] if place < 0 else content[:place] + b"\xff" * 20 + content[place + 20 :])
    with pytest.raises(DataError, match=r"is damaged: .*; co"):
        read_ground_truth(copy, "test")
    shard.unlink()
    with pytest.raises(DataError, match="is missing; convert the data again"):
        read_ground_truth(copy, "test")
