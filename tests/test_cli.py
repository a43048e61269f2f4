"""The `ssd` program: exit codes, one-line errors, and the commands for param sets and data."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from ssdcli.main import main

from ssdcore.params import ParamSet
from ssdcore.plugins import Plugins

Completed = subprocess.CompletedProcess[str]
Run = Callable[..., Completed]
Outcome = tuple[int, str, str]
RunHere = Callable[..., Outcome]

TRAINVAL, TEST = 5, 3


def run_program(*command: str) -> Completed:
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def ssd(ssd_command: list[str]) -> Run:
    """Runs `ssd` in a process of its own."""
    return lambda *arguments: run_program(*ssd_command, *map(str, arguments))


def assert_one_clear_line(code: int, err: str, telling: list[str]) -> None:
    assert code == 1
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert "Traceback" not in err
    assert "unexpected" not in err
    assert [part for part in telling if part not in err] == []


# --- start-up and exit codes


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["train", "--help"],
        ["--version"],
        ["params", "list"],
        ["params", "show", "vgg16-ssd300"],
        ["backbones", "list"],
    ],
    ids=" ".join,
)
def test_command_needs_no_tensorflow(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom ssdcli.main import main\n"
        f"main({arguments!r})\nprint('loaded', sorted({{'keras', 'tensorflow'}} & set(sys.modules)))"
    )
    done = run_program(sys.executable, "-c", code)
    lines = done.stdout.splitlines()
    assert lines[-1] == "loaded []", done.stderr
    assert len(lines) > 1


def test_help_names_all_commands(ssd: Run) -> None:
    done = ssd("--help")
    assert (done.returncode, done.stderr) == (0, "")
    commands = {"backbones", "data", "demo", "detect", "eval", "params", "train"}
    assert commands <= {line.split()[0] for line in done.stdout.splitlines() if line.strip()}


@pytest.mark.parametrize(
    ("arguments", "telling"),
    [
        (["fly"], "'fly'"),
        (["params", "shwo"], "'shwo'"),
        (["params", "show"], "NAME"),
        (["params", "list", "--yaml"], "--yaml"),
        (["train", "--params", "vgg16-ssd300", "--out", "run"], "--data"),
        (["train", "--params", "vgg16-ssd300", "--data", "records"], "--out"),
        (["eval", "run"], "--data"),
        (["eval", "run", "--data", "records", "--metric", "voc99"], "voc07"),
        (["detect", "run"], "SOURCE"),
        (["detect", "run", "a.jpg", "--out", "found", "--score", "2"], "--score"),
        (["data", "synth", "shapes", "--test", "many"], "--test"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_ends_with_2_and_says_what_is_wrong(ssd_here: RunHere, arguments: list[str], telling: str) -> None:
    code, out, err = ssd_here(*arguments)
    assert (code, out) == (2, "")
    assert "Usage: ssd" in err
    assert telling in err.splitlines()[-1]


def test_wrong_usage_ends_the_process_with_2(ssd: Run) -> None:
    assert ssd("fly").returncode == 2


def test_reader_that_stops_early_gets_no_traceback(ssd_command: list[str]) -> None:
    with subprocess.Popen(
        [*ssd_command, "params", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.close()
        assert program.stderr.read() == b""
    assert program.returncode == 1


# --- errors, in processes of their own


@pytest.mark.parametrize(
    ("arguments", "telling"),
    [
        (["params", "show", "vgg16-ssd300", "train.sede=1"], ["train.sede", "'seed'"]),
        (["params", "show", "vgg16-ssd30"], ["'vgg16-ssd30'", "'vgg16-ssd300'"]),
        (["params", "validate", "vgg16-ssd300", "backbone=vgg_61"], ["'vgg_61'", "'vgg_16'"]),
    ],
    ids=["unknown key", "unknown set", "unknown backbone"],
)
def test_error_ends_the_process_with_1_and_one_line(ssd: Run, arguments: list[str], telling: list[str]) -> None:
    done = ssd(*arguments)
    assert_one_clear_line(done.returncode, done.stderr, telling)
    assert done.stdout == ""


def test_error_after_loading_tensorflow_is_the_only_line(ssd: Run, tmp_path: Path) -> None:
    done = ssd("train", "--params", "vgg16-ssd300", "--data", tmp_path / "nowhere", "--out", tmp_path / "run")
    assert_one_clear_line(done.returncode, done.stderr, [str(tmp_path / "nowhere"), "ssd data convert"])
    assert not (tmp_path / "run").exists()


# --- errors, in this process


@pytest.mark.parametrize(
    ("assignment", "telling"),
    [
        ("train.sede=1", ["train.sede", "'seed'"]),
        ("train.stages.0.batchsize=1", ["'batchsize'", "'batch_size'"]),
        ("train.seed", ["'train.seed'", "key.sub=value"]),
        ("train.seed=[1", ["train.seed=[1", "YAML"]),
        ("train.seed=many", ["train.seed", "integer", "'many'"]),
        ("backbone=vgg_61", ["'vgg_61'", "'vgg_16'"]),
    ],
)
def test_training_with_a_bad_override_is_one_clear_line(
    ssd_here: RunHere, tmp_path: Path, assignment: str, telling: list[str]
) -> None:
    arguments = ("--params", "vgg16-ssd300", "--data", tmp_path, "--out", tmp_path / "run", assignment)
    code, _, err = ssd_here("train", *arguments)
    assert_one_clear_line(code, err, telling)
    assert not (tmp_path / "run").exists()


def test_training_without_params_lists_the_shipped_sets(ssd_here: RunHere, tmp_path: Path) -> None:
    code, _, err = ssd_here("train", "--data", tmp_path, "--out", tmp_path / "run")
    assert_one_clear_line(code, err, ["--params", "vgg16-ssd300", "mobilenet025-ssd300"])


def test_training_with_an_unknown_param_set_offers_the_nearest(ssd_here: RunHere, tmp_path: Path) -> None:
    code, _, err = ssd_here("train", "--params", "vgg16-ssd", "--data", tmp_path, "--out", tmp_path / "run")
    assert_one_clear_line(code, err, ["'vgg16-ssd'", "did you mean 'vgg16-ssd"])


def test_training_with_a_missing_params_file_is_one_clear_line(ssd_here: RunHere, tmp_path: Path) -> None:
    path = tmp_path / "absent.yaml"
    code, _, err = ssd_here("train", "--params", path, "--data", tmp_path, "--out", tmp_path / "run")
    assert_one_clear_line(code, err, [str(path)])


def test_training_on_a_folder_without_manifest_is_one_clear_line(ssd_here: RunHere, tmp_path: Path) -> None:
    arguments = ("--params", "mobilenet025-ssd300", "--data", tmp_path, "--out", tmp_path / "run")
    code, _, err = ssd_here("train", *arguments)
    assert_one_clear_line(code, err, [str(tmp_path), "manifest.json", "ssd data convert"])


def test_resuming_where_nothing_was_trained_is_one_clear_line(ssd_here: RunHere, tmp_path: Path) -> None:
    code, _, err = ssd_here("train", "--resume", "--data", tmp_path, "--out", tmp_path / "run")
    assert_one_clear_line(code, err, [str(tmp_path / "run")])


def nothing(path: Path) -> None:
    """Leaves the path missing."""


def garbage(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 4)


def cut_zip(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04 cut short")


@pytest.mark.parametrize("command", ["eval", "detect"])
@pytest.mark.parametrize(
    ("make", "telling"),
    [
        (nothing, ["no run folder or checkpoint"]),
        (Path.mkdir, ["no checkpoints", "ssd train"]),
        (garbage, ["damaged"]),
        (cut_zip, ["damaged"]),
        (Path.touch, ["damaged"]),
    ],
    ids=["missing", "folder without checkpoints", "garbage", "cut zip", "empty file"],
)
def test_unusable_model_is_one_clear_line(
    ssd_here: RunHere,
    voc: Path,
    tmp_path: Path,
    command: str,
    make: Callable[[Path], None],
    telling: list[str],
) -> None:
    model = tmp_path / "model.npz"
    make(model)
    rest = ("--data", tmp_path) if command == "eval" else (voc / "JPEGImages", "--out", tmp_path / "found")
    code, _, err = ssd_here(command, model, *rest)
    assert_one_clear_line(code, err, [str(model), *telling])


@pytest.mark.parametrize("source", ["absent.jpg", "no*.jpg", "."])
def test_detecting_in_no_picture_is_one_clear_line(
    ssd_here: RunHere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = ssd_here("detect", "run", source, "--out", "found")
    assert_one_clear_line(code, err, [str(tmp_path / source), ".jpg"])
    assert not (tmp_path / "found").exists()


# --- ssd params


def test_params_list_names_every_set(ssd_here: RunHere, plugins: Plugins) -> None:
    code, out, _ = ssd_here("params", "list", "--json")
    rows = {row["name"]: row["backbone"] for row in json.loads(out)}
    assert code == 0
    assert rows == {name: params.backbone for name, params in plugins.param_sets.items()}


def test_params_list_is_a_table_of_names_backbones_and_models(ssd_here: RunHere, plugins: Plugins) -> None:
    rows = {tuple(line.split()[:3]) for line in ssd_here("params", "list")[1].splitlines()}
    assert rows >= {(name, params.backbone, params.model.name) for name, params in plugins.param_sets.items()}


def test_params_show_prints_yaml_that_loads_to_the_same_set(
    ssd_here: RunHere, plugins: Plugins, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(ssd_here("params", "show", "vgg16-ssd512")[1], "utf-8")
    assert ParamSet.load(path) == plugins.param_sets["vgg16-ssd512"]


def test_params_show_of_a_file_applies_overrides(ssd_here: RunHere, plugins: Plugins, tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    overrides = ["train.seed=5", "augment.crop=null"]
    first.write_text(ssd_here("params", "show", "vgg16-ssd300", overrides[0])[1], "utf-8")
    second.write_text(ssd_here("params", "show", first, overrides[1])[1], "utf-8")
    assert ParamSet.load(second) == plugins.param_sets["vgg16-ssd300"].override(overrides)


def test_params_diff_shows_exactly_what_differs(ssd_here: RunHere, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(ssd_here("params", "show", "vgg16-ssd300", "train.seed=5", "augment.crop.trials=7")[1], "utf-8")
    code, out, _ = ssd_here("params", "diff", "vgg16-ssd300", mine)
    rows = [fields for line in out.splitlines() if (fields := line.split()) and "." in fields[0]]
    assert code == 0
    assert rows == [["augment.crop.trials", "50", "7"], ["train.seed", "0", "5"]]


@pytest.mark.parametrize(("name", "boxes"), [("mobilenet-ssd300-1917", "1917"), ("mobilenet025-ssd300", "8732")])
def test_params_validate_builds_the_model_and_counts_boxes(ssd_here: RunHere, name: str, boxes: str) -> None:
    code, out, _ = ssd_here("params", "validate", name)
    assert code == 0
    assert boxes in out.replace(",", "").split()


def test_params_validate_refuses_maps_of_another_size(ssd_here: RunHere) -> None:
    code, _, err = ssd_here("params", "validate", "mobilenet-ssd300-1917", "model.image_size=[320, 320]")
    assert_one_clear_line(code, err, ["20", "19"])


def test_params_schema_describes_every_key(ssd_here: RunHere) -> None:
    schema = json.loads(ssd_here("params", "schema")[1])
    assert set(schema["properties"]) == set(ParamSet.model_fields)
    assert schema["additionalProperties"] is False
    assert "px" in schema["$defs"]["ModelParams"]["properties"]["image_size"]["description"]


# --- ssd data


@pytest.fixture(scope="module")
def voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder made by `ssd data synth`."""
    out = tmp_path_factory.mktemp("data") / "shapes"
    main(["data", "synth", str(out), "--trainval", str(TRAINVAL), "--test", str(TEST), "--seed", "1"])
    return out


@pytest.fixture(scope="module")
def converted(ssd: Run, voc: Path) -> Completed:
    """`ssd data convert`, done; its last argument is the folder."""
    return ssd("data", "convert", voc, "--out", voc.with_name("records"))


@pytest.fixture(scope="module")
def records(converted: Completed) -> Path:
    assert converted.returncode == 0, converted.stderr
    return Path(converted.args[-1])


def count_objects(voc: Path, split: str) -> tuple[int, int]:
    """Pictures and objects of a split, counted in its XML files."""
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
        pictures, objects = count_objects(voc, name)
        assert objects > 0
        assert (split["images"], split["objects"]) == (pictures, objects)
        assert sum(count_records(records / shard) for shard in split["shards"]) == pictures


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
