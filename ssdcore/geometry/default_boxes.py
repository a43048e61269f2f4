"""Default boxes (priors, anchors) of all prediction layers (paper, section 2.2)."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ssdcore.params import DefaultBoxes

MapSize = tuple[int, int]
"""Height and width of a feature map, in cells."""


def default_boxes_xyxy(
    spec: DefaultBoxes, image_size: tuple[int, int], map_sizes: Sequence[MapSize]
) -> NDArray[np.float32]:
    """All default boxes of a model.

    Args:
        spec: sizes in pixels, aspect ratios and steps, one entry per map.
        image_size: height and width of the network input, px.
        map_sizes: height and width of each prediction layer, finest first.

    Returns:
        (A, 4) float32 xyxy, normalised to the image. Order: source, row, column, then
        min, sqrt(min * max), and for each ratio r the boxes r and 1/r. Boxes may extend beyond the
        image unless `spec.clip` is set.
    """
    steps = centre_steps(spec, image_size, map_sizes)
    layers = zip(cell_sizes(spec), steps, map_sizes, strict=True)
    pixels = np.concatenate([_layer_cxcywh(sizes, step, spec.offset, cells) for sizes, step, cells in layers])
    height, width = image_size
    normalised = pixels / np.array([width, height, width, height])
    centre, half = normalised[:, :2], normalised[:, 2:] / 2
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    return (boxes.clip(0, 1) if spec.clip else boxes).astype(np.float32)


def cell_sizes(spec: DefaultBoxes) -> list[NDArray[np.float64]]:
    """For each source the (n, 2) widths and heights, in px, of the boxes around one centre."""
    truncated = math.floor if spec.truncate_sizes else float
    sources = []
    for least, large, ratios in zip(spec.min_sizes, spec.max_sizes, spec.aspect_ratios, strict=True):
        small = truncated(least)
        sizes = [(small, small)]
        if large is not None:
            side = math.sqrt(small * truncated(large))
            sizes.append((side, side))
        for root in map(math.sqrt, ratios):
            sizes += [(small * root, small / root), (small / root, small * root)]
        sources.append(np.array(sizes))
    return sources


def centre_steps(
    spec: DefaultBoxes, image_size: tuple[int, int], map_sizes: Sequence[MapSize]
) -> list[tuple[float, float]]:
    """Vertical and horizontal distance of box centres on each layer, px."""
    if spec.steps is not None:
        return [(step, step) for step in spec.steps]
    return [(image_size[0] / rows, image_size[1] / columns) for rows, columns in map_sizes]


def _layer_cxcywh(
    sizes: NDArray[np.float64], steps: tuple[float, float], offset: float, map_size: MapSize
) -> NDArray[np.float64]:
    """(H * W * n, 4) boxes of one source, px."""
    rows = (np.arange(map_size[0]) + offset) * steps[0]
    columns = (np.arange(map_size[1]) + offset) * steps[1]
    boxes = np.empty((map_size[0], map_size[1], len(sizes), 4))
    boxes[..., 0] = columns[None, :, None]
    boxes[..., 1] = rows[:, None, None]
    boxes[..., 2:] = sizes
    return boxes.reshape(-1, 4)
