"""`ssd compare`: the front by hand, the numbers against other commands, real processes."""

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from ssdcli.compare.front import pareto_front

from ssdcore.checkpoint import save_checkpoint
from ssdcore.data.convert import convert
from ssdcore.data.formats import read_labelled
from ssdcore.data.synth import synthesize
from ssdcore.model import build_ssd
from ssdcore.plugins import Plugins

Ssd = Callable[..., tuple[int, str, str]]


def test_the_front_by_hand() -> None:
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


def test_a_backbone_and_a_checkpoint(records: Path, tmp_path: Path, plugins: Plugins, ssd_command: list[str]) -> None:
    params = plugins.param_sets["mobilenet025-ssd300"]
    ssd = build_ssd(params, ("circle", "square", "triangle"), plugins)
    save_checkpoint(tmp_path / "some.npz", ssd)
    out = tmp_path / "out"
    command = [*ssd_command, "compare", "mobilenet_v1_025", str(tmp_path / "some.npz"), "--data", str(records)]
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "oneDNN" not in done.stderr
    with (out / "compare.csv").open(newline="") as file:
        untrained, trained = csv.DictReader(file)
    assert (untrained["name"], untrained["map"], untrained["image_size"]) == ("mobilenet_v1_025 ssd300", "", "300x300")
    scored = subprocess.run(
        [*ssd_command, "eval", str(tmp_path / "some.npz"), "--data", str(records), "--json", "eval.batch_size=1"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(trained["map"]) == json.loads(scored.stdout)["mean_average_precision"]
    assert int(trained["parameters"]) == ssd.network.count_params()
    assert int(untrained["parameters"]) == ssd.network.count_params() + 64  # the factor behind the L2 normalisation
    assert trained["pictures"] == "6"
    assert 1 < float(trained["network_ms"]) < 5000
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
