"""Param sets: their YAML form, overrides, error messages, and the numbers of the shipped ones."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ssdcore.errors import ParamError
from ssdcore.params import Adam, AdamW, Cosine, ParamSet, PatchCrop, Sgd, Weights, difference
from ssdcore.params.base import Params
from ssdcore.plugins import Plugins

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


@pytest.fixture
def vgg300(plugins: Plugins) -> ParamSet:
    return plugins.param_sets["vgg16-ssd300"]


def value_at(params: ParamSet, path: str) -> Any:
    """The value that an override's key means."""
    value: Any = params
    for part in path.split("."):
        value = value[int(part)] if part.isdigit() else getattr(value, part)
    return value


def fault(params: ParamSet, *assignments: str) -> str:
    with pytest.raises(ParamError) as caught:
        params.override(assignments)
    return str(caught.value)


def load_fault(path: Path, text: str) -> str:
    path.write_text(text, "utf-8")
    with pytest.raises(ParamError) as caught:
        ParamSet.load(path)
    return str(caught.value)


def with_values(params: ParamSet, *path: str | int, **changes: Any) -> dict[str, Any]:
    """A set's plain values with some keys added at a path."""
    values = params.model_dump(mode="json")
    here: Any = values
    for part in path:
        here = here[part]
    here.update(changes)
    return values


def parse_fault(values: Any) -> str:
    with pytest.raises(ParamError) as caught:
        ParamSet.parse(values, "my.yaml")
    return str(caught.value)


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
        ("train.stages.0.learning_rate.learning_rate=1e-3", 0.001),
        ("train.stages.1.batch_size=8", 8),
        ("train.stages.0.trainable=[conv1, block7]", ("conv1", "block7")),
        ("train.stages.0.trainable=all", "all"),
        ("train.stages.0.optimizer.momentum=0.5", 0.5),
        ("train.stages.0.optimizer={kind: adam}", Adam()),
        ("train.stages.0.optimizer={kind: adamw, weight_decay: 0.05}", AdamW(weight_decay=0.05)),
        ("train.stages.0.learning_rate={kind: cosine, end: 0.1}", Cosine(end=0.1)),
        ("train.clip_norm=null", None),
        ("train.weights=a=b.h5", Weights(file="a=b.h5")),
        ("train.weights=null", Weights()),
        ("train.weights.exclude=[block7]", ("block7",)),
        ("augment.crop=null", None),
        ("augment.crop.trials=5", 5),
        ("augment.crop={kind: patch}", PatchCrop()),
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


# --- errors in overrides


@pytest.mark.parametrize(
    ("assignment", "telling"),
    [
        ("bakbone=vgg_16", ["'bakbone'", "'backbone'"]),
        ("train.sede=1", ["train.sede", "'seed'"]),
        ("train.stages.0.lerning_rate=1", ["'lerning_rate'", "'learning_rate'"]),
        ("train.stages.0.optimizer.momentun=1", ["'momentun'", "'momentum'"]),
        ("model.default_boxes.min_size=[1]", ["'min_size'", "'min_sizes'"]),
        ("model.blocks.0.convs.0.kernal=3", ["'kernal'", "'kernel'"]),
        ("augment.crop={kind: patch, trails: 3}", ["augment.crop.patch.trails", "'trials'"]),
        ("train.bogus=1", ["'bogus'", "known:", "stages", "loss"]),
    ],
)
def test_unknown_key_in_an_override_is_named_with_the_nearest(
    vgg300: ParamSet, assignment: str, telling: list[str]
) -> None:
    message = fault(vgg300, assignment)
    assert [part for part in telling if part not in message] == []


@pytest.mark.parametrize("assignment", ["train.seed", "=3", "", "train.seed:1"])
def test_malformed_override_is_told_with_the_right_form(vgg300: ParamSet, assignment: str) -> None:
    message = fault(vgg300, assignment)
    assert repr(assignment) in message
    assert "key.sub=value" in message


@pytest.mark.parametrize("value", ["[1, 2", "!!python/object/apply:os.getcwd []", "{a: b: c}", "a: b: c"])
def test_override_value_that_is_no_safe_yaml_is_refused(vgg300: ParamSet, value: str) -> None:
    message = fault(vgg300, f"train.seed={value}")
    assert f"train.seed={value}" in message
    assert "YAML" in message


@pytest.mark.parametrize(
    ("key", "telling"),
    [
        ("train.stages.2.epochs", "0 to 1"),
        ("train.stages.-1.epochs", "0 to 1"),
        ("train.stages.first.epochs", "0 to 1"),
        ("train.stages.².epochs", "0 to 1"),
        ("train.seed.x", "train.seed is 0"),
    ],
)
def test_path_that_leads_nowhere_is_told(vgg300: ParamSet, key: str, telling: str) -> None:
    message = fault(vgg300, f"{key}=1")
    assert key in message
    assert telling in message


@pytest.mark.parametrize(
    ("assignment", "telling"),
    [
        ("train.seed=abc", ["train.seed", "integer", "'abc'"]),
        ("train.seed=-1", ["train.seed", "greater than or equal to 0", "-1"]),
        ("train.seed=1.5", ["train.seed", "integer", "1.5"]),
        ("eval.nms_iou=2", ["eval.nms_iou", "less than or equal to 1", "2"]),
        ("eval.metric=coco17", ["eval.metric", "voc07", "voc12", "coco17"]),
        ("backbone=null", ["backbone", "string", "None"]),
        ("model.image_size=300", ["model.image_size", "300"]),
        ("model.image_size=[300, 9000]", ["model.image_size.1", "4096", "9000"]),
        ("train.stages=[]", ["train.stages", "at least 1"]),
        ("train.stages.0.name=my stage", ["train.stages.0.name", "my stage"]),
        ("train.stages.0.optimizer={kind: adma}", ["train.stages.0.optimizer", "'adma'", "'adam'"]),
    ],
)
def test_wrong_value_is_told_with_its_key(vgg300: ParamSet, assignment: str, telling: list[str]) -> None:
    message = fault(vgg300, assignment)
    assert [part for part in telling if part not in message] == []
    assert "\n" not in message


