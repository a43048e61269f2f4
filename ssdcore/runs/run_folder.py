"""The layout of a run folder."""

import csv
from collections.abc import Iterable
from pathlib import Path

from ssdcore.errors import CheckpointError

Scores = dict[str, list[tuple[int, float]]]
"""Name of a series of evaluations -> its (step, mAP)."""


class RunFolder:
    """The files of a training run; each is written by one process only.

    Attributes:
        metrics: rows of the training process.
        events: TensorBoard's.
        watches: rows of processes that evaluate the checkpoints as they appear, `SPLIT.csv` of the one on a split.
        lock: held by the training process.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.params, self.classes, self.lock = root / "params.yaml", root / "classes.json", root / ".lock"
        self.metrics, self.events, self.watches = root / "metrics.csv", root / "events", root / "watch"
        self.checkpoints = root / "checkpoints"
        self.last, self.best = self.checkpoints / "last.npz", self.checkpoints / "best.npz"

    def scores(self) -> Scores:
        """The mAP of each evaluation, by step.

        The series of training itself is called `training`, those of evaluations that watched it `watch SPLIT METRIC`.
        Rows without these numbers are skipped, and so is a last line that is still being written.
        """
        series: Scores = {}
        for path in filter(Path.is_file, (self.metrics, *sorted(self.watches.glob("*.csv")))):
            lines = path.read_text("utf-8").splitlines(keepends=True)
            for row in csv.DictReader(line for line in lines if line.endswith("\n")):
                # Older versions wrote the rows of watching evaluations into training's own file.
                name = (row.get("stage") or "").partition(" (")[2].rstrip(")") or "training"
                if path != self.metrics:
                    name = f"watch {path.stem} {row.get('metric')}"
                if row.get("map") and (row.get("step") or "").isdigit():
                    series.setdefault(name, []).append((int(row["step"]), float(row["map"])))
        return {name: sorted(points) for name, points in series.items()}

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
        files = {*self.root.iterdir(), *self.checkpoints.glob("*")} - {self.lock}
        begun = {self.checkpoints, self.params, self.classes, *self.partial()} if self.checkpoints.is_dir() else set()
        return files <= begun


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
