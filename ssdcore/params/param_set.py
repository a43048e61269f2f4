"""The whole set of parameters of a detector, its YAML form and its overrides."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, ValidationError

from ssdcore.errors import ParamError, did_you_mean
from ssdcore.params.base import Params, describe_errors, known_keys
from ssdcore.params.data import AugmentParams, DataParams
from ssdcore.params.model import ModelParams
from ssdcore.params.train import TrainParams

RENAMED_KEYS = {"train.pictures": "train.augmentation_images"}
"""Former key -> present key, in the same section, so that older files, overrides and checkpoints keep loading."""

RENAMED_VALUES = {"train.loss.mining": {"picture": "image"}}
"""Key -> former value -> present value."""


class EvalParams(Params):
    """Post-processing and mean average precision. Defaults are the paper's evaluation."""

    score_threshold: float = Field(0.01, ge=0, lt=1, description="minimum score of a detection, exclusive")
    top_k: int = Field(400, ge=1, description="highest-scoring boxes of each class that enter NMS")
    nms_iou: float = Field(0.45, gt=0, le=1, description="IoU above which NMS drops the lower-scoring box of a class")
    keep: int = Field(200, ge=1, description="maximum detections per image, over all classes")
    match_iou: float = Field(0.5, gt=0, le=1, description="minimum IoU of a true positive; COCO's metric uses its own")
    inclusive_pixels: bool = Field(
        False, description="box sides include the last pixel, as in the VOC devkit; ignored by COCO's metric"
    )
    metric: Literal["voc07", "voc12", "coco"] = Field(
        "voc07",
        description="voc07: AP at 11 recalls, voc12: area under the curve, coco: mean AP over IoU .50 to .95",
    )
    batch_size: int = Field(16, ge=1, description="images per forward pass")


class ParamSet(Params):
    """Everything that defines a detector except its data: backbone, model, training and evaluation."""

    description: str = Field("", description="purpose of the set, one line")
    backbone: str = Field(description="name of an installed backbone")
    model: ModelParams = Field(description="SSD model")
    data: DataParams = Field(DataParams(), description="data sets and image loading")
    augment: AugmentParams = Field(AugmentParams(), description="augmentation of training images")
    train: TrainParams = Field(description="training")
    eval: EvalParams = Field(EvalParams(), description="post-processing and evaluation")

    @classmethod
    def parse(cls, values: Any, source: str) -> Self:
        """Validates plain values; keys and values may have former names.

        Args:
            values: nested dicts, lists and scalars.
            source: where they come from, for the error message.

        Raises:
            ParamError: naming each invalid key, with the nearest valid one where it is unknown.
        """
        if not isinstance(values, Mapping):
            raise ParamError(f"{source}: a param set is a mapping of keys to values, not {values!r:.60}")
        try:
            return cls.model_validate(_with_current_names(values))
        except ValidationError as error:
            raise ParamError(f"{source}: {describe_errors(cls, error)}") from None

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a YAML file.

        Raises:
            ParamError: the file is missing, is no YAML, or holds an invalid set.
        """
        try:
            values = yaml.safe_load(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ParamError(f"cannot read the param set {path.absolute()}: {error}") from None
        except yaml.YAMLError as error:
            raise ParamError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
        return cls.parse(values, str(path))

    def to_yaml(self) -> str:
        """YAML text that `load` reads back to an equal set."""
        return yaml.safe_dump(
            self.model_dump(mode="json"), sort_keys=False, default_flow_style=None, width=110, allow_unicode=True
        )

    def override(self, assignments: Sequence[str]) -> Self:
        """A set with some values replaced.

        Args:
            assignments: `key.sub=value` with a YAML value; list items by index, `train.stages.0.epochs=5`.

        Raises:
            ParamError: an assignment is malformed, or names no parameter, or the value is invalid.
        """
        values = self.model_dump(mode="json")
        for assignment in assignments:
            key, equals, text = assignment.partition("=")
            if not equals or not key:
                raise ParamError(f"{assignment!r} is not an override; write key.sub=value, e.g. train.seed=1")
            try:
                _assign(values, RENAMED_KEYS.get(key, key).split("."), yaml.safe_load(text))
                values = self._spelled_out(values)
            except yaml.YAMLError:
                raise ParamError(f"{assignment!r}: the value is not valid YAML") from None
        return type(self).parse(values, "overrides") if assignments else self

    @classmethod
    def _spelled_out(cls, values: Any) -> Any:
        """Expands short forms, such as a path for `train.weights`, so that an override can set keys below them."""
        try:
            return cls.model_validate(_with_current_names(values)).model_dump(mode="json")
        except ValidationError:  # the next assignment may complete it; `override` validates at the end
            return values


def _with_current_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values of a param set under present names. A former name beside the present one stays, as unknown."""
    current = deepcopy(dict(values))
    for old, new in RENAMED_KEYS.items():
        section, name = _section(current, old)
        present = new.rpartition(".")[2]
        if name in section and present not in section:
            section[present] = section.pop(name)
    for key, renamed in RENAMED_VALUES.items():
        section, name = _section(current, key)
        if isinstance(section.get(name), str):
            section[name] = renamed.get(section[name], section[name])
    return current


def _section(values: Any, key: str) -> tuple[dict[str, Any], str]:
    """The mapping that holds a dotted key, empty if there is none; and the last part of the key."""
    *path, name = key.split(".")
    for part in path:
        values = values.get(part) if isinstance(values, dict) else None
    return (values if isinstance(values, dict) else {}), name


def _assign(values: Any, path: list[str], value: Any) -> None:
    """Sets the item at `path` inside nested dicts and lists."""
    for depth, part in enumerate(path):
        key = _existing_key(values, part, path, depth)
        if depth == len(path) - 1:
            values[key] = value
        else:
            values = values[key]


def _existing_key(values: Any, part: str, path: list[str], depth: int) -> str | int:
    if isinstance(values, list) and part.isdecimal() and int(part) < len(values):
        return int(part)
    allowed = known_keys(ParamSet, path[:depth]) if isinstance(values, dict) else set()
    if part in allowed:
        return part
    if isinstance(values, list):
        hint = f"a list of {len(values)}: use 0 to {len(values) - 1}"
    elif isinstance(values, dict):
        hint = did_you_mean(part, values)
    else:
        hint = f"{'.'.join(path[:depth])} is {values!r} and has no keys"
    raise ParamError(f"{'.'.join(path)}: unknown key {part!r}; {hint}")


def flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    """Nested values as `key.sub` -> scalar, in order; lists of scalars stay whole."""
    if isinstance(values, dict):
        items = values.items()
    elif isinstance(values, list) and any(isinstance(item, dict | list) for item in values):
        items = {str(index): item for index, item in enumerate(values)}.items()
    else:
        return {prefix: values}
    flat: dict[str, Any] = {}
    for key, value in items:
        flat |= flatten(value, f"{prefix}.{key}" if prefix else key)
    return flat


def difference(one: ParamSet, other: ParamSet) -> list[tuple[str, Any, Any]]:
    """The keys in which two sets differ, with both values; None if a set lacks the key."""
    left, right = (flatten(params.model_dump(mode="json")) for params in (one, other))
    keys = list(dict.fromkeys([*left, *right]))
    return [(key, left.get(key), right.get(key)) for key in keys if left.get(key) != right.get(key)]
