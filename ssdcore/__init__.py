"""SSD object detectors in TensorFlow and Keras 3 whose backbones are plugins.

Importing this package is cheap: TensorFlow is loaded by the first name that needs it.
"""

from typing import TYPE_CHECKING, Any

from ssdcore.contract.arg_scope import ArgScope, BatchNorm
from ssdcore.contract.backbones import Backbone
from ssdcore.contract.checkpoint_maps import CheckpointMap, Source
from ssdcore.contract.hookspecs import hookimpl
from ssdcore.errors import SsdError
from ssdcore.params import ParamSet, Preprocessing

if TYPE_CHECKING:
    from ssdcore.detection import Detections, Detector, load_detector

__version__ = "0.1.0"
__all__ = [
    "ArgScope",
    "Backbone",
    "BatchNorm",
    "CheckpointMap",
    "Detections",
    "Detector",
    "ParamSet",
    "Preprocessing",
    "Source",
    "SsdError",
    "hookimpl",
    "load_detector",
]

_NEEDS_TENSORFLOW = ("Detections", "Detector", "load_detector")


def __getattr__(name: str) -> Any:
    if name in _NEEDS_TENSORFLOW:
        from ssdcore import detection

        return getattr(detection, name)
    raise AttributeError(f"module 'ssdcore' has no attribute {name!r}")
