"""What a plugin says about a backbone: plain data and two functions, checked when made."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from ssdcore.arg_scope import ArgScope
from ssdcore.errors import PluginError

Tensor = Any
"""A symbolic Keras tensor of shape (batch, height, width, channels)."""

BaseNet = Callable[[Tensor, ArgScope], tuple[Tensor, Mapping[str, Tensor]]]
"""`(inputs, scope) -> (net, end_points)`: convolutional only, `end_points` ordered by depth."""

NameMap = Callable[[str], str]
"""Gives the name in a public checkpoint for one of the base net's own, e.g. `conv1_1/kernel`."""


class ArgScopeFactory(Protocol):
    """Makes the layer defaults of a base net."""

    def __call__(self, *, weight_decay: float, data_format: str) -> ArgScope:
        """The defaults for an L2 `weight_decay` and a Keras `data_format`."""


@dataclass(frozen=True)
class Preprocessing:
    """How pixel values become network input: `(value - mean) * scale`, in the stated channel order.

    Attributes:
        channel_order: order in which the base net wants the channels; pictures arrive as RGB.
        mean: subtracted from each channel, in units of 0..255 and in `channel_order`.
        scale: multiplied after the subtraction.
    """

    channel_order: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0


@dataclass(frozen=True)
class Backbone:
    """One feature extractor that SSD blocks can be attached to.

    Attributes:
        name: how users name it; letters, digits and underscores.
        base_net: builds the network; must not contain fully connected layers.
        arg_scope: makes the layer defaults that `base_net` applies.
        preprocessing: what the base net expects of pixel values.
        checkpoints: for each public checkpoint format it can start from (such as
            `keras_applications`), the map from its own variable names to the file's.

    Raises:
        PluginError: a field is not what the contract asks for.
    """

    name: str
    base_net: BaseNet
    arg_scope: ArgScopeFactory
    preprocessing: Preprocessing = Preprocessing()
    checkpoints: Mapping[str, NameMap] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", self.name):
            raise PluginError(f"a backbone's name must be letters, digits and underscores, not {self.name!r}")
        for part in ("base_net", "arg_scope"):
            if not callable(getattr(self, part)):
                raise PluginError(f"backbone {self.name!r}: {part} must be a function")
