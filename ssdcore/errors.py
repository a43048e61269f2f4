"""The errors a user can meet.

Every message says what was wanted, what was found and where, in one line that makes sense without a
traceback, and what to do next unless that depends on the command line. Anything that is not an
`SsdError` is a defect of ours.
"""

from collections.abc import Iterable
from difflib import get_close_matches

LISTED = 20
"""Names that a message lists at most."""


class SsdError(Exception):
    """Base of all errors caused by what a user gave: input, files, parameters or plugins.

    Args:
        message: what was wanted, what was found and where, in one line. It names no command or option.
        reason: what kind of error this is, for programs that add advice of their own; empty if there is none.
        facts: values that such advice may quote.
    """

    def __init__(self, message: str, reason: str = "", **facts: object) -> None:
        super().__init__(message)
        self.reason, self.facts = reason, facts


class ParamError(SsdError):
    """A param set is invalid, unknown, or contradicts itself."""


class PluginError(SsdError):
    """A backbone or plugin is missing, or broke the plugin contract."""


class DataError(SsdError):
    """Images, annotations or records are missing or unusable."""


class ModelError(SsdError):
    """A network cannot be built as its parameters ask."""


class CheckpointError(SsdError):
    """A checkpoint, weights file or run folder is missing, damaged, or of another model."""


class TrainingError(SsdError):
    """A training run cannot start or continue."""


class TrainingWarning(SsdError):  # noqa: N818
    """A warning about a training run that continues; passed to callbacks, not raised."""


class Terminated(SystemExit):
    """SIGTERM asked the program to end, and what it was doing has been saved. Left alone it exits with 143."""

    def __init__(self) -> None:
        super().__init__(143)


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """A sentence that offers the nearest of `candidates`, or lists the first `LISTED` when none is near."""
    known = sorted(candidates)
    near = get_close_matches(name, known, n=2, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(repr(match) for match in near) + "?"
    more = f" and {len(known) - LISTED} more" if len(known) > LISTED else ""
    return "known: " + (", ".join(known[:LISTED]) or "none") + more
