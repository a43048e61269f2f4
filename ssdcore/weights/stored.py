"""An opened weights file of any format."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssdcore.errors import CheckpointError
from ssdcore.params import ParamSet


@dataclass(frozen=True)
class StoredArray:
    """An array in a file, read on demand.

    Attributes:
        shape: as the file declares it.
        dtype: as the file declares it.
        read: reads the values.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[], NDArray[Any]]


@dataclass(frozen=True)
class WeightsFile:
    """An opened weights file.

    Attributes:
        path: the file, or the prefix of a TensorFlow checkpoint's files.
        format: `caffe`, `keras-applications`, `tf-slim`, `ssd-tensorflow`, `ssd-tensorflow-voc`,
            `modular-ssd-tensorflow` or `ssdcore`.
        arrays: its arrays by name.
        classes: class names of its detector, if the file has them.
        params: of its detector, if the file has them.
    """

    path: Path
    format: str
    arrays: Mapping[str, StoredArray]
    classes: tuple[str, ...] | None = None
    params: ParamSet | None = None

    def values(self, name: str) -> NDArray[Any]:
        """The values of one array.

        Raises:
            CheckpointError: they cannot be read.
        """
        try:
            return self.arrays[name].read()
        except Exception as error:  # libraries raise all kinds of errors on damaged contents
            reason = " ".join(str(error).split())
            raise CheckpointError(
                f"{self.path.absolute()} is damaged: {name} cannot be read ({reason:.200}); get the file again"
            ) from None

    def finite_values(self, name: str) -> NDArray[Any]:
        """The values of one array.

        Raises:
            CheckpointError: they cannot be read, or are not all finite.
        """
        values = self.values(name)
        bad = np.count_nonzero(~np.isfinite(values))
        if bad:
            raise CheckpointError(
                f"{self.path.absolute()}: {name} holds {bad} values that are NaN or infinite; use an earlier checkpoint"
            )
        return values


def check_declared_size(path: Path, arrays: Mapping[str, StoredArray], available: int) -> None:
    """Rejects arrays that declare more bytes than their file has, before allocating anything.

    Args:
        path: for the message.
        arrays: as the file declares them; none of these formats is compressed.
        available: size of the file or files, bytes.

    Raises:
        CheckpointError: naming the first such array.
    """
    for name, array in arrays.items():
        declared = math.prod(array.shape) * array.dtype.itemsize
        if min(array.shape, default=0) < 0 or declared > available:
            raise CheckpointError(
                f"{path.absolute()} is damaged: {name} declares the shape {array.shape}, {declared:,} bytes, in a "
                f"file of {available:,}; get the file again"
            )
