"""Param sets: the numbers of the shipped ones, their YAML form, overrides, differences, descriptions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ssdcore.contract.plugins import Plugins
from ssdcore.errors import ParamError
from ssdcore.params import Adam, AdamW, Cosine, ParamSet, PatchCrop, Sgd, Weights, difference
from ssdcore.params.base import Params
from ssdcore.params.param_set import RENAMED_KEYS, RENAMED_VALUES

SHIPPED = (
    "vgg16-ssd300",
    "vgg16-ssd300-coco",
    "vgg16-ssd512",
    "vgg16-ssd512-coco",
    "mobilenet-ssd300",
    "mobilenet-ssd512",
    "mobilenet-ssd300-1917",
    "mobilenet025-ssd300",
)


def value_at(params: ParamSet, path: str) -> Any:
    """The value that an override's key means."""
    value: Any = params
    for part in path.split("."):
        value = value[int(part)] if part.isdigit() else getattr(value, part)
    return value


# --- the shipped sets


def test_the_shipped_sets_are_all_there(plugins: Plugins) -> None:
    assert set(SHIPPED) <= set(plugins.param_sets)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_set_names_an_installed_backbone_and_says_what_it_is_for(plugins: Plugins, name: str) -> None:
    params = plugins.param_sets[name]
    assert params.backbone in plugins.backbones
    assert params.description


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_set_survives_yaml(plugins: Plugins, name: str, tmp_path: Path) -> None:
    params, path = plugins.param_sets[name], tmp_path / "set.yaml"
    path.write_text(params.to_yaml(), "utf-8")
    assert ParamSet.load(path) == params


@pytest.mark.parametrize("name", SHIPPED)
def test_yaml_holds_plain_values_only(plugins: Plugins, name: str) -> None:
    params = plugins.param_sets[name]
    assert "!!" not in params.to_yaml()
    assert yaml.safe_load(params.to_yaml()) == params.model_dump(mode="json")


def test_changed_values_survive_yaml(vgg300: ParamSet, tmp_path: Path) -> None:
    changed = vgg300.override(
        ['description="Größe: é # 1"', "augment.crop=null", "train.stages.1.optimizer={kind: adamw, weight_decay: 0.1}"]
    )
    path = tmp_path / "set.yaml"
    path.write_text(changed.to_yaml(), "utf-8")
    assert ParamSet.load(path) == changed != vgg300


VOC300 = (30, 60, 111, 162, 213, 264, 315)
COCO300 = (21, 45, 99, 153, 207, 261, 315)
VOC512 = (35.84, 76.8, 153.6, 230.4, 307.2, 384, 460.8, 537.6)
COCO512 = (20.48, 51.2, 133.12, 215.04, 296.96, 378.88, 460.8, 542.72)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("vgg16-ssd300", VOC300),
        ("vgg16-ssd300-coco", COCO300),
        ("vgg16-ssd512", VOC512),
        ("vgg16-ssd512-coco", COCO512),
        ("mobilenet-ssd300", COCO300),
        ("mobilenet-ssd512", COCO512),
    ],
)
def test_box_sizes_are_the_published_ones(plugins: Plugins, name: str, sizes: tuple[float, ...]) -> None:
    boxes = plugins.param_sets[name].model.default_boxes
    assert boxes.min_sizes == sizes[:-1]
    assert boxes.max_sizes == sizes[1:]


def test_box_sizes_of_mobilenet_ssd300_are_the_published_ones(plugins: Plugins) -> None:
    boxes = plugins.param_sets["mobilenet-ssd300-1917"].model.default_boxes
    assert boxes.min_sizes == (60, 105, 150, 195, 240, 285)
    assert boxes.max_sizes == (None, 150, 195, 240, 285, 300)
    assert boxes.aspect_ratios == ((2,), *((2, 3),) * 5)
    assert boxes.steps is None


@pytest.mark.parametrize(
    ("name", "ratios", "steps"),
    [
        ("vgg16-ssd300", ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)), (8, 16, 32, 64, 100, 300)),
        ("vgg16-ssd512", ((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,)), (8, 16, 32, 64, 128, 256, 512)),
    ],
)
def test_aspect_ratios_and_steps_are_the_published_ones(plugins: Plugins, name: str, ratios: Any, steps: Any) -> None:
    boxes = plugins.param_sets[name].model.default_boxes
    assert boxes.aspect_ratios == ratios
    assert boxes.steps == steps
    assert (boxes.offset, boxes.clip) == (0.5, False)


