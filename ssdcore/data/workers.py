"""Initialises worker processes; imports TensorFlow late, as that takes seconds and prints."""

import multiprocessing
import os
import threading

from ssdcore.system.tensorflow import load_tensorflow


def begin_worker() -> None:
    """Makes this process end with its parent, so that it never meets a later conversion; loads TensorFlow quietly."""
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    load_tensorflow()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
