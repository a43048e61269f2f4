"""What a backbone owes the core, one function each; every message says what to change."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from ssdcore.checkpoint import load_checkpoint, restore_model, save_checkpoint
from ssdcore.model.end_points import describe_end_points
from ssdcore.model.loss import multibox_loss
from ssdcore.params import Loss, Preprocessing
from ssdcore.plugins import DISABLE_VARIABLE
from ssdcore.testing.subject import CLASSES, DECAY, Subject, require

_RESCALING = (keras.layers.Rescaling, keras.layers.Normalization)
_PYTHON_OPS = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}
_IMPORT = "import sys; from ssdcore.plugins import load_plugins; load_plugins(); print('tensorflow' in sys.modules)"


def import_is_light(subject: Subject) -> None:
    """Importing the plugin leaves TensorFlow alone."""
    provider = subject.plugins.providers.get(subject.backbone.name)
    if provider is None:  # not installed, as in a test of a backbone by itself
        return
    others = ",".join(name for name in subject.plugins.plugins if name != provider.name)
    environment = {**os.environ, DISABLE_VARIABLE: others}
    # Output, not the exit code: the loader itself refuses the plugin where it comes first.
    done = subprocess.run([sys.executable, "-c", _IMPORT], env=environment, capture_output=True, text=True, check=False)
    require(
        done.stdout.strip() == "False",
        f"importing {provider.distribution} imports TensorFlow; import it inside the functions that use it",
    )


def base_net_gives_maps(subject: Subject) -> None:
    """`base_net(inputs, scope)` gives `(net, end_points)`, all maps (B, H, W, C)."""
    _, net, end_points = subject.base_net
    require(bool(end_points), "base_net must give its end points by name; it gave none")
    for name, tensor in {"net": net, **end_points}.items():
        shape = tuple(tensor.shape)
        require(len(shape) == 4, f"{name} must be a map (B, H, W, C), not {shape}")
        last = len(shape) == 4 and shape[1] == shape[2]
        require(last, f"{name} is {shape}, not (B, H, W, C): a square picture must give a square map, channels last")


def convolutional_only(subject: Subject) -> None:
    """No fully connected layer is left in."""
    for layer in subject.network.layers:
        # On a map a dense layer is a 1x1 convolution.
        flat = isinstance(layer, keras.layers.Dense) and len(layer.input.shape) < 4
        require(
            not flat and not isinstance(layer, keras.layers.Flatten),
            f"{layer.name} is fully connected; end the base net before it",
        )


def scope_is_applied(subject: Subject) -> None:
    """Every convolution carries the arg scope's weight decay, and the scope the data format it was asked for."""
    for data_format in ("channels_last", "channels_first"):
        found = subject.backbone.arg_scope(weight_decay=DECAY, data_format=data_format)
        told = (found.weight_decay, found.data_format) == (DECAY, data_format)
        require(told, f"arg_scope(weight_decay={DECAY}, data_format={data_format!r}) gave {found!r}; pass both on")
    convolutions = [layer for layer in subject.network.layers if isinstance(layer, keras.layers.Conv2D)]
    require(bool(convolutions), "the base net has no convolutions")
    for layer in convolutions:
        if layer.groups == layer.filters:  # depthwise ones are left out, as in MobileNet's own training
            continue
        wanted = DECAY / 2 * float(np.square(layer.kernel.numpy()).sum())
        require(
            bool(np.isclose(float(sum(layer.losses)), wanted, rtol=1e-3)),
            f"the kernel of {layer.name} does not carry the arg scope's weight_decay; build layers by the scope, or "
            "give them kernel_regularizer=keras.regularizers.L2(scope.weight_decay / 2)",
        )


def preprocessing_is_plausible(subject: Subject) -> None:
    """Pixels from 0 to 255 become the numbers that networks are trained on."""
    stated = subject.backbone.preprocessing
    require(
        not any(0 < mean < 1.5 for mean in stated.mean),
        f"preprocessing.mean {stated.mean} is for pictures from 0 to 1; they come from 0 to 255: multiply it by 255",
    )
    scale = np.broadcast_to(np.asarray(stated.scale, np.float64), (3,))
    ends = [(value - np.asarray(stated.mean)) * scale for value in (0.0, 255.0)]
    low, high = float(np.min(ends[0])), float(np.max(ends[1]))
    require(
        high - low > 0.9 and max(-low, high) <= 256,
        f"preprocessing makes {low:.3g} to {high:.3g} of pixels from 0 to 255; networks are trained on 0 to 1, -1 to "
        "1, about -2.5 to 2.5, or 0 to 255 less a mean: state what the weights were trained with",
    )
    twice = [layer.name for layer in subject.network.layers if isinstance(layer, _RESCALING)]
    require(
        not twice or stated == Preprocessing(),
        f"{', '.join(twice)} in the base net scales pictures that preprocessing has scaled already; keep one of both",
    )


