"""Where a training run keeps what."""

from dataclasses import dataclass
from pathlib import Path

from ssdcore.errors import CheckpointError


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
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def last(self) -> Path:
        return self.checkpoints / "last.npz"

    def numbered(self) -> list[Path]:
        """The checkpoints that are kept beside it, latest first; the first is the same as `last`."""
        return sorted(self.checkpoints.glob("step-*.npz"), reverse=True)

    def partial(self) -> list[Path]:
        """The checkpoints that are being written, or were when a run was killed."""
        return list(self.checkpoints.glob(".*.partial-*"))

    def at_step(self, step: int) -> Path:
        return self.checkpoints / f"step-{step:08d}.npz"

    @property
    def best(self) -> Path:
        return self.checkpoints / "best.npz"


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
