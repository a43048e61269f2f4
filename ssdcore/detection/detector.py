"""Images in, detections out."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from ssdcore.contract.plugins import Plugins, load_plugins
from ssdcore.data.images import ImageError, decode_rgb
from ssdcore.data.resize import fit
from ssdcore.detection.detections import Detections
from ssdcore.detection.predict import make_predict
from ssdcore.errors import DataError
from ssdcore.model import SSD
from ssdcore.model.postprocess import DetectionBatch
from ssdcore.params import EvalParams
from ssdcore.runs.checkpoint import load_checkpoint, restore_model
from ssdcore.runs.run_folder import find_checkpoint

Image = NDArray[np.uint8]
Given = Path | str | Image


class Detector:
    """Finds objects in images of any size."""

    def __init__(self, ssd: SSD, params: EvalParams) -> None:
        self.classes = ssd.classes
        self._size = ssd.model.image_size
        self._resize = ssd.resize
        self._batch = params.batch_size
        self._predict = make_predict(ssd, params)

    # A text is a sequence too, but of no images.
    @overload
    def __call__(self, images: Given) -> Detections: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, images: Sequence[Given]) -> list[Detections]: ...
    def __call__(self, images: Given | Sequence[Given]) -> Detections | list[Detections]:
        """The detections in an image, or in each of a list of images.

        Args:
            images: a file, or (H, W, 3) uint8 RGB; or a list of such. A list goes through the network in batches
                of `eval.batch_size`, and only the files of one batch are in memory.

        Raises:
            DataError: a file cannot be read, or an array is no RGB image.
        """
        if isinstance(images, Path | str | np.ndarray):
            return next(self._detect([images]))
        return [
            found
            for start in range(0, len(images), self._batch)
            for found in self._detect(images[start : start + self._batch])
        ]

    def _detect(self, images: Sequence[Given]) -> Iterator[Detections]:
        """The detections in each image, by one pass of the network."""
        arrays = [_as_array(image) for image in images]
        resized, windows = zip(*(fit(array, self._size, self._resize) for array in arrays), strict=True)
        found = DetectionBatch(*(part.numpy() for part in self._predict(np.stack(resized), np.stack(windows))))
        yield from (self._in_pixels(found, index, array) for index, array in enumerate(arrays))

    def _in_pixels(self, found: DetectionBatch, index: int, image: Image) -> Detections:
        height, width = image.shape[:2]
        count = found.counts[index]
        boxes = found.boxes[index, :count] * np.array([width, height, width, height], np.float32)
        return Detections(boxes, found.scores[index, :count], found.labels[index, :count], self.classes)


def load_detector(
    path: Path | str,
    score_threshold: float | None = None,
    plugins: Plugins | None = None,
    batch_size: int | None = None,
) -> Detector:
    """A detector from a run folder or a checkpoint file.

    Args:
        path: run folder (its best checkpoint is used, else its last) or checkpoint.
        score_threshold: least score of a detection; None takes that of the model's param set.
        plugins: where its backbone comes from; None loads the installed ones.
        batch_size: images per pass of the network; None takes that of the param set.

    Raises:
        CheckpointError: nothing usable is there.
        PluginError: its backbone is not installed.
    """
    checkpoint = load_checkpoint(find_checkpoint(Path(path)))
    wanted = {"score_threshold": score_threshold, "batch_size": batch_size}
    given = {key: value for key, value in wanted.items() if value is not None}
    params = checkpoint.params.eval.model_copy(update=given)
    return Detector(restore_model(checkpoint, plugins or load_plugins()), params)


def read_image(path: Path) -> Image:
    """An image file as (H, W, 3) uint8 RGB, turned upright if its EXIF data says so.

    Raises:
        DataError: there is no such file, or it is no image.
    """
    try:
        return decode_rgb(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read the image {path.absolute()}: {error.strerror}") from None
    except ImageError as error:
        raise DataError(f"{path.absolute()} is not a readable image: {error}") from None


def _as_array(image: Given) -> Image:
    if isinstance(image, Path | str):
        return read_image(Path(image))
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise DataError(f"an image is (H, W, 3) uint8 RGB, got shape {image.shape} of {image.dtype}")
    return image
