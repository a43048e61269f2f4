"""`ssd params`: show, compare and check param sets."""

import click

from ssdcli.options import Program, overrides, pass_program
from ssdcli.output import print_json, print_table
from ssdcore.contract.plugins import param_set
from ssdcore.params import ParamSet, difference
from ssdcore.system.tensorflow import load_tensorflow


@click.group()
def params() -> None:
    """Show, compare and check param sets."""


@params.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_program
def list_sets(program: Program, as_json: bool) -> None:
    """List the param sets of installed plugins."""
    found = program.plugins.param_sets
    rows = [(name, item.backbone, item.model.name, item.description) for name, item in found.items()]
    columns = ("name", "backbone", "model", "description")
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        print_table(columns, rows)


@params.command()
@click.argument("name")
@overrides
@pass_program
def show(program: Program, name: str, assignments: tuple[str, ...]) -> None:
    """Print a set as YAML, ready to be saved, edited and given to --params."""
    click.echo(param_set(name, *assignments, plugins=program.plugins).to_yaml(), nl=False)


@params.command()
@click.argument("one")
@click.argument("other")
@pass_program
def diff(program: Program, one: str, other: str) -> None:
    """Show the values in which two sets (names or files) differ."""
    changes = difference(param_set(one, plugins=program.plugins), param_set(other, plugins=program.plugins))
    if not changes:
        click.echo("no differences")
        return
    print_table(("key", one, other), [(key, str(left), str(right)) for key, left, right in changes])


@params.command()
@click.argument("name")
@overrides
@pass_program
def validate(program: Program, name: str, assignments: tuple[str, ...]) -> None:
    """Check a set (name or file): its keys, its values, and that its model can be built."""
    plugins = program.plugins
    params = param_set(name, *assignments, plugins=plugins)
    plugins.backbone(params.backbone)
    load_tensorflow()
    from ssdcore.model import build_ssd

    ssd = build_ssd(params, ["object"], plugins)
    maps = ", ".join(f"{name} {height}x{width}" for name, (height, width) in ssd.feature_maps)
    click.echo(f"{name} is valid: {len(ssd.default_boxes)} default boxes on {maps}")


@params.command()
def schema() -> None:
    """Print the JSON schema of a param set: every key with description, unit and bounds."""
    print_json(ParamSet.model_json_schema())
