"""Weights of other frameworks: reads their files without them, and copies arrays into a detector by name."""

from ssdcore.weights.files import open_weights
from ssdcore.weights.importing import import_weights, load_weights
from ssdcore.weights.report import ImportReport
from ssdcore.weights.stored import StoredArray, WeightsFile

__all__ = ["ImportReport", "StoredArray", "WeightsFile", "import_weights", "load_weights", "open_weights"]
