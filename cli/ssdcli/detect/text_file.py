"""Text files that grow, and have their names once they are finished."""

import json
from pathlib import Path
from typing import Any

from ssdcore.data.output import partial_path, publish
from ssdcore.errors import DataError


class TextFile:
    """A file of UTF-8 text."""

    def __init__(self, path: Path) -> None:
        """Opens it under a name that says it is not finished.

        Raises:
            DataError: it cannot be written; so do the other methods.
        """
        self._path = path
        try:
            self._file = partial_path(path).open("w", encoding="utf-8", newline="\n")
        except OSError as error:
            raise self._failed(error) from None

    def write(self, text: str) -> None:
        """Appends some text."""
        try:
            self._file.write(text)
        except OSError as error:
            raise self._failed(error) from None

    def finish(self, tail: str = "") -> None:
        """Appends the end, and gives the file its name."""
        try:
            with self._file:
                self._file.write(tail)
            publish(partial_path(self._path), self._path)
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> DataError:
        return DataError(f"cannot write {self._path.absolute()}: {error.strerror}")


class JsonListFile(TextFile):
    """A file with a list in it, an item on each line, that is valid JSON whenever it is finished."""

    def __init__(self, path: Path, head: str = "", tail: str = "") -> None:
        """Begins the file with `head`; `tail` will be behind the list."""
        super().__init__(path)
        self._tail = tail
        self._between = "\n"
        self.write(head + "[")

    def add(self, item: Any) -> None:
        """Appends an item."""
        self.write(self._between + json.dumps(item, ensure_ascii=False))
        self._between = ",\n"

    def finish(self, tail: str = "\n]") -> None:
        """Ends the list."""
        super().finish(tail + self._tail + "\n")
