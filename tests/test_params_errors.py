"""What is wrong with an override or a file of params is reported by its key, with the nearest right one."""

from pathlib import Path
from typing import Any

import pytest

from ssdcore.errors import ParamError
from ssdcore.params import ParamSet


def issue(params: ParamSet, *assignments: str) -> str:
    with pytest.raises(ParamError) as caught:
        params.override(assignments)
    return str(caught.value)


def load_issue(path: Path, text: str) -> str:
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


def parse_issue(values: Any) -> str:
    with pytest.raises(ParamError) as caught:
        ParamSet.parse(values, "my.yaml")
    return str(caught.value)


# --- errors in overrides


@pytest.mark.parametrize(
    ("assignment", "expected"),
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
    vgg300: ParamSet, assignment: str, expected: list[str]
) -> None:
    message = issue(vgg300, assignment)
    assert [part for part in expected if part not in message] == []


@pytest.mark.parametrize("assignment", ["train.seed", "=3", "", "train.seed:1"])
def test_malformed_override_is_reported_with_the_right_form(vgg300: ParamSet, assignment: str) -> None:
    message = issue(vgg300, assignment)
    assert repr(assignment) in message
    assert "key.sub=value" in message


@pytest.mark.parametrize("value", ["[1, 2", "!!python/object/apply:os.getcwd []", "{a: b: c}", "a: b: c"])
def test_override_value_that_is_no_safe_yaml_is_refused(vgg300: ParamSet, value: str) -> None:
    message = issue(vgg300, f"train.seed={value}")
    assert f"train.seed={value}" in message
    assert "YAML" in message


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("train.stages.2.epochs", "0 to 1"),
        ("train.stages.-1.epochs", "0 to 1"),
        ("train.stages.first.epochs", "0 to 1"),
        ("train.stages.².epochs", "0 to 1"),
        ("train.seed.x", "train.seed is 0"),
    ],
)
def test_path_that_does_not_exist_is_reported(vgg300: ParamSet, key: str, expected: str) -> None:
    message = issue(vgg300, f"{key}=1")
    assert key in message
    assert expected in message


@pytest.mark.parametrize(
    ("assignment", "expected"),
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
def test_wrong_value_is_reported_with_its_key(vgg300: ParamSet, assignment: str, expected: list[str]) -> None:
    message = issue(vgg300, assignment)
    assert [part for part in expected if part not in message] == []
    assert "\n" not in message


@pytest.mark.parametrize(
    ("assignment", "expected"),
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
def test_values_that_contradict_each_other_are_reported(vgg300: ParamSet, assignment: str, expected: list[str]) -> None:
    message = issue(vgg300, assignment)
    assert [part for part in expected if part not in message] == []


def test_all_issues_are_reported_at_once(vgg300: ParamSet) -> None:
    message = issue(vgg300, "train.seed=abc", "eval.keep=0", "eval.nms_iou=2")
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
    message = parse_issue(with_values(vgg300, *path, **{key: 1}))
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
    message = parse_issue(with_values(vgg300, "train", "stages", 0, optimizer=optimizer))
    assert f"{key}: unknown key" in message
    assert f"did you mean '{key}'" not in message
    assert known in message


@pytest.mark.parametrize("key", ["backbone", "model", "train"])
def test_missing_key_is_named(vgg300: ParamSet, key: str) -> None:
    values = vgg300.model_dump(mode="json")
    del values[key]
    assert f"{key}: required" in parse_issue(values)


@pytest.mark.parametrize("text", ["", "- 1\n- 2\n", "just words", "3"])
def test_file_without_a_mapping_is_refused(tmp_path: Path, text: str) -> None:
    message = load_issue(tmp_path / "set.yaml", text)
    assert "set.yaml" in message
    assert "mapping" in message


@pytest.mark.parametrize("text", ["a: [1, 2", "a: b: c", "\tx: 1", "a: *unknown"])
def test_broken_yaml_is_reported_in_one_line_with_its_place(tmp_path: Path, text: str) -> None:
    message = load_issue(tmp_path / "set.yaml", text)
    assert "set.yaml is not valid YAML" in message
    assert "line 1" in message or "line 2" in message
    assert "\n" not in message


def test_yaml_that_would_run_python_is_refused_and_runs_nothing(vgg300: ParamSet, tmp_path: Path) -> None:
    made = tmp_path / "made"
    text = vgg300.to_yaml() + f"description: !!python/object/apply:os.mkdir ['{made}']\n"
    message = load_issue(tmp_path / "set.yaml", text)
    assert "python/object" in message
    assert not made.exists()


def test_missing_file_is_reported_with_its_full_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParamError) as caught:
        ParamSet.load(Path("absent.yaml"))
    assert str(tmp_path / "absent.yaml") in str(caught.value)


def test_file_that_is_no_text_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "set.yaml"
    path.write_bytes(b"\xff\xfe\x00\x9f")
    with pytest.raises(ParamError, match=r"set\.yaml"):
        ParamSet.load(path)
