"""A backbone under test, and the parts that several checks need, built once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import keras
import numpy as np
from numpy.typing import NDArray

from ssdcore.contract.arg_scope import ArgScope, BatchNorm
from ssdcore.contract.backbones import Backbone
from ssdcore.contract.plugins import Plugins
from ssdcore.errors import PluginError
from ssdcore.model import SSD, build_ssd
from ssdcore.params import BlockNorm, ModelParams, ParamSet, Stage, TrainParams
from ssdcore.params.presets import MODELS
from ssdcore.testing.subprocesses import logits

DECAY = 0.25
CLASSES = ("one", "two")

Made = TypeVar("Made")


class NotRunError(Exception):
    """A check needs a part that an earlier check found broken."""


def require(condition: bool, message: str) -> None:
    """Ends a check.

    Raises:
        PluginError: the condition does not hold.
    """
    if not condition:
        raise PluginError(message)


def part(make: Callable[[Any], Made]) -> cached_property[Made]:
    """A part of a subject, built on first access.

    If that raises, later accesses raise `NotRunError`, so that a failure is reported once.
    """

    def make_once(subject: Any) -> Made:
        begun: set[object] = subject.__dict__.setdefault("begun", set())
        if make in begun:
            raise NotRunError("not run: it needs what failed above")
        begun.add(make)
        return make(subject)

    return cached_property(make_once)


@dataclass(frozen=True)
class Subject:
    """The backbone that is checked, and the plugins it is installed with."""

    backbone: Backbone
    plugins: Plugins

    @part
    def models(self) -> Mapping[str, ModelParams]:
        """The SSD models of the core that have feature layers of this backbone, smallest images first."""
        found = [make() for name, make in MODELS.items() if self.plugins.feature_layers(self.backbone.name, name)]
        require(
            bool(found),
            f"no plugin names its feature layers for any of {', '.join(MODELS)}; implement ssdcore_feature_layers",
        )
        return {model.name: model for model in sorted(found, key=lambda model: model.image_size)}

    @property
    def smallest(self) -> ModelParams:
        """The model with the smallest images."""
        return next(iter(self.models.values()))

    @part
    def scope(self) -> ArgScope:
        """The arg scope of the backbone at a weight decay of `DECAY`."""
        found = self.backbone.arg_scope(weight_decay=DECAY, data_format="channels_last")
        require(isinstance(found, ArgScope), f"arg_scope must return an ssdcore.ArgScope, not {found!r}")
        return found

    @part
    def base_net(self) -> tuple[Any, Any, Mapping[str, Any]]:
        """Inputs, net and end points, for images of 300 px."""
        return self.make_base_net(300, self.scope)

    def make_base_net(self, side: int, scope: ArgScope) -> tuple[Any, Any, Mapping[str, Any]]:
        """Inputs, net and end points for square images of `side` px, newly built."""
        inputs = keras.Input((side, side, 3))
        given = self.backbone.base_net(inputs, scope)
        require(
            isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], Mapping),
            f"base_net must return (net, end_points), the end points by name; it returned {type(given).__name__}",
        )
        return inputs, *given

    @part
    def network(self) -> keras.Model:
        """The base net as a model with all end points."""
        return as_model(*self.base_net)

    @part
    def ssd(self) -> SSD:
        """A detector on the smallest model."""
        return self.build(self.smallest)

    def build(self, model: ModelParams, precision: str = "float32") -> SSD:
        """A detector on a model, with batch normalisation in its blocks if the backbone has it."""
        return build_ssd(self.params(model), CLASSES, self.plugins, precision)

    def params(self, model: ModelParams) -> ParamSet:
        """The param set that `build` builds from."""
        norm = BlockNorm() if isinstance(self.scope.norm, BatchNorm) else None
        return ParamSet(
            backbone=self.backbone.name,
            model=model.model_copy(update={"block_norm": norm}),
            train=TrainParams(stages=(Stage(name="only", steps=1),)),
        )

    def images(self, count: int) -> NDArray[np.float32]:
        """Images (count, H, W, 3) of noise, 0..255, for the smallest model."""
        shape = (count, *self.smallest.image_size, 3)
        return np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of the detector in inference, (B, A, classes)."""
        return logits(self.ssd, images)


def as_model(inputs: Any, net: Any, end_points: Mapping[str, Any]) -> keras.Model:
    """A base net as a model with outputs [net, *end_points]."""
    return keras.Model(inputs, [net, *end_points.values()])


def layers_of(network: keras.Model) -> list[Any]:
    """All layers of a network, including those inside models and layers."""
    return list(network._flatten_layers(include_self=False))
