"""Checkpoints of the TF1 projects, written by TF1's own Saver, load completely and compute what they did."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf1_files
import tf1_networks

from ssdcore.contract.plugins import Plugins
from ssdcore.errors import CheckpointError
from ssdcore.model import SSD, build_ssd
from ssdcore.params import Weights
from ssdcore.weights import import_weights, load_weights

DETECTORS = {
    "ssd_tensorflow_300": ("ssd-tensorflow-300", "ssd-tensorflow"),
    "ssd_tensorflow_512": ("ssd-tensorflow-512", "ssd-tensorflow"),
    "ssd_tensorflow_voc": ("ssd-tensorflow-voc-300", "ssd-tensorflow-voc"),
    "modular_vgg_16_300": ("modular-vgg16-ssd300", "modular-ssd-tensorflow"),
    "modular_vgg_16_512": ("modular-vgg16-ssd512", "modular-ssd-tensorflow"),
    "modular_mobilenet_v1_300": ("modular-mobilenet-ssd300", "modular-ssd-tensorflow"),
    "modular_mobilenet_v1_512": ("modular-mobilenet-ssd512", "modular-ssd-tensorflow"),
}
VGG_MEAN = np.array([123, 117, 104], np.float32)


def image(size: int) -> np.ndarray:
    return np.random.default_rng(3).uniform(0, 255, (1, size, size, 3)).astype(np.float32)


def activations(model: keras.Model, images: np.ndarray) -> dict[str, np.ndarray]:
    """The output of every layer of a model by the layer's name, without the ending of its activation."""
    layers = [layer for layer in model.layers if not isinstance(layer, keras.Model | keras.layers.InputLayer)]
    outputs = keras.Model(model.inputs, [layer.output for layer in layers])([images], training=False)
    names = [re.sub("_relu6?$", "", layer.name) for layer in layers]
    return {name: np.asarray(output) for name, output in zip(names, outputs, strict=True)}


def our_name(theirs: str, first: str) -> str:
    """Our layer for one of theirs: conv6 and conv7 are block7's, the rest is renamed."""
    if theirs in ("conv6", "conv7"):
        return {"conv6": "block7_conv1", "conv7": "block7_conv2"}[theirs]
    if theirs == "norm":
        return f"{first}_norm"
    return re.sub(r"(block\d+)/conv(\d)x\d", lambda found: f"{found[1]}_conv{1 if found[2] == '1' else 2}", theirs)


def assert_same_activations(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], first: str) -> None:
    compared = {name: our_name(name, first) for name in theirs if not name.startswith(("head", "loc", "cls"))}
    for name, own in compared.items():
        np.testing.assert_allclose(ours[own], theirs[name], rtol=1e-4, atol=1e-4, err_msg=name)


FAST = "modular_mobilenet_v1_300"
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in DETECTORS if name != FAST]


@pytest.fixture(scope="module", params=[FAST, *SLOW])
def detector(request: pytest.FixtureRequest, plugins: Plugins, tmp_path_factory: pytest.TempPathFactory):
    layout = tf1_files.LAYOUTS[request.param]
    variables = tf1_files.ssd_variables(layout)
    prefix = tf1_files.save_checkpoint(tmp_path_factory.mktemp("tf1"), variables)
    params, form = DETECTORS[request.param]
    ssd, report = import_weights(plugins.param_sets[params], plugins, Weights(file=str(prefix)))
    return layout, variables, ssd, report, form


def test_detector_is_found_out_and_loads_completely(detector) -> None:
    _, variables, ssd, report, form = detector
    assert (report.format, report.skipped, report.missing) == (form, (), ())
    assert len(report.matched) == len(ssd.network.variables)
    assert report.unused == (f"{next(iter(variables))}/Adam",)
    assert ssd.classes[14] == "person"


