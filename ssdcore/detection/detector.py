"""Images in, detections out."""

from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
import PIL.Image

from ssdcore.contract.plugins import Plugins, load_plugins
from ssdcore.data.images import ImageError, decode_rgb, rgb_pixels
from ssdcore.data.resize import resize_image
from ssdcore.detection.detections import Detections, to_detections
from ssdcore.detection.predict import make_predict
from ssdcore.errors import DataError
from ssdcore.model import SSD
from ssdcore.params import EvalParams
from ssdcore.runs.checkpoint import load_checkpoint, restore_model
from ssdcore.runs.run_folder import find_checkpoint
from ssdcore.types import Image

ImageLike = Path | str | Image | PIL.Image.Image


class Detector:
    """Detects objects in images of any size."""

    def __init__(self, ssd: SSD, params: EvalParams) -> None:
        self.classes = ssd.classes
        self._size = ssd.model.image_size
        self._resize = ssd.resize
        self._batch = params.batch_size
        self._predict = make_predict(ssd, params)

    # str is a sequence too.
    @overload
    def __call__(self, images: ImageLike) -> Detections: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, images: Sequence[ImageLike]) -> list[Detections]: ...
    def __call__(self, images: ImageLike | Sequence[ImageLike]) -> Detections | list[Detections]:
        """The detections in an image, or in each of a list of images.

        Args:
            images: a file, a `PIL.Image.Image`, or (H, W, 3) uint8 RGB; or a list of such. Files and Pillow images
                are turned upright if their EXIF data says so. A list goes through the network in batches of
                `eval.batch_size`, and only the files of one batch are in memory.

        Raises:
            DataError: a file cannot be read, or an array is not an RGB image.
        """
        if isinstance(images, Path | str | np.ndarray | PIL.Image.Image):
            return self._detect([images])[0]
        starts = range(0, len(images), self._batch)
        return [one for start in starts for one in self._detect(images[start : start + self._batch])]

    def _detect(self, images: Sequence[ImageLike]) -> list[Detections]:
        """The detections in each image, by one pass of the network."""
        arrays = [_as_array(image) for image in images]
        resized, windows = zip(*(resize_image(array, self._size, self._resize) for array in arrays), strict=True)
        batch = self._predict(np.stack(resized), np.stack(windows))
        return to_detections(batch, [array.shape[:2] for array in arrays], self.classes)


def load_detector(
    path: Path | str,
    score_threshold: float | None = None,
    plugins: Plugins | None = None,
    batch_size: int | None = None,
) -> Detector:
    """A detector from a run folder or a checkpoint file.

    Args:
        path: run folder (its best checkpoint is used, else its last) or checkpoint.
        score_threshold: least score of a detection; None: that of the model's param set.
        plugins: with the model's backbone; None: the installed ones.
        batch_size: images per pass of the network; None: that of the param set.

    Raises:
        CheckpointError: there is no usable checkpoint.
        PluginError: its backbone is not installed.
    """
    checkpoint = load_checkpoint(find_checkpoint(Path(path)))
    options = {"score_threshold": score_threshold, "batch_size": batch_size}
    given = {key: value for key, value in options.items() if value is not None}
    params = checkpoint.params.eval.model_copy(update=given)
    return Detector(restore_model(checkpoint, plugins or load_plugins()), params)


def read_image(path: Path) -> Image:
    """An image file as (H, W, 3) uint8 RGB, turned upright if its EXIF data says so.

    Raises:
        DataError: there is no such file, or it is not an image.
    """
    try:
        return decode_rgb(path.read_bytes())
    except OSError as error:
        raise DataError(f"cannot read the image {path.absolute()}: {error.strerror}") from None
    except ImageError as error:
        raise DataError(f"{path.absolute()} is not a readable image: {error}") from None


def _as_array(image: ImageLike) -> Image:
    if isinstance(image, Path | str):
        return read_image(Path(image))
    if isinstance(image, PIL.Image.Image):
        return rgb_pixels(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise DataError(f"an image is (H, W, 3) uint8 RGB, got shape {image.shape} of {image.dtype}")
    return image
