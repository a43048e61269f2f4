"""Building networks: feature sizes, gradients, evaluation mode, errors, and saving across processes."""

import subprocess
import sys
import weakref
from itertools import product
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from ssdcore import ArgScope, Backbone, BatchNorm, SsdError
from ssdcore.contract.batch_norm import FusedBatchNormalization
from ssdcore.contract.plugins import Plugins
from ssdcore.errors import ModelError, ParamError, PluginError
from ssdcore.model import SSD, build_ssd
from ssdcore.model.blocks import L2Normalize, Preprocess
from ssdcore.model.variables import named_variables, set_trainable
from ssdcore.params import BlockNorm, Fixed, ParamSet, Sgd, Stage, TrainParams
from ssdcore.params.presets import ssd300, ssd512
from ssdcore.runs.checkpoint import load_checkpoint, restore_model, save_checkpoint
from ssdcore.testing import check_backbone
from ssdcore.training.optimizers import Update
from ssdcore.training.step import make_step

MODELS = {
    "ssd300": (ssd300, [38, 19, 10, 5, 3, 1], 8732),
    "ssd512": (ssd512, [64, 32, 16, 8, 4, 2, 1], 24564),
}
# A large rate, so that a small gradient also shows in a variable whose value is 20.
ONE_STEP = Stage(name="only", steps=1, learning_rate=Fixed(learning_rate=10))
BACKBONES = ["vgg_16", "mobilenet_v1", "mobilenet_v1_stride1"]


def param_set(backbone: str, model: str) -> ParamSet:
    params = MODELS[model][0]().model_copy(update={"block_norm": None if backbone == "vgg_16" else BlockNorm()})
    return ParamSet(backbone=backbone, model=params, train=TrainParams(stages=(ONE_STEP,)))


def images(ssd: SSD, count: int = 1) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (count, *ssd.model.image_size, 3)).astype(np.float32)


FAST = ("mobilenet_v1", "ssd300")
TOO_LARGE = [("mobilenet_v1", "ssd512"), ("mobilenet_v1_stride1", "ssd512")]
"""Of these the backbone takes its step in ssd300, and the blocks of ssd512 take theirs on VGG."""
SLOW = [pytest.param(*one, marks=pytest.mark.slow) for one in product(BACKBONES, MODELS) if one != FAST]


@pytest.mark.parametrize(("backbone", "model"), [FAST, *SLOW])
def test_the_main_job_of_every_seed_model(backbone: str, model: str, plugins: Plugins, tmp_path: Path) -> None:
    """Exact feature sizes; one step with finite loss and a gradient everywhere; save, load, same output.

    One of them is loaded in a new process, as the contract's check does with every backbone.
    """
    params = param_set(backbone, model)
    ssd = build_ssd(params, ["a", "b"], plugins)
    _, sides, boxes = MODELS[model]
    assert [size for _, size in ssd.feature_maps] == [(side, side) for side in sides]
    assert ssd.network(images(ssd))["logits"].shape == (1, boxes, 3)
    if (backbone, model) not in TOO_LARGE:
        take_one_step_that_changes_everything(ssd, params.train)
    save_checkpoint(tmp_path / "model.npz", ssd, params)
    inputs = images(ssd)
    np.save(tmp_path / "images.npy", inputs)
    outputs = ssd.network(inputs, training=False)
    del ssd
    if (backbone, model) == FAST:
        loaded = outputs_of_a_new_process(tmp_path)
    else:
        loaded = restore_model(load_checkpoint(tmp_path / "model.npz"), plugins).network(inputs, training=False)
    for name in ("logits", "offsets"):
        np.testing.assert_array_equal(loaded[name], outputs[name])


def take_one_step_that_changes_everything(ssd: SSD, params: TrainParams) -> None:
    set_trainable(ssd, "all")
    before = {name: value.numpy() for name, value in named_variables(ssd).items()}
    update = Update(params.stages[0], named_variables_that_learn(ssd), 1, 1.0)
    step = make_step(ssd, params, update, None, None, 1, tf.distribute.get_strategy())
    count = 1 if ssd.model.block_norm is None else 2  # statistics of a map of one cell need two images
    labels = np.random.default_rng(1).integers(0, 3, (count, len(ssd.default_boxes))).astype(np.int32)
    metrics = step((images(ssd, count), labels, tf.ones((*labels.shape, 4))), tf.zeros(3))
    assert np.isfinite(metrics).all()
    same = [name for name, value in named_variables(ssd).items() if np.array_equal(before[name], value)]
    assert same == []


