"""Names of a detector's variables, and which of them learn."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import keras

from ssdcore.errors import ParamError
from ssdcore.model.ssd import SSD

Layer = Any
Variable = Any


def named_variables(ssd: SSD) -> dict[str, Variable]:
    """Every variable by name: `layer/variable`, with the backbone's name before its own layers.

    The states of random layers are among them, as `random_state/0` and so on.
    """
    states = filter(_is_random, ssd.network.variables)
    return named_weights(ssd) | {f"random_state/{number}": state for number, state in enumerate(states)}


def named_weights(ssd: SSD) -> dict[str, Variable]:
    """`named_variables` without the states of random layers, which no file of weights holds."""
    own = backbone_variables(ssd)
    names = {id(variable): f"{ssd.backbone.name}/{name}" for name, variable in own.items()}
    return {names.get(id(one), one.path): one for one in ssd.network.variables if not _is_random(one)}


def backbone_variables(ssd: SSD) -> dict[str, Variable]:
    """The base net's weights by `layer/variable`, as a plugin's name maps know them."""
    return {variable.path: variable for variable in ssd.backbone.variables if not _is_random(variable)}


def _is_random(variable: Variable) -> bool:
    """Whether it is the state of a random layer such as Dropout, which Keras names by how many were made before."""
    return bool(variable.name == "seed_generator_state")


def set_trainable(ssd: SSD, what: Literal["ssd", "all"] | int | Sequence[str], freeze_batch_norm: bool = False) -> None:
    """Chooses what learns. Frozen batch normalisation uses and keeps its moving statistics.

    Args:
        ssd: the detector.
        what: `ssd` for all but the backbone, `all`, the number of last convolutions of the backbone
            that learn with the SSD layers, or starts of layer names; the backbone's layers are named
            `backbone/layer`.
        freeze_batch_norm: no batch normalisation learns, whatever `what` says.

    Raises:
        ParamError: no layer with weights has a name that starts so, or the backbone has fewer convolutions.
    """
    own = {f"{ssd.backbone.name}/{layer.name}": layer for layer in ssd.backbone.layers}
    layers = {layer.name: layer for layer in ssd.network.layers if layer is not ssd.backbone} | own
    chosen = _chosen(ssd, what, layers, own)
    # Each layer by itself: setting a model's flag passes over its layers when the flag is set already.
    ssd.network.trainable = ssd.backbone.trainable = True
    for name, layer in layers.items():
        fixed = freeze_batch_norm and isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = name in chosen and not fixed


def _chosen(
    ssd: SSD, what: Literal["ssd", "all"] | int | Sequence[str], layers: Mapping[str, Layer], own: Mapping[str, Layer]
) -> set[str]:
    """Names of the layers that learn; `own` are those of the backbone."""
    if what == "all":
        return set(layers)
    if what == "ssd":
        what = 0
    if isinstance(what, int):
        return (layers.keys() - own.keys()) | _last_convolutions(own, what, ssd.backbone.name)
    check_scopes(ssd, "trainable", what, [name for name, layer in layers.items() if layer.variables])
    return {name for name in layers if name.startswith(tuple(what))}


def _last_convolutions(own: Mapping[str, Layer], last: int, backbone: str) -> set[str]:
    """Names of the last convolutions of a backbone, and of what follows them in the order of its layers."""
    names = list(own)
    found = [index for index, layer in enumerate(own.values()) if _has_kernel(layer)]
    if last > len(found):
        raise ParamError(
            f"trainable: the last {last} convolutions of {backbone} were to learn, it has {len(found)}; "
            "give fewer, or all"
        )
    return set(names[found[-last] :]) if last else set()


def _has_kernel(layer: Layer) -> bool:
    return any(variable.name.endswith("kernel") for variable in layer.variables)


def synchronize_batch_norm(ssd: SSD, on: bool) -> None:
    """Chooses whether batch normalisation uses the statistics of all replicas together, from the next trace on."""
    for layer in (*ssd.network.layers, *ssd.backbone.layers):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = on


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
