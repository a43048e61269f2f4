"""A folder of TFRecords: what is in it, as `manifest.json` says."""

import json
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from ssdcore.errors import DataError, did_you_mean

MANIFEST = "manifest.json"


class Split(BaseModel):
    """The shards of a split, their sizes in bytes, and what they hold."""

    model_config = ConfigDict(frozen=True)
    shards: tuple[str, ...]
    sizes: tuple[int, ...]
    images: int
    objects: int


class Manifest(BaseModel):
    """Class names 1..C in order, the splits, and the boxes that conversion left out."""

    model_config = ConfigDict(frozen=True)
    format: int = 1
    classes: tuple[str, ...]
    splits: dict[str, Split]
    dropped: tuple[str, ...] = ()

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads a folder's manifest.

        Raises:
            DataError: the folder or its manifest is missing or damaged.
        """
        path = folder / MANIFEST
        if not folder.is_dir():
            raise DataError(f"there is no data folder {folder.absolute()}; make one with 'ssd data convert'")
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError:
            raise DataError(
                f"{folder.absolute()} has no {MANIFEST}: it is no folder of records; "
                "make one from a VOC folder with 'ssd data convert VOC_FOLDER --out DIR'"
            ) from None
        except ValidationError:
            raise DataError(f"{path.absolute()} is damaged; convert the data again") from None

    def save(self, folder: Path) -> None:
        """Writes the manifest into a folder."""
        text = json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False)
        (folder / MANIFEST).write_text(text + "\n", "utf-8")

    def split(self, name: str) -> Split:
        """The split called `name`.

        Raises:
            DataError: there is none.
        """
        if name not in self.splits:
            raise DataError(f"the data has no split {name!r}; {did_you_mean(name, self.splits)}")
        return self.splits[name]
