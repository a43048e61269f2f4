"""Builds an SSD detector from a param set: the only place that reads model parameters."""

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import keras
import numpy as np
from numpy.typing import NDArray

from ssdcore.contract.arg_scope import ArgScope, BatchNorm
from ssdcore.contract.backbones import Backbone
from ssdcore.contract.plugins import Plugins, load_plugins
from ssdcore.errors import ModelError, did_you_mean
from ssdcore.geometry.default_boxes import default_boxes_xyxy
from ssdcore.model.blocks import L2Normalize, Preprocess, attach_block, attach_head, join_predictions
from ssdcore.params import ModelParams, ParamSet
from ssdcore.params.class_names import check_class_names
from ssdcore.params.data import Resize
from ssdcore.types import Tensor

DATA_FORMAT = "channels_last"


@dataclass(frozen=True)
class SSD:
    """A detector's network and what decoding its predictions needs.

    Attributes:
        network: RGB images (B, H, W, 3) float32 0..255 at `model.image_size` ->
            {"logits": (B, A, C+1), "offsets": (B, A, 4)} float32; class 0 is background.
        backbone: the base net inside `network`, as a model of its own.
        default_boxes: (A, 4) float32 xyxy, normalised.
        feature_maps: (name, (height, width)) of each prediction layer, finest first.
        classes: names of classes 1..C.
        model: how the network was built; images are brought to `model.image_size` as `resize` says.
        resize: how images of other sizes and shapes are resized.
    """

    network: keras.Model
    backbone: keras.Model
    default_boxes: NDArray[np.float32]
    feature_maps: tuple[tuple[str, tuple[int, int]], ...]
    classes: tuple[str, ...]
    model: ModelParams
    resize: Resize


def build_ssd(
    params: ParamSet, classes: Sequence[str], plugins: Plugins | None = None, precision: str = "float32"
) -> SSD:
    """Builds a detector with random weights.

    Weights, their names, images and predictions are float32 and the same in every precision.

    Args:
        params: what to build.
        classes: names of the classes, without background.
        plugins: where the backbone comes from; None: the installed ones.
        precision: Keras dtype policy of the computation: `float32`, `mixed_bfloat16` or `mixed_float16`.

    Raises:
        PluginError: the backbone is not installed.
        ParamError: `classes` are not names that differ.
        ModelError: its feature layers are unknown, or their sizes do not fit the SSD model; or Keras
            does not run on TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise ModelError(f"Keras runs on {keras.backend.backend()}; set KERAS_BACKEND=tensorflow")
    classes = check_class_names(classes)
    # A dropped network is a reference cycle of a few thousand objects, too few for Python to collect it soon, which
    # hold 100 MB of tensors that Python does not count.
    gc.collect()
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        return _build(params, classes, plugins or load_plugins())
    finally:
        keras.config.set_dtype_policy(before)


def _build(params: ParamSet, classes: tuple[str, ...], plugins: Plugins) -> SSD:
    model = params.model
    backbone = plugins.backbone(params.backbone)
    images = keras.Input((*model.image_size, 3), name="images")
    layer_names = model.feature_layers or plugins.feature_layers(backbone.name, model.name)
    base_net = build_base_net(backbone, params, layer_names)
    net, *features = base_net(Preprocess(model.preprocessing or backbone.preprocessing, name="preprocess")(images))
    norm = BatchNorm(**model.block_norm.model_dump()) if model.block_norm else None
    scope = _with_momentum(ArgScope(model.weight_decay, DATA_FORMAT, norm=norm), model.norm_momentum)
    maps = _prediction_layers(net, dict(zip(layer_names, features, strict=True)), model, scope)
    feature_maps = tuple((name, tuple(one.shape[1:3])) for name, one in maps.items())
    _check_feature_maps(feature_maps, model, backbone.name)
    outputs = _predict(maps, len(classes) + 1, model, scope)
    boxes = default_boxes_xyxy(model.default_boxes, model.image_size, [size for _, size in feature_maps])
    network = keras.Model(images, outputs, name=model.name)
    return SSD(network, base_net, boxes, feature_maps, classes, model, params.data.resize)


def build_base_net(backbone: Backbone, params: ParamSet, end_points: Sequence[str]) -> keras.Model:
    """The base net as a model named after the backbone, with outputs [net, *end_points].

    Raises:
        ModelError: no end points are named, or the base net does not have one of them.
    """
    model = params.model
    if not end_points:
        raise ModelError(
            f"no plugin says which end points of {backbone.name!r} feed the SSD model {model.name!r}; implement "
            "ssdcore_feature_layers for it, or set model.feature_layers"
        )
    inputs = keras.Input((*model.image_size, 3))
    scope = backbone.arg_scope(weight_decay=model.weight_decay, data_format=DATA_FORMAT)
    net, found = backbone.base_net(inputs, _with_momentum(scope, model.norm_momentum))
    for name in end_points:
        if name not in found:
            raise ModelError(f"backbone {backbone.name!r} has no end point {name!r}; {did_you_mean(name, found)}")
    return keras.Model(inputs, [net, *(found[name] for name in end_points)], name=backbone.name)


def _with_momentum(scope: ArgScope, momentum: float | None) -> ArgScope:
    if scope.norm is None or momentum is None:
        return scope
    return scope.override(norm=replace(scope.norm, momentum=momentum))


def _prediction_layers(
    net: Tensor, features: dict[str, Tensor], model: ModelParams, scope: ArgScope
) -> dict[str, Tensor]:
    """The feature maps of all prediction layers by name: the backbone's feature layers, then SSD blocks."""
    wanted = len(model.default_boxes.min_sizes)
    missing = wanted - len(features)
    if not 0 <= missing <= len(model.blocks):
        raise ModelError(
            f"{model.name} has {wanted} prediction layers; the backbone feeds {len(features)} of them "
            f"({', '.join(features)}) and model.blocks has {len(model.blocks)} blocks for the other {missing}"
        )
    maps = dict(features)
    if model.l2_norm_scale is not None:
        first = next(iter(maps))
        maps[first] = L2Normalize(model.l2_norm_scale, name=f"{first}_norm")(maps[first])
    for block in model.blocks[len(model.blocks) - missing :]:
        try:
            net = attach_block(net, block, scope)
        except ValueError as error:
            raise ModelError(
                f"{block.name} does not fit after a map of {net.shape[1]}x{net.shape[2]}: "
                f"{' '.join(str(error).split())}; choose a larger model.image_size or fewer blocks"
            ) from None
        maps[block.name] = net
    return maps


