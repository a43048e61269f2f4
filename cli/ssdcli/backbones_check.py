"""`ssd backbones check`: does a backbone keep the plugin contract?"""

from typing import TYPE_CHECKING

import click

from ssdcli.options import Program, load_tensorflow, pass_program
from ssdcli.output import print_json
from ssdcore.errors import PluginError

if TYPE_CHECKING:
    from ssdcore.testing import Result

_SHOWN = ("states", "fault", "not_run")


@click.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_program
def check(program: Program, name: str, as_json: bool) -> None:
    """Check that a backbone keeps the plugin contract, under each SSD model that it has feature layers for.

    Takes seconds for a small backbone and a minute or two for a large one. The exit code is 1 if anything is wrong.
    """
    backbone = program.plugins.backbone(name)
    load_tensorflow()
    from ssdcore.testing import run_checks

    results = []
    for result in run_checks(backbone, program.plugins):
        results.append(result)
        if not as_json:
            _print(result)
    if as_json:
        print_json([{"check": one.name} | {part: getattr(one, part) for part in _SHOWN} for one in results])
    faults = sum(one.fault is not None for one in results)
    if faults:
        left = sum(one.not_run is not None for one in results)
        note = f" and {left} could not be run" if left else ""
        raise PluginError(f"{name} fails {faults} of {len(results)} checks{note}; mend the first one first")


def _print(result: "Result") -> None:
    """A line for a check, and one for what it found."""
    mark = "FAIL" if result.fault else "-" if result.not_run else "ok"
    click.echo(f"{mark:6}{result.states}")
    found = result.fault or result.not_run
    if found:
        click.echo(f"      {found}")