@pytest.mark.parametrize(
    ("assignment", "telling"),
    [
        ("train.stages.0.epochs=3", ["train.stages.0", "either epochs or steps"]),
        ("train.stages.0.steps=null", ["train.stages.0", "either epochs or steps"]),
        ("train.stages.0.name=everything", ["train", "different names"]),
        ("model.default_boxes.min_sizes=[30, 60]", ["model.default_boxes", "6 entries", "min_sizes has 2"]),
        ("model.default_boxes.aspect_ratios=[[2]]", ["aspect_ratios has 1 entries", "min_sizes has 6"]),
        ("model.default_boxes.steps=[8]", ["steps has 1 entries", "min_sizes has 6"]),
        ("model.default_boxes.aspect_ratios.1.0=0", ["aspect_ratios", "above 0"]),
        ("model.feature_maps=[38]", ["feature_maps has 1", "6"]),
        ("augment.crop.scale=[0.9, 0.3]", ["augment", "scale", "low <= high", "0.9"]),
        ("augment.crop.aspect_ratio=[0, 2]", ["augment", "aspect_ratio", "0 < low"]),
        ("augment.photometric.contrast=[1.5, 0.5]", ["augment", "contrast", "1.5"]),
    ],
)
def test_values_that_contradict_each_other_are_told(vgg300: ParamSet, assignment: str, telling: list[str]) -> None:
    message = fault(vgg300, assignment)
    assert [part for part in telling if part not in message] == []


def test_all_faults_are_told_at_once(vgg300: ParamSet) -> None:
    message = fault(vgg300, "train.seed=abc", "eval.keep=0", "eval.nms_iou=2")
    assert [key for key in ("train.seed", "eval.keep", "eval.nms_iou") if key not in message] == []


# --- errors in files


@pytest.mark.parametrize(
    ("path", "key", "nearest"),
    [
        ((), "bakbone", "backbone"),
        (("train",), "sede", "seed"),
        (("model", "default_boxes"), "ofset", "offset"),
        (("train", "stages", 1), "batchsize", "batch_size"),
        (("model", "blocks", 0, "convs", 1), "strid", "stride"),
        (("train", "stages", 0, "optimizer"), "nesterow", "nesterov"),
        (("train", "stages", 1, "learning_rate"), "milestone", "milestones"),
        (("augment", "crop"), "min_iou", "min_ious"),
    ],
)
def test_unknown_key_in_a_file_is_named_with_the_nearest(
    vgg300: ParamSet, path: tuple[str | int, ...], key: str, nearest: str
) -> None:
    message = parse_fault(with_values(vgg300, *path, **{key: 1}))
    assert message.startswith("my.yaml: ")
    assert f"{key}: unknown key" in message
    assert repr(nearest) in message


@pytest.mark.parametrize(
    ("optimizer", "key", "known"),
    [
        ({"kind": "adam", "momentum": 0.9}, "momentum", "beta_1"),
        ({"kind": "sgd", "beta_1": 0.9}, "beta_1", "nesterov"),
    ],
)
def test_key_of_another_union_member_is_not_offered(
    vgg300: ParamSet, optimizer: dict[str, Any], key: str, known: str
) -> None:
    message = parse_fault(with_values(vgg300, "train", "stages", 0, optimizer=optimizer))
    assert f"{key}: unknown key" in message
    assert f"did you mean '{key}'" not in message
    assert known in message


@pytest.mark.parametrize("key", ["backbone", "model", "train"])
def test_missing_key_is_named(vgg300: ParamSet, key: str) -> None:
    values = vgg300.model_dump(mode="json")
    del values[key]
    assert f"{key}: required" in parse_fault(values)


@pytest.mark.parametrize("text", ["", "- 1\n- 2\n", "just words", "3"])
def test_file_without_a_mapping_is_refused(tmp_path: Path, text: str) -> None:
    message = load_fault(tmp_path / "set.yaml", text)
    assert "set.yaml" in message
    assert "mapping" in message


@pytest.mark.parametrize("text", ["a: [1, 2", "a: b: c", "\tx: 1", "a: *unknown"])
def test_broken_yaml_is_told_in_one_line_with_its_place(tmp_path: Path, text: str) -> None:
    message = load_fault(tmp_path / "set.yaml", text)
    assert "set.yaml is not valid YAML" in message
    assert "line 1" in message or "line 2" in message
    assert "\n" not in message


def test_yaml_that_would_run_python_is_refused_and_runs_nothing(vgg300: ParamSet, tmp_path: Path) -> None:
    made = tmp_path / "made"
    text = vgg300.to_yaml() + f"description: !!python/object/apply:os.mkdir ['{made}']\n"
    message = load_fault(tmp_path / "set.yaml", text)
    assert "python/object" in message
    assert not made.exists()


def test_missing_file_is_told_with_its_full_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParamError) as caught:
        ParamSet.load(Path("absent.yaml"))
    assert str(tmp_path / "absent.yaml") in str(caught.value)


def test_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "set.yaml"
    path.write_bytes(b"\xff\xfe\x00\x9f")
    with pytest.raises(ParamError, match=r"set\.yaml"):
        ParamSet.load(path)


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
