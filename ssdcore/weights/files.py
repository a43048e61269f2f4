"""Opens a weights file of any known format."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ssdcore.errors import CheckpointError
from ssdcore.runs.checkpoint import load_checkpoint
from ssdcore.runs.run_folder import find_checkpoint
from ssdcore.weights.caffe import read_caffe
from ssdcore.weights.keras_h5 import read_keras_h5
from ssdcore.weights.stored import StoredArray, WeightsFile
from ssdcore.weights.tf_checkpoint import find_tf_checkpoint, read_tf_checkpoint

TF_FORMATS = {
    "modular-ssd-tensorflow": r"bbox_layers/|ssd(300|512)/",
    "ssd-tensorflow": r"ssd_(300|512)_vgg/conv1/",
    "ssd-tensorflow-voc": r"ssd_300_vgg/",
    "tf-slim": "",
}
"""TensorFlow projects -> prefix of a variable's name that only they have, in order of precedence."""

_HDF5, _ZIP = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"


def open_weights(path: Path, format: str = "auto") -> WeightsFile:
    """Opens a weights file; see `WeightsFile`.

    Args:
        path: a `.caffemodel`, a Keras `.h5`, a TensorFlow checkpoint (its prefix, its folder or one
            of its files), or a checkpoint or run folder of ours.
        format: of the file; `auto` detects it.

    Raises:
        CheckpointError: there is no such file, it is damaged, or it is of another format.
    """
    file = _open(path)
    if format in ("auto", file.format):
        return file
    if format in TF_FORMATS and file.format in TF_FORMATS:
        return replace(file, format=format)
    raise CheckpointError(f"{path.absolute()} is a {file.format} file, not {format}; give the right format, or auto")


def _open(path: Path) -> WeightsFile:
    prefix = find_tf_checkpoint(path)
    if prefix is not None:
        arrays = read_tf_checkpoint(prefix)
        form = next(form for form, start in TF_FORMATS.items() if any(re.match(start, name) for name in arrays))
        return WeightsFile(prefix, form, arrays)
    if path.is_dir():
        return _open_own(path)
    try:
        with path.open("rb") as file:
            start = file.read(len(_HDF5))
    except FileNotFoundError:
        raise CheckpointError(f"there is no weights file {path.absolute()}") from None
    if start == _HDF5:
        return WeightsFile(path, "keras-applications", read_keras_h5(path))
    if start.startswith(_ZIP):
        return _open_own(path)
    return WeightsFile(path, "caffe", read_caffe(path))


def _open_own(path: Path) -> WeightsFile:
    checkpoint = load_checkpoint(find_checkpoint(path))
    arrays = {
        name: StoredArray(values.shape, values.dtype, partial(np.asarray, values))
        for name, values in checkpoint.weights().items()
        if values.dtype.kind == "f"
    }
    return WeightsFile(checkpoint.path, "ssdcore", arrays, checkpoint.classes, checkpoint.params)
