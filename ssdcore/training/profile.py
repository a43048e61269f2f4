"""A trace of some steps for TensorBoard's profiler."""

from pathlib import Path

import tensorflow as tf

SKIPPED, TRACED = 10, 10
"""Steps left out at first, which compile and fill buffers, and steps traced."""


class Profile:
    """Traces steps 11 to 20 of a session into a folder; does nothing without one."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._steps = 0
        self._tracing = False

    def after_step(self) -> None:
        """Counts a step, and begins or ends the trace."""
        self._steps += 1
        if self._folder and self._steps == SKIPPED:
            tf.profiler.experimental.start(str(self._folder))
            self._tracing = True
        elif self._steps == SKIPPED + TRACED:
            self.end()

    def end(self) -> None:
        """Writes the trace, if one has begun."""
        if self._tracing:
            tf.profiler.experimental.stop()
            self._tracing = False
