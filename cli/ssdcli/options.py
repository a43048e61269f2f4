"""What several commands share: their context, and options and arguments with the same meaning."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ssdcore.contract.plugins import Plugins

PathOption = click.Path(path_type=Path)


@dataclass(frozen=True)
class Program:
    """What every command gets: the installed plugins, and whether --debug was given."""

    plugins: Plugins
    debug: bool


@dataclass(frozen=True)
class Images:
    """The images to evaluate on: a folder of records, its split, and how many of the images; None: all."""

    data: Path
    split: str
    max_images: int | None


pass_program = click.make_pass_decorator(Program)


def overrides(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `key=value …` arguments, passed on as the tuple `assignments`."""
    return click.argument("assignments", nargs=-1, metavar="[KEY=VALUE]...")(command)


def class_names(text: str | None) -> list[str] | None:
    """The names in an option such as `--classes a,b,c`; None if it was not given."""
    return None if text is None else [name.strip() for name in text.split(",")]