def feature_layers_fit(subject: Subject) -> None:
    """The feature layers exist and have the sizes that each SSD model wants."""
    for model in subject.models.values():
        subject.build(model)


def other_sizes_follow(subject: Subject) -> None:
    """At an odd and oblong size each map has a cell for every begun stride, as TensorFlow's SAME padding has."""
    model = subject.smallest
    size = (model.image_size[0] + 21, model.image_size[1] + 37)
    free = model.model_copy(
        update={
            "image_size": size,
            "feature_maps": None,
            "default_boxes": model.default_boxes.model_copy(update={"steps": None}),
        }
    )
    inputs, _, end_points = subject.base_net
    strides = {one.name: one.stride for one in describe_end_points(inputs, end_points)}
    found = dict(subject.build(free).feature_maps)
    for name in subject.plugins.feature_layers(subject.backbone.name, model.name):
        stride = strides[name]
        wanted = tuple(-(-side // stride) for side in size)
        require(
            found[name] == wanted,
            f"{name} has {found[name][0]}x{found[name][1]} cells for {size[0]}x{size[1]} px; a stride of {stride} "
            f"with TensorFlow's SAME padding gives {wanted[0]}x{wanted[1]}: pad by the size of the map",
        )


def gradients_reach_everything(subject: Subject) -> None:
    """Every trainable variable learns, from finite numbers."""
    network, boxes = subject.ssd.network, len(subject.ssd.default_boxes)
    labels = np.random.default_rng(1).integers(0, len(CLASSES) + 1, (2, boxes)).astype(np.int32)
    with tf.GradientTape() as tape:
        outputs = network(subject.pictures(2), training=True)
        loss = multibox_loss(outputs["logits"], outputs["offsets"], labels, tf.ones((2, boxes, 4)), Loss())
        total = (loss.positive_classes + loss.negative_classes + loss.boxes) / loss.positives
    require(bool(np.isfinite(total)), f"the loss of random pictures is {float(total)}")
    variables = network.trainable_variables
    for variable, gradient in zip(variables, tape.gradient(total, variables), strict=True):
        reached = gradient is not None and bool(np.all(np.isfinite(gradient)))
        require(reached, f"no finite gradient reaches {variable.path}; is it behind the last feature layer?")


def evaluation_is_still(subject: Subject) -> None:
    """In evaluation nothing moves, nothing is random, and a picture's neighbours do not matter."""
    pictures = subject.pictures(2)
    before = [variable.numpy() for variable in subject.ssd.network.non_trainable_variables]
    together, again = subject.logits(pictures), subject.logits(pictures)
    after = subject.ssd.network.non_trainable_variables
    moved = [one.path for value, one in zip(before, after, strict=True) if not _same(value, one.numpy())]
    hint = "batch normalisation and dropout must follow the `training` argument"
    require(not moved, f"evaluation changes {', '.join(moved[:3])}; {hint}")
    require(_same(together, again), f"two evaluations of the same pictures differ; {hint}, and nothing may be random")
    alone = subject.logits(pictures[:1])
    same = bool(np.allclose(together[:1], alone, atol=1e-3))
    require(same, f"predictions for a picture change with the other pictures of its batch; {hint}")


def save_and_load_give_the_same(subject: Subject) -> None:
    """A detector saved and built anew predicts the same: all that it knows is in its variables."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "saved.npz"
        save_checkpoint(path, subject.ssd)
        loaded = restore_model(load_checkpoint(path), subject.plugins)
    pictures = subject.pictures(1)
    found = loaded.network(pictures, training=False)["logits"].numpy()
    require(
        bool(np.allclose(subject.logits(pictures), found, atol=1e-4)),
        "a saved and loaded detector predicts something else; keep all that a layer knows in variables "
        "(add_weight), and let base_net build the same layers, by the same names, each time",
    )


def exports_to_a_graph(subject: Subject) -> None:
    """A frozen graph, which holds no Python, predicts the same."""
    network = subject.ssd.network
    picture = tf.TensorSpec((1, *subject.smallest.image_size, 3), tf.float32)
    function = tf.function(lambda pictures: network(pictures, training=False)["logits"]).get_concrete_function(picture)
    _refuse_python(function.graph.as_graph_def())
    frozen = convert_variables_to_constants_v2(function)
    pictures = subject.pictures(1)
    found = frozen(tf.constant(pictures))[0].numpy()
    same = bool(np.allclose(subject.logits(pictures), found, atol=1e-3))
    require(same, "as a frozen graph it predicts something else; build it from Keras layers and operations only")


def _refuse_python(graph: Any) -> None:
    nodes: Iterable[Any] = [*graph.node, *(node for one in graph.library.function for node in one.node_def)]
    python = sorted({node.name for node in nodes if node.op in _PYTHON_OPS})
    require(
        not python,
        f"{', '.join(python[:3])} calls Python, which no exported model can; use Keras layers and operations",
    )


def _same(one: Any, other: Any) -> bool:
    return bool(np.array_equal(one, other))
