"""Detectors that are ready to use, and their detections; the latter need no TensorFlow."""

from ssdcore.detection.detections import Detection, Detections

__all__ = ["Detection", "Detections"]
