"""Receptive fields and cost of end points, against published counts and numbers worked out by hand."""

import json
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from ssdcore import ArgScope, Backbone
from ssdcore.contract.plugins import Plugins
from ssdcore.errors import PluginError
from ssdcore.model.end_points import EndPoint, base_net_end_points, describe_end_points, network_macs

Ssd = Callable[..., tuple[int, str, str]]
Net = Callable[[Any], Any]
L = keras.layers
SIDE = 48


def conv(filters: int, kernel: int | tuple[int, int], strides: int = 1, **options: Any) -> Any:
    return L.Conv2D(filters, kernel, strides=strides, padding="same", use_bias=False, **options)


def described(net: Net, side: int = SIDE) -> EndPoint:
    inputs = keras.Input((side, side, 3))
    (found,) = describe_end_points(inputs, {"only": net(inputs)})
    return found


class Scale(L.Layer):
    """A factor for each channel."""

    def build(self, input_shape: Any) -> None:
        self.gamma = self.add_weight(shape=(input_shape[-1],), name="gamma")

    def call(self, inputs: Any) -> Any:
        return inputs * self.gamma


class Blur(L.Layer):
    """Means of 3x3 cells: has no weights, and mixes neighbours."""

    def call(self, inputs: Any) -> Any:
        return keras.ops.average_pool(inputs, 3, 1, padding="same")


