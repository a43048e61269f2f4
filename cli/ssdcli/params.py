"""`ssd params`: look at, compare and check param sets."""

import click

from ssdcli.options import find_params, overrides
from ssdcli.output import print_json, print_table
from ssdcore.params import ParamSet, difference
from ssdcore.plugins import load_plugins


@click.group()
def params() -> None:
    """Show, compare and check param sets."""


@params.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_sets(as_json: bool) -> None:
    """The param sets that installed plugins ship."""
    plugins = load_plugins()
    rows = [(name, item.backbone, item.model.name, item.description) for name, item in plugins.param_sets.items()]
    columns = ("name", "backbone", "model", "description")
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        print_table(columns, rows)


@params.command()
@click.argument("name")
@overrides
def show(name: str, assignments: tuple[str, ...]) -> None:
    """Print a set as YAML, ready to be saved, edited and given to --params."""
    click.echo(find_params(name, load_plugins()).override(assignments).to_yaml(), nl=False)


@params.command()
@click.argument("one")
@click.argument("other")
def diff(one: str, other: str) -> None:
    """The values in which two sets (names or files) differ."""
    plugins = load_plugins()
    changes = difference(find_params(one, plugins), find_params(other, plugins))
    print_table(("key", one, other), [(key, str(left), str(right)) for key, left, right in changes])


@params.command()
@click.argument("name")
@overrides
def validate(name: str, assignments: tuple[str, ...]) -> None:
    """Check a set (name or file): its keys, its values, and that its model can be built."""
    from ssdcli.options import load_tensorflow

    plugins = load_plugins()
    params = find_params(name, plugins).override(assignments)
    plugins.backbone(params.backbone)
    load_tensorflow()
    from ssdcore.model import build_ssd

    ssd = build_ssd(params, ["object"], plugins)
    maps = ", ".join(f"{name} {height}x{width}" for name, (height, width) in ssd.feature_maps)
    click.echo(f"{name} is valid: {len(ssd.default_boxes)} default boxes on {maps}")


@params.command()
def schema() -> None:
    """The JSON schema of a param set: every key with its meaning, unit and bounds."""
    print_json(ParamSet.model_json_schema())
