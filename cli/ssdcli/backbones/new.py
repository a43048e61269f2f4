"""`ssd backbones new`: creates a plugin package."""

import keyword
import re
import secrets
import shlex
import shutil
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from pathlib import Path
from string import Template

import click

from ssdcli.options import PathOption, Program, pass_program
from ssdcore.contract.plugins import Plugins
from ssdcore.errors import PluginError
from ssdcore.files import PARTIAL, explain_writing


@click.command()
@click.argument("name")
@click.option("--out", type=PathOption, help="Folder to make. Default: ssd-NAME.")
@pass_program
def new(program: Program, name: str, out: Path | None) -> None:
    """Write a complete plugin package for a backbone of your own.

    It can be installed, passes `ssd backbones check` and trains unchanged; its README says what to edit.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise PluginError(
            f"{name!r} cannot name a backbone, its module and its package; use lower-case letters, digits and single "
            "underscores, as in my_net50, and no Python keyword"
        )
    dashed = name.replace("_", "-")
    words = {"name": name, "dashed": dashed, "distribution": f"ssd-{dashed}", "module": f"ssd_{name}"}
    taken = _taken(words, program.plugins)
    if taken:
        raise PluginError(f"{taken} already; choose another name")
    folder = out or Path(words["distribution"])
    texts = dict(_render(files("ssdcli") / "templates" / "backbone", Path(), words))
    _write(folder, texts)
    for path in texts:
        click.echo(folder / path)
    click.echo(f"\nnext: pip install -e {shlex.quote(str(folder))} && ssd backbones check {name}")


def _taken(words: Mapping[str, str], plugins: Plugins) -> str | None:
    """What already has one of the names of the package and would be replaced or broken by it; None if nothing."""
    name, params = words["name"], f"{words['dashed']}-ssd300"
    if name in plugins.backbones:
        return f"{plugins.providers[name].distribution} provides a backbone {name!r}"
    if name in plugins.plugins:
        return f"{plugins.plugins[name].distribution} has an entry point {name!r}"
    if params in plugins.param_sets:
        return f"an installed plugin provides a param set {params!r}"
    try:
        found = distribution(words["distribution"])
        return f"the package {found.name} {found.version} is installed"
    except PackageNotFoundError:
        spec = find_spec(words["module"])
    return f"there is a module {words['module']} ({spec.origin or 'a folder'})" if spec else None


def _render(template: Traversable, path: Path, words: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    """Path and text of each file of a template folder."""
    if template.is_file():
        yield path, Template(template.read_text("utf-8")).substitute(words)
        return
    for part in sorted(template.iterdir(), key=lambda part: part.name):
        name = part.name.removesuffix(".txt").replace("module", words["module"])
        yield from _render(part, path / name, words)


def _write(folder: Path, texts: Mapping[Path, str]) -> None:
    """Writes all files of a folder, or none.

    Raises:
        PluginError: it exists, or cannot be written.
    """
    target = folder.resolve()
    if target.exists():
        raise PluginError(f"{target} exists; choose another --out")
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        with explain_writing(target, PluginError):
            for path, text in texts.items():
                (partial / path).parent.mkdir(parents=True, exist_ok=True)
                (partial / path).write_text(text, "utf-8")
            partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
