"""The layout of a run folder."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ssdcore.errors import CheckpointError


@dataclass(frozen=True)
class RunFolder:
    """The files of a training run; each is written by one process only."""

    root: Path

    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    @property
    def classes(self) -> Path:
        return self.root / "classes.json"

    @property
    def metrics(self) -> Path:
        """Rows of the training process."""
        return self.root / "metrics.csv"

    @property
    def events(self) -> Path:
        """TensorBoard's."""
        return self.root / "events"

    @property
    def watches(self) -> Path:
        """Rows of processes that evaluate the checkpoints as they appear."""
        return self.root / "watch"

    def watch_csv(self, split: str) -> Path:
        """Rows of the process that does so on a split."""
        return self.watches / f"{split}.csv"

    @property
    def lock(self) -> Path:
        """Held by the training process."""
        return self.root / ".lock"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def last(self) -> Path:
        return self.checkpoints / "last.npz"

    @property
    def best(self) -> Path:
        return self.checkpoints / "best.npz"

    def at_step(self, step: int) -> Path:
        return self.checkpoints / f"step-{step:08d}.npz"

    def numbered(self) -> list[Path]:
        """The checkpoints `step-*.npz`, latest first; the first is the same as `last`."""
        return sorted(self.checkpoints.glob("step-*.npz"), reverse=True)

    def partial(self) -> list[Path]:
        """Files of the training process that are being written, or were when it was killed."""
        return [path for folder in (self.root, self.checkpoints) for path in folder.glob(".*.partial*")]

    def is_unused(self) -> bool:
        """Whether the folder is empty, absent, or left by a run that was killed before its first checkpoint."""
        if not self.root.is_dir():
            return not self.root.exists()
        found = {*self.root.iterdir(), *self.checkpoints.glob("*")} - {self.lock}
        begun = {self.checkpoints, self.params, self.classes, *self.partial()} if self.checkpoints.is_dir() else set()
        return found <= begun


def step_of(checkpoint: Path) -> int:
    """The step in the name of a numbered checkpoint."""
    return int(checkpoint.stem.removeprefix("step-"))


def spaced(steps: Iterable[int], every: int, done: Iterable[int] = ()) -> list[int]:
    """The first of some steps, and each that is at least `every` after the previous one; `done` count as chosen."""
    chosen: list[int] = []
    done = set(done)
    for step in sorted({*steps, *done}):
        if step in done or not chosen or step - chosen[-1] >= every:
            chosen.append(step)
    return [step for step in chosen if step not in done]


def find_checkpoint(path: Path) -> Path:
    """A checkpoint file itself, or a run folder's best checkpoint, else its last one.

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
    raise CheckpointError(f"{path.absolute()} holds no checkpoints", "no_checkpoints")
