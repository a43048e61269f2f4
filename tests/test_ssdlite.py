"""SSDLite: depthwise-separable blocks and heads, counted and computed by hand, and its default boxes."""

import dataclasses
from typing import Any

import keras
import numpy as np
import pytest

from ssdcore import ArgScope, Backbone, BatchNorm
from ssdcore.contract.plugins import Plugins
from ssdcore.errors import ParamError
from ssdcore.model import SSD, build_ssd
from ssdcore.model.blocks import attach_block
from ssdcore.params import Block, Conv, ParamSet, Stage, TrainParams
from ssdcore.params.presets import ssdlite320


def two_maps(inputs: Any, scope: ArgScope) -> tuple[Any, dict[str, Any]]:
    """8 channels at stride 16 and 16 channels at stride 32."""
    fine = scope.conv2d(inputs, 8, 1, strides=16, name="fine")
    coarse = scope.conv2d(fine, 16, 1, strides=2, name="coarse")
    return coarse, {"fine": fine, "coarse": coarse}


@pytest.fixture(scope="module")
def ssd(plugins: Plugins) -> SSD:
    model = ssdlite320().model_copy(update={"feature_layers": ("fine", "coarse")})
    params = ParamSet(backbone="two_maps", model=model, train=TrainParams(stages=(Stage(name="only", steps=1),)))
    own = dataclasses.replace(plugins, backbones={"two_maps": Backbone("two_maps", two_maps, ArgScope)})
    return build_ssd(params, ["a", "b"], own)


def test_blocks_have_the_parameters_counted_by_hand(ssd: SSD) -> None:
    """Each block: 1x1, depthwise 3x3, 1x1, each followed by four numbers a channel of batch normalisation."""
    counts = dict.fromkeys(("block14", "block15", "block16", "block17"), 0)
    for layer in ssd.network.layers:
        block, _, rest = layer.name.partition("_")
        if rest.startswith("conv"):
            counts[block] += layer.count_params()
    assert counts == {
        "block14": (16 * 256 + 4 * 256) + (9 * 256 + 4 * 256) + (256 * 512 + 4 * 512),
        "block15": (512 * 128 + 4 * 128) + (9 * 128 + 4 * 128) + (128 * 256 + 4 * 256),
        "block16": (256 * 128 + 4 * 128) + (9 * 128 + 4 * 128) + (128 * 256 + 4 * 256),
        "block17": (256 * 64 + 4 * 64) + (9 * 64 + 4 * 64) + (64 * 128 + 4 * 128),
    }


def test_heads_have_the_parameters_counted_by_hand(ssd: SSD) -> None:
    """Six boxes a cell: 6 * 3 logits and 6 * 4 offsets, each behind a depthwise 3x3 of its own."""
    expected = 0
    for channels in (8, 16, 512, 256, 256, 128):
        expected += 2 * (9 * channels + 4 * channels) + channels * (18 + 24) + (18 + 24)
    blocks = 141_568 + 101_504 + 68_736 + 26_176
    assert ssd.network.count_params() - ssd.backbone.count_params() - blocks == expected == 80_220


def test_maps_and_default_boxes(ssd: SSD) -> None:
    assert [size for _, size in ssd.feature_maps] == [(n, n) for n in (20, 10, 5, 3, 2, 1)]
    assert len(ssd.default_boxes) == 6 * (400 + 100 + 25 + 9 + 4 + 1)
    first = ssd.default_boxes[:6] * 320
    np.testing.assert_allclose((first[:, :2] + first[:, 2:]) / 2, 8, atol=1e-4)
    side, wide, wider = 64, 64 * 2**0.5, 64 * 3**0.5
    widths = (side, (64 * 112) ** 0.5, wide, wide / 2, wider, wider / 3)
    np.testing.assert_allclose(first[:, 2] - first[:, 0], widths, rtol=1e-5)
    last = ssd.default_boxes[-6:] * 320
    np.testing.assert_allclose((last[0, 2] - last[0, 0], last[1, 2] - last[1, 0]), (304, (304 * 320) ** 0.5), rtol=1e-5)


def test_a_separable_convolution_by_hand() -> None:
    """Depthwise 3x3 of stride 2 with 1 px of zeros around, ReLU, 1x1, ReLU; normalised by sqrt(1 + epsilon)."""
    random = np.random.default_rng(0)
    maps, depthwise, pointwise = (random.normal(size=size) for size in ((5, 5, 2), (3, 3, 2), (2, 3)))
    inputs = keras.Input((5, 5, 2))
    conv = Conv(filters=3, kernel=3, stride=2, padding=1, separable=True)
    model = keras.Model(inputs, attach_block(inputs, Block(name="b", convs=(conv,)), ArgScope(norm=BatchNorm())))
    model.get_layer("b_conv1_depthwise").kernel.assign(depthwise[..., None])
    model.get_layer("b_conv1").kernel.assign(pointwise[None, None])
    padded = np.pad(maps, ((1, 1), (1, 1), (0, 0)))
    expected = np.zeros((3, 3, 3))
    for row in range(3):
        for column in range(3):
            window = padded[2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            channels = np.maximum((window * depthwise).sum((0, 1)) / 1.001**0.5, 0)
            expected[row, column] = np.maximum(channels @ pointwise / 1.001**0.5, 0)
    np.testing.assert_allclose(model(maps[None].astype(np.float32))[0], expected, rtol=1e-4, atol=1e-5)


def test_a_separable_convolution_cannot_be_atrous(plugins: Plugins) -> None:
    with pytest.raises(
        ParamError, match=r"blocks\.0\.convs\.0: .*no dilation, got 6; set separable=false or dilation=1"
    ):
        plugins.param_sets["vgg16-ssd300"].override(["model.blocks.0.convs.0.separable=true"])
