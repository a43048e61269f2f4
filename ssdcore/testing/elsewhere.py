"""What a saved detector predicts in another process: `python -m ssdcore.testing.elsewhere SAVED IMAGES LOGITS`."""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssdcore.contract.plugins import load_plugins
from ssdcore.model import SSD
from ssdcore.runs.checkpoint import load_checkpoint, restore_model


def logits(ssd: SSD, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits (B, A, classes) of images (B, H, W, 3) in evaluation."""
    found: NDArray[np.float32] = ssd.network(images, training=False)["logits"].numpy()
    return found


def main(saved: str, images: str, answer: str) -> None:
    """Restores a checkpoint and writes its logits for an array of images; both arrays are `.npy` files."""
    ssd = restore_model(load_checkpoint(Path(saved)), load_plugins())
    np.save(answer, logits(ssd, np.load(images)))


if __name__ == "__main__":
    main(*sys.argv[1:])
