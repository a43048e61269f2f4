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
        what: `ssd` for all but the backbone, `all`, or starts of layer names.

    Raises:
        ParamError: no layer's name starts so.
    """
    layers = [layer for layer in (*ssd.network.layers, *ssd.backbone.layers) if layer is not ssd.backbone]
    ssd.network.trainable = True
    for layer in layers:
        layer.trainable = isinstance(what, str) or layer.name.startswith(tuple(what))
    if what == "ssd":
        ssd.backbone.trainable = False
    if not ssd.network.trainable_variables:
        names = ", ".join(layer.name for layer in layers if layer.variables)
        raise ParamError(f"no layer's name starts with any of {', '.join(what)}; layers: {names}")
