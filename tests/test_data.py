"""VOC folders in, TFRecords between, batches out."""

import json
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import tensorflow as tf

from ssdcore.data.convert import choose_splits, convert
from ssdcore.data.formats import read_labelled
from ssdcore.data.pipeline import evaluation_batches, read_records, training_stream
from ssdcore.data.records.index import RecordIndex
from ssdcore.data.records.manifest import Manifest
from ssdcore.data.records.record import decode, parse
from ssdcore.data.synth import synthesize
from ssdcore.errors import DataError, ParamError
from ssdcore.params import AugmentParams, DataParams

OBJECT = """<object><name>{name}</name><difficult>{difficult}</difficult>
<bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"""


def write_voc(root: Path, images: dict[str, list[tuple]], size: tuple[int, int] = (60, 80)) -> Path:
    """A VOC folder with one split; objects are (name, difficult, box); images are height x width."""
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for name, objects in images.items():
        cv2.imwrite(str(root / f"JPEGImages/{name}.jpg"), np.full((*size, 3), 200, np.uint8))
        text = "".join(OBJECT.format(name=label, difficult=hard, box=box) for label, hard, box in objects)
        (root / f"Annotations/{name}.xml").write_text(f"<annotation>{text}</annotation>", "utf-8")
    (root / "ImageSets/Main/trainval.txt").write_text("\n".join(images) + "\n", "utf-8")
    return root


