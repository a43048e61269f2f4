"""Cuts out what was found."""

import re
from collections.abc import Sequence
from typing import Self

import numpy as np

from ssdcli.detect.image_file import write_image
from ssdcli.detect.outputs import OutFolder, Result
from ssdcli.detect.sources import Source


class Crops:
    """`crops/<class>/<name>-<number>.png`: the pixels that a box touches, numbered best first."""

    def __init__(self, folder: OutFolder, sources: Sequence[Source], classes: Sequence[str]) -> None:
        self._folder = folder

    def __enter__(self) -> Self:
        return self

    def add(self, result: Result) -> None:
        image = result.frame.image
        for number, item in enumerate(result.found, start=1):
            left, top = np.floor(item.box[:2]).astype(int)
            right, bottom = np.ceil(item.box[2:]).astype(int)
            path = self._folder.file("crops", _folder_name(item.name), f"{result.frame.name}-{number}.png")
            write_image(path, image[top:bottom, left:right, ::-1])

    def __exit__(self, *exception: object) -> None:
        pass


def _folder_name(name: str) -> str:
    """A class name as a folder's, which cannot lead elsewhere."""
    return re.sub(r"[/\\\0]|^\.+", "_", name)
