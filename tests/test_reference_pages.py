"""The generated reference pages name everything that they are about."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import BaseModel

import ssdcore
from ssdcore import params as param_classes
from ssdcore.contract.plugins import Plugins
from ssdcore.params import ParamSet
from ssdcore.params.param_set import flatten

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs/reference.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page(reference: ModuleType) -> str:
    return str(reference.parameters_page(ParamSet.model_json_schema()))


def keys_of(page: str) -> set[str]:
    """All keys on the page, with those of their sections before them."""
    keys = set()
    for section in page.split("\n## ")[1:]:
        prefix = (re.match(r"`([^`]+)`", section) or ["", ""])[1]
        keys |= {f"{prefix}.{name}".lstrip(".") for name in re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)}
    return keys


def test_every_key_of_every_shipped_set_is_there(page: str, plugins: Plugins) -> None:
    known = keys_of(page)
    for params in plugins.param_sets.values():
        used = {re.sub(r"\.\d+", "[]", key).removesuffix("[]") for key in flatten(params.model_dump(mode="json"))}
        free = {key for key in used if "rate_factors" in key}  # its keys are names of layers
        assert used - free <= known


@pytest.mark.parametrize("name", [n for n in param_classes.__all__ if isinstance(getattr(param_classes, n), type)])
def test_every_field_is_there_with_its_description(page: str, name: str) -> None:
    kind = getattr(param_classes, name)
    assert issubclass(kind, BaseModel)
    for key, field in kind.model_fields.items():
        text = (field.description or "").replace("|", "\\|")
        assert re.search(rf"^\| `{key}` \| .* \| {re.escape(text)} \|$", page, re.MULTILINE), f"{name}.{key}"


def test_bounds_choices_and_defaults_are_shown(page: str) -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ((?:[^|\n]|\\\|)+ \| [^|\n]+) \|", page, re.MULTILINE))
    assert rows["image_size"] == "list of 2: integer ≥ 1, ≤ 4096 | required"
    assert rows["norm_momentum"] == "number ≥ 0, < 1 or null | `null`"
    assert rows["head"] == "`conv3x3`, `conv1x1`, `separable` | `conv3x3`"
    assert rows["variances"] == "list of 4: number > 0 | `[0.1, 0.1, 0.2, 0.2]`"


def test_python_pages_name_all_that_is_public(reference: ModuleType) -> None:
    text = reference.python_page("Python", "ssdcore", ssdcore.__all__)
    assert sorted(re.findall(r"^::: ssdcore\.(\w+)$", text, re.MULTILINE)) == sorted(ssdcore.__all__)
