"""The `ssd` program: start-up, exit codes, and errors of one line."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ssd_program import Completed, RunHere, assert_one_clear_line, run_program
from voc_files import BOX, write_voc

Run = Callable[..., Completed]


@pytest.fixture(scope="module")
def ssd(ssd_command: list[str]) -> Run:
    """Runs `ssd` in a process of its own."""
    return lambda *arguments: run_program(*ssd_command, *map(str, arguments))


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
    names = "anchors backbones compare data demo detect eval info params report train weights"
    assert set(names.split()) <= {line.split()[0] for line in done.stdout.splitlines() if line.strip()}


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


@pytest.fixture(scope="module")
def voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an image to detect in."""
    return write_voc(tmp_path_factory.mktemp("data") / "voc", {"one": [("cat", BOX)]})


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
def test_detecting_in_no_image_is_one_clear_line(
    ssd_here: RunHere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = ssd_here("detect", "run", source, "--out", "found")
    assert_one_clear_line(code, err, [str(tmp_path / source), ".jpg"])
    assert not (tmp_path / "found").exists()
