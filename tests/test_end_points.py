"""What end points see and cost, against published counts and numbers worked out by hand."""

import json
from collections.abc import Callable

import keras
import pytest

from ssdcore.errors import PluginError
from ssdcore.model.end_points import base_net_end_points, describe_end_points
from ssdcore.plugins import Plugins

Ssd = Callable[..., tuple[int, str, str]]


def test_vgg16_equals_the_published_counts(plugins: Plugins) -> None:
    """Convolutions of VGG-16 at 224 px: 14,714,688 parameters, 15.35 billion MACs; fields as Araujo et al. 2019 say."""
    found = {one.name: one for one in base_net_end_points(plugins.backbone("vgg_16"), 224)}
    assert found["conv5_3"].parameters == 14_714_688
    assert found["conv5_3"].macs == 15_346_630_656
    fields = {name: found[name].receptive_field for name in ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3")}
    assert fields == {"conv1_2": 5, "conv2_2": 14, "conv3_3": 40, "conv4_3": 92, "conv5_3": 196}
    assert (found["conv4_3"].stride, found["conv4_3"].size, found["conv4_3"].channels) == (8, (28, 28), 512)


def test_mobilenet_equals_the_published_counts(plugins: Plugins) -> None:
    """MobileNet v1 at 224 px: 569 million MACs, 4.2 million parameters; its last layer has 1,024,000 MACs."""
    last = base_net_end_points(plugins.backbone("mobilenet_v1"), 224)[-1]
    assert last.macs == 568_740_352 - 1_024_000
    assert last.parameters == 4_253_864 - 1_025_000
    assert last.stride == 32


def test_branches_see_what_the_widest_sees_and_share_what_they_share() -> None:
    """A 3x3 of 4 filters, then a 1x1 beside an atrous 5x5, added: 108 + 4 and 16 + 4, 400 + 4 numbers."""
    inputs = keras.Input((16, 16, 3))
    stem = keras.layers.Conv2D(4, 3, strides=2, padding="same")(inputs)
    narrow = keras.layers.Conv2D(4, 1)(stem)
    wide = keras.layers.Conv2D(4, 5, dilation_rate=2, padding="same")(stem)
    both = narrow + wide
    found = {one.name: one for one in describe_end_points(inputs, {"narrow": narrow, "wide": wide, "both": both})}
    assert found["narrow"].receptive_field == 3
    assert found["wide"].receptive_field == found["both"].receptive_field == 3 + 8 * 2
    assert found["narrow"].parameters == 112 + 20
    assert found["both"].parameters == 112 + 20 + 404
    assert found["both"].macs == 64 * (108 + 16 + 400)


def test_depthwise_separable_grouped_and_pooled() -> None:
    inputs = keras.Input((8, 8, 4))
    depthwise = keras.layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False)(inputs)
    separable = keras.layers.SeparableConv2D(6, 3, padding="same", use_bias=False)(depthwise)
    grouped = keras.layers.Conv2D(6, 1, groups=2, use_bias=False)(separable)
    pooled = keras.layers.AveragePooling2D(2)(grouped)
    found = describe_end_points(inputs, {"d": depthwise, "s": separable, "g": grouped, "p": pooled})
    assert [one.macs for one in found] == [576, 576 + 16 * (36 + 24), 1536 + 16 * 18, 1536 + 288]
    assert [one.receptive_field for one in found] == [3, 7, 7, 9]
    assert [one.stride for one in found] == [2, 2, 2, 4]


def test_squeeze_and_excitation_sees_everything() -> None:
    inputs = keras.Input((8, 8, 4))
    squeezed = keras.layers.GlobalAveragePooling2D(keepdims=True)(inputs)
    excited = keras.layers.Multiply()([inputs, keras.layers.Conv2D(4, 1)(squeezed)])
    (found,) = describe_end_points(inputs, {"excited": excited})
    assert found.receptive_field is None
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


def test_a_base_net_that_cannot_be_built_is_named(plugins: Plugins) -> None:
    def broken(inputs: object, scope: object) -> None:
        raise ValueError("no such layer")

    from ssdcore import ArgScope, Backbone

    with pytest.raises(PluginError, match="base net of 'broken' cannot be built for 300x300 px: ValueError: no such"):
        base_net_end_points(Backbone("broken", broken, ArgScope), 300)
