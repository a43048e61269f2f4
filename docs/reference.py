"""An MkDocs hook: writes the reference pages from the code while the site is built."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import ssdcore
import ssdcore.params
from ssdcore.params import ParamSet

ROOT = Path(__file__).resolve().parent.parent
Schema = Mapping[str, Any]
BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minItems": "({} or more)",
    "pattern": "matches `{}`",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages, and the README of ssd-keras."""
    pages = {
        "reference/python.md": python_page("Python", "ssdcore", ssdcore.__all__),
        "reference/param-classes.md": python_page("Param classes", "ssdcore.params", ssdcore.params.__all__),
        "reference/testing.md": "# Testing\n\n::: ssdcore.testing\n",
        "reference/commands.md": COMMANDS,
        "reference/parameters.md": parameters_page(ParamSet.model_json_schema()),
        "plugins/ssd-keras.md": (ROOT / "plugins/ssd-keras/README.md").read_text("utf-8"),
    }
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


COMMANDS = """# Commands

::: mkdocs-click
    :module: ssdcli.main
    :command: cli
    :prog_name: ssd
    :depth: 1
    :style: plain
    :remove_ascii_art: true
    :list_subcommands: true
"""


def python_page(title: str, module: str, names: Iterable[str]) -> str:
    """A page with the documentation of the public names of a module."""
    entries = "".join(f"::: {module}.{name}\n\n" for name in sorted(names, key=str.lower))
    intro = f"`from {module} import …`. Everything that is not on the reference pages may change."
    return f"# {title}\n\n{intro}\n\n{entries}"


def parameters_page(schema: Schema) -> str:
    """A page with a table for each part of a param set, from its JSON schema."""
    parts = [
        "# Parameters",
        "Every key of a param set. `ssd params show NAME` prints the values of a set, `key=value` after a command "
        "overrides one, and `[]` stands for an index: `train.stages.0.epochs=20`.",
    ]
    for key, kind, part in sections(schema, schema, ""):
        title = f"`{key}`" if key else "Top level"
        parts += [f"## {title}{f', kind: {kind}' if kind else ''}", part.get("description", ""), table(part, schema)]
    return "\n\n".join(parts) + "\n"


def sections(part: Schema, root: Schema, key: str, kind: str = "") -> Iterator[tuple[str, str, Schema]]:
    """(key, kind, schema) of a mapping of parameters and of those below it, depth first."""
    yield key, kind, part
    for name, field in part["properties"].items():
        for suffix, below in mappings(field, root):
            kinds = below["properties"].get("kind", {})
            yield from sections(below, root, f"{key}.{name}{suffix}".lstrip("."), kinds.get("const", ""))


def mappings(field: Schema, root: Schema) -> Iterator[tuple[str, Schema]]:
    """The mappings that a field may hold: the suffix of the key (`[]` for list items), and their schema."""
    if "$ref" in field:
        target = resolve(field["$ref"], root)
        if "properties" in target:
            yield "", target
        else:
            yield from mappings(target, root)
    for option in (*field.get("anyOf", ()), *field.get("oneOf", ())):
        yield from mappings(option, root)
    if isinstance(field.get("items"), Mapping):
        yield from ((f"[]{suffix}", below) for suffix, below in mappings(field["items"], root))


def resolve(reference: str, root: Schema) -> Schema:
    return root["$defs"][reference.rpartition("/")[2]]


def table(part: Schema, root: Schema) -> str:
    """The fields of a mapping: key, type and bounds, default, description."""
    rows = ["| key | value | default | |", "|---|---|---|---|"]
    for name, field in part["properties"].items():
        default = "required" if name in part.get("required", ()) else f"`{shown(field.get('default'))}`"
        if default.startswith("`{"):
            default = "see below"
        cells = (f"`{name}`", value(field, root), default, field.get("description", ""))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def shown(default: Any) -> str:
    """A default as it is written in YAML, on one line."""
    text = yaml.safe_dump(default, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("...\n").strip()


def value(field: Schema, root: Schema) -> str:
    """What a field may hold, with its bounds, in a few words."""
    if "$ref" in field:
        target = resolve(field["$ref"], root)
        return "mapping" if "properties" in target else value(target, root)
    options = [*field.get("anyOf", ()), *field.get("oneOf", ())]
    if options:
        return " or ".join(dict.fromkeys(value(option, root) for option in options))
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{choice}`" for choice in field["enum"])
    name = {"null": "null", "array": array(field, root)}.get(field.get("type", ""), field.get("type", "any"))
    bounds = [text.format(field[bound]) for bound, text in BOUNDS.items() if bound in field]
    if field.get("minItems") == field.get("maxItems") is not None:
        bounds = []
    return f"{name} {', '.join(bounds)}".strip()


def array(field: Schema, root: Schema) -> str:
    if field.get("type") != "array":
        return ""
    if "prefixItems" in field:
        kinds = dict.fromkeys(value(item, root) for item in field["prefixItems"])
        return f"list of {len(field['prefixItems'])}: {', '.join(kinds)}"
    return f"list of {value(field['items'], root)}"
