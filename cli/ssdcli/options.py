"""What several commands share: finding param sets, overrides, and loading TensorFlow quietly."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ssdcore.contract.plugins import Plugins, param_set
from ssdcore.params import ParamSet
from ssdcore.system.tensorflow import load_tensorflow as load_tensorflow  # noqa: PLC0414
from ssdcore.system.tensorflow import quiet_tensorflow as quiet_tensorflow  # noqa: PLC0414

PathOption = click.Path(path_type=Path)


@dataclass(frozen=True)
class Program:
    """What every command gets: the installed plugins, and whether --debug was given."""

    plugins: Plugins
    debug: bool


pass_program = click.make_pass_decorator(Program)


def overrides(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `key=value …` arguments, passed on as the tuple `assignments`."""
    return click.argument("assignments", nargs=-1, metavar="[KEY=VALUE]...")(command)


def class_names(text: str | None) -> list[str] | None:
    """The names in an option such as `--classes a,b,c`; None if it was not given."""
    return None if text is None else [name.strip() for name in text.split(",")]


def find_params(name: str, plugins: Plugins) -> ParamSet:
    """The param set of a plugin, or of a YAML file.

    Raises:
        ParamError: there is no such set or file, or it is invalid.
    """
    return param_set(name, plugins=plugins)