class Block(L.Layer):
    """A convolution in a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(4, 3, 2)

    def build(self, input_shape: Any) -> None:
        self.conv.build(input_shape)

    def call(self, inputs: Any) -> Any:
        return self.conv(inputs)


class Detached(L.Layer):
    """No gradient goes through it."""

    def call(self, inputs: Any) -> Any:
        return tf.stop_gradient(inputs)


def pyramid(enlarge: Callable[[Any], Any]) -> Net:
    def net(inputs: Any) -> Any:
        fine = conv(4, 3, 2)(inputs)
        coarse = conv(4, 3, 2)(fine)
        return conv(4, 3)(fine + enlarge(coarse))

    return net


def same_layer_twice(layer: Any, between: Any) -> Net:
    return lambda inputs: layer(between(layer(inputs)))


def same_model_twice(inputs: Any) -> Any:
    part = keras.Input((SIDE, SIDE, 3))
    model = keras.Model(part, [conv(3, 3)(part), conv(3, 5)(part)])
    return model(model(inputs)[0])[1]


def focus(inputs: Any) -> Any:
    parts = [inputs[:, row::2, column::2] for row in (0, 1) for column in (0, 1)]
    return conv(4, 3)(L.Concatenate()(parts))


def chain(*layers: Callable[[Any], Any]) -> Net:
    def net(inputs: Any) -> Any:
        for layer in layers:
            inputs = layer(inputs)
        return inputs

    return net


NETS: dict[str, tuple[int, int, Callable[[], Net]]] = {
    "transposed 3": (7, 2, lambda: chain(conv(4, 3, 4), L.Conv2DTranspose(4, 3, strides=2, padding="same"))),
    "transposed 4": (7, 2, lambda: chain(conv(4, 3, 4), L.Conv2DTranspose(4, 4, strides=2, padding="same"))),
    "transposed 5, valid": (11, 2, lambda: chain(conv(4, 3, 4), L.Conv2DTranspose(4, 5, strides=2))),
    "pyramid": (11, 2, lambda: pyramid(L.UpSampling2D(2))),
    "pyramid, bilinear": (15, 2, lambda: pyramid(L.UpSampling2D(2, interpolation="bilinear"))),
    "pyramid, resized": (11, 2, lambda: pyramid(lambda x: keras.ops.image.resize(x, (24, 24), "nearest"))),
    "up, then even kernel": (7, 2, lambda: chain(conv(4, 3, 4), L.UpSampling2D(2), conv(4, 2))),
    "convolution twice": (5, 1, lambda: same_layer_twice(conv(3, 3), L.Rescaling(2.0))),
    "pool twice": (8, 4, lambda: same_layer_twice(L.AveragePooling2D(2), conv(3, 3))),
    "activation twice": (3, 2, lambda: same_layer_twice(L.LeakyReLU(), conv(3, 3, 2))),
    "model twice": (7, 1, lambda: same_model_twice),
    "sequential": (15, 4, lambda: chain(keras.Sequential([conv(4, 3, 2), conv(4, 3, 2)]), conv(4, 3))),
    "operation max_pool": (7, 4, lambda: chain(conv(64, 3, 2), lambda x: keras.ops.max_pool(x, 3, 2, padding="same"))),
    "operation average_pool": (2, 2, lambda: lambda x: keras.ops.average_pool(x, 2)),
    "slice": (11, 4, lambda: chain(conv(4, 3, 2), lambda x: x[:, ::2, ::2], conv(4, 3))),
    "focus": (6, 2, lambda: focus),
    "dense on a map": (3, 2, lambda: chain(conv(4, 3, 2), L.Dense(5))),
    "1x7": (7, 1, lambda: conv(4, (1, 7))),
    "1x7, then 5x1": (7, 1, lambda: chain(conv(4, (1, 7)), conv(4, (5, 1)))),
    "oblong pool": (3, 1, lambda: L.AveragePooling2D((1, 3), strides=1, padding="same")),
    "oblong stride": (3, 2, lambda: conv(4, 3, (1, 2))),
    "padded, cropped": (5, 2, lambda: chain(L.ZeroPadding2D(3), L.Cropping2D(1), L.Conv2D(4, 5, strides=2))),
    "other alignment": (
        11,
        1,
        lambda: lambda x: keras.ops.pad(x, ((0, 0), (0, 9), (0, 9), (0, 0)))[:, 9:, 9:] + conv(3, 3)(x),
    ),
    "scaled by a layer of its own": (5, 1, lambda: chain(conv(4, 3), Scale(), conv(4, 3))),
    "shuffled channels": (
        5,
        1,
        lambda: chain(
            conv(4, 3), L.Reshape((SIDE, SIDE, 2, 2)), L.Permute((1, 2, 4, 3)), L.Reshape((SIDE, SIDE, 4)), conv(4, 3)
        ),
    ),
}


@pytest.mark.parametrize(("field", "stride", "net"), NETS.values(), ids=NETS.keys())
def test_fields_and_strides_are_those_worked_out_by_hand(field: int, stride: int, net: Callable[[], Net]) -> None:
    """A kernel of k cells at a distance of j px adds (k - 1) j to the field; a stride of s multiplies j by s."""
    keras.utils.set_random_seed(1)
    found = described(net())
    assert (found.receptive_field, found.stride, found.sees_everything) == (field, stride, False)


def tokens(maps: Any) -> Any:
    flat = L.Reshape((-1, 4))(maps)
    return L.Reshape(maps.shape[1:])(L.MultiHeadAttention(2, 4)(flat, flat))


@pytest.mark.parametrize(
    ("net", "stride"),
    [
        (lambda x: x * keras.ops.mean(x, axis=(1, 2), keepdims=True), 1),
        (chain(conv(4, 3, 2), lambda x: x * L.Reshape((1, 1, 4))(keras.ops.mean(x, axis=[1, 2]))), 2),
        (chain(conv(4, 3, 2), L.GroupNormalization(2), conv(4, 3, 2)), 4),
        (chain(conv(4, 3, 8), tokens), 8),
        (L.Softmax(axis=1), 1),
    ],
)
def test_what_sees_the_whole_map_sees_everything(net: Net, stride: int) -> None:
    found = described(net)
    assert (found.receptive_field, found.sees_everything, found.stride) == (None, True, stride)


@pytest.mark.parametrize(
    ("layers", "field", "stride"),
    [
        ((Block(), Block()), 7, 4),
        ((Blur(),), 3, 1),
        ((L.Permute((2, 1, 3)), conv(4, 3, 2)), 3, 2),
        ((conv(4, 3, 2), Detached()), None, 2),
    ],
)
def test_layers_of_any_kind_are_measured(layers: tuple[Any, ...], field: int | None, stride: int) -> None:
    found = described(chain(*layers))
    assert (found.receptive_field, found.sees_everything, found.stride) == (field, False, stride)


def test_a_window_from_edge_to_edge_sees_everything() -> None:
    """Kernels of 41 and 49 in an image of 48 px."""
    inputs = keras.Input((SIDE, SIDE, 3))
    wide, whole = conv(4, 41)(inputs), conv(4, 49)(inputs)
    found = describe_end_points(inputs, {"wide": wide, "whole": whole, "next": conv(4, 3, 2)(whole)})
    assert [one.receptive_field for one in found] == [41, None, None]
    assert [(one.sees_everything, one.stride) for one in found] == [(False, 1), (True, 1), (True, 2)]


def test_a_field_may_be_wider_than_the_image() -> None:
    inputs = keras.Input((SIDE, SIDE, 3))
    first = conv(4, 41)(inputs)
    assert [one.receptive_field for one in describe_end_points(inputs, {"a": first, "b": conv(4, 9)(first)})] == [
        41,
        49,
    ]


def test_a_layer_of_zeros_does_not_hide_what_is_seen() -> None:
    """Blocks often start as the identity: here by a factor of 0 behind a 5x5."""
    gamma = L.BatchNormalization(gamma_initializer="zeros")
    assert described(lambda inputs: inputs + chain(conv(3, 5), gamma)(inputs)).receptive_field == 5


def test_a_stride_behind_the_whole_image_is_that_of_sizes_rounded_up() -> None:
    """300, 150, 75, 38, 19, 10 cells."""
    found = described(
        chain(lambda x: x * keras.ops.mean(x, axis=(1, 2), keepdims=True), *(Block() for _ in range(5))), 300
    )
    assert (found.stride, found.sees_everything) == (32, True)


def macs(net: Net) -> tuple[int | None, int]:
    """Multiplications, of an end point and of a network, and parameters."""
    found = described(net, 16)
    inputs = keras.Input((16, 16, 3))
    assert network_macs(keras.Model(inputs, net(inputs))) == found.macs
    return found.macs, found.parameters


def test_costs_count_calls_and_numbers_once() -> None:
    assert macs(same_layer_twice(conv(3, 3), L.ReLU())) == (2 * 256 * 81, 81)
    assert macs(chain(conv(4, 3, 4), L.Conv2DTranspose(5, 3, strides=2))) == (16 * 108 + 16 * 180, 108 + 185)
    assert macs(keras.Sequential([conv(4, 3, 2), conv(4, 3, 2)])) == (64 * 108 + 16 * 144, 108 + 144)
    assert macs(L.Dense(5)) == (256 * 15, 20)
    assert macs(chain(Scale(), L.PReLU(shared_axes=[1, 2]), L.BatchNormalization())) == (0, 3 + 3 + 12)


def test_costs_of_a_model_count_as_often_as_it_is_called() -> None:
    part = keras.Input((16, 16, 3))
    model = keras.Model(part, conv(3, 3)(part))
    assert macs(lambda inputs: model(model(inputs))) == (2 * 256 * 81, 81)


def test_costs_of_layers_and_operations_of_any_kind_are_counted() -> None:
    """16 tokens of 4 channels: queries, keys, values and the way back 4x8 each, two products of 16x16 per head."""
    part = keras.Input((None, None, 3))
    anywhere = keras.Model(part, conv(3, 3)(part))
    assert macs(Block()) == (64 * 108, 108)
    assert macs(anywhere) == (256 * 81, 81)
    assert macs(chain(conv(4, 3, 4), tokens)) == (16 * 108 + 4 * 16 * 32 + 2 * 16 * 16 * 8, 108 + 4 * 32 + 24 + 4)
    assert macs(lambda x: keras.ops.matmul(x, np.ones((3, 3), np.float32))) == (256 * 9, 0)
    assert macs(lambda x: keras.ops.einsum("bhwc,bhwd->bcd", x, x)[:, None]) == (256 * 9, 0)


def test_atrous_convolutions_cost_what_others_do() -> None:
    """TensorFlow computes them on padded parts of a map: of 16 cells 3 wide, by 3 cells apart."""
    assert macs(conv(4, 3, dilation_rate=3)) == (256 * 108, 108)
    assert macs(L.DepthwiseConv2D(3, dilation_rate=3, padding="same", use_bias=False)) == (256 * 27, 27)


def test_costs_of_a_loop_are_not_known() -> None:
    kernel = np.ones((3, 3), np.float32)
    assert macs(L.Lambda(lambda x: tf.map_fn(lambda image: image @ kernel, x), output_shape=(16, 16, 3))) == (None, 0)


def test_vgg16_equals_the_published_counts(plugins: Plugins) -> None:
    """Convolutions of VGG-16 at 224 px: 14,714,688 parameters, 15.35 billion MACs; fields as Araujo et al. 2019 say."""
    found = {one.name: one for one in base_net_end_points(plugins.backbone("vgg_16"), 224)}
    assert found["conv5_3"].parameters == 14_714_688
    assert found["conv5_3"].macs == 15_346_630_656
    fields = {name: found[name].receptive_field for name in ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3")}
    assert fields == {"conv1_2": 5, "conv2_2": 14, "conv3_3": 40, "conv4_3": 92, "conv5_3": 196}
    assert (found["conv4_3"].stride, found["conv4_3"].size, found["conv4_3"].channels) == (8, (28, 28), 512)


def by_hand(layers: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Field and stride behind each of some layers of kernel k and stride s."""
    field, distance, found = 1, 1, []
    for kernel, stride in layers:
        field, distance = field + (kernel - 1) * distance, distance * stride
        found.append((field, distance))
    return found