def _check_feature_maps(found: Sequence[tuple[str, tuple[int, int]]], model: ModelParams, backbone: str) -> None:
    """Refuses other sizes than the model's, and steps of another image size: their boxes would not cover the image."""
    sizes = [size for _, size in found]
    if model.feature_maps is not None and sizes != [(side, side) for side in model.feature_maps]:
        got = ", ".join(f"{name} {height}x{width}" for name, (height, width) in found)
        raise ModelError(
            f"{model.name} wants prediction layers of {', '.join(map(str, model.feature_maps))} cells; "
            f"{backbone} at {model.image_size[0]}x{model.image_size[1]} px gives {got}; choose other "
            "feature layers, or set model.feature_maps=null and model.default_boxes.steps=null to accept these"
        )
    for (name, size), step in zip(found, model.default_boxes.steps or (), strict=False):
        for cells, side in zip(size, model.image_size, strict=True):
            if abs(cells * step - side) > step:
                raise ModelError(
                    f"{name} has {cells} cells, which at a step of {step:g} px cover {cells * step:g} of {side} px; "
                    "set model.default_boxes.steps=null, and sizes that suit the image"
                )


def _predict(maps: Mapping[str, Tensor], num_classes: int, model: ModelParams, scope: ArgScope) -> dict[str, Tensor]:
    logits, offsets = [], []
    for (name, one), boxes in zip(maps.items(), model.default_boxes.boxes_per_cell(), strict=True):
        logits.append(attach_head(one, boxes * num_classes, model.head, scope, f"{name}_logits"))
        offsets.append(attach_head(one, boxes * 4, model.head, scope, f"{name}_offsets"))
    return {
        "logits": join_predictions(logits, num_classes, "logits"),
        "offsets": join_predictions(offsets, 4, "offsets"),
    }
