"""Keras Applications as backbones for ssdcore: one row of a table for each architecture."""

from collections.abc import Mapping, Sequence
from functools import partial

from ssd_keras.applications import APPLICATIONS
from ssd_keras.checkpoints import checkpoints_of
from ssd_keras.net import arg_scope_of, build
from ssd_keras.param_sets import PARAM_SETS
from ssdcore import Backbone, ParamSet, hookimpl

# How many of an application's end points, from the coarsest on, feed an SSD model.
FED = {"ssd300": 3, "ssd512": 3, "mobilenet_ssd300": 2, "ssdlite320": 2}


@hookimpl
def ssdcore_backbones() -> Sequence[Backbone]:
    return [
        Backbone(
            name=name,
            base_net=partial(build, application=application),
            arg_scope=arg_scope_of(application),
            preprocessing=application.preprocessing,
            checkpoints=checkpoints_of(application),
        )
        for name, application in APPLICATIONS.items()
    ]


@hookimpl
def ssdcore_feature_layers(backbone: str, model: str) -> Sequence[str] | None:
    if backbone not in APPLICATIONS or model not in FED:
        return None
    return APPLICATIONS[backbone].end_points[-FED[model] :]


@hookimpl
def ssdcore_param_sets() -> Mapping[str, ParamSet]:
    return PARAM_SETS
