"""Where a training run keeps what."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ssdcore.errors import CheckpointError, TrainingError


@dataclass(frozen=True)
class RunFolder:
    """The layout of a run folder."""

    root: Path

    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    @property
    def classes(self) -> Path:
        return self.root / "classes.json"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.csv"

    @property
    def events(self) -> Path:
        return self.root / "events"

    @property
    def lock(self) -> Path:
        """Held by the process that trains here."""
        return self.root / ".lock"

    @property
    def metrics_lock(self) -> Path:
        """Held while `metrics` is being changed."""
        return self.root / ".metrics.lock"

    @property
    def watches(self) -> Path:
        """A folder for each evaluation that watches the run, of the checkpoints that wait for it."""
        return self.root / "watch"

    def watch_csv(self, split: str) -> Path:
        """Scores of the checkpoints on a split, by an evaluation that watches the run."""
        return self.root / "watch" / f"{split}.csv"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def last(self) -> Path:
        return self.checkpoints / "last.npz"

    def numbered(self) -> list[Path]:
        """The checkpoints that are kept beside it, latest first; the first is the same as `last`."""
        return sorted(self.checkpoints.glob("step-*.npz"), reverse=True)

    def partial(self) -> list[Path]:
        """The files that are being written, or were when a run was killed."""
        return [path for folder in (self.root, self.checkpoints, self.events) for path in folder.glob(".*.partial*")]

    def is_unused(self) -> bool:
        """Whether nothing is there, or only what a run leaves that was killed before its first checkpoint."""
        if not self.root.is_dir():
            return not self.root.exists()
        found = {*self.root.iterdir(), *self.checkpoints.glob("*")} - {self.lock, self.metrics_lock}
        begun = {self.checkpoints, self.params, self.classes, *self.partial()} if self.checkpoints.is_dir() else set()
        return found <= begun

    def at_step(self, step: int) -> Path:
        return self.checkpoints / f"step-{step:08d}.npz"

    @property
    def best(self) -> Path:
        return self.checkpoints / "best.npz"


def step_of(checkpoint: Path) -> int:
    """The step in the name of a numbered checkpoint."""
    return int(checkpoint.stem.removeprefix("step-"))


def spaced(steps: Iterable[int], every: int, done: Iterable[int] = ()) -> list[int]:
    """Of some steps, the first and those `every` or more behind the one before; `done` are chosen already."""
    chosen: list[int] = []
    done = set(done)
    for step in sorted({*steps, *done}):
        if step in done or not chosen or step - chosen[-1] >= every:
            chosen.append(step)
    return [step for step in chosen if step not in done]


def replace_file(path: Path, content: bytes) -> None:
    """Writes a file under a temporary name, flushes it to disk, then renames it.

    Raises:
        TrainingError: the disk is full or the folder cannot be written; an older file stays whole.
    """
    partial = path.with_name(f".{path.name}.partial")
    with explain_writing(path):
        try:
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def explain_writing(path: Path) -> Iterator[None]:
    """Says what could not be written.

    Raises:
        TrainingError: writing failed inside.
    """
    try:
        yield
    except OSError as error:
        raise TrainingError(
            f"cannot write {path.absolute()}: {error.strerror}; make room, then go on with --resume"
        ) from None


def find_checkpoint(path: Path) -> Path:
    """The checkpoint that a user means: a file itself, or a run folder's best, else its last one.

    Raises:
        CheckpointError: there is none.
    """
    if path.is_file():
        return path
    run = RunFolder(path)
    for candidate in (run.best, run.last):
        if candidate.is_file():
            return candidate
    if not path.exists():
        raise CheckpointError(f"there is no run folder or checkpoint {path.absolute()}")
    raise CheckpointError(
        f"{path.absolute()} holds no checkpoints; give a run folder made by 'ssd train', or a .npz file"
    )
