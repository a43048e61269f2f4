"""What conversion says of its records, and how it notices that they were changed."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from voc_files import BOX, EMPTY, RunHere, digests, draw, numbered, write_voc, write_xml

from ssdcore.data.convert import convert
from ssdcore.data.formats import read_labelled
from ssdcore.data.records.manifest import Manifest


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """Records of twelve images, of which four are in two splits; one of those has an empty box."""
    images = numbered(12, [("a", BOX), ("b", BOX)]) | {"0001": [("a", EMPTY), ("b", BOX)], "0009": []}
    lists = {"trainval": list(images), "val": [f"{n:04}" for n in range(4)]}
    convert(read_labelled(write_voc(tmp_path / "voc", images, lists)), tmp_path / "out")
    return tmp_path / "out"


def test_manifest_counts_each_split_and_each_issue_once(records: Path) -> None:
    manifest = Manifest.load(records)
    counts = {name: (split.images, split.objects) for name, split in manifest.splits.items()}
    assert counts == {"trainval": (12, 21), "val": (4, 7)}
    assert manifest.issues == {"empty box": 1}
    assert [line.split(": ")[:3] for line in manifest.dropped] == [["0001.xml", "object 1", "empty box"]]


def test_equal_issues_in_files_of_one_name_are_two(tmp_path: Path) -> None:
    """Two years of a devkit, each with an image 000001."""
    for year in ("VOC2007", "VOC2012"):
        write_voc(tmp_path / "kit" / year, {"000001": [("a", BOX), ("a", EMPTY)]})
        draw(tmp_path / "kit" / year / "JPEGImages/000001.jpg", int(year[3:]))
    manifest = convert(read_labelled(tmp_path / "kit"), tmp_path / "out")
    assert manifest.issues == {"empty box": 2}


def test_equal_issues_of_two_images_in_one_json_are_two(tmp_path: Path) -> None:
    images = [{"id": number, "file_name": f"{number}.jpg"} for number in range(3)]
    objects = [{"id": n, "image_id": n, "category_id": 1, "bbox": [5, 5, 0 if n else 9, 9]} for n in range(3)]
    content = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "dog"}]}
    (tmp_path / "train.json").write_text(json.dumps(content))
    for number in range(3):
        draw(tmp_path / f"{number}.jpg", number)
    manifest = convert(read_labelled(tmp_path / "train.json"), tmp_path / "out")
    assert (manifest.issues, len(manifest.dropped)) == ({"empty box": 2}, 2)


def test_digests_and_sizes_are_those_of_the_files(records: Path) -> None:
    for split in Manifest.load(records).splits.values():
        for shard, size, digest in zip(split.shards, split.sizes, split.digests, strict=True):
            content = (records / shard).read_bytes()
            assert (len(content), hashlib.sha256(content).hexdigest()) == (size, digest)


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("spoil", "says"), [(alter, "was changed"), (shorten, "was changed"), (Path.unlink, "is missing")]
)
def test_check_of_records_names_the_shard(
    spoil: Callable[[Path], None], says: str, ssd_here: RunHere, records: Path
) -> None:
    assert ssd_here("data", "check", records)[0] == 0
    spoil(records / "val-00000-of-00001.tfrecord")
    code, _, err = ssd_here("data", "check", records)
    assert code == 1
    assert err.startswith("error: ")
    assert f"val-00000-of-00001.tfrecord {says}" in err
    assert "trainval-" not in err


def test_records_without_digests_are_told_so(ssd_here: RunHere, records: Path) -> None:
    content = json.loads((records / "manifest.json").read_text("utf-8"))
    for split in content["splits"].values():
        del split["digests"]
    (records / "manifest.json").write_text(json.dumps(content), "utf-8")
    code, _, err = ssd_here("data", "check", records)
    assert "unexpected" not in err
    assert code == 1


def move_a_box(source: Path) -> None:
    write_xml(source, "0002", [("a", BOX), ("b", (8, 6, 40, 31))])


def rename_an_object(source: Path) -> None:
    write_xml(source, "0002", [("b", BOX), ("b", BOX)])


def draw_another(source: Path) -> None:
    draw(source / "JPEGImages/0002.jpg", 1000)


@pytest.mark.parametrize("change", [move_a_box, rename_an_object, draw_another])
def test_source_is_another_where_the_data_is(change: Callable[[Path], None], records: Path, tmp_path: Path) -> None:
    before = Manifest.load(records).source
    assert convert(read_labelled(tmp_path / "voc"), tmp_path / "same").source == before
    change(tmp_path / "voc")
    assert convert(read_labelled(tmp_path / "voc"), tmp_path / "other").source != before


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten images in train, four in val and six in test."""
    names = [f"{n:04}" for n in range(20)]
    lists = {"train": names[:10], "val": names[10:14], "test": names[14:]}
    return write_voc(tmp_path_factory.mktemp("listed") / "voc", numbered(20), lists)


