"""YOLO's folders in, labelled images out; what is wrong is named, and nothing else lost."""

import os
import re
from pathlib import Path

import pytest
from annotation_files import issues, names, only, write, write_yolo

from ssdcore.data.annotations import Annotation, Example, ImageSource
from ssdcore.data.formats import read_labelled
from ssdcore.errors import DataError


def test_yolo_boxes_polygons_and_images_without_objects(tmp_path: Path) -> None:
    root = write_yolo(tmp_path, {"one": "1 0.5 0.5 0.25 0.5\r\n\n0 .1 .2 .4 .3 .2 .9\n", "none": ""})
    write(root / "images/sub/nolabel.png")
    found = read_labelled(root)
    assert (found.format, found.classes) == ("yolo", ("dog", "cat"))
    none, one, nolabel = found.splits["train"]
    assert one == Example(
        "one",
        ImageSource(root / "images/one.jpg"),
        root / "labels/one.txt",
        (Annotation("cat", (0.375, 0.25, 0.625, 0.75)), Annotation("dog", (0.1, 0.2, 0.4, 0.9))),
        normalised=True,
    )
    assert (none.objects, nolabel.objects, nolabel.name, nolabel.normalised) == ((), (), "nolabel", True)


def test_yolo_paths_are_folders_lists_and_roboflows(tmp_path: Path) -> None:
    yaml = "path: set\ntrain: [a/images, ../b/images]\nval: val.txt\ntest: ''\nnc: 2\nnames: {1: cat, 0: dog}\n"
    write(tmp_path / "data.yaml", yaml)
    for name in ("a/images/images/x", "b/images/x", "v/w"):
        write(tmp_path / f"set/{name}.jpg")
    write(tmp_path / "set/a/images/labels/x.txt", "0 .5 .5 1 1")
    write(tmp_path / "set/v/w.txt", "1 .5 .5 1 1")
    absolute = tmp_path.absolute() / "set/v/w.jpg"
    write(tmp_path / "set/val.txt", f"\ufeff./v/w.jpg\r\n{absolute}\r\n")
    found = read_labelled(tmp_path / "data.yaml")
    assert names(found) == {"train": ["images_x", "b_x"], "val": ["w"]}
    assert [len(example.objects) for split in found.splits.values() for example in split] == [1, 0, 1]
    assert found.classes == ("dog", "cat")


def test_each_yolo_issue_is_named_with_its_line_and_the_rest_is_read(tmp_path: Path) -> None:
    good = "0 .5 .5 .1 .1\n"
    bad = {
        "confidence": good + "0 .5 .5 .1 .1 .9\n",
        "short": "0 .5 .5 .1\n" + good + "0\n",
        "text": "dog .5 .5 .1 .1",
        "range": "\n2 .5 .5 .1 .1\n-1 .5 .5 .1 .1\n0.5 .5 .5 .1 .1",
        "nan": "0 nan .5 .1 .1\n0 1e999 .5 .1 .1\n0 1_0 .5 .1 .1",
        "odd": "0 .1 .2 .3 .4 .5 .6 .7",
        "many": good * 10_001,
    }
    root = write_yolo(tmp_path, {"good": good, **bad}, "train: list.txt\ntest: gone\nnames: [dog, cat]\n")
    write(root / "images/latin.jpg")
    write(root / "labels/latin.txt", "größe".encode("latin-1"))
    images = [f"images/{name}.jpg" for name in ("good", *bad, "latin", "god", "x" * 999)]
    write(root / "list.txt", "\n".join([*images, "../../../etc/passwd", "/etc/passwd"]))
    found = read_labelled(root)
    assert names(found) == {"train": ["good"], "test": []}
    listed = [("missing image", "list.txt", None)] * 4
    lines = [("confidence", 2), ("short", 1), ("short", 3), ("text", 1), ("range", 2), ("range", 3), ("range", 4)]
    lines += [("nan", 1), ("nan", 2), ("nan", 3), ("odd", 1)]
    assert issues(found) == [
        *listed,
        *(("unreadable annotation", f"{name}.txt", line) for name, line in lines),
        ("too many objects", "many.txt", None),
        ("unreadable annotation", "latin.txt", None),
        ("missing image", "data.yaml", None),
    ]
    assert "did you mean 'good'" in found.issues[0].detail


@pytest.mark.parametrize(
    ("yaml", "says"),
    [
        ("names: [a", "not readable YAML"),
        ("train: images", "has no 'names'"),
        ("[1, 2]", "has no 'names'"),
        ("names: []\ntrain: images", "names no classes"),
        ("names: [a, b]\nnc: 3\ntrain: images", "has 2 names, but nc is 3"),
        ("names: [a, no]\ntrain: images", "class 1 has the name False; put it in quotes"),
        ("names: {x: a}\ntrain: images", "class 'x'"),
        ("names: [a]\ntrain: 5", "train is neither a path"),
        ("names: [a]\ntrain: gone", "none of the images"),
        ("names: [a]\ntrain: /etc", "none of the images"),
        ("names: [a]\npath: /etc\ntrain: ssl", "none of the images"),
        ("names: [a]\nkpt_shape: [17, 3]\ntrain: images", "key points"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nnames: [a]", "aliases"),
        ("names: !!python/object/apply:os.system [ls]", "not readable YAML"),
        ("[" * 100_000, "not readable YAML"),
        ("names: [größe]".encode("latin-1"), "not UTF-8"),
        ("names: [a]\ntrain: images", "has a label file"),
    ],
)
def test_yolo_files_that_cannot_be_used_stop(tmp_path: Path, yaml: str | bytes, says: str) -> None:
    write(tmp_path / "images/one.jpg")
    write(tmp_path / "data.yaml", yaml)
    with pytest.raises(DataError, match=re.escape(says)):
        read_labelled(tmp_path)


def test_yolo_without_yaml_is_told_what_to_write(tmp_path: Path) -> None:
    write(tmp_path / "images/one.jpg")
    write(tmp_path / "labels/one.txt")
    with pytest.raises(DataError, match=r"has no data\.yaml; write one"):
        read_labelled(tmp_path)


def test_links_in_circles_are_not_followed(tmp_path: Path) -> None:
    root = write_yolo(tmp_path, {"one": ""})
    (root / "images/again").symlink_to(root, target_is_directory=True)
    (root / "images/broken.jpg").symlink_to(root / "gone.jpg")
    os.mkfifo(root / "images/pipe.jpg")
    assert only(read_labelled(root)).name == "one"
