"""The plugin contract as a test: an author calls `check_backbone` from a test of the plugin."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ssdcore.arg_scope import ArgScope
from ssdcore.backbones import Backbone
from ssdcore.errors import PluginError
from ssdcore.model import SSD, build_ssd
from ssdcore.model.loss import multibox_loss
from ssdcore.params import Loss, ModelParams, ParamSet, Stage, TrainParams
from ssdcore.params.presets import MODELS
from ssdcore.plugins import Plugins, load_plugins

DECAY = 0.25


def check_backbone(
    backbone: Backbone, plugins: Plugins | None = None, models: Sequence[str] = ("ssd300", "ssd512")
) -> None:
    """Checks that a backbone keeps the contract under each SSD model.

    Args:
        backbone: what to check.
        plugins: the installed plugins, this one among them; None loads them.
        models: SSD models it says it supports.

    Raises:
        PluginError: on the first fault, with what to change.
    """
    plugins = plugins or load_plugins()
    for model in models:
        params = _params(backbone, MODELS[model]())
        _check_base_net(backbone, params.model)
        ssd = build_ssd(params, ("one", "two"), plugins)
        _check_gradients(ssd)
        _check_evaluation_mode(ssd)


def _params(backbone: Backbone, model: ModelParams) -> ParamSet:
    return ParamSet(backbone=backbone.name, model=model, train=TrainParams(stages=(Stage(name="only", steps=1),)))


def _check_base_net(backbone: Backbone, model: ModelParams) -> None:
    """The base net's own duties: end points, no fully connected layers, arg scope applied."""
    scope = backbone.arg_scope(weight_decay=DECAY, data_format="channels_last")
    _require(isinstance(scope, ArgScope), backbone, f"arg_scope must give an ssdcore.ArgScope, not {scope!r}")
    inputs = keras.Input((*model.image_size, 3))
    net, end_points = backbone.base_net(inputs, scope)
    _require(bool(end_points), backbone, "base_net must give its end points by name")
    for name, tensor in {"net": net, **end_points}.items():
        _require(len(tensor.shape) == 4, backbone, f"{name} must be a map (B, H, W, C), not {tensor.shape}")
    network = keras.Model(inputs, [net, *end_points.values()])
    for layer in network.layers:
        dense = isinstance(layer, keras.layers.Dense)
        _require(not dense, backbone, f"{layer.name} is fully connected; end the base net before it")
    decayed = [variable for variable in network.trainable_variables if variable.regularizer is not None]
    _require(bool(decayed), backbone, "no kernel carries the arg scope's weight_decay; build layers by the scope")


def _check_gradients(ssd: SSD) -> None:
    """Every trainable variable learns, from finite numbers."""
    images = np.random.default_rng(0).uniform(0, 255, (2, *ssd.params.model.image_size, 3)).astype(np.float32)
    boxes = len(ssd.default_boxes)
    labels = np.random.default_rng(1).integers(0, 3, (2, boxes)).astype(np.int32)
    with tf.GradientTape() as tape:
        outputs = ssd.network(images, training=True)
        loss = multibox_loss(outputs["logits"], outputs["offsets"], labels, tf.ones((2, boxes, 4)), Loss())
        total = (loss.positive_classes + loss.negative_classes + loss.boxes) / loss.positives
    _require(bool(np.isfinite(total)), ssd, f"the loss of random pictures is {float(total)}")
    variables = ssd.network.trainable_variables
    for variable, gradient in zip(variables, tape.gradient(total, variables), strict=True):
        reached = gradient is not None and bool(np.all(np.isfinite(gradient)))
        _require(reached, ssd, f"no finite gradient reaches {variable.path}; is it behind the last feature layer?")


def _check_evaluation_mode(ssd: SSD) -> None:
    """In evaluation a picture's predictions do not depend on its neighbours, nor on the run."""
    images = np.random.default_rng(2).uniform(0, 255, (2, *ssd.params.model.image_size, 3)).astype(np.float32)
    together = ssd.network(images, training=False)["logits"][:1]
    alone = ssd.network(images[:1], training=False)["logits"]
    hint = "batch normalisation or dropout must follow the `training` argument"
    same = bool(np.allclose(together, alone, atol=1e-3))
    _require(same, ssd, f"predictions for a picture change with the other pictures of its batch; {hint}")


def _require(condition: bool, subject: Any, message: str) -> None:
    name = subject.name if isinstance(subject, Backbone) else subject.backbone.name
    if not condition:
        raise PluginError(f"backbone {name!r}: {message}")
