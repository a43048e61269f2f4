"""The base of all param classes, and the wording of their validation errors."""

import types
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from ssdcore.errors import did_you_mean


class Params(BaseModel):
    """Frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def describe_errors(model: type[BaseModel], error: ValidationError) -> str:
    """All validation errors of a param set in one line, each with its path; unknown keys with the nearest known."""
    items: list[dict[str, Any]] = [dict(item) for item in error.errors(include_url=False)]
    inner = {item["loc"][:depth] for item in items for depth in range(1, len(item["loc"]))}
    # A list whose items are all invalid is also reported as too short; the items say why.
    real = [item for item in items if not (item["type"] == "too_short" and item["loc"] in inner)]
    return "; ".join(_describe(model, item) for item in real)


def _describe(model: type[BaseModel], item: dict[str, Any]) -> str:
    path = ".".join(str(part) for part in item["loc"]) or "(whole set)"
    if item["type"] == "extra_forbidden":
        return f"{path}: unknown key; {did_you_mean(str(item['loc'][-1]), known_keys(model, item['loc'][:-1]))}"
    if item["type"] == "missing":
        return f"{path}: required, but not given"
    if item["type"] == "value_error":
        return f"{path}: {item['ctx']['error']}"
    message = item["msg"]
    return f"{path}: {message[:1].lower()}{message[1:]}, got {item['input']!r:.80}"


def known_keys(model: type[BaseModel], path: Iterable[Any]) -> set[str]:
    """The keys allowed at a path of field names, list indices and union tags."""
    here = {model}
    for part in path:
        fields = [cls.model_fields[part] for cls in here if part in cls.model_fields]
        below = {found for field in fields for found in _models_in(field.annotation)}
        tagged = {cls for cls in here if "kind" in cls.model_fields and cls.model_fields["kind"].default == part}
        here = below or tagged or here
    return {key for cls in here for key in cls.model_fields}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The param classes inside a field's annotation, through unions, tuples and Annotated."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Annotated, Union, types.UnionType, tuple):
        for inner in get_args(annotation):
            yield from _models_in(inner)
