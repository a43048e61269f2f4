"""Which precision the arithmetic of training gains by, from what the device can do."""

from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from ssdcore.params.train import Precision

CPU_INFO = Path("/proc/cpuinfo")
CPU_BFLOAT16 = {"avx512_bf16", "amx_bf16"}


def choose_precision(wanted: Precision, network: keras.Model) -> str:
    """The Keras dtype policy that `wanted` asks for; `auto` looks at this machine and at the network.

    Args:
        wanted: `train.precision`.
        network: the network to train, built in any precision.
    """
    if wanted != "auto":
        return wanted
    details = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.get_visible_devices("GPU")]
    capabilities = [tuple(one.get("compute_capability", (0, 0))) for one in details]
    return best_precision(capabilities, cpu_flags(), depthwise=has_depthwise(network))


def best_precision(capabilities: Sequence[tuple[int, ...]], flags: set[str], *, depthwise: bool) -> str:
    """A Keras dtype policy for a machine.

    Args:
        capabilities: CUDA compute capability of each GPU, such as (8, 6); the least of them counts.
        flags: of the CPU, which counts if there is no GPU.
        depthwise: whether the network has depthwise convolutions, which gain nothing on a CPU.
    """
    if capabilities:
        generation = min(capabilities)[0]
        return "mixed_bfloat16" if generation >= 8 else "mixed_float16" if generation == 7 else "float32"
    return "mixed_bfloat16" if flags & CPU_BFLOAT16 and not depthwise else "float32"


def cpu_flags(info: Path = CPU_INFO) -> set[str]:
    """What Linux says that the first CPU can do; nothing where it does not say."""
    try:
        lines = info.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    found = (line.partition(":")[2].split() for line in lines if line.startswith("flags"))
    return set(next(found, ()))


def has_depthwise(network: keras.Model) -> bool:
    """Whether any layer of a network, or of a model inside it, is a depthwise convolution."""
    kinds = (keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)
    return any(
        has_depthwise(layer) if isinstance(layer, keras.Model) else isinstance(layer, kinds) for layer in network.layers
    )
