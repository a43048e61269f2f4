"""Detectors that are ready to use, and their detections; these need no TensorFlow."""

from typing import TYPE_CHECKING, Any

from ssdcore.detection.detections import Detection, Detections

if TYPE_CHECKING:
    from ssdcore.detection.detector import Detector, load_detector

__all__ = ["Detection", "Detections", "Detector", "load_detector"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from ssdcore.detection import detector

        return getattr(detector, name)
    raise AttributeError(f"module 'ssdcore.detection' has no attribute {name!r}")
