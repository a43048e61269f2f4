"""`ssd weights` as a user runs it, on real files."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tf1_files

CLASSES = "ant,bee,cat"


@pytest.fixture(scope="module")
def slim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TF-slim checkpoint of quarter-width MobileNet."""
    variables = tf1_files.mobilenet_v1_variables(0.25)
    return tf1_files.save_checkpoint(tmp_path_factory.mktemp("slim"), variables, "mobilenet_v1_0.25_224.ckpt")


@pytest.fixture
def ssd(ssd_in_process: Callable[..., object]):
    return partial(ssd_in_process, code=0)


def test_a_backbone_file_becomes_a_checkpoint_and_that_a_detector_of_other_classes(ssd, slim: Path, tmp_path: Path):
    first, second = tmp_path / "first.npz", tmp_path / "second.npz"
    shown = ssd(
        "weights", "import", slim, "--params", "mobilenet025-ssd300", "--out", first, "--classes", CLASSES
    ).stdout
    assert f"{slim}: tf-slim" in shown
    assert [line.split()[:2] for line in shown.splitlines()[1:2]] == [["matched", "135"]]
    assert "missing             54  Conv2d_11_pointwise_logits/bias" in shown
    assert "MobilenetV1/Logits/Conv2d_1c_1x1/weights" in shown
    assert f"train.weights={first}" in shown.splitlines()[-1]
    shown = ssd(
        *("weights", "import", first, "--params", "mobilenet025-ssd300"),
        "--out",
        second,
        "--classes",
        "cat,dog",
        "--json",
    ).stdout
    report = json.loads(shown)
    assert (report["format"], report["missing"], report["skipped"]) == ("ssdcore", [], {})
    assert report["classes"] == {"kept": ["cat"], "new": ["dog"], "dropped": ["ant", "bee"]}
    with np.load(first) as one, np.load(second) as other:
        kernel = "model/mobilenet_v1_025/Conv2d_5_pointwise/kernel"
        np.testing.assert_array_equal(one[kernel], other[kernel])
        assert other["model/block9_logits/bias"].shape == (6 * 3,)


def test_inspect_lists_names_shapes_types_and_norms(ssd, slim: Path) -> None:
    values = tf1_files.mobilenet_v1_variables(0.25)
    name = "MobilenetV1/Conv2d_3_depthwise/depthwise_weights"
    norm = float(np.sqrt((values[name].astype(np.float64) ** 2).sum()))
    shown = json.loads(ssd("weights", "inspect", slim, "--json").stdout)
    (row,) = [row for row in shown["arrays"] if row["name"] == name]
    assert (shown["format"], row["shape"], row["dtype"]) == ("tf-slim", [3, 3, 32, 1], "float32")
    assert row["norm"] == pytest.approx(norm, rel=1e-6)
    table = ssd("weights", "inspect", slim).stdout
    (line,) = [line for line in table.splitlines() if name in line and "Adam" not in line]
    assert line.split() == [name, "3x3x32x1", "float32", f"{norm:.6g}"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["{slim}", "--out", "{tmp}/a.npz"],
            "holds no class heads of this model's boxes (tf-slim), so the classes of the detector must be given; "
            "give them (--classes a,b,c)",
        ),
        (["{slim}", "--out", "{tmp}/a.npz", "--from", "caffe"], "is a tf-slim file, not caffe"),
        (["{tmp}/none.caffemodel", "--out", "{tmp}/a.npz"], "there is no weights file"),
        (["{slim}", "--out", "{tmp}/a.ckpt"], "a file ending in .npz"),
        (["{slim}", "--out", "{tmp}/there.npz"], "exists already; choose another --out"),
        (["{slim}", "--out", "{tmp}/no/folder/a.npz"], "make it first"),
        (["{slim}", "--out", "{tmp}/a.npz", "--classes", "a", "backbone=mobilenet_v1_050"], "fits none of the"),
        (
            ["{slim}", "--out", "{tmp}/a.npz", "--classes", "a", "--params", "caffe-mobilenet-ssd300"],
            "has no checkpoint map for tf-slim files (it has: caffe); use another file or backbone; ssd backbones list",
        ),
        (
            ["{slim}", "--out", "{tmp}/a.npz", "--classes", "a", "train.weights.exclude=[conv5]"],
            "train.weights: no layer's name starts with 'conv5'",
        ),
        (["{slim}", "--out", "{tmp}/a.npz", "--classes", "a,b,a"], "differ from each other; got 'a', 'b', 'a'"),
        (["{slim}", "--out", "{tmp}/a.npz", "--classes", "a,,b"], "names must be given"),
    ],
)
def test_errors_are_one_clear_line(ssd, arguments: list[str], message: str, slim: Path, tmp_path: Path) -> None:
    (tmp_path / "there.npz").write_text("precious")
    given = [argument.format(slim=slim, tmp=tmp_path) for argument in arguments]
    params = [] if "--params" in given else ["--params", "mobilenet025-ssd300"]
    done = ssd("weights", "import", *params, *given, code=1)
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert (tmp_path / "there.npz").read_text() == "precious"
    assert not (tmp_path / "a.npz").exists()


def test_a_detector_that_would_have_holes_needs_partial(ssd, slim: Path, tmp_path: Path) -> None:
    """An own checkpoint with the boxes of another model leaves heads without values."""
    whole, out = tmp_path / "whole.npz", tmp_path / "out.npz"
    ssd("weights", "import", slim, "--params", "mobilenet025-ssd300", "--out", whole, "--classes", CLASSES)
    squares = "model.default_boxes.aspect_ratios=[[2],[2],[2],[2],[2],[2]]"
    given = ("weights", "import", whole, "--params", "mobilenet025-ssd300", "--out", out, squares)
    refused = ssd(*given, code=1).stderr
    assert "leaves 12 variables of the detector without values" in refused
    assert "--partial" in refused
    assert not out.exists()
    shown = ssd(*given, "--partial").stdout
    assert "skipped (shape)     12" in shown
    assert "wanted (24,)" not in shown
    assert out.exists()
