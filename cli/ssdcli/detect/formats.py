"""The formats that detections are written in, by name."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ssdcli.detect.sources import Source

if TYPE_CHECKING:
    from ssdcli.detect.outputs import OutFolder, Output

    MakeOutput = Callable[[OutFolder, Sequence[Source], Sequence[str]], Output]

FORMATS = ("drawn", "json", "jsonl", "csv", "coco", "voc", "crops")
USUAL = ("drawn", "json")


def make_outputs(
    formats: Sequence[str], folder: "OutFolder", sources: Sequence[Source], classes: Sequence[str]
) -> list["Output"]:
    """What writes each of the formats, once, for the classes 1..C.

    Raises:
        DataError: a file to write is one of the sources.
    """
    from ssdcli.detect.crops import Crops
    from ssdcli.detect.drawn import Drawn
    from ssdcli.detect.lists import Csv, Json, JsonLines
    from ssdcli.detect.results import CocoResults, VocResults

    in_order: list[MakeOutput] = [Drawn, Json, JsonLines, Csv, CocoResults, VocResults, Crops]
    makers = dict(zip(FORMATS, in_order, strict=True))
    return [makers[name](folder, sources, classes) for name in dict.fromkeys(formats)]
