"""Report on an import: what happened to every array of a file and every variable of a detector."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ssdcore.weights.classes import ClassTransfer


@dataclass(frozen=True)
class ImportReport:
    """How a file's arrays matched a detector's variables; all names are sorted.

    Attributes:
        path: the file.
        format: of the file.
        matched: variables loaded from the file.
        skipped: variables of another shape in the file, each with the reason; unchanged.
        missing: variables that are not in the file; unchanged.
        excluded: variables excluded on request; unchanged.
        unused: arrays of the file that were not used.
        classes: what happened to the class channels; None if no class head was in the file.
        notes: differences that the user should check.
    """

    path: Path
    format: str
    matched: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]
    excluded: tuple[str, ...]
    unused: tuple[str, ...]
    classes: ClassTransfer | None
    notes: tuple[str, ...] = ()

    def misfits(self) -> list[str]:
        """The variables that the file has no fitting values for, each with the reason."""
        skipped = [f"{name} {reason}" for name, reason in self.skipped]
        return skipped + [f"{name} is not in the file" for name in self.missing]

    def summary(self) -> str:
        """One line with the counts."""
        counts = (
            f"{len(self.matched)} matched, {len(self.skipped)} skipped (shape), {len(self.missing)} missing, "
            f"{len(self.unused)} unused"
        )
        if self.excluded:
            counts += f", {len(self.excluded)} excluded"
        if self.classes and (self.classes.new or self.classes.dropped):
            counts += (
                f"; classes: {len(self.classes.kept)} kept, {len(self.classes.new)} new, "
                f"{len(self.classes.dropped)} dropped"
            )
        return "; note: ".join([f"weights of {self.path} ({self.format}): {counts}", *self.notes])

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        classes = asdict(self.classes) if self.classes else None
        return {
            **asdict(self),
            "path": str(self.path),
            "skipped": dict(self.skipped),
            "classes": classes and {key: classes[key] for key in ("kept", "new", "dropped")},
        }
