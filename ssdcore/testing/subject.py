"""A backbone under test, with what several checks look at made once."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from ssdcore.arg_scope import ArgScope, BatchNorm
from ssdcore.backbones import Backbone
from ssdcore.errors import PluginError
from ssdcore.model import SSD, build_ssd
from ssdcore.params import BlockNorm, ModelParams, ParamSet, Stage, TrainParams
from ssdcore.params.presets import MODELS
from ssdcore.plugins import Plugins

DECAY = 0.25
CLASSES = ("one", "two")


def require(condition: bool, message: str) -> None:
    """Ends a check.

    Raises:
        PluginError: the condition does not hold.
    """
    if not condition:
        raise PluginError(message)


@dataclass(frozen=True)
class Subject:
    """What the checks are about: a backbone, and the plugins it is installed with."""

    backbone: Backbone
    plugins: Plugins

    @cached_property
    def models(self) -> Mapping[str, ModelParams]:
        """The SSD models of the core that some plugin names feature layers for, smallest pictures first."""
        found = [make() for name, make in MODELS.items() if self.plugins.feature_layers(self.backbone.name, name)]
        require(
            bool(found),
            f"no plugin names its feature layers for any of {', '.join(MODELS)}; implement ssdcore_feature_layers "
            f"(ssd backbones endpoints {self.backbone.name} shows which end points fit)",
        )
        return {model.name: model for model in sorted(found, key=lambda model: model.image_size)}

    @cached_property
    def smallest(self) -> ModelParams:
        """The model with the smallest pictures, which checks that compute something use."""
        return next(iter(self.models.values()))

    @cached_property
    def scope(self) -> ArgScope:
        """The layer defaults of the backbone at a weight decay of its own."""
        found = self.backbone.arg_scope(weight_decay=DECAY, data_format="channels_last")
        require(isinstance(found, ArgScope), f"arg_scope must give an ssdcore.ArgScope, not {found!r}")
        return found

    @cached_property
    def base_net(self) -> tuple[Any, Any, Mapping[str, Any]]:
        """Inputs, net and end points, for pictures of 300 px."""
        inputs = keras.Input((300, 300, 3))
        given = self.backbone.base_net(inputs, self.scope)
        require(
            isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], Mapping),
            f"base_net must give (net, end_points), the end points by name; it gave {type(given).__name__}",
        )
        return inputs, *given

    @cached_property
    def network(self) -> keras.Model:
        """The base net as a model with all end points."""
        inputs, net, end_points = self.base_net
        return keras.Model(inputs, [net, *end_points.values()])

    @cached_property
    def ssd(self) -> SSD:
        """A detector on the smallest model; its weights are the same each time."""
        return self.build(self.smallest)

    def build(self, model: ModelParams) -> SSD:
        """A detector on a model, batch-normalised in its blocks where the backbone is."""
        norm = BlockNorm() if isinstance(self.scope.norm, BatchNorm) else None
        return build_ssd(
            ParamSet(
                backbone=self.backbone.name,
                model=model.model_copy(update={"block_norm": norm}),
                train=TrainParams(stages=(Stage(name="only", steps=1),)),
            ),
            CLASSES,
            self.plugins,
        )

    def pictures(self, count: int) -> NDArray[np.float32]:
        """Pictures (count, H, W, 3) of noise, 0..255, for the smallest model."""
        shape = (count, *self.smallest.image_size, 3)
        return np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)

    def logits(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the detector predicts in evaluation, (B, A, classes)."""
        found: NDArray[np.float32] = self.ssd.network(pictures, training=False)["logits"].numpy()
        return found
