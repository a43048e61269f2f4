"""Other people's weights: files read without their frameworks, and copied into a detector by name."""

from ssdcore.weights.files import open_weights
from ssdcore.weights.importing import import_weights, load_weights
from ssdcore.weights.report import ImportReport
from ssdcore.weights.stored import StoredArray, WeightsFile

__all__ = ["ImportReport", "StoredArray", "WeightsFile", "import_weights", "load_weights", "open_weights"]