@pytest.mark.parametrize(
    ("name", "maps", "per_source", "total"),
    [
        ("vgg16-ssd300", (38, 19, 10, 5, 3, 1), (5776, 2166, 600, 150, 36, 4), 8732),
        ("mobilenet-ssd300", (38, 19, 10, 5, 3, 1), (5776, 2166, 600, 150, 36, 4), 8732),
        ("vgg16-ssd512", (64, 32, 16, 8, 4, 2, 1), (16384, 6144, 1536, 384, 96, 16, 4), 24564),
        ("mobilenet-ssd300-1917", (19, 10, 5, 3, 2, 1), (1083, 600, 150, 54, 24, 6), 1917),
    ],
)
def test_number_of_default_boxes_is_the_published_one(
    plugins: Plugins, name: str, maps: tuple[int, ...], per_source: tuple[int, ...], total: int
) -> None:
    model = plugins.param_sets[name].model
    cells = model.default_boxes.boxes_per_cell()
    assert model.feature_maps == maps
    assert tuple(side**2 * count for side, count in zip(maps, cells, strict=True)) == per_source
    assert sum(per_source) == total


@pytest.mark.parametrize(("name", "side"), [("vgg16-ssd300", 300), ("vgg16-ssd512", 512), ("mobilenet-ssd512", 512)])
def test_image_size_and_variances_are_the_published_ones(plugins: Plugins, name: str, side: int) -> None:
    model = plugins.param_sets[name].model
    assert model.image_size == (side, side)
    assert model.variances == (0.1, 0.1, 0.2, 0.2)


# --- overrides


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("backbone=mobilenet_v1", "mobilenet_v1"),
        ("train.seed=7", 7),
        ("eval.score_threshold=1e-3", 0.001),
        ("train.stages.0.learning_rate.learning_rate=2e-5", 2e-5),
        ("train.stages.1.batch_size=8", 8),
        ("train.stages.0.trainable=[conv1, block7]", ("conv1", "block7")),
        ("train.stages.0.trainable=all", "all"),
        ("train.stages.0.optimizer.momentum=0.5", 0.5),
        ("train.stages.0.optimizer={kind: adam}", Adam()),
        ("train.stages.0.optimizer={kind: adamw, weight_decay: 0.05}", AdamW(weight_decay=0.05)),
        ("train.stages.0.learning_rate={kind: cosine, end: 0.1}", Cosine(end=0.1)),
        ("train.clip_norm=null", None),
        ("train.weights=a=b.h5", Weights(file="a=b.h5")),
        ("train.weights.exclude=[block7]", ("block7",)),
        ("augment.crop=null", None),
        ("augment.crop.trials=5", 5),
        ("augment.crop={kind: patch, trials: 7}", PatchCrop(trials=7)),
        ("model.image_size=[300, 400]", (300, 400)),
        ("model.image_size.1=400", 400),
        ("model.default_boxes.max_sizes.0=null", None),
        ("model.default_boxes.aspect_ratios.0.0=1.5", 1.5),
        ("model.blocks.1.convs.0.filters=64", 64),
    ],
)
def test_override_changes_the_value_it_names(vgg300: ParamSet, assignment: str, expected: Any) -> None:
    key = assignment.partition("=")[0]
    changed = value_at(vgg300.override([assignment]), key)
    assert (changed, type(changed)) == (expected, type(expected))


def test_override_changes_nothing_else(vgg300: ParamSet) -> None:
    changed = vgg300.override(["train.stages.1.batch_size=8", "eval.keep=100"])
    assert difference(vgg300, changed) == [("train.stages.1.batch_size", 32, 8), ("eval.keep", 200, 100)]


def test_override_leaves_the_original_alone(vgg300: ParamSet) -> None:
    before = vgg300.model_dump()
    vgg300.override(["train.seed=99"])
    assert vgg300.model_dump() == before


def test_later_override_wins(vgg300: ParamSet) -> None:
    assert vgg300.override(["train.seed=1", "train.seed=2"]).train.seed == 2


