"""Which layers learn, by lists written by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ssdcore.contract.plugins import Plugins
from ssdcore.errors import ParamError
from ssdcore.model import SSD, build_ssd
from ssdcore.model.variables import named_variables, set_trainable


@pytest.fixture(scope="module")
def vgg(plugins: Plugins) -> SSD:
    return build_ssd(plugins.param_sets["vgg16-ssd300"], ["a"], plugins)


@pytest.fixture(scope="module")
def mobilenet(plugins: Plugins) -> SSD:
    return build_ssd(plugins.param_sets["mobilenet025-ssd300"], ["a"], plugins)


def learning(ssd: SSD) -> tuple[set[str], set[str]]:
    """Names of the layers with variables that learn: of the backbone, and of the rest."""
    backbone = {variable.path.split("/")[0] for variable in ssd.backbone.trainable_variables}
    own = {id(variable) for variable in ssd.backbone.variables}
    rest = {v.path.split("/")[0] for v in ssd.network.trainable_variables if id(v) not in own}
    return backbone, rest


VGG_CONVS = [
    *("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3"),
    *("conv4_1", "conv4_2", "conv4_3", "conv5_1", "conv5_2", "conv5_3"),
]
VGG_SSD = (
    {f"block{b}_conv{c}" for b in range(7, 12) for c in (1, 2)}
    | {"conv4_3_norm"}
    | {
        f"{source}_{kind}"
        for source in ("conv4_3", "block7", "block8", "block9", "block10", "block11")
        for kind in ("logits", "offsets")
    }
)


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("ssd", []),
        (0, []),
        (1, ["conv5_3"]),
        (4, ["conv4_3", "conv5_1", "conv5_2", "conv5_3"]),
        (13, VGG_CONVS),
        ("all", VGG_CONVS),
    ],
)
def test_the_last_convolutions_of_vgg(what: str | int, expected: list[str], vgg: SSD) -> None:
    set_trainable(vgg, what)
    assert learning(vgg) == (set(expected), VGG_SSD)


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (0, []),
        (1, ["Conv2d_13_pointwise"]),
        (3, ["Conv2d_12_pointwise", "Conv2d_13_depthwise", "Conv2d_13_pointwise"]),
    ],
)
@pytest.mark.parametrize("freeze", [False, True])
def test_the_last_convolutions_of_mobilenet(what: int, expected: list[str], freeze: bool, mobilenet: SSD) -> None:
    set_trainable(mobilenet, what, freeze_batch_norm=freeze)
    blocks = [f"block{block}_conv{conv}" for block in (9, 10, 11) for conv in (1, 2)]
    sources = ["Conv2d_5_pointwise", "Conv2d_11_pointwise", "Conv2d_13_pointwise", "block9", "block10", "block11"]
    heads = [f"{source}_{kind}" for source in sources for kind in ("logits", "offsets")]

    def with_norms(names: list[str]) -> list[str]:
        return names if freeze else names + [f"{name}_bn" for name in names]

    assert learning(mobilenet) == (set(with_norms(expected)), {*with_norms(blocks), *heads})


def test_all_convolutions_of_mobilenet_are_27(mobilenet: SSD) -> None:
    set_trainable(mobilenet, 27, freeze_batch_norm=True)
    separable = [f"Conv2d_{n}_{kind}" for n in range(1, 14) for kind in ("depthwise", "pointwise")]
    assert learning(mobilenet)[0] == {"Conv2d_0", *separable}


def test_more_convolutions_than_there_are(mobilenet: SSD, vgg: SSD) -> None:
    with pytest.raises(ParamError, match=r"last 28 convolutions of mobilenet_v1_025 .* it has 27;"):
        set_trainable(mobilenet, 28)
    with pytest.raises(ParamError, match="it has 13"):
        set_trainable(vgg, 14)


def test_scopes(mobilenet: SSD) -> None:
    set_trainable(mobilenet, ["mobilenet_v1_025/Conv2d_13_p", "block9_conv1"])
    assert learning(mobilenet) == (
        {"Conv2d_13_pointwise", "Conv2d_13_pointwise_bn"},
        {"block9_conv1", "block9_conv1_bn"},
    )
    set_trainable(mobilenet, ["mobilenet_v1_025/Conv2d_13_p"], freeze_batch_norm=True)
    assert learning(mobilenet) == ({"Conv2d_13_pointwise"}, set())
    with pytest.raises(ParamError, match="no layer's name starts with 'blokc'"):
        set_trainable(mobilenet, ["blokc"])


@pytest.mark.parametrize(
    ("what", "freeze", "changes"),
    [("all", True, set()), (1, False, {"Conv2d_13_pointwise_bn"}), ("ssd", False, set())],
)
def test_frozen_statistics_stay_as_they_are(what: str | int, freeze: bool, changes: set[str], mobilenet: SSD) -> None:
    """What changes in the backbone in a training call; the blocks' statistics change unless frozen too."""
    set_trainable(mobilenet, what, freeze_batch_norm=freeze)
    names = {name: variable for name, variable in named_variables(mobilenet).items() if "moving" in name}
    before = {name: variable.numpy() for name, variable in names.items()}
    images = tf.constant(np.random.default_rng(0).uniform(0, 255, (1, 300, 300, 3)), tf.float32)
    mobilenet.network(images, training=True)
    changed = {name.rsplit("/", 1)[0] for name, variable in names.items() if (before[name] != variable.numpy()).any()}
    blocks = set() if freeze else {f"block{block}_conv{conv}_bn" for block in (9, 10, 11) for conv in (1, 2)}
    assert changed == {f"mobilenet_v1_025/{name}" for name in changes} | blocks


def test_a_normalisation_frozen_once_learns_again(mobilenet: SSD) -> None:
    set_trainable(mobilenet, "all", freeze_batch_norm=True)
    set_trainable(mobilenet, "all")
    norms = [layer for layer in mobilenet.backbone.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert [layer.trainable for layer in norms] == [True] * 27
