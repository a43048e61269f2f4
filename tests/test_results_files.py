"""Files of detections: written as the official programs want them, read from whoever wrote them."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from devkit import Guess, Thing, eleven_points, voc_ap, voc_eval_det
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from voc_files import draw, write_voc

from ssdcore.data.convert import convert
from ssdcore.data.formats import read_labelled
from ssdcore.errors import DataError
from ssdcore.evaluation.files import evaluate_files
from ssdcore.evaluation.read_results import is_results, read_results
from ssdcore.evaluation.scores import Tally
from ssdcore.evaluation.truth import Found, Truth, read_truths
from ssdcore.evaluation.write_results import ResultFiles
from ssdcore.params import EvalParams

CLASSES = ("cat", "polar bear", "bear")
NAMES = ("000012", "000007", "2008 x.1")
SIZE = (333, 517)
# Picture, class, box as xywh, ignore, iscrowd.
OBJECTS = (
    (0, 0, [33.33, 41.07, 101.6, 77.77], 0, 0),
    (0, 1, [1, 2, 50, 60], 0, 0),
    (0, 1, [200, 2, 50, 60], 1, 0),
    (1, 0, [10.01, 20.02, 300.03, 200.04], 0, 0),
    (1, 2, [400, 300, 10, 20], 0, 1),
    (1, 2, [100, 100, 99, 99], 0, 0),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of three pictures of 517 x 333 px, the last without objects, in the split `test`."""
    root = tmp_path_factory.mktemp("results")
    (root / "coco/test").mkdir(parents=True)
    for seed, name in enumerate(NAMES):
        draw(root / f"coco/test/{name}.jpg", seed, SIZE)
    objects = [
        {"id": number, "image_id": picture, "category_id": label, "bbox": box, "ignore": ignore, "iscrowd": crowd}
        for number, (picture, label, box, ignore, crowd) in enumerate(OBJECTS)
    ]
    contents = {
        "images": [{"id": number, "file_name": f"{name}.jpg"} for number, name in enumerate(NAMES)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(CLASSES)],
        "annotations": objects,
    }
    (root / "coco/test.json").write_text(json.dumps(contents))
    convert(read_labelled(root / "coco"), root / "records", classes=CLASSES)
    return root / "records"


@pytest.fixture(scope="module")
def truths(data: Path) -> list[Truth]:
    return read_truths(data, "test")


def random_found(truths: list[Truth], seed: int = 0) -> list[Found]:
    """Detections as a network makes them: shares of the picture in float32; some of equal scores."""
    rng = np.random.default_rng(seed)
    found = []
    for truth in truths:
        boxes = np.concatenate([np.repeat(truth.boxes, 4, axis=0), rng.uniform(0, 300, (10, 4))])
        boxes = np.sort((boxes + rng.normal(0, 8, boxes.shape)).reshape(-1, 2, 2), axis=1).reshape(-1, 4)
        labels = np.concatenate([np.repeat(truth.labels, 4), rng.integers(1, 4, 10)])
        scores = np.sort(rng.random(len(boxes)).astype(np.float32))[::-1].astype(np.float64)
        scores[3:6] = scores[3]
        sides = np.array([*SIZE[::-1], *SIZE[::-1]], np.float64)
        found.append(Found((boxes / sides).astype(np.float32) * sides, scores, rng.permutation(labels)))
    return found


def write(out: Path, truths: list[Truth], found: list[Found]) -> Path:
    with ResultFiles(out, "test", CLASSES, truths) as files:
        for truth, one in zip(truths, found, strict=True):
            files.add(truth, one)
    return out


def scored(truths: list[Truth], found: list[Found], metric: str) -> dict:
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


def test_boxes_are_the_very_numbers_of_the_annotations(truths: list[Truth]) -> None:
    assert {truth.name for truth in truths} == set(NAMES)
    for truth in truths:
        of_picture = [one for one in OBJECTS if NAMES[one[0]] == truth.name]
        corners = [[x, y, round(x + w, 2), round(y + h, 2)] for _, _, (x, y, w, h), _, _ in of_picture]
        assert truth.boxes.tolist() == corners
        assert truth.labels.tolist() == [label + 1 for _, label, *_ in of_picture]
        assert truth.difficult.tolist() == [bool(ignore) for *_, ignore, _ in of_picture]
        assert truth.crowd.tolist() == [bool(crowd) for *_, crowd in of_picture]
        assert truth.size == SIZE


