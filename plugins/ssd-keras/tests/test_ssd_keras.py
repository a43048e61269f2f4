"""Keras Applications as backbones: they see and compute what Keras' own do, and keep the plugin contract.

Some architectures are checked in full, the others where that is cheap; with SSD_ALL_BACKBONES=1 all in full.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from ssd_keras.applications import APPLICATIONS
from ssd_keras.layers import StochasticDepth
from ssd_keras.param_sets import PARAM_SETS

from ssdcore.contract.batch_norm import FusedBatchNormalization
from ssdcore.contract.plugins import load_plugins
from ssdcore.model import SSD, build_ssd
from ssdcore.model.blocks import Preprocess
from ssdcore.model.end_points import base_net_end_points
from ssdcore.model.variables import named_variables, set_trainable
from ssdcore.params import DefaultBoxes, ModelParams, ParamSet, Stage, TrainParams, Weights
from ssdcore.runs.checkpoint import load_checkpoint, restore_model, save_checkpoint
from ssdcore.testing import check_backbone
from ssdcore.weights import load_weights

PLUGINS = load_plugins()
SIDE = 96
EVERY = tuple(APPLICATIONS)


def some(*names: str) -> Any:
    """Parametrises a test by these architectures, or by all on request; all but the first are slow."""
    first, *others = EVERY if os.environ.get("SSD_ALL_BACKBONES") else names
    return pytest.mark.parametrize("name", [first, *(pytest.param(one, marks=pytest.mark.slow) for one in others)])


def images(count: int = 2) -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(0, 255, (count, SIDE, SIDE, 3)).astype(np.float32)


def small_set(name: str, *overrides: str) -> ParamSet:
    """An SSD model of 96 px whose prediction layers are the three end points alone."""
    boxes = DefaultBoxes(min_sizes=(10, 20, 40), max_sizes=(20, 40, 60), aspect_ratios=((2,),) * 3)
    model = ModelParams(
        name="small",
        image_size=(SIDE, SIDE),
        feature_maps=(12, 6, 3),
        feature_layers=APPLICATIONS[name].end_points,
        blocks=(),
        default_boxes=boxes,
    )
    params = ParamSet(backbone=name, model=model, train=TrainParams(stages=(Stage(name="only", steps=1),)))
    return params.override(overrides)


def small(name: str, *overrides: str) -> SSD:
    return build_ssd(small_set(name, *overrides), ["a", "b"], PLUGINS)


# --- what the base net sees and computes


def keras_preprocessing(name: str, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Images as Keras prepares them for an application, whether before the network or in it."""
    prepared = keras.applications.imagenet_utils.preprocess_input
    if name == "efficientnet_v2_s":
        return images / 128 - 1
    if name.startswith(("efficientnet", "convnext")):
        return prepared(images.copy(), mode="torch")
    if name.startswith("mobilenet_v3"):
        return images / 127.5 - 1
    module = sys.modules[getattr(keras.applications, APPLICATIONS[name].builder).__module__]
    result = module.preprocess_input(images.copy())
    assert not np.array_equal(result, images)
    return result


@pytest.mark.parametrize("name", EVERY)
def test_images_are_prepared_as_by_keras(name: str) -> None:
    ours = Preprocess(PLUGINS.backbones[name].preprocessing)(images())
    np.testing.assert_allclose(ours, keras_preprocessing(name, images()), rtol=1e-4, atol=1e-4)


def keras_own(name: str) -> Any:
    """Keras' application; its normalisation has statistics other than 0 and 1."""
    own = getattr(keras.applications, APPLICATIONS[name].builder)
    model = own(weights=None, include_top=False, input_shape=(SIDE, SIDE, 3))
    random = np.random.default_rng(0)
    for variable in model.weights:
        layer, _, what = variable.path.rpartition("/")
        if what in ("gamma", "moving_variance") or layer.endswith("layer_scale"):
            low, high = (0.2, 0.6) if what == "gamma" else (0.5, 1.5)
            variable.assign(random.uniform(low, high, variable.shape))
        elif what in ("beta", "moving_mean"):
            variable.assign(random.uniform(-0.3, 0.3, variable.shape))
    return model


def keras_maps(name: str, model: Any) -> dict[str, Any]:
    """What Keras' application makes of the images: its last map, and those that it names itself."""
    prepared, start = keras_preprocessing(name, images()), model.input
    inside = [layer for layer in model.layers if isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization)]
    if inside:
        start = inside[-1].output
    names = {layer.name for layer in model.layers if not layer.name.startswith("activation")}
    ends = {one: model.get_layer(one).output for one in APPLICATIONS[name].end_points[:2] if one in names}
    return keras.Model(start, {"net": model.output, **ends})(prepared, training=False)


