"""The main job: labelled images become detections, by real commands and on real images."""

import json
import signal
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from ssd_program import environment_with

from ssdcore import load_detector
from ssdcore.contract.plugins import Plugins
from ssdcore.data.convert import convert
from ssdcore.data.formats import read_labelled
from ssdcore.errors import CheckpointError
from ssdcore.evaluation.evaluate import Evaluator
from ssdcore.model import build_ssd
from ssdcore.params import Weights
from ssdcore.runs.checkpoint import load_checkpoint
from ssdcore.training import train
from ssdcore.weights import load_weights

QUICK = ["train.stages.0.epochs=1", "train.stages.0.batch_size=4", "train.eval_every=0", "train.log_every=1"]
SHAPES = {"circle", "square", "triangle"}


@pytest.fixture(scope="module")
def run_ssd(ssd_in_process: Callable[..., object]):
    return partial(ssd_in_process, code=0)


@pytest.fixture(scope="module")
def trained(run_ssd, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `voc`, `records` and a `run` of two steps, all made by commands."""
    root = tmp_path_factory.mktemp("main")
    run_ssd("data", "synth", root / "voc", "--trainval", 8, "--test", 4)
    run_ssd("data", "convert", root / "voc", "--out", root / "records")
    arguments = ["--params", "mobilenet025-ssd300", "--data", root / "records", "--out", root / "run"]
    log = run_ssd("train", *arguments, *QUICK).stderr
    assert "8732 default boxes, 3 classes, 8 images" in log
    assert "step 2  loss" in log
    return root


def test_eval_prints_every_class(trained: Path, run_ssd) -> None:
    done = run_ssd("eval", trained / "run", "--data", trained / "records", "--json")
    result = json.loads(done.stdout)
    assert set(result["average_precisions"]) == SHAPES
    assert (result["metric"], result["images"], result["difficult"]) == ("voc07", 4, 0)


def test_detect_annotates_images_and_names_broken_ones(trained: Path, run_ssd, tmp_path: Path) -> None:
    good = trained / "voc/JPEGImages/00000.jpg"
    (tmp_path / "text.jpg").write_text("no image")
    arguments = [good, tmp_path, "--out", tmp_path / "found", "--score", 0.0]
    done = run_ssd("detect", trained / "run", *arguments, code=1)
    assert "text.jpg is not a readable image" in done.stderr
    assert "1 of 2 images could not be read" in done.stderr
    assert "Traceback" not in done.stderr
    (found,) = json.loads((tmp_path / "found/detections.json").read_text())
    assert (found["width"], found["height"]) == (300, 300)
    assert 0 < len(found["detections"]) <= 200
    for item in found["detections"]:
        left, top, right, bottom = item["box"]
        assert 0 <= left <= right <= 300
        assert 0 <= top <= bottom <= 300
        assert item["class"] in SHAPES
    assert cv2.imread(str(tmp_path / "found/00000.jpg")).shape == (300, 300, 3)


def test_originals_are_never_overwritten(trained: Path, run_ssd) -> None:
    images = trained / "voc/JPEGImages"
    done = run_ssd("detect", trained / "run", images, "--out", images, code=1)
    assert "is one of the images; choose another --out" in done.stderr


def test_equal_file_names_do_not_overwrite_each_other(trained: Path, run_ssd, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "same.png"), np.full((40, 50, 3), 90, np.uint8))
    run_ssd("detect", trained / "run", tmp_path / "*" / "same.png", "--out", tmp_path / "found")
    assert {path.name for path in (tmp_path / "found").iterdir()} == {"same.jpg", "same-2.jpg", "detections.json"}


def test_resume_by_command_has_nothing_left_to_do(trained: Path, run_ssd) -> None:
    done = run_ssd("train", "--data", trained / "records", "--out", trained / "run", "--resume")
    assert "step 2 of 2" in done.stderr


@pytest.mark.slow
def test_ctrl_c_saves_and_exits_130(trained: Path, ssd_command: list[str], tmp_path: Path) -> None:
    arguments = ["train", "--data", str(trained / "records"), "--out", str(tmp_path / "run")]
    settings = ["--params", "mobilenet025-ssd300", *QUICK, "train.stages.0.epochs=500"]
    with subprocess.Popen([*ssd_command, *arguments, *settings], stderr=subprocess.PIPE, text=True) as program:
        assert program.stderr is not None
        while "step 2 " not in program.stderr.readline():
            pass
        program.send_signal(signal.SIGINT)
        rest = program.stderr.read()
    assert program.returncode == 130
    assert rest.endswith("interrupted\n")
    assert "Traceback" not in rest
    saved = load_checkpoint(tmp_path / "run/checkpoints/last.npz")
    steps = saved.progress["step"]
    assert steps >= 2
    assert int(saved.arrays["training/optimizer/0000"]) == steps


def test_data_of_other_classes_is_refused_in_one_line(trained: Path, run_ssd, tmp_path: Path) -> None:
    run_ssd("data", "convert", trained / "voc", "--out", tmp_path / "other", "--classes", "triangle,square,circle")
    done = run_ssd("eval", trained / "run", "--data", tmp_path / "other", code=1)
    assert done.stderr.startswith("error: the model knows the classes circle, square, triangle")
    assert done.stderr.count("\n") == 1


def test_a_detector_takes_files_and_arrays_alike(trained: Path) -> None:
    detector = load_detector(trained / "run", score_threshold=0.0)
    path = trained / "voc/JPEGImages/00001.jpg"
    from_file, from_array = detector(path), detector(cv2.imread(str(path))[..., ::-1])
    np.testing.assert_array_equal(from_file.boxes, from_array.boxes)
    np.testing.assert_array_equal(from_file.scores, from_array.scores)
    assert from_file.scores.tolist() == sorted(from_file.scores.tolist(), reverse=True)


def test_boxes_are_in_pixels_of_the_original_image(trained: Path) -> None:
    """An image stretched to twice the width has the same boxes, twice as wide."""
    detector = load_detector(trained / "run", score_threshold=0.0)
    image = cv2.imread(str(trained / "voc/JPEGImages/00002.jpg"))[..., ::-1]
    wide = np.repeat(image, 2, axis=1)
    one, other = detector(image), detector(wide)
    best = one.boxes[0] * [2, 1, 2, 1]
    assert np.abs(other.boxes - best).max(axis=1).min() < 6


@pytest.mark.realdata
def test_keras_applications_weights_give_their_own_end_point(
    mobilenet_weights: Path, bccd: Path, plugins: Plugins
) -> None:
    """At 224 pixels, where both pad alike, the last end point equals that of Keras' own network."""
    params = plugins.param_sets["mobilenet025-ssd300"].override(
        ["model.image_size=[224,224]", "model.feature_maps=null", "model.blocks=[]"]
        + [f"model.default_boxes.{key}" for key in ("min_sizes=[9,9,9]", "max_sizes=[9,9,9]", "steps=null")]
        + ["model.default_boxes.aspect_ratios=[[2],[2],[2]]"]
    )
    ssd = build_ssd(params, ["a"], plugins)
    report = load_weights(ssd, plugins, Weights(file=str(mobilenet_weights)))
    assert (len(report.matched), report.unused) == (len(ssd.backbone.variables), ())
    reference = keras.applications.MobileNet((224, 224, 3), alpha=0.25, include_top=False, weights=None)
    reference.load_weights(mobilenet_weights)
    image = cv2.resize(cv2.imread(str(next((bccd / "JPEGImages").iterdir()))), (224, 224))[None, ..., ::-1]
    inputs = image.astype(np.float32) / 127.5 - 1
    np.testing.assert_allclose(ssd.backbone(inputs)[0], reference(inputs), atol=1e-4, rtol=1e-4)


@pytest.mark.realdata
def test_weights_of_another_width_are_refused(mobilenet_weights: Path, plugins: Plugins) -> None:
    params = plugins.param_sets["mobilenet-ssd300-1917"]
    ssd = build_ssd(params, ["a"], plugins)
    with pytest.raises(CheckpointError, match=r"wanted \(3, 3, 3, 32\), the file has conv1/kernel \(3, 3, 3, 8\); use"):
        load_weights(ssd, plugins, Weights(file=str(mobilenet_weights)))


@pytest.mark.slow
@pytest.mark.realdata
def test_sixteen_real_images_can_be_learnt_by_heart(
    bccd: Path, mobilenet_weights: Path, plugins: Plugins, tmp_path: Path
) -> None:
    voc = tmp_path / "voc"
    (voc / "ImageSets/Main").mkdir(parents=True)
    for folder in ("Annotations", "JPEGImages"):
        (voc / folder).symlink_to(bccd / folder)
    names = (bccd / "ImageSets/Main/trainval.txt").read_text().split()[:16]
    (voc / "ImageSets/Main/trainval.txt").write_text("\n".join(names))
    convert(read_labelled(voc), tmp_path / "records")
    params = plugins.param_sets["mobilenet025-ssd300"].override(
        [f"train.weights={mobilenet_weights}", "train.eval_every=0", "train.stages.0.epochs=150"]
        + [f"augment.{part}=null" for part in ("photometric", "expand", "crop")]
        + ["train.stages.0.batch_size=8"]
    )
    ssd = train(params, tmp_path / "records", tmp_path / "run", plugins)
    result = Evaluator(ssd, tmp_path / "records", "trainval", params.eval).run()
    assert result.mean_average_precision is not None
    assert result.mean_average_precision >= 0.95


@pytest.mark.slow
def test_the_readme_backbone_keeps_the_contract(tmp_path: Path, plugins: Plugins) -> None:
    """The ten lines in the README are a whole plugin: found, checked and built."""
    import sys

    readme = (Path(__file__).parent.parent / "README.md").read_text()
    code = next(block for block in readme.split("```python")[1:] if "def pond" in block).split("```")[0]
    (tmp_path / "ssd_pond.py").write_text(code)
    info = tmp_path / "ssd_pond-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ssd-pond\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ssdcore]\npond = ssd_pond\n")
    check = (
        "from ssdcore.contract.plugins import load_plugins; from ssdcore.testing import check_backbone; "
        "plugins = load_plugins(); check_backbone(plugins.backbone('pond'), plugins); "
        "print(plugins.feature_layers('pond', 'ssd300'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], env=environment_with(tmp_path), capture_output=True, text=True, check=False
    )
    assert "('stage3', 'stage4', 'stage5')" in done.stdout, done.stderr
