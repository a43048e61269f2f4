"""The plugin tutorial: its files are written into a new package, which is checked and trained."""

import csv
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from caffe_files import Item, caffemodel_bytes
from ssd_program import environment_with
from ssdcli.main import main

from ssdcore.contract.plugins import load_plugins
from ssdcore.model.variables import named_variables
from ssdcore.params import Weights
from ssdcore.testing import checks
from ssdcore.testing.contract import result_of
from ssdcore.testing.subject import Subject
from ssdcore.weights.importing import import_weights

Ssd = Callable[..., tuple[int, str, str]]
PAGE = Path(__file__).parent.parent / "docs/plugins/tutorial.md"
FILES = dict(re.findall(r"^`([\w./-]+)`\n\n```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL))
FIRES = {2: (64, 16, 64), 3: (128, 16, 64), 4: (128, 32, 128), 5: (256, 32, 128)} | {
    6: (256, 48, 192),
    7: (384, 48, 192),
    8: (384, 64, 256),
    9: (512, 64, 256),
}
"""Input, squeeze and expand channels of each fire module (arXiv:1602.07360, SqueezeNet 1.1)."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The package of the tutorial, installed for this process and its subprocesses."""
    root = tmp_path_factory.mktemp("tutorial")
    folder, site = root / "ssd-squeeze", root / "site"
    main(["backbones", "new", "squeeze", "--out", str(folder)])
    for name, text in FILES.items():
        (folder / name).write_text(text)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--no-build-isolation", "--target", site, folder], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        patch.setenv("PYTHONPATH", environment_with(site)["PYTHONPATH"])
        yield root


def test_the_page_shows_whole_files() -> None:
    assert list(FILES) == [
        "ssd_squeeze/net.py",
        "ssd_squeeze/__init__.py",
        "ssd_squeeze/checkpoints.py",
        "tests/test_ssd_squeeze.py",
    ]
    assert PAGE.read_text("utf-8").count("```python") == len(FILES)
    assert len(FILES["ssd_squeeze/net.py"].splitlines()) <= 60


@pytest.mark.slow
def test_it_passes_the_check(package: Path, ssd_here: Ssd) -> None:
    code, out, err = ssd_here("backbones", "check", "squeeze")
    assert code == 0, out + err
    assert out.count("ok    ") == 13


def test_its_end_points_are_those_on_the_page(package: Path, ssd_here: Ssd) -> None:
    code, out, _ = ssd_here("backbones", "endpoints", "squeeze")
    assert code == 0
    rows = {line.split()[0]: line.split() for line in out.splitlines() if "x" in line}
    assert rows["fire5"][1:4] == ["38x38", "128", "8"]
    assert rows["fire9"][1:4] == ["19x19", "256", "16"]
    assert "ssd300 wants maps of 38, 19, 10, 5, 3, 1 cells and takes fire5, fire9; its own blocks" in out
    assert "no end point has 10, and fire9 cannot feed it: its own blocks supply 4, so name 2 feature layers" in out


def test_an_ssd_model_with_too_few_feature_layers_does_not_fit(
    package: Path, ssd_here: Ssd, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ssd_squeeze

    monkeypatch.setitem(ssd_squeeze.FEATURE_LAYERS, "mobilenet_ssd300", ("fire9",))
    _, out, _ = ssd_here("backbones", "endpoints", "squeeze")
    assert "2, 1 cells; fire9 cannot feed it: its own blocks supply 4, so name 2 feature layers or none" in out
    plugins = load_plugins()
    assert (
        result_of(checks.feature_layers_fit, Subject(plugins.backbone("squeeze"), plugins)).failure == _shown_failure()
    )


def _shown_failure() -> str:
    """The failure message on the page."""
    (shown,) = re.findall(r"^```\nFAIL .*?\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return " ".join(shown.split())


@pytest.mark.slow
def test_it_trains_on_the_shapes(package: Path, ssd_here: Ssd, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands on the page, with fewer images and two steps."""
    monkeypatch.chdir(package)
    for command in ("data synth shapes --trainval 4 --test 2", "data convert shapes --out records", _train_command()):
        code, _, err = ssd_here(*command.split())
        assert code == 0, err
    with (package / "run/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert max(int(row["step"]) for row in rows) == 2
    assert all(np.isfinite(float(row["loss"])) for row in rows if row["loss"])


def _train_command() -> str:
    """The first training command on the page, with two steps of two images."""
    command = re.findall(r"^ssd (train .*?[^\\])$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)[0]
    assert "epochs=20" in command
    assert "batch_size=8" in command
    command = command.replace("epochs=20", "epochs=1").replace("batch_size=8", "batch_size=2")
    return str(command).replace("\\\n", " ") + " train.log_every=1"


def caffe_squeezenet() -> list[Item]:
    """SqueezeNet 1.1's layers with random weights, kernels (out, in, height, width)."""
    draw = np.random.default_rng(5).normal
    shapes = {"conv1": (64, 3, 3)}
    for number, (inputs, squeezed, expanded) in FIRES.items():
        shapes[f"fire{number}/squeeze1x1"] = (squeezed, inputs, 1)
        shapes[f"fire{number}/expand1x1"] = (expanded, squeezed, 1)
        shapes[f"fire{number}/expand3x3"] = (expanded, squeezed, 3)
    shapes["conv10"] = (1000, 512, 1)
    return [
        (
            name,
            "Convolution",
            [draw(size=(out, into, side, side)).astype(np.float32), draw(size=out).astype(np.float32)],
        )
        for name, (out, into, side) in shapes.items()
    ]


def test_caffe_weights_are_assigned(package: Path, tmp_path: Path) -> None:
    layers = caffe_squeezenet()
    path = tmp_path / "squeezenet.caffemodel"
    path.write_bytes(caffemodel_bytes(layers))
    plugins = load_plugins()
    params = plugins.param_sets["squeeze-ssd300"].override(["backbone=squeeze_full"])
    ssd, report = import_weights(params, plugins, Weights(file=str(path)), ("circle",))
    assert not [name for name in report.missing if name.startswith("squeeze_full/")]
    found = {name: np.asarray(variable) for name, variable in named_variables(ssd).items()}
    blobs = {name: arrays for name, _, arrays in layers}
    first, last = blobs["conv1"], blobs["fire9/expand3x3"]
    np.testing.assert_array_equal(found["squeeze_full/conv1/kernel"], first[0].transpose(2, 3, 1, 0)[:, :, ::-1])
    np.testing.assert_array_equal(found["squeeze_full/fire9_expand3x3/kernel"], last[0].transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(found["squeeze_full/fire9_expand3x3_bn/beta"], last[1])
    np.testing.assert_allclose(found["squeeze_full/fire9_expand3x3_bn/moving_variance"], 1 - 1e-5)