def same_maps(name: str, file: Path, save: Callable[[Any, Path], None]) -> None:
    """Keras' application, saved and loaded here, gives the maps that it gives in Keras."""
    keras.Sequential([keras.layers.Conv2D(1, 1), keras.layers.LayerNormalization()])  # numbers do not start at 0
    model = keras_own(name)
    save(model, file)
    ssd = small(name)
    report = load_weights(ssd, PLUGINS, Weights(file=str(file)))
    assert {one for one in named_variables(ssd) if one.startswith(f"{name}/")} == set(report.matched)
    assert all("normalization" in one for one in report.unused)
    if name.startswith(("inception", "xception")):  # other maps than Keras', which has 35, 17 and 8 cells at 300 px
        return
    prepared = ssd.network.get_layer("preprocess")(images())
    ours = dict(zip(("net", *APPLICATIONS[name].end_points), ssd.backbone(prepared, training=False), strict=True))
    for key, theirs in keras_maps(name, model).items():
        expected = np.asarray(theirs)
        assert expected.std() > 1e-6
        np.testing.assert_allclose(ours[key], expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max(), err_msg=key)


@some("mobilenet_v2", "mobilenet_v3_small", "resnet50", "efficientnet_b0", "convnext_tiny")
def test_a_file_of_keras_gives_the_maps_of_keras(name: str, tmp_path: Path) -> None:
    same_maps(name, tmp_path / "notop.h5", keras.Model.save)


@some("mobilenet_v3_small")
def test_a_file_of_save_weights_does_too(name: str, tmp_path: Path) -> None:
    same_maps(name, tmp_path / "notop.weights.h5", keras.Model.save_weights)


# --- sizes, contract, learning


@some("densenet121", "efficientnet_b0", "inception_v3", "xception")
def test_maps_have_the_sizes_of_ssd(name: str) -> None:
    """Halves are rounded up, as SSD300's maps want it."""
    backbone, application = PLUGINS.backbones[name], APPLICATIONS[name]
    sizes = {300: (38, 19, 10), 320: (40, 20, 10), 512: (64, 32, 16)}
    for side in sizes if os.environ.get("SSD_ALL_BACKBONES") else (300,):
        scope = backbone.arg_scope(weight_decay=0.0, data_format="channels_last")
        net, ends = backbone.base_net(keras.Input((side, side, 3)), scope)
        maps = [ends[one] for one in application.end_points]
        assert [tuple(one.shape[1:3]) for one in maps] == [(cells, cells) for cells in sizes[side]]
        assert net is maps[-1]


@pytest.mark.slow
@some("mobilenet_v3_small")
def test_keeps_the_contract(name: str) -> None:
    check_backbone(name, PLUGINS)


@some("efficientnet_b0")
def test_saved_and_loaded_it_predicts_the_same(name: str, tmp_path: Path) -> None:
    ssd = small(name)
    save_checkpoint(tmp_path / "model.npz", ssd, small_set(name))
    loaded = restore_model(load_checkpoint(tmp_path / "model.npz"), PLUGINS)
    outputs, again = (one.network(images(), training=False) for one in (ssd, loaded))
    for key in ("logits", "offsets"):
        np.testing.assert_array_equal(outputs[key], again[key])


@some("efficientnet_b0")
def test_a_step_of_training_moves_everything(name: str) -> None:
    ssd = small(name)
    variables = ssd.network.trainable_variables
    before = [one.numpy() for one in variables]
    with tf.GradientTape() as tape:
        outputs = ssd.network(images(8), training=True)  # of two, stochastic depth may drop both
        loss = tf.reduce_mean(outputs["logits"] ** 2) + tf.reduce_mean(outputs["offsets"] ** 2)
    keras.optimizers.Adam(1e-3).apply(tape.gradient(loss, variables), variables)
    assert np.isfinite(loss)
    for variable, value in zip(variables, before, strict=True):
        assert np.isfinite(variable).all(), variable.path
        assert not np.array_equal(variable, value), variable.path


SETS = {
    # MobileNetV2's expansion of layer 15 feeds the first layer (paper, section 6.2), MobileNetV3-Large's C4.
    "mobilenetv2-ssdlite320": ((576, 1280), 3234),
    "mobilenetv3-large-ssdlite320": ((672, 960), 3234),
    "mobilenetv3-small-ssdlite320": ((288, 576), 3234),
    "efficientnet-b0-ssd300": ((240, 672, 1280), 8732),
    "resnet50-ssd300": ((512, 1024, 2048), 8732),
    "resnet50-ssd512": ((512, 1024, 2048), 24564),
}


def test_the_param_sets_are_these() -> None:
    assert set(PARAM_SETS) == set(SETS)


