"""Scores of a run's checkpoints while it is being trained, by another process than the one that trains.

Each watcher has a folder in the run, `watch/<split>-<metric>`. While its lock is held, training gives every
checkpoint a second name there, so that none is lost to a slow watcher. A checkpoint is done when
`metrics.csv` has its row; what waits and what is done outlives a killed watcher.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import tensorflow as tf

from ssdcore.errors import CheckpointError, TrainingError
from ssdcore.evaluation import Evaluation
from ssdcore.runs.checkpoint import Checkpoint, load_checkpoint
from ssdcore.runs.run_folder import RunFolder, explain_writing, spaced, step_of
from ssdcore.training.checkpointing.manager import WATCH_LOCK, hand_over
from ssdcore.training.lock import held, is_held
from ssdcore.training.log import keep_events
from ssdcore.training.metrics import add_watched, watched_steps
from ssdcore.training.progress import Progress, is_over, position

PAUSE = 0.5
GRACE = 60.0
"""Seconds after the end of an unfinished training in which it may be started again."""

Tell = Callable[[str], None]


def await_run(run: RunFolder, tell: Tell) -> None:
    """Returns when a run has a checkpoint."""
    if not run.last.is_file():
        tell(f"waiting for a training to begin in {run.root.absolute()}")
    while not run.last.is_file():
        time.sleep(PAUSE)


@contextmanager
def watching(run: RunFolder, split: str, metric: str, every: int, tell: Tell) -> Iterator["Watch"]:
    """Watches a run while entered.

    Args:
        run: that has a checkpoint.
        split, metric: what is scored; each pair has its own rows.
        every: steps from one checkpoint that is scored to the next one, at least.
        tell: is given what a person should know.

    Raises:
        TrainingError: another process does the same; or the folder cannot be written.
    """
    folder = run.watches / f"{split}-{metric}"
    try:
        with ExitStack() as stack:
            with explain_writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
                alone = stack.enter_context(held(folder / WATCH_LOCK))
            if not alone:
                raise TrainingError(
                    f"another process watches {run.root.absolute()} already, on {split!r} by {metric}; wait for its "
                    "rows in metrics.csv, or choose another split or metric"
                )
            yield stack.enter_context(closing(Watch(run, folder, f"{split} {metric}", every, tell)))
    finally:
        for path in (folder, run.watches):
            with suppress(OSError):  # something waits in it
                path.rmdir()


class Watch:
    """The checkpoints of a run, one by one, and the rows and events of their scores."""

    def __init__(self, run: RunFolder, folder: Path, name: str, every: int, tell: Tell) -> None:
        """Use `watching`."""
        self._run = run
        self._folder = folder
        self._name = name
        self._every = every
        self._tell = tell
        self._unreadable: set[int] = set()
        self._taken: tuple[int, int] | None = None
        self._left_at: float | None = None
        self._last: tuple[int, int] | None = None
        self._is_over = False
        self._events = _Events(run.events / f"watch-{folder.name}")
        for path in folder.glob(".*.partial*"):
            path.unlink(missing_ok=True)
        self._events.show(watched_steps(run, name))

    def close(self) -> None:
        self._events.close()

    def checkpoints(self) -> Iterator[Checkpoint]:
        """Each checkpoint that has no row yet, in order of step, as training makes them; ends when training does.

        One that cannot be read is named and left out.
        """
        while True:
            ends = self._ends()
            steps = self._waiting()
            if steps:
                yield from self._take(steps[0])
            elif ends:
                return
            else:
                time.sleep(PAUSE)

    def best(self) -> tuple[float, int] | None:
        """The best mAP of all rows, those of earlier watchers included, and its first step."""
        found = [(float(value), -step) for step, value in watched_steps(self._run, self._name).items() if value]
        return (max(found)[0], -max(found)[1]) if found else None

    def add(self, checkpoint: Checkpoint, evaluation: Evaluation) -> bool:
        """Writes a row and events of the checkpoint that was given last.

        Returns:
            False if training has gone back behind this step in the meantime: nothing is written.

        Raises:
            TrainingError: the disk is full.
        """
        progress = Progress(**checkpoint.progress)
        row = position(checkpoint.params.train.stages, progress)
        if evaluation.mean_average_precision is not None:
            row["map"] = evaluation.mean_average_precision
        path = self._path(progress.step)
        # Training removes later checkpoints first, and then later rows, which takes this lock.
        with self._changing_metrics():
            is_current = _identity(path) == self._taken
            if is_current:
                add_watched(self._run, row, self._name)
        if is_current:
            path.unlink(missing_ok=True)
            self._events.show(watched_steps(self._run, self._name))
        return is_current

    @contextmanager
    def _changing_metrics(self) -> Iterator[None]:
        while True:
            with held(self._run.metrics_lock) as alone:
                if alone:
                    yield
                    return

    def _path(self, step: int) -> Path:
        return self._folder / self._run.at_step(step).name

    def _waiting(self) -> list[int]:
        """The steps to score; their checkpoints are in the folder, and no others."""
        kept = {step_of(path): path for path in self._run.numbered()}
        mine = {step_of(path) for path in self._folder.glob("step-*.npz")}
        done = watched_steps(self._run, self._name)
        wanted = spaced((mine | kept.keys()) - self._unreadable, self._every, done)
        for step in mine - set(wanted):
            self._path(step).unlink(missing_ok=True)
        for step in set(wanted) - mine:
            hand_over(kept[step], self._folder)
        return [step for step in wanted if self._path(step).exists()]

    def _take(self, step: int) -> Iterator[Checkpoint]:
        path = self._path(step)
        try:
            self._taken = _identity(path)
            checkpoint = load_checkpoint(path)
        except CheckpointError as error:
            if path.exists():
                self._unreadable.add(step)
                self._tell(f"left out: {error}")
            return
        yield checkpoint

    def _ends(self) -> bool:
        """Whether no more checkpoints will come: training has done all, or was ended and does not come back."""
        if is_held(self._run.lock):
            self._left_at = None
            return False
        last = _identity(self._run.last)
        if last != self._last:
            self._last, self._is_over = last, self.is_over()
        if self._is_over:
            return True
        if self._left_at is None:
            self._left_at = time.monotonic()
            self._tell(f"training has stopped before its end; waiting {GRACE:g} s for it to go on")
        return time.monotonic() - self._left_at > GRACE

    def is_over(self) -> bool:
        """Whether training has done all that it was to do."""
        try:
            last = load_checkpoint(self._run.last)
        except CheckpointError:
            return False
        return is_over(last.params.train.stages, Progress(**last.progress))


class _Events:
    """TensorBoard's events of the rows of a watcher."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None
        self._shown: set[int] = set()

    def show(self, rows: dict[int, str]) -> None:
        """Writes what is missing, and takes out what training has taken back; rows: step -> mAP."""
        if self._writer is None or self._shown - rows.keys():
            self.close()
            self._shown = {step for step, _ in keep_events(self._folder, rows.keys().__contains__)}
            self._writer = tf.summary.create_file_writer(str(self._folder))
        with self._writer.as_default():
            for step in sorted(rows.keys() - self._shown):
                if rows[step]:
                    tf.summary.scalar("map", float(rows[step]), step=step)
        self._shown |= rows.keys()
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns
