"""`ssd backbones`: list, inspect, check and create backbone plugins."""

from typing import Any

import click

from ssdcli.backbones.check import check
from ssdcli.backbones.endpoints import endpoints
from ssdcli.backbones.new import new
from ssdcli.options import Program, pass_program
from ssdcli.output import print_json, print_table
from ssdcore.params.presets import MODELS


@click.group()
def backbones() -> None:
    """List, inspect, check and create backbones."""


for command in (check, endpoints, new):
    backbones.add_command(command)


@backbones.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_program
def list_backbones(program: Program, as_json: bool) -> None:
    """List installed backbones, the SSD models they support, and plugins that failed to load."""
    plugins = program.plugins
    found: list[dict[str, Any]] = [
        {
            "name": name,
            "distribution": plugins.providers[name].distribution,
            "version": plugins.providers[name].version,
            **{model: plugins.feature_layers(name, model) for model in MODELS},
        }
        for name in plugins.backbones
    ]
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
