"""The arithmetic of training: the precision that suits the device, and loss scaling for float16."""

from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from ssdcore.params.train import Precision
from ssdcore.types import Tensor

CPU_INFO = Path("/proc/cpuinfo")
CPU_BFLOAT16 = {"avx512_bf16", "amx_bf16"}
FIRST_SCALE, GROWTH_STEPS = 2.0**15, 2000


def choose_precision(precision: Precision, network: keras.Model) -> str:
    """The Keras dtype policy for a precision; `auto` chooses by this machine and the network.

    Args:
        precision: `train.precision`.
        network: the network to train, built in any precision.
    """
    if precision != "auto":
        return precision
    details = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.get_visible_devices("GPU")]
    capabilities = [tuple(one.get("compute_capability", (0, 0))) for one in details]
    return best_precision(capabilities, cpu_flags(), depthwise=has_depthwise(network))


def best_precision(capabilities: Sequence[tuple[int, ...]], flags: set[str], *, depthwise: bool) -> str:
    """A Keras dtype policy for a machine.

    Args:
        capabilities: CUDA compute capability of each GPU, such as (8, 6); the least of them decides.
        flags: of the CPU, used if there is no GPU.
        depthwise: whether the network has depthwise convolutions, which bfloat16 does not speed up on a CPU.
    """
    if capabilities:
        generation = min(capabilities)[0]
        return "mixed_bfloat16" if generation >= 8 else "mixed_float16" if generation == 7 else "float32"
    return "mixed_bfloat16" if flags & CPU_BFLOAT16 and not depthwise else "float32"


def cpu_flags(info: Path = CPU_INFO) -> set[str]:
    """The feature flags of the first CPU, as Linux lists them; empty on other systems."""
    try:
        lines = info.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    flags = (line.partition(":")[2].split() for line in lines if line.startswith("flags"))
    return set(next(flags, ()))


def has_depthwise(network: keras.Model) -> bool:
    """Whether any layer of a network, or of a model inside it, is a depthwise convolution."""
    kinds = (keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)
    return any(
        has_depthwise(layer) if isinstance(layer, keras.Model) else isinstance(layer, kinds) for layer in network.layers
    )


class LossScale:
    """Dynamic loss scaling, which keeps small gradients from underflowing in float16.

    The scale halves when gradients overflow and doubles after 2,000 steps without an overflow (Micikevicius
    et al., arXiv:1710.03740, section 3.2). Make it inside the scope of the strategy.

    Attributes:
        state: the variables that a checkpoint needs.
    """

    def __init__(self) -> None:
        self._scale = tf.Variable(FIRST_SCALE, trainable=False)
        self._good_steps = tf.Variable(0.0, trainable=False)
        self.state = {"scale": self._scale, "good_steps": self._good_steps}

    @property
    def value(self) -> Tensor:
        """The factor, scalar float32."""
        return self._scale.value()

    def adapt(self, finite: Tensor, norm: Tensor, loss: Tensor) -> tuple[Tensor, Tensor]:
        """Adapts the scale after a step; call it in a replica context.

        Args:
            finite: whether loss and gradient were finite.
            norm: of the unscaled gradient.
            loss: before scaling.

        Returns:
            whether the step counts as non-finite, which a mere overflow does not, and the norm to report, 0 for
            an overflow.
        """
        non_finite = ~tf.math.is_finite(loss) | (~finite & (self.value <= 1.0))
        good = tf.where(finite, self._good_steps + 1.0, 0.0)
        grows = good >= GROWTH_STEPS
        factor = tf.where(finite, tf.where(grows, 2.0, 1.0), 0.5)
        self._scale.assign(tf.maximum(self._scale * factor, 1.0))
        self._good_steps.assign(tf.where(grows, 0.0, good))
        return non_finite, tf.where(finite | non_finite, norm, 0.0)
