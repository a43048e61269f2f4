"""MobileNet v1 as a family of backbones for ssdcore: four widths, three geometries."""

from collections.abc import Mapping, Sequence
from functools import partial

from ssd_mobilenet.checkpoints import CAFFE, TENSORFLOW
from ssd_mobilenet.net import caffe_arg_scope, mobilenet_arg_scope, mobilenet_v1
from ssd_mobilenet.param_sets import PARAM_SETS
from ssdcore import Backbone, ParamSet, Preprocessing, hookimpl

WIDTHS = {"": 1.0, "_075": 0.75, "_050": 0.5, "_025": 0.25}

# With a first stride of 1 all strides are halved: conv 11 is then as fine as conv 5 otherwise.
FEATURE_LAYERS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "mobilenet_v1": {
        "ssd300": ("Conv2d_5_pointwise", "Conv2d_11_pointwise", "Conv2d_13_pointwise"),
        "ssd512": ("Conv2d_5_pointwise", "Conv2d_11_pointwise", "Conv2d_13_pointwise"),
        "mobilenet_ssd300": ("Conv2d_11_pointwise", "Conv2d_13_pointwise"),
    },
    "mobilenet_v1_caffe": {
        "mobilenet_ssd300": ("Conv2d_11_pointwise", "Conv2d_13_pointwise"),
    },
    "mobilenet_v1_stride1": {
        "ssd300": ("Conv2d_11_pointwise",),
        "ssd512": ("Conv2d_11_pointwise",),
    },
}


def _tensorflow(name: str, first_stride: int, width: float) -> Backbone:
    return Backbone(
        name=name,
        base_net=partial(mobilenet_v1, width=width, first_stride=first_stride, padding="same"),
        arg_scope=mobilenet_arg_scope,
        preprocessing=Preprocessing(mean=(127.5, 127.5, 127.5), scale=1 / 127.5),
        checkpoints=TENSORFLOW,
    )


def _caffe(name: str, width: float) -> Backbone:
    """The Caffe port, whose padding and activation differ."""
    return Backbone(
        name=name,
        base_net=partial(mobilenet_v1, width=width, first_stride=2, padding=1),
        arg_scope=caffe_arg_scope,
        preprocessing=Preprocessing(mean=(127.5, 127.5, 127.5), scale=0.007843),
        checkpoints=CAFFE,
    )


@hookimpl
def ssdcore_backbones() -> Sequence[Backbone]:
    backbones = []
    for suffix, width in WIDTHS.items():
        backbones += [
            _tensorflow(f"mobilenet_v1{suffix}", 2, width),
            _tensorflow(f"mobilenet_v1_stride1{suffix}", 1, width),
            _caffe(f"mobilenet_v1_caffe{suffix}", width),
        ]
    return backbones


@hookimpl
def ssdcore_feature_layers(backbone: str, model: str) -> Sequence[str] | None:
    geometry = backbone
    for suffix in filter(None, WIDTHS):
        geometry = geometry.removesuffix(suffix)
    return FEATURE_LAYERS.get(geometry, {}).get(model)


@hookimpl
def ssdcore_param_sets() -> Mapping[str, ParamSet]:
    return PARAM_SETS
