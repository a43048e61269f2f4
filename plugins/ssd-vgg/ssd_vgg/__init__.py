"""VGG-16 as a backbone for ssdcore."""

from collections.abc import Mapping, Sequence

from ssd_vgg.checkpoints import CHECKPOINTS
from ssd_vgg.net import vgg_16, vgg_arg_scope
from ssd_vgg.param_sets import PARAM_SETS
from ssdcore import Backbone, ParamSet, Preprocessing, hookimpl

VGG_16 = Backbone(
    name="vgg_16",
    base_net=vgg_16,
    arg_scope=vgg_arg_scope,
    preprocessing=Preprocessing(mean=(123.0, 117.0, 104.0)),
    checkpoints=CHECKPOINTS,
)


@hookimpl
def ssdcore_backbones() -> Sequence[Backbone]:
    return [VGG_16]


@hookimpl
def ssdcore_feature_layers(backbone: str, model: str) -> Sequence[str] | None:
    return ["conv4_3"] if backbone == VGG_16.name and model in ("ssd300", "ssd512") else None


@hookimpl
def ssdcore_param_sets() -> Mapping[str, ParamSet]:
    return PARAM_SETS
