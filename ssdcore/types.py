"""Names for types that annotations of several rooms share."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tensor = Any
"""A `tf.Tensor` or Keras tensor; TensorFlow ships no complete types."""

Image = NDArray[np.uint8]
"""An image in memory, (H, W, 3) uint8 RGB."""

OnProgress = Callable[[int, int], None]
"""Called with the number of items done and the number of all."""
