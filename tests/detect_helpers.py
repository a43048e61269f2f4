"""Images and videos of a red square, a detector that finds it exactly, and ways to look at what was written."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from small_runs import Pond

from ssdcore.detection import Detections
from ssdcore.training import train

SQUARE = 40
RATE = 12.5


class RedFinder:
    """Finds what is red: one box, of class `square`, with score 0.9 where the whole square is seen, else with less."""

    classes: tuple[str, ...] = ("round", "square")

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, images: Sequence[np.ndarray]) -> list[Detections]:
        self.batches.append(len(images))
        return [self._one(image) for image in images]

    def _one(self, image: np.ndarray) -> Detections:
        red = (image[..., 0] > 150) & (image[..., 1:].max(axis=2) < 100)
        boxes = np.zeros((0, 4), np.float32)
        if red.any():
            rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
            boxes = np.float32([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]])
        scores = 0.9 * ((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) / SQUARE**2).clip(0, 1)
        return Detections(boxes, scores.astype(np.float32), np.full(len(boxes), 2, np.int32), self.classes)


def red_square(left: int, top: int, width: int = 160, height: int = 120) -> np.ndarray:
    """A grey RGB image with a red square of 40 px."""
    image = np.full((height, width, 3), 128, np.uint8)
    image[top : top + SQUARE, left : left + SQUARE] = (230, 20, 20)
    return image


def place(number: int) -> tuple[int, int]:
    """Left and top of the square in a frame of `write_video`."""
    return 3 + 3 * number, 70 - 2 * number


def write_video(path: Path, frames: int = 30, fourcc: str = "mp4v") -> Path:
    """A video of 160x120 px with 12.5 frames a second, in which the square moves 3 px right and 2 px up a frame."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*fourcc), RATE, (160, 120))
    for number in range(frames):
        writer.write(red_square(*place(number))[..., ::-1])
    writer.release()
    return path


def write_rgb(path: Path, image: np.ndarray) -> Path:
    cv2.imwrite(str(path), image[..., ::-1])
    return path


def read_video(path: Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Rate and size that a video's header tells, and its RGB frames."""
    capture = cv2.VideoCapture(str(path))
    told = {
        "frames": capture.get(cv2.CAP_PROP_FRAME_COUNT),
        "rate": capture.get(cv2.CAP_PROP_FPS),
        "size": (capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
    }
    frames = list(_frames(capture))
    capture.release()
    return told, frames


def _frames(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    while True:
        there, frame = capture.read()
        if not there:
            return
        yield frame[..., ::-1]


def short_run(pond: Pond) -> Path:
    """A run of two steps, whose detector finds something or other."""
    steps = ["train.stages.0.steps=1", "train.stages.1.steps=1", "train.eval_every=0"]
    train(pond.params.override(steps), pond.data, pond.root / "run", pond.plugins)
    return pond.root / "run"