def test_vocs_numbers_are_taken_as_they_are(tmp_path: Path) -> None:
    """No 1 is taken from them, nor added to those of detections."""
    box = (1, 1, 353, 499)
    write_voc(tmp_path / "voc", {"a": [("cat", box)]}, size=(500, 353))
    convert(read_labelled(tmp_path / "voc"), tmp_path / "records")
    (truth,) = read_truths(tmp_path / "records", "trainval")
    assert truth.boxes.tolist() == [list(box)]


# --- writing


def test_the_lines_of_the_files(truths: list[Truth], tmp_path: Path) -> None:
    found = [Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))] * len(truths)
    place = [truth.name for truth in truths].index("2008 x.1")
    boxes = np.array([[10.5, 20, 30.25, 60], [1, 2, 3, 4]])
    found[place] = Found(boxes, np.array([0.75, float(np.float32(0.1))]), np.array([2, 1]))
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
        (NAMES[picture], label + 1, box, ignore, int(ignore or crowd), box[2] * box[3])
        for picture, label, box, ignore, crowd in OBJECTS
    ]
    assert sorted(written) == sorted(expected)


def test_without_detections_the_files_are_whole(truths: list[Truth], tmp_path: Path) -> None:
    none = Found(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
    out = write(tmp_path / "out", truths, [none] * len(truths))
    assert json.loads((out / "coco_results.json").read_text()) == []
    for source in (out, out / "coco_results.json"):
        assert [len(one.scores) for one in read_results(source, truths, CLASSES).by_picture()] == [0, 0, 0]


def test_files_that_were_not_finished_are_not_there(truths: list[Truth], tmp_path: Path) -> None:
    with pytest.raises(KeyError), ResultFiles(tmp_path / "out", "test", CLASSES, truths) as files:
        files.add(truths[0], random_found(truths)[0])
        raise KeyError
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_in_use_is_refused(truths: list[Truth], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="exists already"):
        ResultFiles(tmp_path, "test", CLASSES, truths)


def test_classes_whose_names_are_no_file_names(truths: list[Truth], tmp_path: Path) -> None:
    with ResultFiles(tmp_path / "out", "test", ("a/b", "..\\c"), truths):
        pass
    files = {path.name for path in (tmp_path / "out").glob("*.txt")}
    assert files == {"comp4_det_test_a_b.txt", "comp4_det_test_.._c.txt"}
    with pytest.raises(DataError, match="two classes differ in"):
        ResultFiles(tmp_path / "other", "test", ("a/b", "a_b"), truths)


# --- reading


@pytest.mark.parametrize("metric", ["voc07", "voc12", "coco"])
def test_files_score_as_what_was_written(data: Path, truths: list[Truth], tmp_path: Path, metric: str) -> None:
    for seed in range(5):
        found = random_found(truths, seed)
        out, expected = write(tmp_path / f"out{seed}", truths, found), scored(truths, found, metric)
        assert expected["mean_average_precision"] > 0.02
        for source in (out, out / "coco_results.json"):
            assert evaluate_files(source, data, "test", EvalParams(metric=metric)).as_dict() == expected


def test_pycocotools_finds_the_same_on_the_files(truths: list[Truth], tmp_path: Path) -> None:
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
            guesses = {picture: [] for picture in NAMES}
            for line in lines:
                picture, score, *box = line.rsplit(" ", 5)
                guesses[picture].append(Guess(tuple(map(float, box)), float(score)))
            things = {picture: [] for picture in NAMES}
            for picture, of, (x, y, w, h), ignore, crowd in OBJECTS:
                if of == label:
                    things[NAMES[picture]].append(Thing((x, y, x + w, y + h), 1, bool(ignore or crowd)))
            order = [truth.name for truth in truths]
            pictures = [(things[picture], guesses[picture]) for picture in order]
            precision, recall, wanted = voc_eval_det(pictures, 1, 0.5, int(inclusive))
            assert wanted
            assert result[name] == pytest.approx(rule(precision, recall), abs=1e-9)


def test_equal_scores_go_by_their_lines(data: Path, tmp_path: Path) -> None:
    """True in the last picture, then false in the first: the devkit's sort is stable, whatever order pictures have."""
    right, wrong = "000007 0.5 10.01 20.02 310.04 220.06", "000012 0.5 300 300 310 310"
    for lines, expected in (((right, wrong), 1 / 2), ((wrong, right), 1 / 4)):
        (tmp_path / "comp3_det_val_cat.txt").write_text("\n".join(lines))
        found = evaluate_files(tmp_path, data, "test", EvalParams(metric="voc12"))
        assert found.average_precisions["cat"] == expected  # one of two objects, at precision 1 or 1/2


def test_what_other_programs_write_is_read(truths: list[Truth], tmp_path: Path) -> None:
    lines = "\ufeff000012.jpg .5  1 2\t3 4\r\n\r\n2008 x.1 1e-3 -1 -2.5 3 4 \r\n"
    (tmp_path / "comp4_det_test_cat.txt").write_text(lines, "utf-8", newline="")
    (tmp_path / "comp4_det_test_polar bear.txt").write_text("000007 -7 1 1 1 1")
    found = dict(
        zip([truth.name for truth in truths], read_results(tmp_path, truths, CLASSES).by_picture(), strict=True)
    )
    assert found["000012"].boxes.tolist() == [[1, 2, 3, 4]]
    assert found["2008 x.1"].boxes.tolist() == [[-1, -2.5, 3, 4]]
    assert (found["000012"].scores.tolist(), found["2008 x.1"].scores.tolist()) == ([0.5], [0.001])
    assert (found["000007"].labels.tolist(), found["000007"].scores.tolist()) == ([2], [-7])


def test_the_longest_name_of_a_class_counts(truths: list[Truth], tmp_path: Path) -> None:
    (tmp_path / "comp4_det_my_val_bear.txt").write_text("000007 1 1 1 2 2")
    (one,) = [
        found for found in read_results(tmp_path, truths, (*CLASSES, "val_bear")).by_picture() if len(found.scores)
    ]
    assert one.labels.tolist() == [4]


LINES = {
    "few values": ("000012 0.5 1 2 3", "wanted 'picture score xmin ymin xmax ymax', found '000012 0.5 1 2 3'"),
    "no number": ("000012 high 1 2 3 4", "'high' is no number"),
    "not finite": ("000012 0.5 1 2 nan 4", "'nan' is no number"),
    "underscore": ("000012 0.5 1_0 2 30 4", "'1_0' is no number"),
    "another picture": ("000013 0.5 1 2 3 4", "the split has no picture '000013'"),
    "width for right": ("000012 0.5 50 60 10 10", "the box 50 60 10 10 is not xmin ymin xmax ymax"),
}


@pytest.mark.parametrize("fault", LINES)
def test_a_faulty_line_is_named(truths: list[Truth], tmp_path: Path, fault: str) -> None:
    line, telling = LINES[fault]
    file = tmp_path / "comp4_det_test_cat.txt"
    file.write_text(f"000012 0.5 1 2 3 4\n{line}\n")
    for source in (tmp_path, file):
        with pytest.raises(DataError) as caught:
            read_results(source, truths, CLASSES)
        assert str(caught.value) == f"detections cannot be read: {file}, line 2: {telling}"


def test_many_faulty_lines_are_one_message(truths: list[Truth], tmp_path: Path) -> None:
    (tmp_path / "comp4_det_test_cat.txt").write_text("x\n" * 50)
    with pytest.raises(DataError, match=r"line 1: .*line 2: .*line 3: [^;]*; and 47 more$"):
        read_results(tmp_path, truths, CLASSES)


RESULT = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}
ENTRIES: dict[str, tuple[object, str]] = {
    "picture": ({**RESULT, "image_id": 99}, "there is no image_id 99; say with --annotations what the numbers are"),
    "class": ({**RESULT, "category_id": "1"}, "there is no category_id '1'"),
    "no class": ({"image_id": 1}, "there is no category_id NoneType"),
    "list": ({**RESULT, "image_id": [1]}, "there is no image_id list"),
    "box": ({**RESULT, "bbox": [1, 2, 3]}, "it has no bbox of four numbers"),
    "side": ({**RESULT, "bbox": [1, 2, None, 4]}, "NoneType is no number"),
    "score": ({**RESULT, "score": True}, "True is no number"),
    "negative": ({**RESULT, "bbox": [5, 2, -3, 4]}, "the box 5 2 2 6 is not xmin ymin xmax ymax"),
    "no table": ([1], "it is no table of keys and values, but list"),
}


