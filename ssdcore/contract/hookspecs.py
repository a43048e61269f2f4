"""The plugin contract: four hooks, found through the entry-point group `ssdcore`.

A plugin is an installed package whose entry point names a module; the module implements any of
these hooks with `ssdcore.hookimpl`. Importing that module must not import TensorFlow.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from ssdcore.contract.backbones import Backbone
    from ssdcore.params import ParamSet

PROJECT = "ssdcore"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def ssdcore_backbones() -> "Iterable[Backbone]":  # type: ignore[empty-body]
    """The backbones this plugin provides. Their names must be unique among all plugins.

    Called once, when plugins are loaded; must be fast and must not import TensorFlow.
    """


@hookspec(firstresult=True)
def ssdcore_feature_layers(backbone: str, model: str) -> Sequence[str] | None:
    """The end points of `backbone` that feed the first prediction layers of an SSD model.

    Args:
        backbone: name of a backbone, of this plugin or of another one.
        model: name of an SSD model, such as `ssd300`, `ssd512` or `mobilenet_ssd300`.

    Returns:
        One or more end-point names, finest map first. The core attaches its blocks to the base net for the
        remaining prediction layers. None: the next plugin is asked.
    """


@hookspec
def ssdcore_param_sets() -> "Mapping[str, ParamSet]":  # type: ignore[empty-body]
    """Named param sets this plugin ships."""


@hookspec
def ssdcore_commands(cli: Any) -> None:
    """Adds commands to the `ssd` program.

    Args:
        cli: the program's `click.Group`; add to it with `cli.add_command`.
    """
