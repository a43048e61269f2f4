"""Every annotation format in, the same labelled pictures out; what is wrong is named, and nothing else lost."""

import csv
import json
import os
import re
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf

from ssdcore.data.example import Annotation, Example, LabelledSet, PictureSource
from ssdcore.data.faults import KINDS
from ssdcore.data.formats import coco, files, read_labelled, record_files, table, tfrecord
from ssdcore.errors import DataError

BOX = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"
OBJECT = "<object><name>{}</name>" + BOX + "{}</object>"
DOG = OBJECT.format("dog", 1, 2, 3, 4, "")
HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax\n"


def write(path: Path, content: str | bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_voc(root: Path, objects: dict[str, str], lists: dict[str, str] | None = None) -> Path:
    """A VOC folder with the XML of these objects, and these lists or a train list of all."""
    for name, text in objects.items():
        write(root / f"JPEGImages/{name}.jpg")
        write(root / f"Annotations/{name}.xml", f"<annotation>{text}</annotation>")
    for split, text in (lists or {"train": "\n".join(objects)}).items():
        write(root / f"ImageSets/Main/{split}.txt", text)
    return root


def write_coco(path: Path, images: list, annotations: list, categories: list | None = None) -> Path:
    categories = [{"id": 1, "name": "dog"}] if categories is None else categories
    return write(path, json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def write_yolo(root: Path, labels: dict[str, str], yaml: str = "train: images\nnames: [dog, cat]\n") -> Path:
    write(root / "data.yaml", yaml)
    for name, text in labels.items():
        write(root / f"images/{name}.jpg")
        write(root / f"labels/{name}.txt", text)
    return root


def write_records(path: Path, *features: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for feature in features:
            values = {key: as_feature(value) for key, value in feature.items()}
            writer.write(tf.train.Example(features=tf.train.Features(feature=values)).SerializeToString())
    return path


def as_feature(values: list) -> tf.train.Feature:
    if isinstance(values[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if isinstance(values[0], float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def ssd_record(label: int = 12, text: bytes | None = b"dog", **more: list) -> dict:
    sides = dict(zip(("xmin", "ymin", "xmax", "ymax"), ([0.125], [0.25], [0.5], [0.75]), strict=True))
    named = {} if text is None else {"image/object/bbox/label_text": [text]}
    return {
        "image/encoded": [b"\xff\xd8 the picture \xff\xd9"],
        "image/format": [b"JPEG"],
        "image/height": [60],
        "image/width": [80],
        **{f"image/object/bbox/{side}": value for side, value in sides.items()},
        "image/object/bbox/label": [label],
        **named,
        **{f"image/{key}": value for key, value in more.items()},
    }


def names(found: LabelledSet) -> dict[str, list[str]]:
    return {split: [example.name for example in examples] for split, examples in found.splits.items()}


def only(found: LabelledSet) -> Example:
    assert not found.faults
    (example,) = (example for split in found.splits.values() for example in split)
    return example


def faults(found: LabelledSet) -> list[tuple[str, str, int | None]]:
    assert all(fault.kind in KINDS and "\n" not in str(fault) and len(str(fault)) < 600 for fault in found.faults)
    return [(fault.kind, fault.file.name, fault.object) for fault in found.faults]


# Pascal VOC


def test_voc_objects_keep_boxes_flags_and_order(tmp_path: Path) -> None:
    part = "<part><name>head</name>" + BOX.format(1, 1, 2, 2) + "</part>"
    size = "<size><width>80</width><height>60</height><depth>3</depth></size>"
    first = f"<object><name>person</name><difficult>1</difficult>{part}{BOX.format(8, 6, 40.5, 30)}</object>"
    second = OBJECT.format("dog", 9, 9, 3, 3, "<truncated>1</truncated><difficult>0</difficult><occluded>1</occluded>")
    found = read_labelled(write_voc(tmp_path, {"one": size + first + second, "none": ""}))
    one, none = found.splits["train"]
    assert one == Example(
        "one",
        PictureSource(tmp_path / "JPEGImages/one.jpg"),
        tmp_path / "Annotations/one.xml",
        (Annotation("person", (8, 6, 40.5, 30), difficult=True), Annotation("dog", (9, 9, 3, 3), truncated=True)),
        size=(60, 80),
    )
    assert (none.objects, none.size, none.normalised) == ((), None, False)
    assert (found.format, found.classes, found.faults, found.root) == ("voc", None, (), tmp_path)


def test_voc_splits_are_the_lists_that_are_not_for_one_class(tmp_path: Path) -> None:
    lists = {
        "train": "\ufeffmy pic 1\r\n图 🐕\r\n",
        "val": "it's\n",
        "dog_train": "it's  1\nmy pic 1 -1\n",
        "test": "\n",
    }
    root = write_voc(tmp_path, {"my pic 1": "", "图 🐕": "", "it's": ""}, lists)
    assert names(read_labelled(root)) == {"train": ["my pic 1", "图 🐕"], "val": ["it's"]}


@pytest.mark.parametrize("below", ["", "VOCdevkit"])
def test_years_of_a_devkit_are_joined_and_names_that_clash_get_the_year(tmp_path: Path, below: str) -> None:
    write_voc(tmp_path / below / "VOC2012", {"b": DOG, "same": ""}, {"train": "same\nb", "val": "b"})
    write_voc(tmp_path / below / "VOC2007", {"a": "", "same": DOG}, {"train": "a\nsame", "test": "same"})
    found = read_labelled(tmp_path)
    assert names(found) == {
        "train": ["a", "VOC2007_same", "VOC2012_same", "b"],
        "test": ["VOC2007_same"],
        "val": ["b"],
    }
    assert [len(example.objects) for example in found.splits["train"]] == [0, 1, 0, 1]


def test_voc_without_lists_and_xml_beside_pictures_are_one_split(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "voc", {"b": "", "a": ""})
    (root / "ImageSets/Main/train.txt").unlink()
    assert names(read_labelled(root)) == {"all": ["a", "b"]}
    for name in ("y.xml", "x.xml", "x.PNG", "y.jpeg", "._x.xml"):
        write(tmp_path / f"flat/{name}", "<annotation/>")
    assert names(read_labelled(tmp_path / "flat")) == {"all": ["x", "y"]}
    (root / "JPEGImages").rename(tmp_path / "elsewhere")
    assert names(read_labelled(root, tmp_path / "elsewhere")) == {"all": ["a", "b"]}


def test_the_filename_in_xml_counts_only_where_no_picture_has_the_name_and_stays_inside(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "voc", {"one": "<filename>two.jpg</filename>", "two": ""})
    for name in ("three", "four"):
        write(root / f"Annotations/{name}.xml", f"<a><filename>C:\\x/../../{name[0]}.png</filename></a>")
    write(root / "JPEGImages/t.png")
    write(tmp_path / "f.png")
    write(root / "ImageSets/Main/train.txt", "one\nthree\nfour")
    found = read_labelled(root)
    assert [(e.name, e.picture.path.name) for e in found.splits["train"]] == [("one", "one.jpg"), ("three", "t.png")]
    assert faults(found) == [("missing picture", "four.xml", None)]


def test_each_voc_fault_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    bad = {
        "noname": "<object>" + BOX.format(1, 2, 3, 4) + "</object>",
        "nobox": DOG + "<object><name>dog</name></object>" + OBJECT.format("x", 1, "nan", 3, 4, ""),
        "noside": DOG.replace("<xmax>3</xmax>", ""),
        "flag": OBJECT.format("dog", 1, 2, 3, 4, "<difficult>maybe</difficult>"),
        "size": "<size><width>wide</width><height>60</height></size>",
        "open": "<object>",
        "many": "<object/>" * 10_001,
    }
    root = write_voc(tmp_path, {"good": DOG, **bad})
    write(root / "Annotations/large.xml", b"<a>" + b" " * files.MAX_BYTES + b"</a>")
    write(root / "Annotations/latin.xml", "<a><b>größe</b></a>".encode("latin-1"))
    write(root / "Annotations/lonely.xml", "<a/>")
    write(root / "JPEGImages/lonly.jpg")
    more = ["large", "latin", "lonely", "absent", "../../etc/passwd", "/etc/passwd", "x" * 5000, "a\0b"]
    write(root / "ImageSets/Main/train.txt", "\n".join(["good", *bad, *more]))
    write(root / "ImageSets/Main/val.txt", "good\nnoname")
    found = read_labelled(root)
    assert names(found) == {"train": ["good"], "val": ["good"]}
    assert faults(found) == [
        ("unreadable annotation", "noname.xml", 1),
        ("unreadable annotation", "nobox.xml", 2),
        ("unreadable annotation", "nobox.xml", 3),
        ("unreadable annotation", "noside.xml", 1),
        ("unreadable annotation", "flag.xml", 1),
        ("unreadable annotation", "size.xml", None),
        ("unreadable annotation", "open.xml", None),
        ("too many objects", "many.xml", None),
        ("too many objects", "large.xml", None),
        ("unreadable annotation", "latin.xml", None),
        ("missing picture", "lonely.xml", None),
        ("missing annotation", "absent.xml", None),
        ("missing annotation", "Annotations", None),
        ("missing annotation", "Annotations", None),
        ("missing annotation", "Annotations", None),
        ("missing annotation", "Annotations", None),
    ]
    assert "did you mean 'lonly'?" in found.faults[10].detail


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;">]><a>&y;</a>',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        '<?xml version="1.0" encoding="no-such"?><a/>',
        "",
    ],
)
def test_hostile_xml_is_refused(tmp_path: Path, text: str) -> None:
    root = write_voc(tmp_path, {"one": ""})
    write(root / "Annotations/one.xml", text)
    assert faults(read_labelled(root)) == [("unreadable annotation", "one.xml", None)]


def test_deeply_nested_xml_is_read(tmp_path: Path) -> None:
    assert only(read_labelled(write_voc(tmp_path, {"one": "<a>" * 100_000 + "</a>" * 100_000 + DOG}))).objects


def test_voc_lists_that_cannot_be_used_stop(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"one": ""})
    write(root / "ImageSets/Main/val.txt", "größe".encode("latin-1"))
    with pytest.raises(DataError, match=r"val\.txt is no list of pictures: it is not UTF-8 text \(byte 2\)"):
        read_labelled(root)
    (root / "ImageSets/Main/val.txt").unlink()
    write(root / "ImageSets/Main/train.txt", "\n")
    with pytest.raises(DataError, match="no lists of picture names"):
        read_labelled(root)


# COCO


def test_coco_ids_boxes_and_marks(tmp_path: Path) -> None:
    images = [
        {"id": 7, "file_name": "b.jpg", "height": 60, "width": 80},
        {"id": 3, "file_name": "sub/a.png"},
        {"id": "x", "file_name": "c.jpg", "height": 0, "width": 0},
    ]
    annotations = [
        {"id": 1, "image_id": 3, "category_id": 90, "bbox": [10, 20, 5.5, 6], "iscrowd": 1, "segmentation": {"c": 1}},
        {"id": 2, "image_id": 7, "category_id": 2, "bbox": [1, 2, -3, 4], "ignore": 1, "area": 12},
        {"id": 3, "image_id": 3, "category_id": 2, "bbox": [0, 0, 1, 1], "iscrowd": 0},
    ]
    for name in ("images/b.jpg", "images/sub/a.png", "images/c.jpg"):
        write(tmp_path / name)
    path = write_coco(
        tmp_path / "labels.json", images, annotations, [{"id": 90, "name": "cat"}, {"id": 2, "name": "dog"}]
    )
    found = read_labelled(path)
    assert found.classes == ("dog", "cat")
    b, a, c = found.splits["all"]
    assert b == Example(
        "b",
        PictureSource(tmp_path / "images/b.jpg"),
        path,
        (Annotation("dog", (1, 2, -2, 6), difficult=True),),
        size=(60, 80),
    )
    assert a.objects == (Annotation("cat", (10, 20, 15.5, 26), crowd=True), Annotation("dog", (0, 0, 1, 1)))
    assert (a.name, a.picture.path, a.size) == ("a", tmp_path / "images/sub/a.png", None)
    assert (c.objects, c.size) == ((), None)


def test_coco_folders_take_splits_from_instances_and_pictures_from_near(tmp_path: Path) -> None:
    for split, place in (("train2017", "train2017"), ("val2017", "images/val2017"), ("own", ".")):
        write(tmp_path / place / f"{split}.jpg")
        write_coco(tmp_path / f"annotations/instances_{split}.json", [{"id": 1, "file_name": f"{split}.jpg"}], [])
    for other in ("captions_train2017", "person_keypoints_val2017"):
        write(tmp_path / f"annotations/{other}.json", "{}")
    found = read_labelled(tmp_path)
    assert names(found) == {"own": ["own"], "train2017": ["train2017"], "val2017": ["val2017"]}
    (tmp_path / "train2017").rename(tmp_path / "elsewhere")
    single = read_labelled(tmp_path / "annotations/instances_train2017.json", tmp_path / "elsewhere")
    assert names(single) == {"train2017": ["train2017"]}


def test_roboflow_splits_lose_the_category_that_only_groups(tmp_path: Path) -> None:
    categories = [
        {"id": 0, "name": "pets", "supercategory": "none"},
        {"id": 1, "name": "cat", "supercategory": "pets"},
        {"id": 2, "name": "dog", "supercategory": "pets"},
    ]
    dog = {"id": 1, "image_id": 0, "category_id": 2, "bbox": [0, 0, 1, 1]}
    for split in ("train", "valid"):
        write(tmp_path / split / "x.jpg")
        write_coco(tmp_path / split / "_annotations.coco.json", [{"id": 0, "file_name": "x.jpg"}], [dog], categories)
    found = read_labelled(tmp_path)
    assert found.classes == ("cat", "dog")
    assert names(found) == {"train": ["train_x"], "valid": ["valid_x"]}
    dog["category_id"] = 0
    write_coco(tmp_path / "train/_annotations.coco.json", [{"id": 0, "file_name": "x.jpg"}], [dog], categories)
    assert read_labelled(tmp_path).classes == ("pets", "cat", "dog")


def test_each_coco_fault_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    files_named = [
        "good.jpg",
        "bad.jpg",
        "god.jpg",
        "../up.jpg",
        "/etc/passwd",
        "C:\\x.jpg",
        5,
        "a\0b",
        "x" * 999,
        "many.jpg",
    ]
    images: list = [{"id": key, "file_name": name} for key, name in enumerate(files_named)]
    images += [{"id": 0, "file_name": "again.jpg"}, {"file_name": "noid.jpg"}, "text", {"id": [1], "file_name": "x"}]
    good = {"id": 10, "image_id": 0, "category_id": 1, "bbox": [1, 2, 3, 4]}
    bad = {**good, "image_id": 1}
    broken: list = [
        {**bad, "id": 11, "bbox": [1, 2, 3]},
        {**bad, "id": 12, "bbox": [1, 2, float("nan"), 4]},
        {**bad, "id": 13, "category_id": 99},
        {**good, "id": 14, "image_id": 99},
        {**good, "id": 15, "image_id": {"a": 1}},
        {**bad, "id": 16, "iscrowd": "RLE"},
        {"id": 17, "image_id": 1, "category_id": 1},
        {**bad, "id": 18, "bbox": [1, 2, 10**400, 4]},
        None,
    ]
    for name in ("good.jpg", "bad.jpg", "many.jpg"):
        write(tmp_path / name)
    write(tmp_path.parent / "up.jpg")
    many = [{**good, "image_id": 9}] * 10_001
    found = read_labelled(write_coco(tmp_path / "train.json", images, [good, *broken, *many]))
    assert names(found) == {"train": ["good"]}
    (kinds,) = ({kind for kind, file, _ in faults(found) if file == "train.json"},)
    assert kinds == {"unreadable annotation", "missing picture", "too many objects"}
    said = [fault.detail for fault in found.faults]
    assert [fault.object for fault in found.faults] == [None] * 4 + list(range(2, 11)) + [None] * 8
    for key, detail in zip(range(11, 19), said[4:12], strict=True):
        assert detail.startswith(f"annotation id {key}: ")
    assert "did you mean 'good'" in said[13]
    assert [("no path inside" in detail) for detail in said[14:20]] == [True, True, True, False, True, True]
    assert "10001 objects" in said[20]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "is no JSON"),
        (b"", "is no JSON"),
        ('{"images": "größe"}'.encode("latin-1"), "is not UTF-8"),
        (b"[" * 200_000, "nested too deeply"),
        (b"[1]", "is not COCO's JSON"),
        (b'{"images": [], "annotations": []}', "no list 'categories'"),
        (b'{"images": [], "annotations": [], "categories": [{"id": 1}]}', "id 1 has no name"),
        (b'{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}', "both"),
        (b'{"images": [], "annotations": [], "categories": [{"id": 1, "name": "\\ud800"}]}', "id 1 has no name"),
        (b'\xef\xbb\xbf{"images": [], "annotations": [], "categories": []}', "names no pictures"),
    ],
)
def test_coco_files_that_cannot_be_used_stop(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_labelled(write(tmp_path / "train.json", content))


def test_json_too_large_is_not_read(tmp_path: Path) -> None:
    with write(tmp_path / "train.json").open("wb") as file:
        file.truncate(coco.MAX_JSON_BYTES + 1)
    with pytest.raises(DataError, match="above the 2147483648 bytes"):
        read_labelled(tmp_path)


# YOLO


def test_yolo_boxes_polygons_and_pictures_without_objects(tmp_path: Path) -> None:
    root = write_yolo(tmp_path, {"one": "1 0.5 0.5 0.25 0.5\r\n\n0 .1 .2 .4 .3 .2 .9\n", "none": ""})
    write(root / "images/sub/nolabel.png")
    found = read_labelled(root)
    assert (found.format, found.classes) == ("yolo", ("dog", "cat"))
    none, one, nolabel = found.splits["train"]
    assert one == Example(
        "one",
        PictureSource(root / "images/one.jpg"),
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


def test_each_yolo_fault_is_named_with_its_line_and_the_rest_is_read(tmp_path: Path) -> None:
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
    pictures = [f"images/{name}.jpg" for name in ("good", *bad, "latin", "god", "x" * 999)]
    write(root / "list.txt", "\n".join([*pictures, "../../../etc/passwd", "/etc/passwd"]))
    found = read_labelled(root)
    assert names(found) == {"train": ["good"], "test": []}
    listed = [("missing picture", "list.txt", None)] * 4
    lines = [("confidence", 2), ("short", 1), ("short", 3), ("text", 1), ("range", 2), ("range", 3), ("range", 4)]
    lines += [("nan", 1), ("nan", 2), ("nan", 3), ("odd", 1)]
    assert faults(found) == [
        *listed,
        *(("unreadable annotation", f"{name}.txt", line) for name, line in lines),
        ("too many objects", "many.txt", None),
        ("unreadable annotation", "latin.txt", None),
        ("missing picture", "data.yaml", None),
    ]
    assert "did you mean 'good'" in found.faults[0].detail


@pytest.mark.parametrize(
    ("yaml", "says"),
    [
        ("names: [a", "no YAML"),
        ("train: images", "has no 'names'"),
        ("[1, 2]", "has no 'names'"),
        ("names: []\ntrain: images", "names no classes"),
        ("names: [a, b]\nnc: 3\ntrain: images", "has 2 names, but nc is 3"),
        ("names: [a, no]\ntrain: images", "class 1 has the name False; put it in quotes"),
        ("names: {x: a}\ntrain: images", "class 'x'"),
        ("names: [a]\ntrain: 5", "train is neither a path"),
        ("names: [a]\ntrain: gone", "none of the pictures"),
        ("names: [a]\ntrain: /etc", "none of the pictures"),
        ("names: [a]\npath: /etc\ntrain: ssl", "none of the pictures"),
        ("names: [a]\nkpt_shape: [17, 3]\ntrain: images", "key points"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nnames: [a]", "aliases"),
        ("names: !!python/object/apply:os.system [ls]", "no YAML"),
        ("[" * 100_000, "no YAML"),
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


# CSV


def test_csv_rows_are_grouped_whatever_the_order_of_columns(tmp_path: Path) -> None:
    for name in ("a.jpg", "images/b 图.jpg", "c.jpg"):
        write(tmp_path / name)
    rows = "YMAX;ymin;xmax;xmin;Label;filename;height;width\r\n4;2;3;1;dog;a.jpg;60;80\r\n"
    rows += '.5;-1e1;9;7;"a ""b"";c";b 图.jpg;;\r\n\r\n8;6;7;5;cat;a.jpg;60;80\r\n;;;;;c.jpg;10;20\r\n'
    path = write(tmp_path / "boxes.csv", "\ufeff" + rows)
    found = read_labelled(tmp_path)
    a, b, c = found.splits["all"]
    objects = (Annotation("dog", (1, 2, 3, 4)), Annotation("cat", (5, 6, 7, 8)))
    assert a == Example("a", PictureSource(tmp_path / "a.jpg"), path, objects, (60, 80))
    assert (b.name, b.size, b.objects) == ("b 图", None, (Annotation('a "b";c', (7, -10, 9, 0.5)),))
    assert (c.objects, c.size) == ((), (10, 20))
    assert (found.format, found.classes) == ("csv", None)


def test_csv_files_are_splits_and_names_that_clash_get_their_folder(tmp_path: Path) -> None:
    for split in ("train", "other"):
        write(tmp_path / f"{split}.csv", HEADER + "x.jpg,,,,,,,\n")
        write(tmp_path / f"{split}/x.jpg")
    assert names(read_labelled(tmp_path)) == {"other": ["other_x"], "train": ["train_x"]}
    assert names(read_labelled(tmp_path / "train.csv")) == {"train": ["x"]}
    assert names(read_labelled(tmp_path / "other.csv", tmp_path / "train")) == {"all": ["x"]}


def test_each_csv_fault_is_named_with_its_line_and_the_rest_is_read(tmp_path: Path) -> None:
    rows = [
        "good.jpg,80,60,dog,1,2,3,4",
        "bad.jpg,80,60,dog,1,2,3,4",
        "bad.jpg,80,60,dog,1,2,three,4",
        "bad.jpg,80,60,,1,2,3,4",
        "bad.jpg,80,60,dog,1,2",
        "bad.jpg,81,60,dog,1,2,3,4",
        ",80,60,dog,1,2,3,4",
        "bad.jpg,wide,60,dog,1,2,3,4",
        "god.jpg,80,60,dog,1,2,3,4",
        "../up.jpg,80,60,dog,1,2,3,4",
        "/etc/passwd,80,60,dog,1,2,3,4",
        *["many.jpg,,,dog,1,2,3,4"] * 10_001,
    ]
    for name in ("good.jpg", "bad.jpg", "../up.jpg", "many.jpg"):
        write(tmp_path / "set" / name)
    found = read_labelled(write(tmp_path / "set/val.csv", HEADER + "\n".join(rows)))
    assert names(found) == {"val": ["good"]}
    lines = [("unreadable annotation", "val.csv", line) for line in (4, 5, 6, 7, 8, 9)]
    assert faults(found) == [
        *lines,
        ("missing picture", "val.csv", None),
        ("unreadable annotation", "val.csv", None),
        ("unreadable annotation", "val.csv", None),
        ("too many objects", "val.csv", None),
    ]
    assert "did you mean 'good'" in found.faults[6].detail


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no column filename, class"),
        (b"file_name,class,xmin,ymin,xmax,ymax\n", "no column filename .*did you mean 'file_name'"),
        (HEADER + '"' + "x" * 200_000, "no table that can be read"),
        (HEADER.encode() + "größe.jpg,,,,,,,\n".encode("latin-1"), "is not UTF-8"),
        (HEADER, "names no pictures"),
    ],
)
def test_csv_files_that_cannot_be_used_stop(tmp_path: Path, content: str | bytes, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_labelled(write(tmp_path / "train.csv", content))


def test_csv_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "_MAX_BYTES", 10)
    with pytest.raises(DataError, match="above the 10 bytes"):
        read_labelled(write(tmp_path / "train.csv", HEADER))


# TFRecords


@pytest.mark.parametrize(
    ("file", "split"),
    [
        ("voc_2007_train_000.tfrecord", "voc_2007_train"),
        ("voc_2007_train_00001-of-00003-total00500.tfrecord", "voc_2007_train"),
        ("voc_2007.tfrecord", "voc_2007"),
        ("train.record", "train"),
        ("coco_train.record-00000-of-00100", "coco_train"),
        ("test-00000-of-00001.tfrecord", "test"),
        ("val_1001.tfrecord", "val"),
        ("pets.tfrecords", "pets"),
    ],
)
def test_splits_are_what_record_files_are_called(file: str, split: str) -> None:
    assert tfrecord.split_of(Path(file)) == split


def test_records_of_ssd_tensorflow(tmp_path: Path) -> None:
    more = {"object/bbox/difficult": [1], "object/bbox/truncated": [1]}
    named = ssd_record(7, b"car", filename=[b"/data/2007_01.JPG"], **more)
    none = {key: value for key, value in ssd_record().items() if "object" not in key}
    path = write_records(tmp_path / "voc_2007_train_000.tfrecord", named, ssd_record(), none)
    write_records(tmp_path / "voc_2007_train_001.tfrecord", ssd_record())
    write_records(tmp_path / "voc_2007_test_000.tfrecord", named)
    found = read_labelled(tmp_path)
    assert names(found) == {
        "voc_2007_test": ["voc_2007_test_000_2007_01"],
        "voc_2007_train": [
            "voc_2007_train_000_2007_01",
            *("voc_2007_train_000_2", "voc_2007_train_000_3", "voc_2007_train_001_1"),
        ],
    }
    car, dog, empty, _ = found.splits["voc_2007_train"]
    assert (car.size, car.normalised, car.source) == ((60, 80), True, path)
    assert car.objects == (Annotation("car", (0.125, 0.25, 0.5, 0.75), difficult=True, truncated=True),)
    assert dog.objects == (Annotation("dog", (0.125, 0.25, 0.5, 0.75)),)
    assert {example.picture.read() for example in (car, dog, empty)} == {b"\xff\xd8 the picture \xff\xd9"}
    assert (empty.objects, found.classes, found.format) == ((), ("car", "dog"), "tfrecord")


def test_records_without_texts_take_names_from_the_map_or_are_pascal_vocs(tmp_path: Path) -> None:
    path = write_records(tmp_path / "train_000.tfrecord", *(ssd_record(key, None) for key in (20, 21, 0)))
    found = read_labelled(tmp_path)
    assert [example.objects[0].name for example in found.splits["train"]] == ["tvmonitor"]
    assert found.classes is not None
    assert (len(found.classes), found.classes[11]) == (20, "dog")
    assert faults(found) == [("unreadable annotation", path.name, 2), ("unreadable annotation", path.name, 3)]
    write(tmp_path / "labels.txt", "0:none\n20:rat\n1:cow\n")
    found = read_labelled(tmp_path)
    rat, region, _ = (example.objects[0] for example in found.splits["train"])
    assert (rat.name, rat.difficult, region.difficult, found.classes) == ("rat", False, True, ("cow", "rat"))
    write(tmp_path / "labels.txt", "none\ncow\n")
    assert read_labelled(path).classes == ("cow",)


def od_record(**more: list) -> dict:
    record = {key.replace("bbox/label", "class/label"): value for key, value in ssd_record(1, None).items()}
    return {**record, **{f"image/{key}": value for key, value in more.items()}}


def test_records_of_the_object_detection_api(tmp_path: Path) -> None:
    marks = {"object/difficult": [1], "object/truncated": [0], "object/is_crowd": [1]}
    dog = od_record(filename=[b""], source_id=["图.jpg".encode()], **{"object/class/text": [b"dog"]}, **marks)
    cats = od_record(**{"object/group_of": [1], "object/class/label": [2]})
    write_records(tmp_path / "train.record-00000-of-00002", dog)
    write_records(tmp_path / "train.record-00001-of-00002", cats)
    items = "item {\n name: \"/m/02\"\n id: 2\n display_name: 'cat' }\nitem { id: 1 name: 'dog' }"
    write(tmp_path / "pets_label_map.pbtxt", items)
    found = read_labelled(tmp_path)
    one, two = found.splits["train"]
    assert (one.name, two.name) == ("图", "train_1")
    assert one.objects == (Annotation("dog", (0.125, 0.25, 0.5, 0.75), difficult=True, crowd=True),)
    assert two.objects == (Annotation("cat", (0.125, 0.25, 0.5, 0.75), crowd=True),)
    assert (found.classes, found.faults) == (("dog", "cat"), ())
    write(tmp_path / "pets_label_map.pbtxt", "item { id: 1 keypoints { id: 3 } name: 'dog' }")
    with pytest.raises(DataError, match="names no classes"):
        read_labelled(tmp_path)


def test_each_fault_of_a_record_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    broken = [
        {"image/height": [1]},
        ssd_record(**{"object/bbox/xmin": [0.1, 0.2]}),
        ssd_record(**{"object/bbox/xmin": [float("nan")]}),
        ssd_record(text=b"gr\xf6\xdfe"),
        ssd_record(**{"object/bbox/label": [1, 2]}),
        ssd_record(**{f"object/bbox/{side}": [0.5] * 10_001 for side in ("xmin", "ymin", "xmax", "ymax")}),
        ssd_record(filename=[b"\xff"]),
    ]
    path = write_records(tmp_path / "train.tfrecord", ssd_record(filename=[b"../../x.jpg"]), *broken)
    with tf.io.TFRecordWriter(str(tmp_path / "val.tfrecord")) as writer:
        writer.write(b"\xff no example")
    found = read_labelled(tmp_path)
    assert names(found) == {"train": ["x"], "val": []}
    kinds = ["missing picture", *["unreadable annotation"] * 4, "too many objects", "unreadable annotation"]
    expected = [(kind, path.name, number) for number, kind in enumerate(kinds, start=2)]
    assert faults(found) == [*expected, ("unreadable annotation", "val.tfrecord", 1)]


def with_other_byte(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def test_damaged_record_files_give_what_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_records(tmp_path / "train.tfrecord", *[ssd_record(filename=[b"%d" % n]) for n in range(3)])
    whole = path.read_bytes()
    size = len(whole) // 3
    header = struct.pack("<Q", 2**62)
    huge = header + struct.pack("<I", record_files.checksum(header))
    damages: list[tuple[bytes, list[str], list[int], str]] = [
        (whole[:-1], ["0", "1"], [3], "cut off"),
        (whole[: size + 5], ["0"], [2], "cut off in the header"),
        (with_other_byte(whole, size + 50), ["0", "2"], [2], "checksum of the record"),
        (with_other_byte(whole, size), ["0"], [2], "checksum of its length"),
        (whole[:size] + huge + whole[size:], ["0"], [2], "cut off"),
        (b"\x1f\x8b" + whole, [], [1], "gzip"),
        (b"not records at all", [], [1], "checksum of its length"),
    ]
    for content, left, numbers, says in damages:
        path.write_bytes(content)
        found = read_labelled(tmp_path)
        assert (names(found)["train"], [fault.object for fault in found.faults]) == (left, numbers)
        assert says in found.faults[0].detail
    path.write_bytes(whole)
    monkeypatch.setattr(record_files, "MAX_RECORD_BYTES", 10)
    assert len(read_labelled(tmp_path).faults) == 3


# All


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
    assert (example.name, example.picture.read()) == ("gr?n", b"<a/>")


def test_many_pictures_of_one_name_are_told_apart_in_little_time(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", HEADER + "".join(f"{n}/a.jpg,,,,,,,\n" for n in range(300)) + "a_2.jpg,,,,,,,\n")
    for n in range(300):
        write(tmp_path / f"{n}/a.jpg")
    for name in ("a_2.jpg", "0/a.png"):
        write(tmp_path / name)
    with (tmp_path / "train.csv").open("a") as file:
        file.write("0/a.png,,,,,,,\n")
    found = names(read_labelled(tmp_path))["train"]
    assert found == ["0_a", *(f"{n}_a" for n in range(1, 300)), "a_2", "0_a_2"]


def test_many_missing_pictures_are_told_in_little_time(tmp_path: Path) -> None:
    for n in range(2000):
        write(tmp_path / f"picture{n}.jpg")
    write(tmp_path / "train.csv", HEADER + "".join(f"pictur{n}.jpg,,,,,,,\n" for n in range(2000)))
    start = time.monotonic()
    assert len(read_labelled(tmp_path).faults) == 2000
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
    """A box in shares of a BCCD picture, all of which are 640 x 480."""
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
    for picture in (bccd / "JPEGImages").iterdir():
        write(tmp_path / "images" / picture.name)
    found = read_labelled(rewrite(voc, tmp_path))
    assert not found.faults + voc.faults
    assert set(voc.splits) - set(found.splits) == ({"trainval"} if found.format == "yolo" else set())
    for split, examples in found.splits.items():
        for ours, theirs in zip(voc.splits[split], examples, strict=True):
            assert (theirs.name, theirs.size) == (ours.name, None if theirs.normalised else (480, 640))
            assert [item.name for item in theirs.objects] == [item.name for item in ours.objects]
            for mine, other in zip(ours.objects, theirs.objects, strict=True):
                assert shares(theirs, other) == pytest.approx(shares(ours, mine), rel=1e-9)
    assert found.classes == (None if found.format == "csv" else ("RBC", "WBC", "Platelets"))
