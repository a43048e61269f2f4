"""`ssd backbones`: what plugins are installed, and what they are like."""

from typing import Any

import click

from ssdcli.backbones_check import check
from ssdcli.backbones_endpoints import endpoints
from ssdcli.backbones_new import new
from ssdcli.options import Program, pass_program
from ssdcli.output import print_json, print_table
from ssdcore.contract.plugins import Plugins
from ssdcore.params.presets import MODELS


@click.group()
def backbones() -> None:
    """Show, check and begin backbones."""


for command in (check, endpoints, new):
    backbones.add_command(command)


@backbones.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_program
def list_backbones(program: Program, as_json: bool) -> None:
    """Installed backbones, the SSD models that they have feature layers for, and plugins that failed."""
    plugins = program.plugins
    found = _describe(plugins)
    failures = [
        {"plugin": item.plugin.name, "distribution": item.plugin.distribution, "reason": item.reason}
        for item in plugins.failures
    ]
    if as_json:
        print_json({"backbones": found, "failures": failures})
        return
    rows = [
        (row["name"], row["distribution"], row["version"], ", ".join(model for model in MODELS if row[model]) or "-")
        for row in found
    ]
    print_table(("backbone", "distribution", "version", "SSD models"), rows)
    if failures:
        print_table(("failed plugin", "distribution", "reason"), [tuple(failure.values()) for failure in failures])


def _describe(plugins: Plugins) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "distribution": plugins.providers[name].distribution,
            "version": plugins.providers[name].version,
            **{model: plugins.feature_layers(name, model) for model in MODELS},
        }
        for name in plugins.backbones
    ]
