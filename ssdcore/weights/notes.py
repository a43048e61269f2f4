"""Differences between a weights file and the detector that loads it, as far as known."""

from ssdcore.contract.backbones import Backbone
from ssdcore.params import ModelParams, Preprocessing
from ssdcore.params.presets import ssd300, ssd512
from ssdcore.weights.layouts import TF1_DETECTORS
from ssdcore.weights.stored import WeightsFile


def find_notes(file: WeightsFile, model: ModelParams, backbone: Backbone) -> tuple[str, ...]:
    """Reasons why a detector with these weights may detect worse than the original.

    Args:
        file: whose class heads were loaded.
        model: the detector's.
        backbone: the detector's.
    """
    notes = []
    if file.params is not None:
        there = file.params.model
        changed = [
            key for key in ("default_boxes", "variances", "preprocessing") if getattr(there, key) != getattr(model, key)
        ]
        if changed:
            notes.append(f"the file's detector was made with another model.{', model.'.join(changed)}")
    elif file.format in TF1_DETECTORS:
        notes += _tf1_notes(model, model.preprocessing or backbone.preprocessing)
    elif file.format == "caffe":
        sizes = ", ".join(f"{size:g}" for size in model.default_boxes.min_sizes)
        notes.append(f"a Caffe file does not say its default boxes; min_sizes here are {sizes}: compare its prototxt")
    return tuple(notes)


def _tf1_notes(model: ModelParams, preprocessing: Preprocessing) -> list[str]:
    """The TF1 projects have one set of default boxes per image size, and one preprocessing."""
    notes = []
    theirs = {300: ssd300("coco"), 512: ssd512("coco", truncate_sizes=False)}.get(model.image_size[0])
    if theirs and theirs.default_boxes != model.default_boxes:
        notes.append("these projects have other model.default_boxes; use the param set of the project")
    if (preprocessing.mean, preprocessing.scale) != ((123.0, 117.0, 104.0), 1.0):
        notes.append("these projects use another model.preprocessing; use the param set of the project")
    return notes
