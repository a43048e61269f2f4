"""Report on an import: what happened to every array and variable, and how file and detector differ."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ssdcore.contract.backbones import Backbone
from ssdcore.params import ModelParams
from ssdcore.params.presets import ssd300, ssd512
from ssdcore.weights.classes import ClassTransfer
from ssdcore.weights.layouts import TF1_DETECTORS
from ssdcore.weights.stored import WeightsFile


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
        counts = f"{len(self.matched)} matched, {len(self.skipped)} skipped (shape), {len(self.missing)} missing, "
        counts += f"{len(self.unused)} unused"
        if self.excluded:
            counts += f", {len(self.excluded)} excluded"
        if self.classes and (self.classes.new or self.classes.dropped):
            parts = [f"{len(getattr(self.classes, kind))} {kind}" for kind in ("kept", "new", "dropped")]
            counts += f"; classes: {', '.join(parts)}"
        return "; note: ".join([f"weights of {self.path} ({self.format}): {counts}", *self.notes])

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        classes = self.classes and {key: getattr(self.classes, key) for key in ("kept", "new", "dropped")}
        return {**asdict(self), "path": str(self.path), "skipped": dict(self.skipped), "classes": classes}


def find_notes(file: WeightsFile, model: ModelParams, backbone: Backbone) -> tuple[str, ...]:
    """Reasons why a detector with these weights may detect worse than the original.

    Args:
        file: whose class heads were loaded.
        model: the detector's.
        backbone: the detector's.
    """
    notes = []
    if file.params is not None:
        keys = ("default_boxes", "variances", "preprocessing")
        changed = [f"model.{key}" for key in keys if getattr(file.params.model, key) != getattr(model, key)]
        if changed:
            notes.append(f"the file's detector was made with another {', '.join(changed)}")
    elif file.format in TF1_DETECTORS:  # these projects have one set of default boxes per image size, and one scaling
        theirs = {300: ssd300("coco"), 512: ssd512("coco", truncate_sizes=False)}.get(model.image_size[0])
        if theirs and theirs.default_boxes != model.default_boxes:
            notes.append("these projects have other model.default_boxes; use the param set of the project")
        ours = model.preprocessing or backbone.preprocessing
        if (ours.mean, ours.scale) != ((123.0, 117.0, 104.0), 1.0):
            notes.append("these projects use another model.preprocessing; use the param set of the project")
    elif file.format == "caffe":
        sizes = ", ".join(f"{size:g}" for size in model.default_boxes.min_sizes)
        notes.append(f"a Caffe file does not say its default boxes; min_sizes here are {sizes}: compare its prototxt")
    return tuple(notes)
