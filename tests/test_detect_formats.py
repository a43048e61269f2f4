"""Every output format of `ssd detect`, read back by another reader than its writer."""

import csv
import io
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from detect_helpers import RedFinder, red_square, write_rgb, write_video
from pycocotools.coco import COCO
from ssdcli.detect.command import FORMATS, DetectRequest
from ssdcli.detect.loop import detect_sources
from ssdcli.detect.sources import find_sources

from ssdcore.data.convert import convert
from ssdcore.data.formats import read_labelled
from ssdcore.detection import Detections

PLACES = {"0007": (10, 20), "0012": (90, 61), "0100": (33, 5)}
"""Left and top of the square in each image."""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `images`, one of them without a square, a `clip.mp4`, and all that was `found` in both."""
    root = tmp_path_factory.mktemp("formats")
    (root / "images").mkdir()
    for name, at in PLACES.items():
        write_rgb(root / f"images/{name}.png", red_square(*at))
    write_rgb(root / "images/0200.png", np.full((50, 60, 3), 128, np.uint8))
    write_video(root / "clip.mp4", 3)
    sources = find_sources([str(root / "images"), str(root / "clip.mp4")], ())
    assert detect_sources(RedFinder(), sources, DetectRequest(root / "found", FORMATS)) == 0
    return root


def square_of(name: str) -> list[int]:
    left, top = PLACES[name]
    return [left, top, left + 40, top + 40]


def test_nothing_else_is_written(written: Path) -> None:
    names = {path.name for path in (written / "found").iterdir()}
    lists = {"detections.json", "detections.jsonl", "detections.csv", "coco_results.json", "coco_annotations.json"}
    voc = {"comp4_det_detected_round.txt", "comp4_det_detected_square.txt"}
    assert names == {*lists, *voc, "crops", "clip.mp4", "0200.jpg", *(f"{name}.jpg" for name in PLACES)}


def test_json(written: Path) -> None:
    told = json.loads((written / "found/detections.json").read_text())
    assert told[0] == {
        "source": str(written / "images/0007.png"),
        "frame": None,
        "name": "0007",
        "width": 160,
        "height": 120,
        "detections": [{"class": "square", "label": 2, "score": 0.9, "box": [10, 20, 50, 60]}],
    }
    assert (told[3]["name"], told[3]["width"], told[3]["height"], told[3]["detections"]) == ("0200", 60, 50, [])
    frames = [(one["source"], one["frame"], one["name"]) for one in told[4:]]
    assert frames == [(str(written / "clip.mp4"), number, f"clip-00000{number}") for number in range(3)]


def test_json_lines_say_the_same(written: Path) -> None:
    lines = (written / "found/detections.jsonl").read_text().splitlines()
    assert list(map(json.loads, lines)) == json.loads((written / "found/detections.json").read_text())


def test_csv(written: Path) -> None:
    with (written / "found/detections.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 + 3
    assert [rows[1][key] for key in ("frame", "name", "class", "label")] == ["", "0012", "square", "2"]
    assert [float(rows[1][key]) for key in ("score", "xmin", "ymin", "xmax", "ymax")] == [0.9, *square_of("0012")]
    assert [row["frame"] for row in rows[3:]] == ["0", "1", "2"]


def test_coco_by_its_own_program(written: Path) -> None:
    with redirect_stdout(io.StringIO()):
        truth = COCO(written / "found/coco_annotations.json")
        found = truth.loadRes(str(written / "found/coco_results.json"))
    by_name = {image["file_name"]: key for key, image in truth.imgs.items()}
    assert set(by_name) == {*(f"{name}.png" for name in [*PLACES, "0200"]), *(f"clip-00000{n}.jpg" for n in range(3))}
    for name in PLACES:
        (entry,) = found.loadAnns(found.getAnnIds(imgIds=by_name[f"{name}.png"]))
        assert truth.cats[entry["category_id"]]["name"] == "square"
        left, top, right, bottom = square_of(name)
        assert entry["bbox"] == [left, top, right - left, bottom - top]
        assert entry["score"] == pytest.approx(0.9, abs=1e-7)
    assert found.getAnnIds(imgIds=by_name["0200.png"]) == []


def test_coco_ids_are_the_names_where_those_are_numbers(written: Path) -> None:
    sources = find_sources([str(written / "images")], ())
    detect_sources(RedFinder(), sources, DetectRequest(written / "numbers", ["coco"]))
    images = json.loads((written / "numbers/coco_annotations.json").read_text())["images"]
    assert [image["id"] for image in images] == [7, 12, 100, 200]
    results = json.loads((written / "numbers/coco_results.json").read_text())
    assert [entry["image_id"] for entry in results] == [7, 12, 100]


def test_without_a_detection_all_lists_are_valid(written: Path) -> None:
    sources = find_sources([str(written / "images/0200.png")], ())
    detect_sources(RedFinder(), sources, DetectRequest(written / "none", FORMATS))
    assert json.loads((written / "none/coco_results.json").read_text()) == []
    assert (written / "none/comp4_det_detected_square.txt").read_text() == ""
    assert len((written / "none/detections.csv").read_text().splitlines()) == 1


def test_crops_are_the_pixels_of_the_boxes(written: Path) -> None:
    crops = sorted((written / "found/crops").rglob("*"))
    names = [f"square/{name}-1.png" for name in [*PLACES, *(f"clip-00000{number}" for number in range(3))]]
    assert [str(path.relative_to(written / "found/crops")) for path in crops] == ["square", *sorted(names)]
    crop = cv2.imread(str(written / "found/crops/square/0012-1.png"))
    np.testing.assert_array_equal(crop, cv2.imread(str(written / "images/0012.png"))[61:101, 90:130])


class Told:
    """Finds the same two boxes everywhere."""

    classes = ("a/b", "..", "é")

    def __call__(self, images: list[np.ndarray]) -> list[Detections]:
        boxes = np.float32([(1.2, 2.0, 4.9, 5.1), (0, 0, 0.4, 9.5)])
        return [Detections(boxes, np.float32([0.9, 0.8]), np.int32([1, 2]), self.classes) for _ in images]


def test_crops_hold_every_pixel_touched_and_stay_in_their_folder(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    path = write_rgb(tmp_path / "noise.png", noise)
    detect_sources(Told(), find_sources([str(path)], ()), DetectRequest(tmp_path / "out", ["crops"]))
    one = cv2.imread(str(tmp_path / "out/crops/a_b/noise-1.png"))[..., ::-1]
    np.testing.assert_array_equal(one, noise[2:6, 1:5])
    other = cv2.imread(str(tmp_path / "out/crops/_/noise-2.png"))[..., ::-1]
    np.testing.assert_array_equal(other, noise[0:10, 0:1])


def test_drawn_images_differ_along_the_boxes_only(written: Path) -> None:
    before = red_square(*PLACES["0012"]).astype(int)
    drawn = cv2.imread(str(written / "found/0012.jpg"))[..., ::-1].astype(int)
    assert drawn.shape == before.shape
    changed = np.abs(drawn - before).max(axis=2) > 60
    assert changed[61:101, 90].all()  # the left side of the box
    assert not changed[105:, :].any()
    assert not changed[:, :80].any()


@pytest.fixture(scope="module")
def labelled(written: Path) -> Path:
    """The images as records, with the squares as VOC annotations; one box a few pixels off."""
    voc = written / "voc"
    (voc / "Annotations").mkdir(parents=True)
    (voc / "JPEGImages").symlink_to(written / "images")
    (voc / "ImageSets/Main").mkdir(parents=True)
    (voc / "ImageSets/Main/test.txt").write_text("".join(f"{name}\n" for name in [*PLACES, "0200"]))
    for name in [*PLACES, "0200"]:
        root = ElementTree.Element("annotation")
        ElementTree.SubElement(root, "filename").text = f"{name}.png"
        for box in [square_of(name)] if name in PLACES else []:
            node = ElementTree.SubElement(root, "object")
            ElementTree.SubElement(node, "name").text = "square"
            corners = ElementTree.SubElement(node, "bndbox")
            for key, side in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
                ElementTree.SubElement(corners, key).text = str(side + (30 if name == "0100" else 0))
        ElementTree.ElementTree(root).write(voc / f"Annotations/{name}.xml")
    convert(read_labelled(voc), written / "records", ["round", "square"])
    return written / "records"


@pytest.mark.parametrize("kind", ["voc", "coco"])
def test_our_own_evaluation_reads_the_results(
    kind: str, labelled: Path, written: Path, ssd_here: Callable[..., tuple[int, str, str]]
) -> None:
    """Two of three squares are found, and a false one at the same score: precisions 1, 1, 2/3 in order of images."""
    out = written / f"eval-{kind}"
    detect_sources(RedFinder(), find_sources([str(written / "images")], ()), DetectRequest(out, [kind]))
    code, told, err = ssd_here("eval", out, "--data", labelled, "--split", "test", "--json")
    assert code == 0, err
    scored = json.loads(told)
    assert (scored["images"], scored["objects"]) == (4, 3)
    # Recalls 0, 0.1 ... 0.6 are reached at precision 1, those above 2/3 never.
    assert scored["average_precisions"]["square"] == pytest.approx(7 / 11)
