"""`ssd backbones new`: a plugin package to begin with."""

import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

import click

from ssdcli.options import PathOption, Program, pass_program
from ssdcore.errors import PluginError

SUFFIX = ".txt"


@click.command()
@click.argument("name")
@click.option("--out", type=PathOption, help="Folder to make. Default: ssd-NAME.")
@pass_program
def new(program: Program, name: str, out: Path | None) -> None:
    """Write a complete plugin package for a backbone of your own.

    It installs, is found, passes `ssd backbones check` and trains as it is; its README says what to change.
    """
    words = _words(name)
    if name in program.plugins.backbones:
        provider = program.plugins.providers[name].distribution
        raise PluginError(f"{provider} provides a backbone {name!r} already; choose another name")
    folder = out or Path(words["distribution"])
    if folder.exists():
        raise PluginError(f"{folder.absolute()} exists; choose another --out")
    written = _write(files("ssdcli") / "templates" / "backbone", folder, words)
    for path in written:
        click.echo(path)
    click.echo(f"\nnext: pip install -e {folder} && ssd backbones check {name}")


def _words(name: str) -> dict[str, str]:
    """What stands for what in the templates.

    Raises:
        PluginError: the name cannot be one of a backbone, a module and a distribution.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        raise PluginError(
            f"{name!r} cannot name a backbone, its module and its package; use lower-case letters, digits and single "
            "underscores, as in my_net50"
        )
    dashed = name.replace("_", "-")
    return {"name": name, "dashed": dashed, "distribution": f"ssd-{dashed}", "module": f"ssd_{name}", "function": name}


def _write(template: Traversable, target: Path, words: dict[str, str]) -> list[Path]:
    """Writes a template, a file or all of a folder; names the files that it made."""
    if template.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(Template(template.read_text("utf-8")).substitute(words), "utf-8")
        return [target]
    written = []
    for part in sorted(template.iterdir(), key=lambda part: part.name):
        name = part.name.removesuffix(SUFFIX).replace("module", words["module"])
        written += _write(part, target / name, words)
    return written
