"""`ssd backbones check`: checks a backbone against the plugin contract."""

import click

from ssdcli.options import Program, pass_program
from ssdcli.output import print_json
from ssdcore.errors import PluginError
from ssdcore.system.tensorflow import load_tensorflow

_SHOWN = ("states", "failure", "not_run")


@click.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_program
def check(program: Program, name: str, as_json: bool) -> None:
    """Check a backbone against the plugin contract, with each SSD model it has feature layers for.

    Takes seconds for a small backbone and a minute or two for a large one. The exit code is 1 if a check fails.
    """
    backbone = program.plugins.backbone(name)
    load_tensorflow()
    from ssdcore.testing import run_checks

    results = []
    for result in run_checks(backbone, program.plugins):
        results.append(result)
        if not as_json:
            mark = "FAIL" if result.failure else "-" if result.not_run else "ok"
            reason = result.failure or result.not_run
            click.echo(f"{mark:6}{result.states}" + (f"\n      {reason}" if reason else ""))
    if as_json:
        print_json([{"check": one.name} | {part: getattr(one, part) for part in _SHOWN} for one in results])
    failures = sum(one.failure is not None for one in results)
    if failures:
        left = sum(one.not_run is not None for one in results)
        note = f" and {left} could not be run" if left else ""
        raise PluginError(
            f"{name} fails {failures} of {len(results)} checks{note}; fix the first one first "
            f"(ssd backbones endpoints {name} lists its end points)"
        )
