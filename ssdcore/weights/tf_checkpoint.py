"""Reads TensorFlow checkpoints, of TensorFlow 1 (both versions) and 2, by their variables' names."""

from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from ssdcore.errors import CheckpointError
from ssdcore.weights.stored import StoredArray, check_declared_size

_TABLE_MAGIC = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"
"""Last bytes of a version 1 checkpoint, which is a single table file."""


def find_tf_checkpoint(path: Path) -> Path | None:
    """The prefix of the TensorFlow checkpoint that a user means by a folder or one of its files."""
    if path.is_dir():
        latest = tf.train.latest_checkpoint(str(path))
        prefixes = [latest] if latest else [file.with_suffix("") for file in path.glob("*.index")]
        return Path(prefixes[0]) if len(prefixes) == 1 else None
    for prefix in (path, path.with_suffix("")):
        if prefix.with_name(prefix.name + ".index").is_file():
            return prefix
    return path if path.is_file() and _ends_as_table(path) else None


def _ends_as_table(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(_TABLE_MAGIC)))
        return file.read() == _TABLE_MAGIC


def read_tf_checkpoint(prefix: Path) -> dict[str, StoredArray]:
    """The floating-point variables of a checkpoint by name; step counters are left out.

    Args:
        prefix: as given to TensorFlow, without `.index`.

    Raises:
        CheckpointError: a file is missing or damaged.
    """
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"{prefix.absolute()} is no readable TensorFlow checkpoint: {reason:.200}; get all of its files again"
        ) from None
    arrays = {
        name: StoredArray(tuple(shape), np.dtype(dtypes[name].as_numpy_dtype), partial(reader.get_tensor, name))
        for name, shape in sorted(shapes.items())
        if dtypes[name].is_floating
    }
    check_declared_size(prefix, arrays, _size(prefix))
    return arrays


def _size(prefix: Path) -> int:
    """Bytes of all files of a checkpoint."""
    files = [prefix] if prefix.is_file() else prefix.parent.glob(f"{prefix.name}.data-*")
    return sum(file.stat().st_size for file in files)
