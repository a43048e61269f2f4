"""From sources to files: the loop of `ssd detect`."""

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ssdcli.detect.formats import USUAL, make_outputs
from ssdcli.detect.frames import Faults, Frame, batches, count_frames, read_frames
from ssdcli.detect.outputs import OutFolder, Result
from ssdcli.detect.sources import Source
from ssdcli.detect.thresholds import ANY_CLASS, Thresholds
from ssdcli.detect.window import Window, WindowClosedError
from ssdcli.output import Bar, progress_bar
from ssdcore.detection import Detections
from ssdcore.system.signals import DeferredSignals


class Detects(Protocol):
    """A detector, or what takes large images apart for it."""

    classes: tuple[str, ...]

    def __call__(self, images: list[NDArray[np.uint8]]) -> list[Detections]:
        """The detections in each of some RGB images (H, W, 3) uint8."""


@dataclass(frozen=True)
class Wish:
    """What to do with detections: the folder, its formats, thresholds, images per batch, and a window or none."""

    out: Path
    formats: Sequence[str] = USUAL
    thresholds: Thresholds = ANY_CLASS
    batch: int = 8
    show: bool = False


def detect_sources(detector: Detects, sources: Sequence[Source], wish: Wish) -> int:
    """Finds objects in all frames of all sources, and writes them.

    Gives the number of sources that could not be read, wholly or in part; each was named.

    Raises:
        DataError: a class with a threshold is unknown, a file to write is a source or cannot be written, or there is
            no display to show anything on.
        KeyboardInterrupt, Terminated: Ctrl-C or SIGTERM came; what is written then is whole.
    """
    wish.thresholds.check(detector.classes)
    outputs = make_outputs(wish.formats, OutFolder(wish.out, sources), sources, detector.classes)
    faults = Faults()
    with DeferredSignals() as signals, ExitStack() as stack:
        if wish.show:
            outputs.append(Window(signals.check))
        for output in outputs:
            stack.enter_context(output)
        show_progress = Progress(stack.enter_context(progress_bar("detecting")), count_frames(sources))
        with suppress(WindowClosedError):
            for group in batches(read_frames(sources, faults), wish.batch):
                signals.check()
                found = detector([frame.image for frame in group])
                for frame, one in zip(group, found, strict=True):
                    signals.check()
                    result = Result(frame, wish.thresholds.apply(one))
                    for output in outputs:
                        output.add(result)
                show_progress(group)
            signals.check()
    return len(faults.sources)


class Progress:
    """Shows how many frames are done; of what is live nobody knows the end."""

    def __init__(self, bar: Bar, total: int) -> None:
        self._bar, self._total, self._done = bar, total, 0

    def __call__(self, group: Sequence[Frame]) -> None:
        """Adds some frames."""
        self._done += sum(not frame.source.live for frame in group)
        if self._done:
            self._bar.update(self._done, max(self._done, self._total))