VGG = [*[(3, 1)] * 2, (2, 2), *[(3, 1)] * 2, (2, 2), *[(3, 1)] * 3, (2, 2), *[(3, 1)] * 3, (2, 2), *[(3, 1)] * 4]
STRIDES = (1, 2, 1, 2, 1, 2, *[1] * 5, 2, 1)
MOBILENET = [(3, 2), *(one for stride in STRIDES for one in ((3, stride), (1, 1)))]


@pytest.mark.parametrize(("name", "layers"), [("vgg_16", VGG), ("mobilenet_v1_025", MOBILENET)])
def test_fields_of_chains_are_those_of_the_arithmetic(
    name: str, layers: list[tuple[int, int]], plugins: Plugins
) -> None:
    found = base_net_end_points(plugins.backbone(name), 192)
    assert [(one.receptive_field, one.stride) for one in found] == by_hand(layers)


def test_mobilenet_equals_the_published_counts(plugins: Plugins) -> None:
    """MobileNet v1 at 224 px: 569 million MACs, 4.2 million parameters; its last layer has 1,024,000 MACs."""
    last = base_net_end_points(plugins.backbone("mobilenet_v1"), 224)[-1]
    assert last.macs == 568_740_352 - 1_024_000
    assert last.parameters == 4_253_864 - 1_025_000
    assert last.stride == 32


