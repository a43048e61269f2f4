"""What holds for every annotation format, and BCCD, which is the same in each; see `test_formats_*.py`."""

import csv
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from annotation_files import HEADER, names, only, write, write_coco, write_voc, write_yolo

from ssdcore.data.annotations import Annotation, Example, LabelledSet
from ssdcore.data.formats import read_labelled
from ssdcore.errors import DataError


def test_what_is_in_no_known_format_stops(tmp_path: Path) -> None:
    write_voc(tmp_path / "voc", {"one": ""})
    write_yolo(tmp_path / "sets/yolo", {"one": ""})
    write(tmp_path / "only/Annotations/one.xml", "<a/>")
    write(tmp_path / "notes.doc")
    for source, says in (
        ("gone", "there is no .*gone; give a folder or file"),
        ("x" * 999, "there is no"),
        ("notes.doc", "no annotations in a known format; give"),
        ("sets", "did you mean .*yolo"),
        ("only", "no JPEGImages"),
    ):
        with pytest.raises(DataError, match=says):
            read_labelled(tmp_path / source)
    with pytest.raises(DataError, match=r"there is no folder .*gone"):
        read_labelled(tmp_path / "voc", tmp_path / "gone")


def test_names_of_files_that_are_no_utf_8_become_ones_that_can_be_written(tmp_path: Path) -> None:
    for end in ("xml", "jpg"):
        write(tmp_path / os.fsdecode(b"gr\xfcn." + end.encode()), "<a/>")
    example = only(read_labelled(tmp_path))
    assert (example.name, example.image.read()) == ("gr?n", b"<a/>")


def test_many_images_of_one_name_are_told_apart_in_little_time(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", HEADER + "".join(f"{n}/a.jpg,,,,,,,\n" for n in range(300)) + "a_2.jpg,,,,,,,\n")
    for n in range(300):
        write(tmp_path / f"{n}/a.jpg")
    for name in ("a_2.jpg", "0/a.png"):
        write(tmp_path / name)
    with (tmp_path / "train.csv").open("a") as file:
        file.write("0/a.png,,,,,,,\n")
    found = names(read_labelled(tmp_path))["train"]
    assert found == ["0_a", *(f"{n}_a" for n in range(1, 300)), "a_2", "0_a_2"]


def test_many_missing_images_are_told_in_little_time(tmp_path: Path) -> None:
    for n in range(2000):
        write(tmp_path / f"image{n}.jpg")
    write(tmp_path / "train.csv", HEADER + "".join(f"pictur{n}.jpg,,,,,,,\n" for n in range(2000)))
    start = time.monotonic()
    assert len(read_labelled(tmp_path).issues) == 2000
    assert time.monotonic() - start < 20


# BCCD in every format


def as_coco(voc: LabelledSet, root: Path) -> Path:
    classes = ["RBC", "WBC", "Platelets"]
    for split, examples in voc.splits.items():
        images = [
            {"id": key, "file_name": f"{example.name}.jpg", "height": example.size[0], "width": example.size[1]}
            for key, example in enumerate(examples)
            if example.size
        ]
        annotations = [
            {
                "id": len(images) * 100 + key,
                "image_id": key,
                "category_id": 3 * classes.index(item.name) + 2,
                "bbox": [item.box[0], item.box[1], item.box[2] - item.box[0], item.box[3] - item.box[1]],
            }
            for key, example in enumerate(examples)
            for item in example.objects
        ]
        categories = [{"id": 3 * key + 2, "name": name} for key, name in enumerate(classes)]
        write_coco(root / f"annotations/instances_{split}.json", images, annotations, categories)
    return root


def as_yolo(voc: LabelledSet, root: Path) -> Path:
    classes = ["RBC", "WBC", "Platelets"]
    write(root / "data.yaml", f"train: train.txt\nval: val.txt\ntest: test.txt\nnames: {classes}\n")
    for split in ("train", "val", "test"):
        write(root / f"{split}.txt", "".join(f"images/{example.name}.jpg\n" for example in voc.splits[split]))
        for example in voc.splits[split]:
            lines = []
            for item in example.objects:
                xmin, ymin, xmax, ymax = shares(example, item)
                shape = ((xmin + xmax) / 2, (ymin + ymax) / 2, xmax - xmin, ymax - ymin)
                lines.append(" ".join(map(repr, (classes.index(item.name), *shape))) + "\n")
            write(root / f"labels/{example.name}.txt", "".join(lines))
    return root


def as_csv(voc: LabelledSet, root: Path) -> Path:
    for split, examples in voc.splits.items():
        path = write(root / f"{split}.csv", HEADER)
        with path.open("a", newline="") as file:
            for example in examples:
                height, width = example.size or (0, 0)
                rows = [(item.name, *item.box) for item in example.objects] or [("",) * 5]
                csv.writer(file).writerows([f"{example.name}.jpg", width, height, *row] for row in rows)
    return root


def shares(example: Example, item: Annotation) -> tuple[float, ...]:
    """A box in shares of a BCCD image, all of which are 640 x 480."""
    width, height = (1, 1) if example.normalised else (640, 480)
    return tuple(side / scale for side, scale in zip(item.box, (width, height) * 2, strict=True))


@pytest.mark.realdata
@pytest.mark.parametrize("rewrite", [as_coco, as_yolo, as_csv])
def test_bccd_is_the_same_in_every_format(
    rewrite: Callable[[LabelledSet, Path], Path], bccd: Path, tmp_path: Path
) -> None:
    voc = read_labelled(bccd)
    assert {split: len(examples) for split, examples in voc.splits.items()} == {
        "train": 205,
        "val": 87,
        "test": 72,
        "trainval": 292,
    }
    for image in (bccd / "JPEGImages").iterdir():
        write(tmp_path / "images" / image.name)
    found = read_labelled(rewrite(voc, tmp_path))
    assert not found.issues + voc.issues
    assert set(voc.splits) - set(found.splits) == ({"trainval"} if found.format == "yolo" else set())
    for split, examples in found.splits.items():
        for ours, theirs in zip(voc.splits[split], examples, strict=True):
            assert (theirs.name, theirs.size) == (ours.name, None if theirs.normalised else (480, 640))
            assert [item.name for item in theirs.objects] == [item.name for item in ours.objects]
            for mine, other in zip(ours.objects, theirs.objects, strict=True):
                assert shares(theirs, other) == pytest.approx(shares(ours, mine), rel=1e-9)
    assert found.classes == (None if found.format == "csv" else ("RBC", "WBC", "Platelets"))
