"""Lists of detections: `detections.json`, `.jsonl` and `.csv`."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any, Self

from ssdcli.detect.outputs import OutFolder, Result
from ssdcli.detect.sources import Source
from ssdcli.detect.text_file import JsonListFile, TextFile

COLUMNS = ("source", "frame", "name", "class", "label", "score", "xmin", "ymin", "xmax", "ymax")


class Json:
    """One list of frames."""

    def __init__(self, folder: OutFolder, sources: Sequence[Source], classes: Sequence[str]) -> None:
        self._path = folder.file("detections.json")

    def __enter__(self) -> Self:
        self._file = JsonListFile(self._path)
        return self

    def add(self, result: Result) -> None:
        self._file.add(result.as_dict())

    def __exit__(self, *exception: object) -> None:
        self._file.finish()


class JsonLines:
    """A line for each frame, to be read as they come."""

    def __init__(self, folder: OutFolder, sources: Sequence[Source], classes: Sequence[str]) -> None:
        self._path = folder.file("detections.jsonl")

    def __enter__(self) -> Self:
        self._file = TextFile(self._path)
        return self

    def add(self, result: Result) -> None:
        self._file.write(json.dumps(result.as_dict(), ensure_ascii=False) + "\n")

    def __exit__(self, *exception: object) -> None:
        self._file.finish()


class Csv:
    """A row for each detection; frames without one have none."""

    def __init__(self, folder: OutFolder, sources: Sequence[Source], classes: Sequence[str]) -> None:
        self._path = folder.file("detections.csv")

    def __enter__(self) -> Self:
        self._file = TextFile(self._path)
        self._write(COLUMNS)
        return self

    def add(self, result: Result) -> None:
        told = result.as_dict()
        for item in told["detections"]:
            first = [told["source"], told["frame"], told["name"]]
            self._write([*first, item["class"], item["label"], item["score"], *item["box"]])

    def _write(self, row: Sequence[Any]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(row)
        self._file.write(text.getvalue())

    def __exit__(self, *exception: object) -> None:
        self._file.finish()
