"""What an evaluation may take of the machine; set before TensorFlow is loaded."""

import os
import threading
import time
from pathlib import Path

from ssdcli.options import quiet_tensorflow
from ssdcore.errors import ParamError

_USED = Path("/proc/self/statm")
PAUSE = 0.1
FAILED = 1


def be_modest() -> None:
    """Lets every other process go first."""
    if hasattr(os, "nice"):
        os.nice(19)


def limit(threads: int | None, memory: float | None) -> None:
    """Caps TensorFlow's threads, and the memory of this process and of each GPU, GiB.

    Raises:
        ParamError: this system does not tell how much memory is in use.
    """
    if threads is not None:
        os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = str(threads)
    if memory is not None:
        if not _USED.exists():
            raise ParamError("--memory: this system does not tell how much memory is in use; leave it out")
        _limit_gpus(memory)
        # A descriptor of its own: standard error is closed to messages while TensorFlow loads.
        threading.Thread(target=_guard, args=(memory, os.dup(2)), daemon=True).start()


def _limit_gpus(memory: float) -> None:
    with quiet_tensorflow():
        import tensorflow as tf

        for gpu in tf.config.list_physical_devices("GPU"):
            most = tf.config.LogicalDeviceConfiguration(memory_limit=int(memory * 1024))
            tf.config.set_logical_device_configuration(gpu, [most])


def _guard(memory: float, messages: int) -> None:
    """Ends the program if it takes too much: a limit of the system's would do so without a word."""
    while (used := resident()) <= memory:
        time.sleep(PAUSE)
    message = (
        f"error: the evaluation takes {used:.2f} GiB, --memory allows {memory:g}; give a smaller eval.batch_size, or "
        "more; what was scored is kept\n"
    )
    os.write(messages, message.encode())
    os._exit(FAILED)


def resident() -> float:
    """The memory of this process, GiB."""
    return int(_USED.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**30