def images(out: Path) -> dict[str, int]:
    return {name: split.images for name, split in Manifest.load(out).splits.items()}


def test_only_some_splits_are_converted(ssd_here: RunHere, listed: Path, tmp_path: Path) -> None:
    assert ssd_here("data", "convert", listed, "--out", tmp_path / "out", "--only", "test", "--only", "val")[0] == 0
    assert images(tmp_path / "out") == {"test": 6, "val": 4}


def test_a_split_is_divided_by_seed(ssd_here: RunHere, listed: Path, tmp_path: Path) -> None:
    options = ("--split", "0.6/0.2/0.2", "--only", "train")
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        code, out, _ = ssd_here("data", "convert", listed, "--out", tmp_path / name, *options, "--seed", seed)
        assert code == 0
        assert images(tmp_path / name) == {"train": 6, "val": 2, "test": 2}
        assert ["train", "6", "6"] in [line.split() for line in out.splitlines()]
    assert digests(tmp_path / "one") == digests(tmp_path / "same") != digests(tmp_path / "other")


def test_all_splits_are_divided_into_three(ssd_here: RunHere, listed: Path, tmp_path: Path) -> None:
    assert ssd_here("data", "convert", listed, "--out", tmp_path / "out", "--split", "0.8/0.1/0.1")[0] == 0
    assert images(tmp_path / "out") == {"train": 16, "val": 2, "test": 2}


@pytest.mark.parametrize("fractions", ["0.8/0.3", "0.8", "many"])
def test_wrong_fractions_are_one_clear_line(ssd_here: RunHere, listed: Path, tmp_path: Path, fractions: str) -> None:
    code, _, err = ssd_here("data", "convert", listed, "--out", tmp_path / "out", "--split", fractions)
    assert (code, err.count("\n"), err[:7]) == (1, 1, "error: ")
    assert repr(fractions) in err
    assert list(tmp_path.iterdir()) == []


def test_faulty_images_stop_or_are_left_out(ssd_here: RunHere, tmp_path: Path) -> None:
    source = write_voc(tmp_path / "voc", numbered(6) | {"0002": [("a", EMPTY), ("a", BOX)]})
    (source / "JPEGImages/0003.jpg").write_bytes((source / "JPEGImages/0003.jpg").read_bytes()[:300])
    (source / "Annotations/0004.xml").write_text("<annotation>")
    code, _, err = ssd_here("data", "convert", source, "--out", tmp_path / "out")
    assert (code, err.count("\n"), err[:7]) == (1, 1, "error: ")
    assert str(source / "Annotations/0004.xml") in err
    assert "--skip-faulty" in err
    code, out, _ = ssd_here("data", "convert", source, "--out", tmp_path / "out", "--skip-faulty")
    assert code == 0
    assert {"left out: 3", "empty box: 1", "unreadable image: 1", "unreadable annotation: 1"} <= set(out.splitlines())
    assert images(tmp_path / "out") == {"trainval": 4}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "voc"]
