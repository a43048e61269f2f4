"""Names of a detector's variables, and which of them learn."""

from collections.abc import Sequence
from typing import Any, Literal

from ssdcore.errors import ParamError
from ssdcore.model.ssd import SSD

Variable = Any


def named_variables(ssd: SSD) -> dict[str, Variable]:
    """Every variable by name: `layer/variable`, with the backbone's name before its own layers."""
    own = backbone_variables(ssd)
    names = {id(variable): f"{ssd.backbone.name}/{name}" for name, variable in own.items()}
    return {names.get(id(variable), variable.path): variable for variable in ssd.network.variables}


def backbone_variables(ssd: SSD) -> dict[str, Variable]:
    """The base net's variables by `layer/variable`, as a plugin's name maps know them."""
    return {variable.path: variable for variable in ssd.backbone.variables}


def set_trainable(ssd: SSD, what: Literal["ssd", "all"] | Sequence[str]) -> None:
    """Chooses what learns. Frozen batch normalisation uses and keeps its moving statistics.

    Args:
        ssd: the detector.
        what: `ssd` for all but the backbone, `all`, or starts of layer names; the backbone's layers
            are named `backbone/layer`.

    Raises:
        ParamError: no layer with weights has a name that starts so.
    """
    layers = {layer.name: layer for layer in ssd.network.layers if layer is not ssd.backbone}
    own = {f"{ssd.backbone.name}/{layer.name}": layer for layer in ssd.backbone.layers}
    if not isinstance(what, str):
        names = [name for name, layer in (layers | own).items() if layer.variables]
        check_scopes(ssd, "trainable", what, names)
    # Each layer by itself: setting a model's flag passes over its layers when the flag is set already.
    ssd.network.trainable = ssd.backbone.trainable = True
    for name, layer in (layers | own).items():
        chosen = what == "all" or name in layers if isinstance(what, str) else name.startswith(tuple(what))
        layer.trainable = chosen


def check_scopes(ssd: SSD, key: str, scopes: Sequence[str], names: Sequence[str]) -> None:
    """Makes sure that each scope is the start of a name.

    Raises:
        ParamError: one is not; `key` is the parameter it is a value of.
    """
    for scope in scopes:
        if not any(name.startswith(scope) for name in names):
            own = f"{ssd.backbone.name}/"
            known = dict.fromkeys(own if name.startswith(own) else name.partition("/")[0] for name in names)
            raise ParamError(f"{key}: no layer's name starts with {scope!r}; layers: {', '.join(known)}")