def test_stage_length_changes_from_steps_to_epochs_by_two_overrides(vgg300: ParamSet) -> None:
    stage = vgg300.override(["train.stages.0.steps=null", "train.stages.0.epochs=2.5"]).train.stages[0]
    assert (stage.steps, stage.epochs) == (None, 2.5)


def test_optimizer_of_the_shipped_set_is_sgd(vgg300: ParamSet) -> None:
    assert [stage.optimizer for stage in vgg300.train.stages] == [Sgd(), Sgd()]


def test_param_sets_are_frozen(vgg300: ParamSet) -> None:
    with pytest.raises(ValueError, match="frozen"):
        vgg300.backbone = "other"  # type: ignore[misc]


# --- differences


def test_equal_sets_have_no_difference(vgg300: ParamSet) -> None:
    assert difference(vgg300, vgg300.override(["train.seed=0"])) == []


def test_difference_gives_key_and_both_values_in_order(plugins: Plugins) -> None:
    voc, coco = plugins.param_sets["vgg16-ssd300"], plugins.param_sets["vgg16-ssd300-coco"]
    found = {key: (left, right) for key, left, right in difference(voc, coco)}
    assert found["model.default_boxes.min_sizes"] == (list(VOC300[:-1]), list(COCO300[:-1]))
    assert found["train.stages.1.steps"] == (90_000, 370_000)
    assert set(found) == {
        "description",
        "model.default_boxes.min_sizes",
        "model.default_boxes.max_sizes",
        "train.stages.1.steps",
    }


def test_difference_shows_keys_that_one_set_lacks(vgg300: ParamSet) -> None:
    adam = vgg300.override(["train.stages.0.optimizer={kind: adam}"])
    found = difference(vgg300, adam)
    assert ("train.stages.0.optimizer.momentum", 0.9, None) in found
    assert ("train.stages.0.optimizer.beta_1", None, 0.9) in found


# --- former names


@pytest.mark.parametrize("assignment", ["train.pictures=3", "train.augmentation_images=3"])
def test_a_former_key_overrides_the_present_one(assignment: str, vgg300: ParamSet) -> None:
    assert vgg300.override([assignment]) == vgg300.override(["train.augmentation_images=3"]) != vgg300


def test_former_keys_and_values_of_files_keep_loading(vgg300: ParamSet, tmp_path: Path) -> None:
    values = vgg300.model_dump(mode="json")
    values["train"]["pictures"] = values["train"].pop("augmentation_images") + 3
    values["train"]["loss"]["mining"] = "picture"
    path = tmp_path / "old.yaml"
    path.write_text(yaml.safe_dump(values))
    assert ParamSet.load(path) == ParamSet.parse(values, "old") == vgg300.override(["train.pictures=3"])
    assert values["train"]["loss"]["mining"] == "picture"  # what was given is not changed
    assert vgg300.override(["train.loss.mining=picture"]) == vgg300


def test_a_former_key_beside_the_present_one_is_unknown(vgg300: ParamSet) -> None:
    values = vgg300.model_dump(mode="json")
    values["train"]["pictures"] = 3
    with pytest.raises(ParamError, match=r"train.pictures: unknown key"):
        ParamSet.parse(values, "both")


@pytest.mark.parametrize("key", [*RENAMED_KEYS.values(), *RENAMED_VALUES])
def test_present_names_are_parameters(key: str, vgg300: ParamSet) -> None:
    value_at(vgg300, key)


# --- descriptions


def param_classes(base: type[Params] = Params) -> Iterator[type[Params]]:
    for cls in base.__subclasses__():
        if cls.__module__.startswith("ssdcore."):
            yield cls
            yield from param_classes(cls)


@pytest.mark.parametrize("cls", sorted(set(param_classes()), key=lambda cls: cls.__name__), ids=lambda c: c.__name__)
def test_every_field_has_a_description(cls: type[Params]) -> None:
    assert [name for name, field in cls.model_fields.items() if not field.description] == []


def test_all_parts_of_a_param_set_are_param_classes() -> None:
    names = {cls.__name__ for cls in param_classes()}
    assert {"ParamSet", "ModelParams", "Conv", "PatchCrop", "EvalParams", "Stage", "AdamW", "Cosine"} <= names
