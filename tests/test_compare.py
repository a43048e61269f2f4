"""`ssd compare`: the Pareto front by hand, the numbers against other commands, real processes."""

import csv
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from small_runs import Pond
from ssd_program import assert_one_clear_line
from ssdcli.compare.measure import Candidate, Measured
from ssdcli.compare.output import draw, pareto_front
from ssdcli.options import Images

from ssdcore.contract.plugins import Plugins
from ssdcore.data.convert import convert
from ssdcore.data.formats import read_labelled
from ssdcore.data.synth import synthesize
from ssdcore.model import build_ssd
from ssdcore.runs.checkpoint import save_checkpoint

Ssd = Callable[..., tuple[int, str, str]]
CLASSES = ("circle", "square", "triangle")
BROKEN = """
import os, signal
from ssdcore import ArgScope, Backbone, hookimpl

def broken(inputs, scope):
    raise TypeError("no such\\n thing")

def deadly(inputs, scope):
    os.kill(os.getpid(), signal.SIGKILL)

@hookimpl
def ssdcore_backbones():
    return [Backbone("broken", broken, ArgScope), Backbone("deadly", deadly, ArgScope)]

@hookimpl
def ssdcore_feature_layers(backbone, model):
    return ("one",) if backbone in ("broken", "deadly") else None
"""


def test_the_pareto_front_by_hand() -> None:
    """(3, 5) is beaten by (2, 6), (2, 4) by (2, 6), (5, 6) by (2, 6); (1, 1) is the cheapest, (7, 9) the best."""
    points = [(3, 5), (2, 4), (7, 9), (2, 6), (1, 1), (5, 6), (8, 9)]
    assert pareto_front(points) == [(1, 1), (2, 6), (7, 9)]
    assert pareto_front([]) == []


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("compare")
    synthesize(root / "voc", 3, 6, seed=1)
    convert(read_labelled(root / "voc"), root / "records")
    return root / "records"


@pytest.mark.slow
def test_a_backbone_and_a_checkpoint(
    records: Path, tmp_path: Path, plugins: Plugins, ssd_command: list[str], ssd_here: Ssd
) -> None:
    params = plugins.param_sets["mobilenet025-ssd300"]
    ssd = build_ssd(params, CLASSES, plugins)
    save_checkpoint(tmp_path / "some.npz", ssd, params)
    out = tmp_path / "out"
    command = [*ssd_command, "compare", "mobilenet_v1_025", str(tmp_path / "some.npz"), "--data", str(records)]
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "oneDNN" not in done.stderr
    with (out / "compare.csv").open(newline="") as file:
        untrained, trained = csv.DictReader(file)
    assert (untrained["name"], untrained["map"], untrained["image_size"]) == ("mobilenet_v1_025 ssd300", "", "300x300")
    _, scored, _ = ssd_here("eval", tmp_path / "some.npz", "--data", records, "--json", "eval.batch_size=1")
    assert float(trained["map"]) == json.loads(scored)["mean_average_precision"]
    assert int(trained["parameters"]) == ssd.network.count_params()
    assert int(untrained["parameters"]) == ssd.network.count_params() + 64  # the factor behind the L2 normalisation
    assert trained["images"] == "6"
    assert 1 < float(trained["network_ms"]) < 5000
    assert 20 < float(trained["memory_mib"]) < 2000
    assert (out / "compare.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["resnet_51"], "/resnet_51, and no installed plugin provides the backbone 'resnet_51'"),
        (["mobilenet_v1_caffe"], "mobilenet_v1_caffe has no feature layers for ssd300; choose another --model"),
    ],
)
def test_what_cannot_be_measured(arguments: list[str], says: str, records: Path, ssd_here: Ssd) -> None:
    code, _, err = ssd_here("compare", *arguments, "--data", records)
    assert code == 1
    assert says in err


