"""The hooks page documents every hook, field and check, and no others; its examples are plugins."""

import dataclasses
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy
import pytest

from ssdcore import ArgScope, Backbone, CheckpointMap, Preprocessing
from ssdcore.contract import hookspecs
from ssdcore.testing.checks import CHECKS

PAGE = (Path(__file__).parent.parent / "docs/plugins/hooks.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SPECS = {name: spec for name, spec in vars(hookspecs).items() if name.startswith("ssdcore_")}


def section(heading: str) -> str:
    """The text under a heading, up to the next one."""
    return re.split(r"^#+ ", PAGE.split(f"# {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def first_column(text: str) -> list[str]:
    """The first cells of table rows that begin with code."""
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


def parameters(function: Any) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


def test_every_hook_is_documented_with_its_parameters() -> None:
    documented = dict(re.findall(r"^## `(ssdcore_\w+)\(([^)]*)\)`$", PAGE, re.MULTILINE))
    assert {name: [part for part in text.split(", ") if part] for name, text in documented.items()} == {
        name: parameters(spec) for name, spec in SPECS.items()
    }
    assert len(SPECS) == 4


def test_no_other_hook_is_named_anywhere() -> None:
    named = set(re.findall(r"\bssdcore_\w+", PAGE))
    assert named == set(SPECS)


@pytest.mark.parametrize("kind", [Backbone, CheckpointMap, Preprocessing])
def test_every_field_is_documented(kind: Any) -> None:
    fields = (
        [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else [*kind.model_fields]
    )
    documented = first_column(section(f"`{kind.__name__}`"))
    assert [name for name in documented if re.fullmatch(r"\w+", name)] == fields


def test_every_field_and_method_of_the_scope_is_documented() -> None:
    documented = first_column(section("`ArgScope`"))
    fields = [field.name for field in dataclasses.fields(ArgScope)]
    assert [name for name in documented if "(" not in name] == fields
    methods = {name: value for name, value in vars(ArgScope).items() if inspect.isfunction(value) and name[0] != "_"}
    assert {text.split("(")[0]: text.split("(")[1].rstrip(")").split(", ") for text in documented if "(" in text} == {
        name: parameters(method) for name, method in methods.items()
    }


def test_stated_defaults_of_the_scope_are_right() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section("`ArgScope`"), re.MULTILINE))
    stated = {name: None if text == "None" else text.strip("`") for name, text in rows.items()}
    scope = ArgScope()
    assert stated == {
        "weight_decay": f"{scope.weight_decay:g}",
        **{name: getattr(scope, name) for name in ("data_format", "kernel_initializer", "activation", "norm")},
    }


def test_every_check_is_documented_in_its_words() -> None:
    documented = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", section("The checks"), re.MULTILINE))
    assert documented == {check.__name__: (check.__doc__ or "").strip() for check in CHECKS}


@pytest.mark.parametrize("code", EXAMPLES)
def test_examples_are_plugins(code: str) -> None:
    """Each runs by itself, and its hooks match the specifications and return a result."""
    module = ModuleType("example")
    exec(compile(code, "hooks.md", "exec"), module.__dict__)
    manager = pluggy.PluginManager("ssdcore")
    manager.add_hookspecs(hookspecs)
    manager.register(module)
    manager.check_pending()
    implemented = [hook.name for hook in manager.get_hookcallers(module) or ()]
    assert implemented or "hookimpl" not in code
    for name in implemented:
        _returns_a_result(name, module)


def _returns_a_result(name: str, module: Any) -> None:
    import click

    if name == "ssdcore_feature_layers":
        assert module.ssdcore_feature_layers("unknown", "ssd300") is None
        known = [("pond", "ssd300"), ("mobilenet_v1", "my_ssd")]
        assert [one for one in known if module.ssdcore_feature_layers(*one)]
    elif name == "ssdcore_commands":
        group = click.Group()
        module.ssdcore_commands(group)
        assert list(group.commands) == ["census"]
    else:
        assert getattr(module, name)()


def test_the_example_of_a_backbone_fits_ssd300() -> None:
    """Stages 3 to 5 have 38, 19 and 10 cells at 300 px."""
    import keras

    found: dict[str, Any] = {}
    exec(EXAMPLES[0], found)
    (pond,) = found["ssdcore_backbones"]()
    net, ends = pond.base_net(keras.Input((300, 300, 3)), pond.arg_scope(weight_decay=0.1, data_format="channels_last"))
    assert [ends[f"stage{stage}"].shape[1] for stage in (3, 4, 5)] == [38, 19, 10]
    assert net.shape == (None, 10, 10, 512)


def test_the_name_map_example_gives_slim_names() -> None:
    (code,) = (code for code in EXAMPLES if "slim_names" in code)
    found: dict[str, Any] = {}
    exec(code, found)
    names = found["CHECKPOINTS"]["tf-slim"].base_net
    assert [names(name)[0].names[0] for name in ("stage1/kernel", "stage1_bn/beta")] == [
        "Pond/stage1/weights",
        "Pond/stage1/BatchNorm/beta",
    ]
