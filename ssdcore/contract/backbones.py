"""A backbone as its plugin defines it: plain data and two functions, validated on construction."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ssdcore.contract.arg_scope import ArgScope
from ssdcore.contract.checkpoint_maps import CheckpointMap
from ssdcore.errors import PluginError
from ssdcore.params import Preprocessing
from ssdcore.types import Tensor

BaseNet = Callable[[Tensor, ArgScope], tuple[Tensor, Mapping[str, Tensor]]]
"""`(inputs, scope) -> (net, end_points)`: Keras tensors (B, H, W, C), convolutional only, `end_points` by depth."""


class ArgScopeFactory(Protocol):
    """Makes the layer defaults of a base net."""

    def __call__(self, *, weight_decay: float, data_format: str) -> ArgScope:
        """The defaults for an L2 `weight_decay` and a Keras `data_format`."""


@dataclass(frozen=True)
class Backbone:
    """One feature extractor that SSD blocks can be attached to.

    Attributes:
        name: letters, digits and underscores.
        base_net: builds the network, without fully connected layers.
        arg_scope: makes the layer defaults that `base_net` applies.
        preprocessing: of pixel values, as the base net expects them.
        checkpoints: format of public checkpoints (`caffe`, `tf-slim`, `keras-applications`) -> where its variables
            are in such a file.

    Raises:
        PluginError: a field violates the contract.
    """

    name: str
    base_net: BaseNet
    arg_scope: ArgScopeFactory
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    checkpoints: Mapping[str, CheckpointMap] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", self.name):
            raise PluginError(f"a backbone's name must be letters, digits and underscores, not {self.name!r}")
        for part in ("base_net", "arg_scope"):
            if not callable(getattr(self, part)):
                raise PluginError(f"backbone {self.name!r}: {part} must be a function")
        if not isinstance(self.preprocessing, Preprocessing):
            raise PluginError(
                f"backbone {self.name!r}: preprocessing must be an ssdcore.Preprocessing, not {self.preprocessing!r}; "
                "leave it out if the base net takes pixels from 0 to 255"
            )
        if not isinstance(self.checkpoints, Mapping):
            raise PluginError(
                f"backbone {self.name!r}: checkpoints must be a dict, format -> ssdcore.CheckpointMap, not "
                f"{self.checkpoints!r}"
            )
        for form, found in self.checkpoints.items():
            if not isinstance(found, CheckpointMap):
                raise PluginError(
                    f"backbone {self.name!r}: checkpoints[{form!r}] must be an ssdcore.CheckpointMap, not {found!r}"
                )
