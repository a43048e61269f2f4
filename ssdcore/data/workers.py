"""What a process that writes shards does first; imports no TensorFlow, which takes seconds and prints."""

import multiprocessing
import os
import threading


def begin_worker() -> None:
    """Ends this process when the one that started it is gone, so that two conversions never meet.

    Then loads TensorFlow without its start-up messages.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        import tensorflow as tf

        tf.config.list_logical_devices()
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
