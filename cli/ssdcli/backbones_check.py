"""`ssd backbones check`: does a backbone keep the plugin contract?"""

import click

from ssdcli.options import Program, load_tensorflow, pass_program
from ssdcli.output import print_json
from ssdcore.errors import PluginError


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
            click.echo(f"{'FAIL' if result.fault else 'ok':6}{result.states}")
            if result.fault:
                click.echo(f"      {result.fault}")
    if as_json:
        print_json([{"check": one.name, "states": one.states, "fault": one.fault} for one in results])
    faults = sum(one.fault is not None for one in results)
    if faults:
        raise PluginError(f"{name} fails {faults} of {len(results)} checks; mend the first one first")