def named_variables_that_learn(ssd: SSD) -> dict:
    learning = {id(variable) for variable in ssd.network.trainable_variables}
    return {name: variable for name, variable in named_variables(ssd).items() if id(variable) in learning}


def outputs_of_a_new_process(folder: Path) -> dict[str, np.ndarray]:
    code = f"""
import numpy as np
from pathlib import Path
from ssdcore.runs.checkpoint import load_checkpoint, restore_model
from ssdcore.contract.plugins import load_plugins
folder = Path({str(folder)!r})
ssd = restore_model(load_checkpoint(folder / "model.npz"), load_plugins())
outputs = ssd.network(np.load(folder / "images.npy"), training=False)
np.savez(folder / "outputs.npz", **{{name: value.numpy() for name, value in outputs.items()}})
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return dict(np.load(folder / "outputs.npz"))


def test_a_dropped_network_is_freed_before_another_is_built(plugins: Plugins) -> None:
    """Keras' networks are reference cycles; a process that builds many would keep them all for a long time."""
    dropped = weakref.ref(build_ssd(plugins.param_sets["mobilenet025-ssd300"], ["a"], plugins).network)
    build_ssd(plugins.param_sets["mobilenet025-ssd300"], ["a"], plugins)
    assert dropped() is None


def test_names_of_variables_are_unique_and_complete(plugins: Plugins) -> None:
    ssd = build_ssd(plugins.param_sets["mobilenet025-ssd300"], ["a"], plugins)
    names = named_variables(ssd)
    assert len(names) == len(ssd.network.variables)
    assert "mobilenet_v1_025/Conv2d_0/kernel" in names
    assert "block11_offsets/bias" in names


def test_ssd_layers_learn_while_the_backbone_is_frozen(plugins: Plugins) -> None:
    ssd = build_ssd(plugins.param_sets["mobilenet025-ssd300"], ["a"], plugins)
    set_trainable(ssd, "ssd")
    names = {variable.path for variable in ssd.network.trainable_variables}
    assert "block11_offsets/kernel" in names
    assert not any(name.startswith("Conv2d") and "pointwise_" not in name for name in names)
    assert not ssd.backbone.trainable_variables


def test_what_learns_can_be_changed_there_and_back(plugins: Plugins) -> None:
    ssd = build_ssd(plugins.param_sets["vgg16-ssd300"], ["a"], plugins)
    counts = []
    for what in ("all", "ssd", "all", ["vgg_16/conv5"], "ssd"):
        set_trainable(ssd, what)
        counts.append((len(ssd.backbone.trainable_variables), len(ssd.network.trainable_variables)))
    assert counts == [(26, 71), (0, 45), (26, 71), (6, 6), (0, 45)]


def test_frozen_batch_normalisation_keeps_its_statistics(plugins: Plugins) -> None:
    ssd = build_ssd(plugins.param_sets["mobilenet025-ssd300"], ["a"], plugins)
    set_trainable(ssd, "ssd")
    before = {name: value.numpy() for name, value in named_variables(ssd).items() if "moving" in name}
    ssd.network(images(ssd, 2), training=True)
    changed = {name for name, value in before.items() if not np.array_equal(value, named_variables(ssd)[name])}
    assert changed
    assert not any(name.startswith("mobilenet_v1_025/") for name in changed)


def test_scopes_choose_what_learns(plugins: Plugins) -> None:
    ssd = build_ssd(plugins.param_sets["vgg16-ssd300"], ["a"], plugins)
    set_trainable(ssd, ["vgg_16/conv5", "block7"])
    layers = {variable.path.split("/")[0] for variable in ssd.network.trainable_variables}
    expected = {"conv5_1", "conv5_2", "conv5_3", "block7_conv1", "block7_conv2", "block7_logits", "block7_offsets"}
    assert layers == expected
    with pytest.raises(ParamError, match="conv9"):
        set_trainable(ssd, ["block7", "conv9"])


def test_heads_can_be_separable(plugins: Plugins) -> None:
    params = param_set("mobilenet_v1_025", "ssd300").override(["model.head=separable"])
    ssd = build_ssd(params, ["a"], plugins)
    assert ssd.network.get_layer("block9_logits_depthwise").kernel_size == (3, 3)
    assert ssd.network.get_layer("block9_logits").kernel_size == (1, 1)


