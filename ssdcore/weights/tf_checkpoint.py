"""Reads TensorFlow checkpoints, of TensorFlow 1 (both versions) and 2, by their variables' names."""

import re
from functools import partial
from glob import escape
from pathlib import Path

import numpy as np
import tensorflow as tf

from ssdcore.errors import CheckpointError
from ssdcore.weights.stored import StoredArray, check_declared_size

_PART = re.compile(r"\.(index|meta|data-\d+-of-\d+)$")
"""Suffixes of a checkpoint's files."""

_TABLE_MAGIC = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"
"""Last bytes of a version 1 checkpoint, which is a single table file."""


def find_tf_checkpoint(path: Path) -> Path | None:
    """The prefix of a TensorFlow checkpoint, given its folder, its prefix or one of its files; None if it is none.

    Raises:
        CheckpointError: the folder holds several, or the file's `.index` is missing.
    """
    if path.is_dir():
        return _only_checkpoint(path)
    prefix = path.with_name(_PART.sub("", path.name))
    if prefix.with_name(prefix.name + ".index").is_file():
        return prefix
    if prefix != path:
        raise CheckpointError(f"{prefix.absolute()}.index is missing; a checkpoint needs it and its .data files")
    return path if path.is_file() and _ends_as_table(path) else None


def _only_checkpoint(folder: Path) -> Path | None:
    """The latest checkpoint of a folder by its state file, else the only one in it."""
    try:
        latest = tf.train.latest_checkpoint(str(folder))
    except (UnicodeDecodeError, tf.errors.OpError):  # another file named `checkpoint`
        latest = None
    if latest:
        return Path(latest)
    files = sorted(file for file in folder.iterdir() if file.is_file())
    found = [file.with_suffix("") for file in files if file.suffix == ".index"]
    found += [file for file in files if file.suffix != ".index" and _ends_as_table(file)]  # an index is a table too
    if len(found) > 1:
        names = ", ".join(file.name for file in found[:5])
        raise CheckpointError(f"{folder.absolute()} holds several checkpoints ({names}); give one of them")
    return found[0] if found else None


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
    files = [prefix] if prefix.is_file() else prefix.parent.glob(f"{escape(prefix.name)}.data-*")
    check_declared_size(prefix, arrays, sum(file.stat().st_size for file in files))
    return arrays
