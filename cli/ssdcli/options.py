"""What several commands share: finding param sets, overrides, and loading TensorFlow quietly."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ssdcore.contract.plugins import Plugins
from ssdcore.errors import ParamError, did_you_mean
from ssdcore.params import ParamSet
from ssdcore.system.quiet import silent_stderr

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
    if name in plugins.param_sets:
        return plugins.param_sets[name]
    path = Path(name)
    if path.exists() or path.suffix in (".yaml", ".yml"):
        return ParamSet.load(path)
    raise ParamError(f"no param set or YAML file is called {name!r}; {did_you_mean(name, plugins.param_sets)}")


def quiet_tensorflow() -> AbstractContextManager[Any]:
    """While entered, TensorFlow's messages about its start are kept back, unless the program runs with --debug."""
    program = click.get_current_context().find_object(Program)
    return nullcontext() if program and program.debug else silent_stderr()


def load_tensorflow() -> None:
    """Imports TensorFlow without its start-up messages, unless the program runs with --debug."""
    with quiet_tensorflow():
        import tensorflow as tf

        tf.config.list_logical_devices()
