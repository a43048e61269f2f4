"""Names of a detector's variables, and which of them are trainable."""

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
    """`named_variables` without the states of random layers, which no weights file holds."""
    own = backbone_variables(ssd)
    names = {id(variable): f"{ssd.backbone.name}/{name}" for name, variable in own.items()}
    return {names.get(id(one), one.path): one for one in ssd.network.variables if not _is_random(one)}


def backbone_variables(ssd: SSD) -> dict[str, Variable]:
    """The base net's weights by `layer/variable`, as a plugin's name maps know them."""
    return {variable.path: variable for variable in ssd.backbone.variables if not _is_random(variable)}


def _is_random(variable: Variable) -> bool:
    """Whether it is the state of a random layer such as Dropout, whose name in Keras depends on earlier layers."""
    return bool(variable.name == "seed_generator_state")


def set_trainable(ssd: SSD, what: Literal["ssd", "all"] | int | Sequence[str], freeze_batch_norm: bool = False) -> None:
    """Sets the trainable layers. Frozen batch normalisation uses its moving statistics and does not update them.

    Args:
        ssd: the detector.
        what: `ssd` for all but the backbone, `all`, the number of last convolutions of the backbone
            to train with the SSD layers, or prefixes of layer names; the backbone's layers are named
            `backbone/layer`.
        freeze_batch_norm: freeze all batch normalisation as well.

    Raises:
        ParamError: no layer with weights has such a prefix, or the backbone has fewer convolutions.
    """
    own = {f"{ssd.backbone.name}/{layer.name}": layer for layer in ssd.backbone.layers}
    layers = {layer.name: layer for layer in ssd.network.layers if layer is not ssd.backbone} | own
    chosen = _chosen(ssd, what, layers, own)
    # Layer by layer: setting a model's flag to its present value does not reach its layers.
    ssd.network.trainable = ssd.backbone.trainable = True
    for name, layer in layers.items():
        fixed = freeze_batch_norm and isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = name in chosen and not fixed


def _chosen(
    ssd: SSD, what: Literal["ssd", "all"] | int | Sequence[str], layers: Mapping[str, Layer], own: Mapping[str, Layer]
) -> set[str]:
    """Names of the trainable layers; `own` are those of the backbone."""
    if what == "all":
        return set(layers)
    if what == "ssd":
        what = 0
    if isinstance(what, int):
        return (layers.keys() - own.keys()) | _last_convolutions(own, what, ssd.backbone.name)
    check_scopes(ssd, "trainable", what, [name for name, layer in layers.items() if layer.variables])
    return {name for name in layers if name.startswith(tuple(what))}


def _last_convolutions(own: Mapping[str, Layer], last: int, backbone: str) -> set[str]:
    """Names of the last convolutions of a backbone and of the layers after them."""
    names = list(own)
    kernels = [any(variable.name.endswith("kernel") for variable in layer.variables) for layer in own.values()]
    found = [index for index, has_kernel in enumerate(kernels) if has_kernel]
    if last > len(found):
        raise ParamError(
            f"trainable: the last {last} convolutions of {backbone} cannot be trained, it has {len(found)}; "
            "give fewer, or all"
        )
    return set(names[found[-last] :]) if last else set()


def synchronize_batch_norm(ssd: SSD, on: bool) -> None:
    """Sets whether batch normalisation synchronises statistics over replicas, from the next trace on."""
    for layer in (*ssd.network.layers, *ssd.backbone.layers):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = on


def check_scopes(ssd: SSD, key: str, scopes: Sequence[str], names: Sequence[str]) -> None:
    """Checks that each scope is a prefix of some name.

    Raises:
        ParamError: one is not; `key` is its parameter.
    """
    for scope in scopes:
        if not any(name.startswith(scope) for name in names):
            own = f"{ssd.backbone.name}/"
            known = dict.fromkeys(own if name.startswith(own) else name.partition("/")[0] for name in names)
            raise ParamError(f"{key}: no layer's name starts with {scope!r}; layers: {', '.join(known)}")
