"""Which split a model is scored on, and whether its checkpoint was chosen on it; imports TensorFlow."""

from pathlib import Path

from ssdcore.data.records.manifest import Manifest
from ssdcore.runs.checkpoint import Checkpoint


def split_of(checkpoint: Checkpoint, data: Path) -> str:
    """The split to score on where none is named: that of the param set, else test or val.

    Raises:
        DataError: the data has neither.
    """
    params = checkpoint.params.data
    return Manifest.load(data).eval_split(params.eval_split, params.train_split or "")


def was_chosen_on(checkpoint: Checkpoint, data: Path, split: str) -> bool:
    """Whether a checkpoint was chosen as the best of its run by its score on these images."""
    same_data = checkpoint.made.get("data_digest") == Manifest.load(data).source
    return checkpoint.path.name == "best.npz" and same_data and checkpoint.params.data.eval_split == split
