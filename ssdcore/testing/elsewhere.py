"""What a saved detector predicts in another process: `python -m ssdcore.testing.elsewhere SAVED PICTURES LOGITS`."""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssdcore.checkpoint import load_checkpoint, restore_model
from ssdcore.model import SSD
from ssdcore.plugins import load_plugins


def logits(ssd: SSD, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits (B, A, classes) of pictures (B, H, W, 3) in evaluation."""
    found: NDArray[np.float32] = ssd.network(pictures, training=False)["logits"].numpy()
    return found


def main(saved: str, pictures: str, answer: str) -> None:
    """Restores a checkpoint and writes its logits for an array of pictures; both arrays are `.npy` files."""
    ssd = restore_model(load_checkpoint(Path(saved)), load_plugins())
    np.save(answer, logits(ssd, np.load(pictures)))


if __name__ == "__main__":
    main(*sys.argv[1:])
