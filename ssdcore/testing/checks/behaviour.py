"""Checks of a detector on a base net: building, training, inference, saving, export."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ssdcore.errors import PluginError
from ssdcore.model.loss import multibox_loss
from ssdcore.params import Loss
from ssdcore.runs.checkpoint import load_checkpoint, restore_model, save_checkpoint
from ssdcore.testing import subprocesses
from ssdcore.testing.subject import CLASSES, Subject, require
from ssdcore.testing.subprocesses import last_line, logits, run_python

_MEASURED = 512
_PYTHON_OPS = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}


def feature_layers_fit(subject: Subject) -> None:
    """The feature layers exist and have the sizes that each SSD model needs."""
    for model in subject.models.values():
        if model is subject.smallest:
            _ = subject.ssd
        else:
            subject.build(model)


def other_sizes_follow(subject: Subject) -> None:
    """At an odd, oblong image size each map has size / stride cells, rounded up, as with TensorFlow's SAME padding."""
    _, model = subject.ssd, subject.smallest  # a detector that cannot be built is reported by feature_layers_fit
    size = (model.image_size[0] + 21, model.image_size[1] + 37)
    boxes = model.default_boxes.model_copy(update={"steps": None})
    free = model.model_copy(update={"image_size": size, "feature_maps": None, "default_boxes": boxes})
    found = dict(subject.build(free).feature_maps)
    _, _, end_points = subject.make_base_net(_MEASURED, subject.scope)
    for name in subject.plugins.feature_layers(subject.backbone.name, model.name):
        # A side that every stride divides shows the stride.
        stride = _MEASURED // end_points[name].shape[1]
        wanted = tuple(-(-side // stride) for side in size)
        require(
            found[name] == wanted,
            f"{name} has {found[name][0]}x{found[name][1]} cells for {size[0]}x{size[1]} px; a stride of {stride} "
            f"with TensorFlow's SAME padding gives {wanted[0]}x{wanted[1]}: pad by the size of the map",
        )


def mixed_precision_fits(subject: Subject) -> None:
    """The base net can be built with layers that compute in bfloat16."""
    _ = subject.ssd  # a detector that cannot be built in float32 is reported by feature_layers_fit
    try:
        subject.build(subject.smallest, "mixed_bfloat16")
    except Exception as error:  # a plugin may raise anything
        raise PluginError(
            f"it cannot be built in mixed_bfloat16 ({type(error).__name__}: {' '.join(str(error).split()):.400}); cast "
            "constants to the layer's compute_dtype"
        ) from error


def gradients_reach_everything(subject: Subject) -> None:
    """A finite gradient reaches every trainable variable."""
    network, boxes = subject.ssd.network, len(subject.ssd.default_boxes)
    labels = np.random.default_rng(1).integers(0, len(CLASSES) + 1, (2, boxes)).astype(np.int32)
    with tf.GradientTape() as tape:
        outputs = network(subject.images(2), training=True)
        loss = multibox_loss(outputs["logits"], outputs["offsets"], labels, tf.ones((2, boxes, 4)), Loss())
        total = (loss.positive_classes + loss.negative_classes + loss.boxes) / loss.positives
    require(bool(np.isfinite(total)), f"the loss of random images is {float(total)}")
    variables = network.trainable_variables
    for variable, gradient in zip(variables, tape.gradient(total, variables), strict=True):
        # The gradient of an embedding table is sparse.
        reached = gradient is not None and bool(np.all(np.isfinite(tf.convert_to_tensor(gradient))))
        require(reached, f"no finite gradient reaches {variable.path}; does it come after the last feature layer?")


def evaluation_is_still(subject: Subject) -> None:
    """Inference is deterministic, stateless and independent of the rest of the batch."""
    images = subject.images(2)
    before = [variable.numpy() for variable in subject.ssd.network.non_trainable_variables]
    together, again = subject.logits(images), subject.logits(images)
    after = subject.ssd.network.non_trainable_variables
    moved = [one.path for value, one in zip(before, after, strict=True) if not np.array_equal(value, one.numpy())]
    hint = "batch normalisation and dropout must follow the `training` argument"
    require(not moved, f"inference changes {', '.join(moved[:3])}; {hint}")
    require(
        np.array_equal(together, again),
        f"two inferences of the same images differ; {hint}, and nothing may be random in inference",
    )
    same = close(together[:1], subject.logits(images[:1]))
    require(same, f"predictions for an image change with the other images of its batch; {hint}")


def save_and_load_give_the_same(subject: Subject) -> None:
    """A detector saved and restored in a subprocess predicts the same: its state is in its variables."""
    images = subject.images(1)
    wanted = subject.logits(images)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "saved.npz"
        save_checkpoint(path, subject.ssd, subject.params(subject.smallest))
        if subject.backbone.name in subject.plugins.providers:
            found = _predicted_in_subprocess(path, images)
        else:  # another process would not know it
            found = logits(restore_model(load_checkpoint(path), subject.plugins), images)
    require(
        close(wanted, found),
        "a saved and restored detector predicts something else; keep all state of a layer in variables (add_weight), "
        "and let base_net build the same layers, with the same names and in the same order, in every process: the "
        "order of a set differs between processes",
    )


def _predicted_in_subprocess(saved: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits of a saved detector in a subprocess in which sets have another order."""
    given, answer = saved.with_name("images.npy"), saved.with_name("logits.npy")
    np.save(given, images)
    other_seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    paths = [str(path) for path in (saved, given, answer)]
    done = run_python(["-m", subprocesses.__name__, *paths], {"PYTHONHASHSEED": other_seed})
    if done.returncode:
        raise PluginError(
            f"a subprocess cannot load the saved detector ({last_line(done.stderr):.500}); let base_net build the "
            "same layers with the same names in every process: no process id, time or order of a set in them"
        )
    found: NDArray[np.float32] = np.load(answer)
    return found


def exports_to_a_graph(subject: Subject) -> None:
    """A SavedModel, without Python code, predicts the same."""
    network = subject.ssd.network
    image = tf.TensorSpec((1, *subject.smallest.image_size, 3), tf.float32)
    module = tf.Module()
    module.held = [variable.value for variable in network.variables]
    module.predict = tf.function(lambda images: network(images, training=False)["logits"], input_signature=[image])
    graph = module.predict.get_concrete_function().graph.as_graph_def()
    nodes: Iterable[Any] = (*graph.node, *(node for one in graph.library.function for node in one.node_def))
    python = ", ".join(sorted({node.name for node in nodes if node.op in _PYTHON_OPS})[:3])
    require(not python, f"{python} calls Python, which exported models cannot; use Keras layers and operations")
    images = subject.images(1)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder)
        exported = tf.saved_model.load(folder)  # holds the variables
        found = exported.predict(tf.constant(images)).numpy()
    same = close(subject.logits(images), found)
    require(same, "the SavedModel predicts something else; build the base net from Keras layers and operations only")


def close(wanted: NDArray[np.float32], found: NDArray[np.float32]) -> bool:
    """Whether logits are equal up to rounding, relative to the largest of them."""
    return bool(np.allclose(found, wanted, rtol=1e-3, atol=1e-3 * float(np.abs(wanted).max())))