def test_branches_see_what_the_widest_sees_and_share_what_they_share() -> None:
    """A 3x3 of 4 filters, then a 1x1 beside an atrous 5x5, added: 108 + 4 and 16 + 4, 400 + 4 numbers."""
    inputs = keras.Input((48, 48, 3))
    stem = keras.layers.Conv2D(4, 3, strides=2, padding="same")(inputs)
    narrow = keras.layers.Conv2D(4, 1)(stem)
    wide = keras.layers.Conv2D(4, 5, dilation_rate=2, padding="same")(stem)
    both = narrow + wide
    found = {one.name: one for one in describe_end_points(inputs, {"narrow": narrow, "wide": wide, "both": both})}
    assert found["narrow"].receptive_field == 3
    assert found["wide"].receptive_field == found["both"].receptive_field == 3 + 8 * 2
    assert found["narrow"].parameters == 112 + 20
    assert found["both"].parameters == 112 + 20 + 404
    assert found["both"].macs == 576 * (108 + 16 + 400)


def test_depthwise_separable_grouped_and_pooled() -> None:
    inputs = keras.Input((32, 32, 4))
    depthwise = keras.layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False)(inputs)
    separable = keras.layers.SeparableConv2D(6, 3, padding="same", use_bias=False)(depthwise)
    grouped = keras.layers.Conv2D(6, 1, groups=2, use_bias=False)(separable)
    pooled = keras.layers.AveragePooling2D(2)(grouped)
    found = describe_end_points(inputs, {"d": depthwise, "s": separable, "g": grouped, "p": pooled})
    assert [one.macs for one in found] == [256 * 36, 256 * 96, 256 * 114, 256 * 114]
    assert [one.receptive_field for one in found] == [3, 7, 7, 9]
    assert [one.stride for one in found] == [2, 2, 2, 4]


