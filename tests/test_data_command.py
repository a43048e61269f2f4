"""`ssd data synth` and `ssd data convert`: what they print, write and refuse."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from ssd_program import Completed, RunHere, assert_one_clear_line, run_program
from ssdcli.main import main

TRAINVAL, TEST = 5, 3


@pytest.fixture(scope="module")
def voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder made by `ssd data synth`."""
    out = tmp_path_factory.mktemp("data") / "shapes"
    main(["data", "synth", str(out), "--trainval", str(TRAINVAL), "--test", str(TEST), "--seed", "1"])
    return out


@pytest.fixture(scope="module")
def converted(ssd_command: list[str], voc: Path) -> Completed:
    """`ssd data convert`, done; its last argument is the folder."""
    return run_program(*ssd_command, "data", "convert", str(voc), "--out", str(voc.with_name("records")))


@pytest.fixture(scope="module")
def records(converted: Completed) -> Path:
    assert converted.returncode == 0, converted.stderr
    return Path(converted.args[-1])


def count_objects(voc: Path, split: str) -> tuple[int, int]:
    """Images and objects of a split, counted in its XML files."""
    names = (voc / f"ImageSets/Main/{split}.txt").read_text("utf-8").split()
    trees = [ElementTree.parse(voc / f"Annotations/{name}.xml") for name in names]
    return len(names), sum(len(tree.findall("object")) for tree in trees)


def count_records(path: Path) -> int:
    """Records in a TFRecord file: each has 8 bytes of length, 4 of checksum, the data, 4 of checksum."""
    content, position, count = path.read_bytes(), 0, 0
    while position < len(content):
        position += 16 + int.from_bytes(content[position : position + 8], "little")
        count += 1
    assert position == len(content)
    return count


def test_synth_draws_the_numbers_asked_for(voc: Path) -> None:
    assert len(list((voc / "JPEGImages").glob("*.jpg"))) == TRAINVAL + TEST
    assert [count_objects(voc, split)[0] for split in ("trainval", "test")] == [TRAINVAL, TEST]


def test_synth_into_a_folder_in_use_is_one_clear_line(ssd_here: RunHere, voc: Path) -> None:
    code, _, err = ssd_here("data", "synth", voc)
    assert_one_clear_line(code, err, [str(voc), "exists already"])


def test_convert_prints_what_the_xml_files_hold(converted: Completed, voc: Path, records: Path) -> None:
    rows = {tuple(line.split()) for line in converted.stdout.splitlines()}
    for split in ("trainval", "test"):
        assert (split, *map(str, count_objects(voc, split))) in rows
    assert ("left", "out:", "0") in rows
    assert records.is_dir()


def test_convert_writes_what_the_xml_files_hold(voc: Path, records: Path) -> None:
    manifest: dict[str, Any] = json.loads((records / "manifest.json").read_text("utf-8"))
    assert set(manifest["splits"]) == {"trainval", "test"}
    for name, split in manifest["splits"].items():
        images, objects = count_objects(voc, name)
        assert objects > 0
        assert (split["images"], split["objects"]) == (images, objects)
        assert sum(count_records(records / shard) for shard in split["shards"]) == images


def test_convert_collects_the_classes_in_order(voc: Path, records: Path) -> None:
    found = {node.text for path in (voc / "Annotations").glob("*.xml") for node in ElementTree.parse(path).iter("name")}
    assert json.loads((records / "manifest.json").read_text("utf-8"))["classes"] == sorted(map(str, found))
    assert len(found) > 1


def test_convert_takes_the_classes_and_the_split_asked_for(ssd_here: RunHere, voc: Path, tmp_path: Path) -> None:
    options = ("--classes", "triangle, square,circle", "--only", "test")
    code, _, _ = ssd_here("data", "convert", voc, "--out", tmp_path / "out", *options)
    manifest = json.loads((tmp_path / "out/manifest.json").read_text("utf-8"))
    assert code == 0
    assert manifest["classes"] == ["triangle", "square", "circle"]
    assert set(manifest["splits"]) == {"test"}


def test_convert_shows_progress_on_stderr(converted: Completed) -> None:
    progress = f"{TRAINVAL + TEST}/{TRAINVAL + TEST}"
    assert progress in converted.stderr
    assert progress not in converted.stdout


@pytest.mark.parametrize(
    ("source", "options", "telling"),
    [
        ("absent", [], ["there is no", "absent", "VOC"]),
        ("JPEGImages", [], ["JPEGImages", "no annotations in a known format", "VOC"]),
        (".", ["--only", "tset"], ["'tset'", "'test'"]),
        (".", ["--classes", "circles,squares,triangles"], ["unknown class", ".xml", "did you mean", "--classes"]),
    ],
    ids=["missing folder", "no VOC folder", "unknown split", "unknown class"],
)
def test_convert_error_is_one_clear_line_and_leaves_nothing(
    ssd_here: RunHere, voc: Path, tmp_path: Path, source: str, options: list[str], telling: list[str]
) -> None:
    code, _, err = ssd_here("data", "convert", voc / source, "--out", tmp_path / "out", *options)
    assert_one_clear_line(code, err, telling)
    assert list(tmp_path.iterdir()) == []


def test_convert_over_existing_records_is_one_clear_line_and_keeps_them(
    ssd_here: RunHere, voc: Path, records: Path
) -> None:
    before = (records / "manifest.json").read_bytes()
    code, _, err = ssd_here("data", "convert", voc, "--out", records)
    assert_one_clear_line(code, err, [str(records), "exists already", "--out"])
    assert (records / "manifest.json").read_bytes() == before
