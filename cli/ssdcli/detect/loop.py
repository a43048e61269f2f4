"""From sources to files: the loop of `ssd detect`."""

from collections.abc import Sequence
from contextlib import ExitStack, suppress

from ssdcli.detect.command import DetectRequest
from ssdcli.detect.image_outputs import ScreenClosedError, make_outputs, screen
from ssdcli.detect.sources import MediaSource, batches, count_frames, read_frames
from ssdcli.detect.text_outputs import DetectedFrame, OutFolder
from ssdcli.detect.tiles import DetectsImages
from ssdcli.output import progress_bar
from ssdcore.system.signals import DeferredSignals


def detect_sources(detector: DetectsImages, sources: Sequence[MediaSource], request: DetectRequest) -> int:
    """Detects objects in all frames of all sources, and writes them.

    Returns the number of sources that could not be read to their end; each was reported.

    Raises:
        DataError: a class with a threshold is unknown, a file to write is a source or cannot be written, or there is
            no display to show anything on.
        KeyboardInterrupt, Terminated: Ctrl-C or SIGTERM came; the files written until then are complete.
    """
    request.thresholds.check(detector.classes)
    outputs = make_outputs(request.formats, OutFolder(request.out, sources), sources, detector.classes)
    unreadable: set[MediaSource] = set()
    with DeferredSignals() as signals, ExitStack() as stack:
        shown = [stack.enter_context(screen(signals.check))] if request.show else []
        writers = [*(stack.enter_context(output) for output in outputs), *shown]
        bar, done, total = stack.enter_context(progress_bar("detecting")), 0, count_frames(sources)
        with suppress(ScreenClosedError):
            for group in batches(read_frames(sources, unreadable), request.batch):
                signals.check()
                for frame, detections in zip(group, detector([frame.image for frame in group]), strict=True):
                    signals.check()
                    detected = DetectedFrame(frame, request.thresholds.apply(detections))
                    for write in writers:
                        write(detected)
                done += sum(not frame.source.live for frame in group)
                if done:
                    bar.update(done, max(done, total))
            signals.check()
    return len(unreadable)