@pytest.mark.slow
def test_every_layer_of_a_detector_computes_the_same(detector) -> None:
    layout, variables, ssd, _, _ = detector
    images = image(layout.size)
    theirs = tf1_networks.ssd_forward(layout, variables, images - VGG_MEAN)
    ours = activations(ssd.backbone, images - VGG_MEAN) | activations(ssd.network, images)
    assert_same_activations(ours, theirs, ssd.feature_maps[0][0])
    np.testing.assert_allclose(ours["logits"], theirs["cls"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ours["offsets"], theirs["loc"], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("version1", [False, True], ids=["V2", "V1"])
def test_slim_vgg_without_fully_connected_layers(version1: bool, plugins: Plugins, tmp_path: Path) -> None:
    variables = tf1_files.vgg_16_variables()
    prefix = tf1_files.save_checkpoint(tmp_path, variables, v1=version1)
    ssd = build_ssd(plugins.param_sets["vgg16-ssd300"], ["a"], plugins)
    before = ssd.network.get_layer("block7_conv1").kernel.numpy()
    report = load_weights(ssd, plugins, Weights(file=str(prefix)))
    assert (report.format, len(report.matched)) == ("tf-slim", len(ssd.backbone.variables))
    np.testing.assert_array_equal(ssd.network.get_layer("block7_conv1").kernel, before)
    images = image(300) - VGG_MEAN
    theirs = tf1_networks.vgg_16_forward(variables, images)
    assert_same_activations(activations(ssd.backbone, images), theirs, "")


@pytest.mark.slow
def test_slim_vggs_fully_connected_layers_become_block7(plugins: Plugins, tmp_path: Path) -> None:
    """Taps 0, 3, 6 of fc6 and every fourth of its outputs; every fourth input and output of fc7."""
    variables = tf1_files.vgg_16_variables(with_fc=True)
    prefix = tf1_files.save_checkpoint(tmp_path, variables)
    ssd = build_ssd(plugins.param_sets["vgg16-ssd300"], ["a"], plugins)
    report = load_weights(ssd, plugins, Weights(file=str(prefix)))
    assert set(report.matched) >= {f"block7_conv{i}/{v}" for i in (1, 2) for v in ("kernel", "bias")}
    assert [name for name in report.unused if "fc8" in name] == ["vgg_16/fc8/biases", "vgg_16/fc8/weights"]
    fc6, fc7 = ssd.network.get_layer("block7_conv1"), ssd.network.get_layer("block7_conv2")
    for row, column, output in ((0, 0, 0), (1, 2, 5), (2, 1, 1023)):
        expected = variables["vgg_16/fc6/weights"][3 * row, 3 * column, :, 4 * output]
        assert expected.all()
        np.testing.assert_array_equal(fc6.kernel[row, column, :, output], expected)
    np.testing.assert_array_equal(fc6.bias[:3], variables["vgg_16/fc6/biases"][[0, 4, 8]])
    np.testing.assert_array_equal(fc7.kernel[0, 0, 3], variables["vgg_16/fc7/weights"][0, 0, 12, 0::4])
    np.testing.assert_array_equal(fc7.bias[1021:], variables["vgg_16/fc7/biases"][[4084, 4088, 4092]])


@pytest.mark.parametrize(("depth", "suffix"), [(1.0, ""), (0.75, "_075"), (0.5, "_050"), (0.25, "_025")])
def test_slim_mobilenet_at_every_depth(depth: float, suffix: str, plugins: Plugins, tmp_path: Path) -> None:
    variables = tf1_files.mobilenet_v1_variables(depth)
    prefix = tf1_files.save_checkpoint(tmp_path, variables, v1=depth == 0.5)
    params = plugins.param_sets["mobilenet-ssd300-1917"].override([f"backbone=mobilenet_v1{suffix}"])
    ssd = build_ssd(params, ["a"], plugins)
    report = load_weights(ssd, plugins, Weights(file=str(prefix)))
    assert (report.format, len(report.matched)) == ("tf-slim", len(ssd.backbone.variables))
    images = image(300) / 127.5 - 1
    theirs = tf1_networks.mobilenet_v1_forward(variables, images)
    assert_same_activations(activations(ssd.backbone, images), theirs, "")


def test_another_depth_is_refused_and_nothing_is_loaded(plugins: Plugins, tmp_path: Path) -> None:
    prefix = tf1_files.save_checkpoint(tmp_path, tf1_files.mobilenet_v1_variables(0.5))
    ssd = build_ssd(plugins.param_sets["mobilenet025-ssd300"], ["a"], plugins)
    before = [variable.numpy() for variable in ssd.network.variables]
    with pytest.raises(
        CheckpointError, match=r"fits none of the 189 .* wanted \(3, 3, 3, 8\), the file has .* \(3, 3, 3, 16\)"
    ):
        load_weights(ssd, plugins, Weights(file=str(prefix)))
    for values, variable in zip(before, ssd.network.variables, strict=True):
        np.testing.assert_array_equal(values, variable)


def test_a_512_checkpoint_in_a_300_detector_is_recognised(plugins: Plugins, tmp_path: Path) -> None:
    layout = tf1_files.LAYOUTS["ssd_tensorflow_512"]
    prefix = tf1_files.save_checkpoint(tmp_path, tf1_files.ssd_variables(layout))
    ssd: SSD = build_ssd(plugins.param_sets["ssd-tensorflow-300"], ["a"], plugins)
    with pytest.raises(
        CheckpointError, match=r"fits none of the \d+ variables.*ssd_512_vgg.*use the param set of that network"
    ):
        load_weights(ssd, plugins, Weights(file=str(prefix)))


@pytest.mark.parametrize("ending", ["", ".index", ".data-00000-of-00001", "/"])
def test_a_checkpoint_is_found_by_any_of_its_names(ending: str, plugins: Plugins, tmp_path: Path) -> None:
    prefix = tf1_files.save_checkpoint(tmp_path, tf1_files.mobilenet_v1_variables(0.25), "model.ckpt-1000")
    path = tmp_path if ending == "/" else Path(f"{prefix}{ending}")
    ssd = build_ssd(plugins.param_sets["mobilenet025-ssd300"], ["a"], plugins)
    assert len(load_weights(ssd, plugins, Weights(file=str(path))).matched) == 135


def test_a_tensorflow_2_checkpoint_says_that_it_fits_nothing(plugins: Plugins, tmp_path: Path) -> None:
    prefix = tf.train.Checkpoint(thing=tf.Variable([1.0, 2.0])).write(str(tmp_path / "other"))
    ssd = build_ssd(plugins.param_sets["mobilenet025-ssd300"], ["a"], plugins)
    with pytest.raises(CheckpointError, match=r"fits none of the .* its own names are thing"):
        load_weights(ssd, plugins, Weights(file=prefix))


def test_a_folder_of_several_checkpoints_lists_them(plugins: Plugins, tmp_path: Path) -> None:
    variables = tf1_files.mobilenet_v1_variables(0.25)
    ssd = build_ssd(plugins.param_sets["mobilenet025-ssd300"], ["a"], plugins)
    tf1_files.save_checkpoint(tmp_path, variables, "old.ckpt", v1=True)
    assert len(load_weights(ssd, plugins, Weights(file=str(tmp_path))).matched) == 135
    tf1_files.save_checkpoint(tmp_path, variables, "new.ckpt-7")
    with pytest.raises(CheckpointError, match=r"holds several checkpoints \(new.ckpt-7, old.ckpt\)"):
        load_weights(ssd, plugins, Weights(file=str(tmp_path)))