def records(folder: Path, split: str = "trainval") -> list[dict]:
    return [{k: v.numpy() for k, v in parse(item).items()} for item in read_records(folder, split)]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve drawn images to learn from and four to test on, converted."""
    root = tmp_path_factory.mktemp("shapes")
    synthesize(root / "voc", 12, 4, seed=3)
    convert(read_labelled(root / "voc"), root / "records")
    return root / "records"


def test_conversion_keeps_names_boxes_flags_and_background(tmp_path: Path) -> None:
    source = write_voc(
        tmp_path / "voc",
        {"one": [("dog", 1, (8, 6, 40, 30)), ("cat", 0, (0, 0, 80, 60))], "empty": []},
    )
    manifest = convert(read_labelled(source), tmp_path / "out")
    one, empty = records(tmp_path / "out")
    assert manifest.classes == ("cat", "dog")
    assert (one["name"], one["size"].tolist()) == (b"one", [60, 80])
    np.testing.assert_allclose(one["boxes"], [[0.1, 0.1, 0.5, 0.5], [0, 0, 1, 1]], atol=1e-7)
    assert one["labels"].tolist() == [2, 1]
    assert one["difficult"].tolist() == [True, False]
    assert empty["boxes"].shape == (0, 4)


def test_given_classes_set_the_order(tmp_path: Path) -> None:
    source = write_voc(tmp_path / "voc", {"one": [("dog", 0, (8, 6, 40, 30))]})
    convert(read_labelled(source), tmp_path / "out", classes=["dog", "cat"])
    assert records(tmp_path / "out")[0]["labels"].tolist() == [1]


def test_boxes_without_area_are_dropped_by_name_and_others_cut_to_the_image(tmp_path: Path) -> None:
    objects = [("a", 0, (5, 5, 5, 5)), ("a", 0, (-8, 30, 40, 90)), ("a", 0, (30, 10, 20, 20)), ("a", 0, (90, 1, 99, 9))]
    source = write_voc(tmp_path / "voc", {"one": objects})
    manifest = convert(read_labelled(source), tmp_path / "out")
    np.testing.assert_allclose(records(tmp_path / "out")[0]["boxes"], [[0, 0.5, 0.5, 1]], atol=1e-7)
    assert [issue.split(": ")[1:3] for issue in manifest.dropped] == [
        ["object 1", "empty box"],
        ["object 3", "swapped corners"],
        ["object 4", "box outside"],
    ]
    kinds = {"empty box": 1, "swapped corners": 1, "box outside": 1, "box over the edge": 1}
    assert manifest.issues == kinds


def test_unicode_and_spaces_survive(tmp_path: Path) -> None:
    source = write_voc(tmp_path / "my voc 図", {"ein bild": [("größe 1", 0, (8, 6, 40, 30))]})
    (source / "ImageSets/Main/trainval.txt").write_text("ein\n", "utf-8")
    for folder, end in (("Annotations", "xml"), ("JPEGImages", "jpg")):
        (source / folder / f"ein bild.{end}").rename(source / folder / f"ein.{end}")
    assert convert(read_labelled(source), tmp_path / "out 図").classes == ("größe 1",)
    assert Manifest.load(tmp_path / "out 図").classes == ("größe 1",)


def test_png_images_are_kept_as_they_are(tmp_path: Path) -> None:
    source = write_voc(tmp_path / "voc", {"one": [("a", 0, (8, 6, 40, 30))]})
    (source / "JPEGImages/one.jpg").unlink()
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    cv2.imwrite(str(source / "JPEGImages/one.png"), pixels)
    convert(read_labelled(source), tmp_path / "out")
    np.testing.assert_array_equal(decode(records(tmp_path / "out")[0]["image"]), pixels[..., ::-1])


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda root: (root / "JPEGImages/one.jpg").unlink(), "missing image"),
        (lambda root: (root / "JPEGImages/one.jpg").write_bytes(b"\xff\xd8\xff no"), r"one\.jpg: unreadable image"),
        (lambda root: (root / "JPEGImages/one.jpg").write_bytes(b""), r"one\.jpg: unreadable image"),
        (lambda root: (root / "Annotations/one.xml").unlink(), "missing annotation"),
        (lambda root: (root / "Annotations/one.xml").write_text("<annotation>"), r"one\.xml: unreadable annotation"),
        (
            lambda root: (root / "Annotations/one.xml").write_text("<a><object><name>x</name></object></a>"),
            r"one\.xml, object 1: unreadable annotation",
        ),
    ],
)
def test_issues_in_a_voc_folder_are_named_and_leave_nothing(break_it, says: str, tmp_path: Path) -> None:
    source = write_voc(tmp_path / "voc", {"one": [("a", 0, (8, 6, 40, 30))]})
    break_it(source)
    with pytest.raises(DataError, match=says):
        convert(read_labelled(source), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["voc"]


@pytest.mark.parametrize("classes", [["a", "a"], ["a", ""], []])
def test_class_lists_that_repeat_or_lack_names_are_refused(classes: list[str], tmp_path: Path) -> None:
    source = write_voc(tmp_path / "voc", {"one": [("a", 0, (8, 6, 40, 30))]})
    with pytest.raises(ParamError, match="class names must be given"):
        convert(read_labelled(source), tmp_path / "out", classes)


def test_a_shortened_shard_is_noticed_before_anything_is_read(shapes: Path, tmp_path: Path) -> None:
    for path in shapes.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    shard = tmp_path / "test-00000-of-00001.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-50])
    with pytest.raises(DataError, match="bytes, it was written with"):
        read_records(tmp_path, "test")


def test_other_image_formats_become_png(tmp_path: Path) -> None:
    source = write_voc(tmp_path / "voc", {"one": [("a", 0, (1, 1, 5, 5))]})
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 3)).astype(np.uint8)
    (source / "JPEGImages/one.jpg").write_bytes(cv2.imencode(".tiff", pixels)[1].tobytes())
    manifest = convert(read_labelled(source), tmp_path / "out")
    np.testing.assert_array_equal(decode(records(tmp_path / "out")[0]["image"]), pixels[..., ::-1])
    assert manifest.issues == {"unusual image": 1}


def test_many_images_go_into_several_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssdcore.data.convert.IMAGES_PER_SHARD", 2)
    source = write_voc(tmp_path / "voc", {str(n): [("a", 0, (8, 6, 40, 30))] for n in range(5)})
    split = convert(read_labelled(source), tmp_path / "out").splits["trainval"]
    assert (len(split.shards), split.images, split.objects) == (3, 5, 5)
    assert {item["name"] for item in records(tmp_path / "out")} == {b"0", b"1", b"2", b"3", b"4"}


def test_missing_shards_and_splits_are_named(shapes: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="did you mean 'trainval'"):
        read_records(shapes, "trainvel")
    (tmp_path / "manifest.json").write_text((shapes / "manifest.json").read_text())
    with pytest.raises(DataError, match=r"trainval-00000-of-00001\.tfrecord is missing"):
        read_records(tmp_path, "trainval")


def test_drawn_shapes_are_labelled_exactly(tmp_path: Path) -> None:
    """Each labelled box is as tight as the pixels that differ from the same image without shapes."""
    synthesize(tmp_path / "voc", 6, 0, seed=1)
    for path in sorted((tmp_path / "voc/Annotations").iterdir()):
        root = ElementTree.parse(path).getroot()
        image = cv2.imread(str(tmp_path / f"voc/JPEGImages/{path.stem}.jpg")).astype(int)
        for node in root.iter("object"):
            xmin, ymin, xmax, ymax = (int(node.findtext(f"bndbox/{k}")) for k in ("xmin", "ymin", "xmax", "ymax"))
            middle = image[(ymin + 2 * ymax) // 3, (xmin + xmax) // 2]
            just_outside = image[min(ymax + 4, 299), min(xmax + 4, 299)]
            assert np.abs(middle - just_outside).max() > 30


def test_drawing_depends_on_the_seed_only(tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        synthesize(tmp_path / name, 2, 1, seed)
    a, b, c = (
        b"".join(p.read_bytes() for p in sorted((tmp_path / n).rglob("*")) if p.is_file()) for n in ("a", "b", "c")
    )
    assert a == b
    assert a != c


def stream(shapes: Path, start: int, seed: int = 1) -> tf.data.Dataset:
    index = RecordIndex.of_split(shapes, "trainval")
    return training_stream(index, (seed, 0), start, (64, 64), DataParams(), AugmentParams())


def test_a_stream_begun_later_goes_on_as_the_whole_one(shapes: Path) -> None:
    whole = list(stream(shapes, 0).take(40).as_numpy_iterator())
    later = list(stream(shapes, 29).take(11).as_numpy_iterator())
    for one, other in zip(whole[29:], later, strict=True):
        for left, right in zip(one, other, strict=True):
            np.testing.assert_array_equal(left, right)


def test_each_pass_shows_every_image_once_in_a_new_order(shapes: Path) -> None:
    plain = AugmentParams(photometric=None, expand=None, crop=None, horizontal_flip=0, interpolations=("bilinear",))
    index = RecordIndex.of_split(shapes, "trainval")
    data = training_stream(index, (1, 0), 0, (32, 32), DataParams(), plain)
    sums = [float(item.image.numpy().sum()) for item in data.take(24)]
    assert sorted(sums[:12]) == sorted(sums[12:])
    assert sums[:12] != sums[12:]
    assert len(set(sums[:12])) == 12


def test_another_seed_gives_other_images(shapes: Path) -> None:
    one, other = (next(stream(shapes, 0, seed).as_numpy_iterator()) for seed in (1, 2))
    assert not np.array_equal(one.image, other.image)


def test_evaluation_sees_each_image_once_with_its_boxes(shapes: Path) -> None:
    batches = list(evaluation_batches(read_records(shapes, "test"), (64, 64), "warp", 3).as_numpy_iterator())
    assert [len(batch.images) for batch in batches] == [3, 1]
    expected = json.loads((shapes / "manifest.json").read_text())["splits"]["test"]["objects"]
    assert sum(int((batch.labels > 0).sum()) for batch in batches) == expected


@pytest.mark.realdata
def test_bccd_has_exactly_two_boxes_without_area(bccd: Path, tmp_path: Path) -> None:
    manifest = convert(choose_splits(read_labelled(bccd), ["trainval", "test"]), tmp_path / "out")
    assert manifest.classes == ("Platelets", "RBC", "WBC")
    assert sum(split.objects for split in manifest.splits.values()) == 4886
    assert {issue.split(":")[0] for issue in manifest.dropped} == {"BloodImage_00338.xml", "BloodImage_00343.xml"}


def test_regions_that_nobody_labelled_are_ignored_and_no_class(tmp_path: Path) -> None:
    """SSD-Tensorflow's label above the last class: neither object nor background in training."""
    source = write_voc(tmp_path / "voc", {"one": [("dog", 0, (8, 6, 40, 30)), ("unlabelled", 0, (40, 6, 70, 30))]})
    manifest = convert(read_labelled(source), tmp_path / "out")
    (one,) = records(tmp_path / "out")
    assert manifest.classes == ("dog",)
    assert (one["labels"].tolist(), one["crowd"].tolist()) == ([1, 0], [False, True])
    plain = AugmentParams(photometric=None, expand=None, crop=None, horizontal_flip=0)
    found = {}
    index = RecordIndex.of_split(tmp_path / "out", "trainval")
    for treatment in ("ignore", "train", "drop"):
        stream = training_stream(index, (0, 0), 0, (64, 64), DataParams(crowd=treatment), plain)
        found[treatment] = next(iter(stream)).labels.numpy().tolist()
    assert found == {"ignore": [1, -1], "train": [1], "drop": [1]}
