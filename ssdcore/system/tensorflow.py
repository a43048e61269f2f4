"""How TensorFlow is loaded: its environment defaults, and without the messages it writes while it starts."""

import multiprocessing
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SILENT = "3"
"""The `TF_CPP_MIN_LOG_LEVEL` at which only fatal errors are logged."""


def set_tensorflow_defaults(verbose: bool = False) -> None:
    """Sets environment variables that TensorFlow reads when it is imported; what is set already wins.

    Args:
        verbose: keep TensorFlow's own messages.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if verbose else _SILENT)
    # Off by default on CPUs without AVX-512, where it still halves the time of a training step.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    # No default but a must: the networks run on no other backend.
    os.environ["KERAS_BACKEND"] = "tensorflow"


def load_tensorflow() -> None:
    """Imports TensorFlow with these defaults. Initialises no device, so that a cluster can still be joined."""
    set_tensorflow_defaults()
    with quiet_tensorflow():
        import tensorflow  # noqa: F401


def begin_worker() -> None:
    """Makes this process end with its parent, so that it never meets a later conversion; loads TensorFlow quietly."""
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    load_tensorflow()


def _exit_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
    os._exit(1)


@contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Discards what native code writes to stderr, unless the environment asks for TensorFlow's messages.

    TensorFlow logs before it reads its log level; nothing but the descriptor can hold that back.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", _SILENT) != _SILENT:
        yield
        return
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