@pytest.mark.parametrize("name", SETS if os.environ.get("SSD_ALL_BACKBONES") else list(SETS)[:2])
def test_param_sets_have_these_channels_and_default_boxes(name: str) -> None:
    ssd = build_ssd(PLUGINS.param_sets[name], ["a"], PLUGINS)
    channels, boxes = SETS[name]
    assert tuple(one.shape[-1] for one in ssd.backbone.outputs[1:]) == channels
    assert len(ssd.default_boxes) == boxes


# --- the arg scope, and names


def test_weight_decay_and_momentum_are_the_scopes() -> None:
    ssd = small("mobilenet_v3_small", "model.weight_decay=0.1", "model.norm_momentum=0.5")
    own = {name: one.numpy() for name, one in named_variables(ssd).items() if name.startswith("mobilenet")}
    kernels = [value for name, value in own.items() if name.endswith("/kernel") and "depthwise" not in name]
    # The first and the last one, 11 projections, 10 expansions, two in each of 9 squeeze-excite units.
    assert len(kernels) == 2 + 11 + 10 + 2 * 9
    expected = 0.05 * sum(float(np.square(kernel, dtype=np.float64).sum()) for kernel in kernels)
    assert float(sum(ssd.backbone.losses)) == pytest.approx(expected, rel=1e-5)
    norms = [one for one in ssd.backbone.layers if isinstance(one, keras.layers.BatchNormalization)]
    assert {(type(one), one.momentum, one.epsilon) for one in norms} == {(FusedBatchNormalization, 0.5, 1e-3)}


def test_each_architecture_has_its_own_momentum() -> None:
    momenta = {name: PLUGINS.backbones[name].arg_scope(weight_decay=0.0, data_format="channels_last") for name in EVERY}
    chosen = {name: scope.norm and scope.norm.momentum for name, scope in momenta.items()}
    assert chosen["mobilenet_v2"] == chosen["mobilenet_v3_large"] == 0.999
    assert chosen["efficientnet_v2_b0"] == 0.9
    assert chosen["resnet50"] == chosen["efficientnet_b0"] == 0.99
    assert chosen["convnext_tiny"] is None


def test_channels_can_be_first() -> None:
    backbone = PLUGINS.backbones["mobilenet_v3_small"]
    scope = backbone.arg_scope(weight_decay=0.0, data_format="channels_first")
    net, _ = backbone.base_net(keras.Input((3, SIDE, SIDE)), scope)
    assert tuple(net.shape) == (None, 576, 3, 3)
    assert keras.config.image_data_format() == "channels_last"


def test_names_do_not_depend_on_what_was_built_before() -> None:
    first, second = (small("mobilenet_v3_small") for _ in range(2))
    assert list(named_variables(first)) == list(named_variables(second))
    assert [layer.name for layer in first.backbone.layers[1:]] == [layer.name for layer in second.backbone.layers[1:]]


# --- stochastic depth


def test_stochastic_depth_drops_its_share_of_maps_and_magnifies_the_others() -> None:
    layer = StochasticDepth(0.25, name="one")
    maps = np.ones((4000, 1, 1, 2), np.float32)
    outputs = layer(maps, training=True).numpy()
    assert set(np.unique(outputs)) == {0.0, np.float32(1 / 0.75)}
    np.testing.assert_array_equal(outputs[..., 0], outputs[..., 1])
    assert np.mean(outputs == 0) == pytest.approx(0.25, abs=0.03)
    np.testing.assert_array_equal(layer(maps, training=True), outputs)
    assert not np.array_equal(layer(maps * 2, training=True) / 2, outputs)
    assert not np.array_equal(StochasticDepth(0.25, name="two")(maps, training=True), outputs)


def test_stochastic_depth_rests_in_evaluation_and_when_it_is_frozen() -> None:
    layer = StochasticDepth(0.9)
    maps = np.ones((50, 1, 1, 1), np.float32)
    np.testing.assert_array_equal(layer(maps, training=False), maps)
    layer.trainable = False
    np.testing.assert_array_equal(layer(maps, training=True), maps)
    ssd = small("efficientnet_b0")
    set_trainable(ssd, "ssd")
    frozen, evaluated = (ssd.backbone(images(), training=training)[0] for training in (True, False))
    np.testing.assert_array_equal(frozen, evaluated)


def test_resnet50_equals_the_published_counts() -> None:
    """At 224 px: 25,636,712 parameters and 3.858 billion MACs, with a classifier of 2,049,000 and 2,048,000."""
    last = base_net_end_points(PLUGINS.backbones["resnet50"], 224)[-1]
    assert last.parameters == 25_636_712 - 2_049_000
    assert last.macs == 3_857_973_248 - 2_048_000