@pytest.mark.parametrize("fault", ENTRIES)
def test_a_faulty_result_is_named(truths: list[Truth], tmp_path: Path, fault: str) -> None:
    entry, telling = ENTRIES[fault]
    file = tmp_path / "results.json"
    file.write_text(json.dumps([RESULT, entry]))
    with pytest.raises(DataError) as caught:
        read_results(file, truths, CLASSES)
    assert str(caught.value).startswith(f"detections cannot be read: {file}, result 2: {telling}")


def test_the_numbers_of_another_file_of_annotations(truths: list[Truth], tmp_path: Path) -> None:
    contents = {
        "images": [
            {"id": 5, "file_name": "a/2008 x.1.png"},
            {"id": "six", "file_name": "000007.jpg"},
            {"id": 7, "file_name": "elsewhere.jpg"},
        ],
        "categories": [{"id": 90, "name": " bear"}, {"id": 3, "name": "ox"}],
    }
    (tmp_path / "truth.json").write_text(json.dumps(contents))
    rows = [{**RESULT, "image_id": 5, "category_id": 90}, {**RESULT, "image_id": "six", "category_id": 90}]
    (tmp_path / "results.json").write_text(json.dumps(rows))
    results = read_results(tmp_path / "results.json", truths, CLASSES, tmp_path / "truth.json")
    found = dict(zip([truth.name for truth in truths], results.by_picture(), strict=True))
    assert [found[name].labels.tolist() for name in ("2008 x.1", "000007", "000012")] == [[3], [3], []]
    for row in ({"image_id": 7, "category_id": 90}, {"image_id": 5, "category_id": 3}):
        (tmp_path / "results.json").write_text(json.dumps([{**RESULT, **row}]))
        with pytest.raises(DataError, match="result 1: there is no"):
            read_results(tmp_path / "results.json", truths, CLASSES, tmp_path / "truth.json")
    (tmp_path / "truth.json").write_text("[]")
    with pytest.raises(DataError, match="is no file of COCO's annotations"):
        read_results(tmp_path / "results.json", truths, CLASSES, tmp_path / "truth.json")


