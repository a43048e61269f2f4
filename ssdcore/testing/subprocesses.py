"""Python subprocesses of the checks.

`python -m ssdcore.testing.subprocesses SAVED IMAGES LOGITS` writes the logits of a saved detector.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssdcore.contract.plugins import load_plugins
from ssdcore.model import SSD
from ssdcore.runs.checkpoint import load_checkpoint, restore_model


def run_python(arguments: Sequence[str], environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """Runs Python in a subprocess that finds the same modules as this process."""
    path = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "PYTHONPATH": path, **environment}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)


def last_line(text: str) -> str:
    """The last line of a program's output, stripped; empty if there is none."""
    return (text.strip().splitlines() or [""])[-1].strip()


def logits(ssd: SSD, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits (B, A, classes) of images (B, H, W, 3) in inference."""
    found: NDArray[np.float32] = ssd.network(images, training=False)["logits"].numpy()
    return found


def main(saved: str, images: str, answer: str) -> None:
    """Restores a checkpoint and writes its logits for an array of images; both arrays are `.npy` files."""
    np.save(answer, logits(restore_model(load_checkpoint(Path(saved)), load_plugins()), np.load(images)))


if __name__ == "__main__":
    main(*sys.argv[1:])
