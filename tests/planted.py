"""Tiny base nets to plant failures in, checked as if their plugin were installed."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType, SimpleNamespace
from typing import Any

from ssdcore import ArgScope, Backbone, BatchNorm, Preprocessing, hookimpl
from ssdcore.contract.plugins import Plugins, load_plugins

BaseNet = Callable[[Any, ArgScope], Any]
LAYERS = ("stage3", "stage4", "stage5")
GOOD = Preprocessing(mean=(127.5,) * 3, scale=1 / 127.5)


def arg_scope(*, weight_decay: float, data_format: str) -> ArgScope:
    return ArgScope(weight_decay, data_format, norm=BatchNorm())


def stages(inputs: Any, scope: ArgScope, strides: tuple[int, ...] = (2, 2, 2, 2, 2)) -> tuple[Any, dict[str, Any]]:
    end_points = {}
    for stage, step in enumerate(strides, start=1):
        inputs = end_points[f"stage{stage}"] = scope.conv2d(inputs, 8, 3, strides=step, name=f"stage{stage}")
    return inputs, end_points


def through(layer: Callable[[], Callable[[Any], Any]]) -> BaseNet:
    """A base net with a layer behind its first stage."""

    def base_net(inputs: Any, scope: ArgScope) -> tuple[Any, dict[str, Any]]:
        return stages(layer()(scope.conv2d(inputs, 4, 3, name="stem")), scope)

    return base_net


def plant(base_net: BaseNet, scope: Any = arg_scope, preprocessing: Preprocessing = GOOD) -> tuple[Backbone, Plugins]:
    """A backbone `planted`, and the plugins with it among them."""

    def feature_layers(backbone: str, model: str) -> tuple[str, ...] | None:
        return LAYERS if (backbone, model) == ("planted", "ssd300") else None

    plugins, backbone = load_plugins(), Backbone("planted", base_net, scope, preprocessing)
    plugins.manager.register(SimpleNamespace(ssdcore_feature_layers=hookimpl(feature_layers)), "planted")
    known: Mapping[str, Backbone] = MappingProxyType({**plugins.backbones, "planted": backbone})
    return backbone, replace(plugins, backbones=known)
