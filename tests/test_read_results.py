"""Files of detections, read from whoever wrote them; what is wrong is named."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from three_images import CLASSES, three_images

from ssdcore.data.records.ground_truth import GroundTruth, read_ground_truth
from ssdcore.detection import Detections
from ssdcore.errors import DataError
from ssdcore.evaluation.read_results import Results, is_results, read_results


@pytest.fixture(scope="module")
def truths(tmp_path_factory: pytest.TempPathFactory) -> list[GroundTruth]:
    return read_ground_truth(three_images(tmp_path_factory.mktemp("read")), "test")


def by_name(truths: list[GroundTruth], results: Results) -> dict[str, Detections]:
    return {truth.name: found for truth, (found, _) in zip(truths, results.by_image(), strict=True)}


def test_what_other_programs_write_is_read(truths: list[GroundTruth], tmp_path: Path) -> None:
    lines = "\ufeff000012.jpg .5  1 2\t3 4\r\n\r\n2008 x.1 1e-3 -1 -2.5 3 4 \r\n"
    (tmp_path / "comp4_det_test_cat.txt").write_text(lines, "utf-8", newline="")
    (tmp_path / "comp4_det_test_polar bear.txt").write_text("000007 -7 1 1 1 1")
    found = by_name(truths, read_results(tmp_path, truths, CLASSES))
    assert found["000012"].boxes.tolist() == [[1, 2, 3, 4]]
    assert found["2008 x.1"].boxes.tolist() == [[-1, -2.5, 3, 4]]
    assert (found["000012"].scores.tolist(), found["2008 x.1"].scores.tolist()) == ([0.5], [0.001])
    assert (found["000007"].labels.tolist(), found["000007"].scores.tolist()) == ([2], [-7])


def test_the_longest_name_of_a_class_counts(truths: list[GroundTruth], tmp_path: Path) -> None:
    (tmp_path / "comp4_det_my_val_bear.txt").write_text("000007 1 1 1 2 2")
    results = read_results(tmp_path, truths, (*CLASSES, "val_bear"))
    (one,) = [found for found, _ in results.by_image() if len(found)]
    assert one.labels.tolist() == [4]


LINES = {
    "few values": ("000012 0.5 1 2 3", "wanted 'image score xmin ymin xmax ymax', found '000012 0.5 1 2 3'"),
    "not a number": ("000012 high 1 2 3 4", "'high' is not a number"),
    "not finite": ("000012 0.5 1 2 nan 4", "'nan' is not a number"),
    "underscore": ("000012 0.5 1_0 2 30 4", "'1_0' is not a number"),
    "another image": ("000013 0.5 1 2 3 4", "the split has no image '000013'"),
    "width for right": ("000012 0.5 50 60 10 10", "the box 50 60 10 10 is not xmin ymin xmax ymax"),
}


@pytest.mark.parametrize("issue", LINES)
def test_a_faulty_line_is_named(truths: list[GroundTruth], tmp_path: Path, issue: str) -> None:
    line, telling = LINES[issue]
    file = tmp_path / "comp4_det_test_cat.txt"
    file.write_text(f"000012 0.5 1 2 3 4\n{line}\n")
    for source in (tmp_path, file):
        with pytest.raises(DataError) as caught:
            read_results(source, truths, CLASSES)
        assert str(caught.value) == f"detections cannot be read: {file}, line 2: {telling}"


def test_many_faulty_lines_are_one_message(truths: list[GroundTruth], tmp_path: Path) -> None:
    (tmp_path / "comp4_det_test_cat.txt").write_text("x\n" * 50)
    with pytest.raises(DataError, match=r"line 1: .*line 2: .*line 3: [^;]*; and 47 more$"):
        read_results(tmp_path, truths, CLASSES)


RESULT = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}
ENTRIES: dict[str, tuple[object, str]] = {
    "image": ({**RESULT, "image_id": 99}, "there is no image_id 99"),
    "class": ({**RESULT, "category_id": "1"}, "there is no category_id '1'"),
    "no class": ({"image_id": 1}, "there is no category_id NoneType"),
    "list": ({**RESULT, "image_id": [1]}, "there is no image_id list"),
    "box": ({**RESULT, "bbox": [1, 2, 3]}, "it has no bbox of four numbers"),
    "side": ({**RESULT, "bbox": [1, 2, None, 4]}, "NoneType is not a number"),
    "score": ({**RESULT, "score": True}, "True is not a number"),
    "negative": ({**RESULT, "bbox": [5, 2, -3, 4]}, "the box 5 2 2 6 is not xmin ymin xmax ymax"),
    "no table": ([1], "it is not an object with keys, but list"),
}


@pytest.mark.parametrize("issue", ENTRIES)
def test_a_faulty_result_is_named(truths: list[GroundTruth], tmp_path: Path, issue: str) -> None:
    entry, telling = ENTRIES[issue]
    file = tmp_path / "results.json"
    file.write_text(json.dumps([RESULT, entry]))
    with pytest.raises(DataError) as caught:
        read_results(file, truths, CLASSES)
    assert str(caught.value).startswith(f"detections cannot be read: {file}, result 2: {telling}")


def test_the_numbers_of_another_file_of_annotations(truths: list[GroundTruth], tmp_path: Path) -> None:
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
    found = by_name(truths, results)
    assert [found[name].labels.tolist() for name in ("2008 x.1", "000007", "000012")] == [[3], [3], []]
    for row in ({"image_id": 7, "category_id": 90}, {"image_id": 5, "category_id": 3}):
        (tmp_path / "results.json").write_text(json.dumps([{**RESULT, **row}]))
        with pytest.raises(DataError, match="result 1: there is no"):
            read_results(tmp_path / "results.json", truths, CLASSES, tmp_path / "truth.json")
    (tmp_path / "truth.json").write_text("[]")
    with pytest.raises(DataError, match="is not a file of COCO annotations"):
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
        (with_text("r.json", b"{"), "is not valid JSON"),
        (with_text("r.json", b"{}"), "is not a list of results"),
        (with_text("r.json", b"\xff"), "is not UTF-8 text"),
        (with_text("comp4_det_test_cat.txt", b"\xff"), "is not UTF-8 text"),
        (lambda folder: folder / "absent.json", "cannot read .*absent.json: No such file"),
    ],
    ids=["two splits", "unknown class", "cut JSON", "table", "bytes in JSON", "bytes in text", "absent"],
)
def test_unusable_files_are_one_clear_error(truths: list[GroundTruth], tmp_path: Path, make, telling: str) -> None:
    with pytest.raises(DataError, match=telling) as caught:
        read_results(make(tmp_path), truths, CLASSES)
    assert str(tmp_path) in str(caught.value)


def test_what_is_taken_for_detections(tmp_path: Path) -> None:
    assert not is_results(tmp_path)
    assert not is_results(tmp_path / "last.npz")
    assert is_results(tmp_path / "results.json")
    (tmp_path / "comp4_det_test_cat.txt").touch()
    assert is_results(tmp_path)
