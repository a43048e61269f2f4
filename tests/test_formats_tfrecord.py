"""TFRecords of other programs in, labelled images out; what is wrong is named, and nothing else lost."""

import struct
from pathlib import Path

import pytest
import tensorflow as tf
from annotation_files import issues, names, write

from ssdcore.data.annotations import Annotation
from ssdcore.data.formats import read_labelled, record_files, tfrecord
from ssdcore.errors import DataError


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
        "image/encoded": [b"\xff\xd8 the image \xff\xd9"],
        "image/format": [b"JPEG"],
        "image/height": [60],
        "image/width": [80],
        **{f"image/object/bbox/{side}": value for side, value in sides.items()},
        "image/object/bbox/label": [label],
        **named,
        **{f"image/{key}": value for key, value in more.items()},
    }


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
    assert {example.image.read() for example in (car, dog, empty)} == {b"\xff\xd8 the image \xff\xd9"}
    assert (empty.objects, found.classes, found.format) == ((), ("car", "dog"), "tfrecord")


def test_records_without_texts_take_names_from_the_map_or_are_pascal_vocs(tmp_path: Path) -> None:
    path = write_records(tmp_path / "train_000.tfrecord", *(ssd_record(key, None) for key in (20, 21, 0)))
    found = read_labelled(tmp_path)
    assert [example.objects[0].name for example in found.splits["train"]] == ["tvmonitor"]
    assert found.classes is not None
    assert (len(found.classes), found.classes[11]) == (20, "dog")
    assert issues(found) == [("unreadable annotation", path.name, 2), ("unreadable annotation", path.name, 3)]
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
    assert (found.classes, found.issues) == (("dog", "cat"), ())
    write(tmp_path / "pets_label_map.pbtxt", "item { id: 1 keypoints { id: 3 } name: 'dog' }")
    with pytest.raises(DataError, match="names no classes"):
        read_labelled(tmp_path)


def test_each_issue_of_a_record_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
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
    kinds = ["missing image", *["unreadable annotation"] * 4, "too many objects", "unreadable annotation"]
    expected = [(kind, path.name, number) for number, kind in enumerate(kinds, start=2)]
    assert issues(found) == [*expected, ("unreadable annotation", "val.tfrecord", 1)]


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
        assert (names(found)["train"], [issue.object for issue in found.issues]) == (left, numbers)
        assert says in found.issues[0].detail
    path.write_bytes(whole)
    monkeypatch.setattr(record_files, "MAX_RECORD_BYTES", 10)
    assert len(read_labelled(tmp_path).issues) == 3