def test_squeeze_and_excitation_sees_everything() -> None:
    inputs = keras.Input((8, 8, 4))
    squeezed = keras.layers.GlobalAveragePooling2D(keepdims=True)(inputs)
    excited = keras.layers.Multiply()([inputs, keras.layers.Conv2D(4, 1)(squeezed)])
    (found,) = describe_end_points(inputs, {"excited": excited})
    assert found.receptive_field is None
    assert found.sees_everything
    assert (found.macs, found.parameters) == (16, 20)


def test_the_command_says_which_end_points_fit(ssd_here: Ssd) -> None:
    code, out, _ = ssd_here("backbones", "endpoints", "vgg_16")
    assert code == 0
    rows = {line.split()[0]: line for line in out.splitlines() if "x" in line}
    assert rows["conv4_3"].split()[6:9] == ["25,261.4", "feature", "layer"]
    assert rows["conv3_3"].count("wrong size") == 2
    assert "fits as 1" in rows["conv4_2"]
    assert "ssd300 wants maps of 38, 19, 10, 5, 3, 1 cells and takes conv4_3" in out
    assert "no end point has 10, and pool5 cannot feed it: its own blocks supply 4, so name 2 feature layers" in out


def test_the_command_proposes_feature_layers(ssd_here: Ssd) -> None:
    """The Caffe port names none for SSD300, which its maps of 38, 19 and 10 cells fit."""
    code, out, _ = ssd_here("backbones", "endpoints", "mobilenet_v1_caffe_025")
    assert code == 0
    proposal = "['Conv2d_5_pointwise', 'Conv2d_11_pointwise', 'Conv2d_13_pointwise']"
    assert f"no plugin names feature layers: return {proposal} from ssdcore_feature_layers" in out


def test_the_command_gives_json_at_another_size(ssd_here: Ssd) -> None:
    code, out, _ = ssd_here("backbones", "endpoints", "mobilenet_v1_025", "--image-size", "512", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["image_size"] == 512
    last = found["end_points"][-1]
    assert (last["size"], last["stride"], last["ssd512"]) == ([16, 16], 32, "feature layer 3")


def test_the_command_shows_what_is_not_known(ssd_here: Ssd, monkeypatch: pytest.MonkeyPatch) -> None:
    end_point = EndPoint("block", (38, 38), 4, 8, None, False, 252, None)
    monkeypatch.setattr("ssdcore.model.end_points.base_net_end_points", lambda *_: [end_point])
    code, out, _ = ssd_here("backbones", "endpoints", "vgg_16")
    assert code == 0
    (row,) = [line for line in out.splitlines() if line.split()[:1] == ["block"]]
    assert row.split()[:7] == ["block", "38x38", "4", "8", "?", "252", "?"]


def test_an_end_point_is_a_map_computed_from_the_input() -> None:
    inputs, other = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    with pytest.raises(PluginError, match=r"'flat' has the shape .* return a map"):
        describe_end_points(inputs, {"flat": L.Flatten()(inputs)})
    with pytest.raises(PluginError, match="not computed from the input of the base net alone"):
        describe_end_points(inputs, {"other": conv(4, 3)(other)})


def test_a_base_net_that_cannot_be_built_is_named(plugins: Plugins) -> None:
    def broken(inputs: object, scope: object) -> None:
        raise ValueError("no such layer")

    with pytest.raises(PluginError, match="base net of 'broken' cannot be built for 300x300 px: ValueError: no such"):
        base_net_end_points(Backbone("broken", broken, ArgScope), 300)