@pytest.fixture(scope="module")
def runs(pond: Pond) -> Path:
    """Two folders that each have a run called `run`, untrained."""
    for name in ("a", "b"):
        (pond.root / name / "run/checkpoints").mkdir(parents=True)
        ssd = build_ssd(pond.params, CLASSES, pond.plugins)
        save_checkpoint(pond.root / name / "run/checkpoints/last.npz", ssd, pond.params)
    return pond.root


def measured(name: str, **known: Any) -> Measured:
    usual = {"macs": 2_000_000_000, "map": None, "parameters": 5_000_000, "image_size": (64, 64), "backbone": "pond"}
    times = {"read_ms": 1.0, "network_ms": 20.0, "nms_ms": 5.0, "memory_mib": 80.0, "images": 4}
    return Measured(name=name, **{**usual, **times, **known})


class Measuring:
    """Takes the place of measuring in a process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        self.first: Callable[[], object] = lambda: None
        monkeypatch.setattr("ssdcli.compare.command.measure_in_subprocess", self)

    def __call__(self, candidate: Candidate, images: Images, debug: bool) -> Measured:
        self.first()
        self.names.append(candidate.name)
        return measured(candidate.name, macs=None if candidate.checkpoint else 2_000_000_000)


@pytest.fixture
def measuring(monkeypatch: pytest.MonkeyPatch) -> Measuring:
    return Measuring(monkeypatch)


@pytest.mark.slow
def test_one_that_fails_is_named_and_the_others_are_measured(
    records: Path, runs: Path, pond: Pond, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ssd_here: Ssd
) -> None:
    info = tmp_path / "site/ssd_broken-1.0.dist-info"
    info.mkdir(parents=True)
    (tmp_path / "site/ssd_broken.py").write_text(BROKEN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ssd-broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ssdcore]\nbroken = ssd_broken\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.syspath_prepend(pond.path)
    command = ("compare", "broken", "deadly", runs / "a/run", "--data", records, "--out", tmp_path / "out")
    code, out, err = ssd_here(*command)
    assert code == 1
    assert [line.split()[0] for line in out.splitlines() if "64x64" in line] == ["run"]
    warnings = [line for line in err.splitlines() if not line.startswith("measuring")]
    assert warnings == [
        "warning: broken ssd300 could not be measured: TypeError: no such thing",
        "warning: deadly ssd300 could not be measured: its process was killed by SIGKILL, probably for lack of memory",
        "error: 2 of 3 detectors could not be measured (broken ssd300, deadly ssd300); the warnings say why, "
        "'ssd --debug compare ...' shows where",
    ]
    with (tmp_path / "out/compare.csv").open(newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == ["run"]


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 1.0], ids=["while its process starts", "while that loads"])
def test_ctrl_c_ends_it_at_once_with_one_line(delay: float, records: Path, ssd_command: list[str]) -> None:
    """A terminal sends it to both processes; the one that measures gets it first here, and must not mind."""
    command = [*ssd_command, "compare", "mobilenet_v1_025", "--data", str(records)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as program:
        child = _measuring_process(program)
        time.sleep(delay)
        os.kill(child, signal.SIGINT)
        time.sleep(0.5)
        program.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, err = program.communicate(timeout=60)
        took = time.monotonic() - began
    assert (program.returncode, err.split()) == (130, ["interrupted"])
    assert took < 5
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def _measuring_process(program: "subprocess.Popen[str]") -> int:
    while program.poll() is None:
        for child in Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split():
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
        time.sleep(0.005)
    raise AssertionError(program.communicate())


def test_runs_of_one_name_are_distinguished(
    records: Path, runs: Path, measuring: Measuring, monkeypatch: pytest.MonkeyPatch, ssd_here: Ssd
) -> None:
    monkeypatch.chdir(runs)
    code, _, err = ssd_here("compare", "a/run", "mobilenet_v1_025", "b/run", "--data", records)
    assert code == 0, err
    assert measuring.names == ["a/run", "mobilenet_v1_025 ssd300", "b/run"]
    monkeypatch.chdir(runs / "a/run")
    assert ssd_here("compare", ".", "--data", records)[0] == 0
    assert measuring.names[3:] == ["run"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["a/run", "b/run", "a/run"], "the same model is given twice"),
        (["a/run", "b/../a/run"], "the same model is given twice"),
        (["vgg_16", "vgg_16"], "the same backbone is given twice"),
        ([""], "an empty name is neither a backbone nor a run"),
    ],
)
def test_invalid_names(
    arguments: list[str],
    says: str,
    records: Path,
    runs: Path,
    measuring: Measuring,
    monkeypatch: pytest.MonkeyPatch,
    ssd_here: Ssd,
) -> None:
    monkeypatch.chdir(runs)
    code, _, err = ssd_here("compare", *arguments, "--data", records)
    assert code == 2
    assert says in err
    assert measuring.names == []


def test_macs_that_are_not_known(
    records: Path, runs: Path, tmp_path: Path, measuring: Measuring, ssd_here: Ssd
) -> None:
    command = ("compare", "mobilenet_v1_025", runs / "a/run", "--data", records)
    code, out, err = ssd_here(*command, "--out", tmp_path / "out")
    assert code == 0, err
    assert [line.split()[-6] for line in out.splitlines() if "64x64" in line] == ["2.00", "?"]
    with (tmp_path / "out/compare.csv").open(newline="") as file:
        assert [row["macs"] for row in csv.DictReader(file)] == ["2000000000", ""]
    assert [one["macs"] for one in json.loads(ssd_here(*command, "--json")[1])] == [2_000_000_000, None]


@pytest.mark.parametrize(
    ("found", "points", "title"),
    [
        ([measured("one"), measured("two", macs=None)], ["one"], "not shown, billion MACs unknown: 1"),
        ([measured("one", macs=None)], [], "not shown, billion MACs unknown: 1"),
        ([measured("one", map=0.5, macs=None), measured("two")], ["one"], "not shown, mAP unknown: 1"),
        ([measured("one", map=0.5), measured("two", map=0.0)], ["one", "two"], ""),
    ],
)
def test_what_the_plot_leaves_out_is_counted(
    found: list[Measured], points: list[str], title: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    real = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (drawn.append(self), real(self, *a, **k)))
    assert draw(found)[:4] == b"\x89PNG"
    (axes,) = drawn[0].axes
    assert [text.get_text() for text in axes.texts] == points
    assert axes.get_title("left") == title


def test_a_full_disk_is_reported_before_measuring(
    records: Path, tmp_path: Path, measuring: Measuring, ssd_here: Ssd, limit_files: Callable[[int], None]
) -> None:
    limit_files(50_000)
    code, _, err = ssd_here("compare", "mobilenet_v1_025", "--data", records, "--out", tmp_path / "out")
    assert_one_clear_line(code, err, [f"cannot write {tmp_path}/out: File too large; make room"])
    (tmp_path / "file").write_text("mine")
    code, _, err = ssd_here("compare", "mobilenet_v1_025", "--data", records, "--out", tmp_path / "file/out")
    assert_one_clear_line(code, err, [f"cannot write {tmp_path}/file/out: Not a directory"])
    assert measuring.names == []


def test_a_disk_that_fills_up_costs_neither_the_printed_table_nor_leaves_one_file_of_two(
    records: Path, tmp_path: Path, measuring: Measuring, ssd_here: Ssd, limit_files: Callable[[int], None]
) -> None:
    """There is room for the CSV of some 200 bytes, not for the plot of some 20,000."""
    command = ("compare", "mobilenet_v1_025", "--data", records, "--out", tmp_path / "out")
    measuring.first = lambda: limit_files(5_000)
    code, out, err = ssd_here(*command)
    assert code == 1
    assert "mobilenet_v1_025 ssd300   64x64" in out
    assert err.splitlines()[-1].startswith(f"error: cannot write {tmp_path}/out/compare.png: File too large")
    assert list((tmp_path / "out").iterdir()) == []
    limit_files(-1)
    measuring.first = lambda: None
    assert ssd_here(*command)[0] == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"compare.csv", "compare.png"}
