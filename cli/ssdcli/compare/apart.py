"""Measures in a process of its own, which leaves no memory or threads to the next one and never outlives this one."""

import multiprocessing
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from ssdcli.compare.measure import Candidate, Measured, measure
from ssdcore.errors import SsdError


@dataclass(frozen=True)
class Images:
    """What to run on: a folder of records, its split, and how many of the images; None: all."""

    data: Path
    split: str
    most: int | None


@dataclass(frozen=True)
class Failed:
    """A candidate that could not be measured, and why, in one line."""

    name: str
    reason: str


def measure_apart(candidate: Candidate, images: Images, debug: bool) -> Measured | Failed:
    """Measures a candidate in a fresh process; with `debug` that prints the traceback of a failure.

    Raises:
        KeyboardInterrupt: Ctrl-C came; the process is gone then.
    """
    context = multiprocessing.get_context("spawn")
    answers, their_end = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(their_end, candidate, images, debug))
    try:
        with _sigint_ignored():
            process.start()
        their_end.close()
        answer: Measured | Failed = answers.recv()
        return answer
    except EOFError:
        process.join()
        return Failed(candidate.name, _ending(process.exitcode))
    finally:
        if process.ident:
            process.kill()
            process.join()
        answers.close()


@contextmanager
def _sigint_ignored() -> Iterator[None]:
    """A process that is started meanwhile ignores SIGINT from its first moment: a terminal sends it Ctrl-C as well."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _work(answers: Connection, candidate: Candidate, images: Images, debug: bool) -> None:
    """All that the process does."""
    from ssdcore.data.workers import begin_worker

    begin_worker()
    try:
        answers.send(measure(candidate, images.data, images.split, images.most))
    except Exception as error:  # whatever a plugin raises must not stop the others
        if debug:
            traceback.print_exc()
        answers.send(Failed(candidate.name, _reason(error)))


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, SsdError) else f"{type(error).__name__}: {text:.300}"


def _ending(code: int | None) -> str:
    if code is None or code >= 0:
        return f"its process ended with exit code {code}"
    return f"its process was killed by {signal.Signals(-code).name}, as happens where memory is too small"
