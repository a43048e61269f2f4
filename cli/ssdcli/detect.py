"""`ssd detect`: find objects in pictures."""

import json
from collections.abc import Iterator, Sequence
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssdcli.options import PathOption, Program, load_tensorflow, pass_program
from ssdcli.output import progress_bar
from ssdcore.errors import DataError

if TYPE_CHECKING:
    from ssdcore import Detector

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
BATCH = 8


@click.command()
@click.argument("model", type=PathOption)
@click.argument("sources", nargs=-1, required=True)
@click.option("--out", required=True, type=PathOption, help="Folder for pictures and detections.json.")
@click.option("--score", default=0.5, show_default=True, type=click.FloatRange(0, 1), help="Least score shown.")
@pass_program
def detect(program: Program, model: Path, sources: tuple[str, ...], out: Path, score: float) -> None:
    """Find objects in pictures.

    MODEL is a run folder or a checkpoint. SOURCES are picture files, folders, or globs in quotes. A
    picture that cannot be read is named and skipped; the exit code is then 1.
    """
    pictures = find_pictures(sources)
    _refuse_overwriting(pictures, out)
    load_tensorflow()
    from ssdcore import load_detector

    detector = load_detector(model, score, program.plugins)
    broken = detect_pictures(detector, pictures, out)
    click.echo(f"{len(pictures) - broken} annotated pictures and detections.json are in {out}")
    if broken:
        raise DataError(f"{broken} of {len(pictures)} pictures could not be read; they are named above")


def _refuse_overwriting(pictures: Sequence[Path], out: Path) -> None:
    originals = {path.resolve() for path in pictures}
    for name in unique_names(pictures).values():
        if (out / name).resolve() in originals:
            raise DataError(f"{(out / name).absolute()} is one of the pictures; choose another --out")


def find_pictures(sources: Sequence[str]) -> list[Path]:
    """The picture files that sources mean, each once, in order.

    Raises:
        DataError: a source means no picture.
    """
    found: dict[Path, None] = {}
    for source in sources:
        paths = sorted(_pictures_of(source))
        if not paths:
            raise DataError(
                f"{Path(source).absolute()}: no such file, or no pictures ({', '.join(ENDINGS)}) in that folder"
            )
        found |= dict.fromkeys(paths)
    return list(found)


def _pictures_of(source: str) -> Iterator[Path]:
    path = Path(source)
    if path.is_file():
        yield path
        return
    # Path.glob does not take absolute patterns.
    inside = path.iterdir() if path.is_dir() else map(Path, glob(source, recursive=True))  # noqa: PTH207
    yield from (item for item in inside if item.suffix.lower() in ENDINGS and item.is_file())


def detect_pictures(detector: "Detector", pictures: Sequence[Path], out: Path) -> int:
    """Writes an annotated copy of each picture and one `detections.json`; gives the unreadable ones' number."""
    out.mkdir(parents=True, exist_ok=True)
    names = unique_names(pictures)
    results: list[dict[str, Any]] = []
    with progress_bar("detecting") as bar:
        for start in range(0, len(pictures), BATCH):
            batch = pictures[start : start + BATCH]
            results += _detect_batch(detector, {path: out / names[path] for path in batch})
            bar.update(start + len(batch), len(pictures))
    (out / "detections.json").write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return len(pictures) - len(results)


def _detect_batch(detector: "Detector", targets: dict[Path, Path]) -> list[dict[str, Any]]:
    """Detects in pictures, writes them annotated to their targets, and describes what was found."""
    from ssdcli.draw import write_annotated

    readable = {path: pixels for path in targets if (pixels := _read(path)) is not None}
    results = []
    for (path, pixels), found in zip(readable.items(), detector.detect_batch(list(readable.values())), strict=True):
        write_annotated(pixels, found, targets[path])
        height, width = pixels.shape[:2]
        results.append(
            {
                "picture": str(path),
                "width": width,
                "height": height,
                "annotated": str(targets[path]),
                "detections": found.as_dicts(),
            }
        )
    return results


def _read(path: Path) -> Any:
    """A picture's pixels; None if it cannot be read, which is said."""
    from ssdcore.detection.detector import read_picture

    try:
        return read_picture(path)
    except DataError as error:
        click.echo(f"skipped: {error}", err=True)
        return None


def unique_names(pictures: Sequence[Path]) -> dict[Path, str]:
    """An output file name for each picture; equal names from different folders get a number."""
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for path in pictures:
        name, number = f"{path.stem}.jpg", 1
        while name in taken:
            number += 1
            name = f"{path.stem}-{number}.jpg"
        taken.add(name)
        names[path] = name
    return names
