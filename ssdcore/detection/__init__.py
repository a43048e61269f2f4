"""Detectors that are ready to use."""

from ssdcore.detection.detections import Detections
from ssdcore.detection.detector import Detector, load_detector

__all__ = ["Detections", "Detector", "load_detector"]
