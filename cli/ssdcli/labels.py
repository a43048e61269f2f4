"""Short names for models that are shown together."""

from collections.abc import Sequence
from pathlib import Path

import click


def labels(models: Sequence[Path]) -> list[str]:
    """A short name for each path: its last part, or all of it where the last parts are not unique.

    Raises:
        click.UsageError: a path is given twice.
    """
    if len({path.resolve() for path in models}) < len(models):
        raise click.UsageError("the same model is given twice.")
    short = [path.stem if path.suffix == ".npz" else path.absolute().name for path in models]
    return short if len(set(short)) == len(short) else [str(path) for path in models]