def test_weight_decay_is_half_the_sum_of_squared_kernels(plugins: Plugins) -> None:
    ssd = build_ssd(param_set("vgg_16", "ssd300").override(["model.weight_decay=0.1"]), ["a"], plugins)
    kernels = [value.numpy() for name, value in named_variables(ssd).items() if name.endswith("kernel")]
    expected = 0.05 * sum(float(np.square(kernel, dtype=np.float64).sum()) for kernel in kernels)
    assert float(sum(ssd.network.losses)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("model.image_size=[320,320]", "wants prediction layers of 38, 19, 10, 5, 3, 1"),
        ("model.feature_maps=null model.image_size=[512,512]", "block9 has 9 cells|at a step of"),
        ("model.feature_layers=[conv4_4]", "did you mean 'conv4_"),
        ("model.name=ssd301", "no plugin says which end points"),
        ("model.image_size=[32,32]", "does not fit|wants prediction layers"),
        ("model.blocks=[]", "6 prediction layers"),
    ],
)
def test_a_model_that_cannot_be_built_says_why(override: str, says: str, plugins: Plugins) -> None:
    with pytest.raises(ModelError, match=says):
        build_ssd(param_set("vgg_16", "ssd300").override(override.split(" ")), ["a"], plugins)


def test_feature_maps_null_accepts_other_sizes(plugins: Plugins) -> None:
    params = param_set("vgg_16", "ssd300").override(
        ["model.image_size=[320,400]", "model.feature_maps=null", "model.default_boxes.steps=null"]
    )
    ssd = build_ssd(params, ["a"], plugins)
    assert ssd.feature_maps[0] == ("conv4_3", (40, 50))


def test_preprocessing_by_hand() -> None:
    from ssdcore import Preprocessing

    layer = Preprocess(Preprocessing(channel_order="bgr", mean=(1.0, 2.0, 3.0), scale=0.5))
    np.testing.assert_allclose(layer(np.array([[[[10.0, 20.0, 30.0]]]], np.float32)), [[[[14.5, 9.0, 3.5]]]])


def test_l2_normalisation_by_hand() -> None:
    layer = L2Normalize(20.0)
    np.testing.assert_allclose(layer(np.array([[[[3.0, 4.0]]]], np.float32)), [[[[12.0, 16.0]]]], rtol=1e-6)
    assert np.all(np.isfinite(layer(np.zeros((1, 1, 1, 2), np.float32))))


def test_fused_batch_normalisation_equals_keras_own() -> None:
    inputs = np.random.default_rng(0).normal(3, 2, (4, 5, 6, 3)).astype(np.float32)
    ours, theirs = FusedBatchNormalization(momentum=0.9), keras.layers.BatchNormalization(momentum=0.9)
    for _ in range(2):
        np.testing.assert_allclose(ours(inputs, training=True), theirs(inputs, training=True), atol=1e-4)
    theirs.moving_variance.assign(ours.moving_variance)
    np.testing.assert_allclose(ours(inputs, training=False), theirs(inputs, training=False), atol=1e-4)
    np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean, rtol=1e-5)
    pixels = 4 * 5 * 6
    unbiased = np.var(inputs, axis=(0, 1, 2)) * pixels / (pixels - 1)
    np.testing.assert_allclose(ours.moving_variance, 1 * 0.81 + 0.19 * unbiased, rtol=1e-4)


def fully_connected(inputs, scope):
    net = keras.layers.Flatten()(scope.conv2d(inputs, 4, 3, strides=32, name="conv"))
    return keras.layers.Dense(4)(net), {"conv": net}


def scopeless(inputs, scope):
    net = keras.layers.Conv2D(4, 3, strides=8, padding="same", name="conv")(inputs)
    return net, {"conv": net}


@pytest.mark.parametrize(
    ("base_net", "says"), [(fully_connected, "must be a map"), (scopeless, "build layers by the scope")]
)
def test_check_backbone_names_the_issue(base_net, says: str, plugins: Plugins) -> None:
    def arg_scope(*, weight_decay: float, data_format: str) -> ArgScope:
        return ArgScope(weight_decay, data_format, norm=BatchNorm())

    with pytest.raises(PluginError, match=says):
        check_backbone(Backbone("faulty", base_net, arg_scope), plugins)


def test_a_backbone_with_a_bad_name_is_refused() -> None:
    with pytest.raises(SsdError, match="letters, digits"):
        Backbone("my net", scopeless, ArgScope)


def test_sgd_is_the_default_optimizer() -> None:
    assert isinstance(Stage(name="only", steps=1).optimizer, Sgd)
