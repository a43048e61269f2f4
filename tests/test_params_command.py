"""`ssd params`: list, show, diff, validate and schema."""

import json
from pathlib import Path

import pytest
from ssd_program import RunHere, assert_one_clear_line

from ssdcore.contract.plugins import Plugins
from ssdcore.params import ParamSet


def test_params_list_names_every_set(ssd_here: RunHere, plugins: Plugins) -> None:
    code, out, _ = ssd_here("params", "list", "--json")
    rows = {row["name"]: row["backbone"] for row in json.loads(out)}
    assert code == 0
    assert rows == {name: params.backbone for name, params in plugins.param_sets.items()}


def test_params_list_is_a_table_of_names_backbones_and_models(ssd_here: RunHere, plugins: Plugins) -> None:
    rows = {tuple(line.split()[:3]) for line in ssd_here("params", "list")[1].splitlines()}
    assert rows >= {(name, params.backbone, params.model.name) for name, params in plugins.param_sets.items()}


def test_params_show_prints_yaml_that_loads_to_the_same_set(
    ssd_here: RunHere, plugins: Plugins, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(ssd_here("params", "show", "vgg16-ssd512")[1], "utf-8")
    assert ParamSet.load(path) == plugins.param_sets["vgg16-ssd512"]


def test_params_show_of_a_file_applies_overrides(ssd_here: RunHere, plugins: Plugins, tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    overrides = ["train.seed=5", "augment.crop=null"]
    first.write_text(ssd_here("params", "show", "vgg16-ssd300", overrides[0])[1], "utf-8")
    second.write_text(ssd_here("params", "show", first, overrides[1])[1], "utf-8")
    assert ParamSet.load(second) == plugins.param_sets["vgg16-ssd300"].override(overrides)


def test_params_diff_shows_exactly_what_differs(ssd_here: RunHere, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(ssd_here("params", "show", "vgg16-ssd300", "train.seed=5", "augment.crop.trials=7")[1], "utf-8")
    code, out, _ = ssd_here("params", "diff", "vgg16-ssd300", mine)
    rows = [fields for line in out.splitlines() if (fields := line.split()) and "." in fields[0]]
    assert code == 0
    assert rows == [["augment.crop.trials", "50", "7"], ["train.seed", "0", "5"]]


@pytest.mark.parametrize(("name", "boxes"), [("mobilenet-ssd300-1917", "1917"), ("mobilenet025-ssd300", "8732")])
def test_params_validate_builds_the_model_and_counts_boxes(ssd_here: RunHere, name: str, boxes: str) -> None:
    code, out, _ = ssd_here("params", "validate", name)
    assert code == 0
    assert boxes in out.replace(",", "").split()


def test_params_validate_refuses_maps_of_another_size(ssd_here: RunHere) -> None:
    code, _, err = ssd_here("params", "validate", "mobilenet-ssd300-1917", "model.image_size=[320, 320]")
    assert_one_clear_line(code, err, ["20", "19"])


def test_params_schema_describes_every_key(ssd_here: RunHere) -> None:
    schema = json.loads(ssd_here("params", "schema")[1])
    assert set(schema["properties"]) == set(ParamSet.model_fields)
    assert schema["additionalProperties"] is False
    assert "px" in schema["$defs"]["ModelParams"]["properties"]["image_size"]["description"]