def two_splits(folder: Path) -> Path:
    for split in ("test", "val"):
        (folder / f"comp4_det_{split}_cat.txt").touch()
    return folder


def of_a_cow(folder: Path) -> Path:
    (folder / "comp4_det_test_polar_bears.txt").touch()
    return folder


def with_text(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


@pytest.mark.parametrize(
    ("make", "telling"),
    [
        (two_splits, "are of the same class"),
        (of_a_cow, "is of no class of the data: 'polar_bears'; did you mean 'polar bear'"),
        (with_text("r.json", b"{"), "is no JSON"),
        (with_text("r.json", b"{}"), "holds no list of results"),
        (with_text("r.json", b"\xff"), "is not UTF-8 text"),
        (with_text("comp4_det_test_cat.txt", b"\xff"), "is not UTF-8 text"),
        (lambda folder: folder / "absent.json", "cannot read .*absent.json: No such file"),
    ],
    ids=["two splits", "unknown class", "cut JSON", "table", "bytes in JSON", "bytes in text", "absent"],
)
def test_unusable_files_are_one_clear_error(truths: list[Truth], tmp_path: Path, make, telling: str) -> None:
    with pytest.raises(DataError, match=telling) as caught:
        read_results(make(tmp_path), truths, CLASSES)
    assert str(tmp_path) in str(caught.value)


def test_what_is_taken_for_detections(tmp_path: Path) -> None:
    assert not is_results(tmp_path)
    assert not is_results(tmp_path / "last.npz")
    assert is_results(tmp_path / "results.json")
    (tmp_path / "comp4_det_test_cat.txt").touch()
    assert is_results(tmp_path)


def test_files_are_scored_without_tensorflow(data: Path, truths: list[Truth], tmp_path: Path) -> None:
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
        read_truths(copy, "test")
    shard.unlink()
    with pytest.raises(DataError, match="is missing; convert the data again"):
        read_truths(copy, "test")
