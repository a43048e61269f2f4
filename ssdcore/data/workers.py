"""What a process that writes shards does first; imports no TensorFlow, which takes seconds and prints."""

import multiprocessing
import os
import threading

from ssdcore.system.tensorflow import load_tensorflow


def begin_worker() -> None:
    """Ends this process when the one that started it is gone, so that two conversions never meet.

    Then loads TensorFlow without its start-up messages.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    load_tensorflow()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
