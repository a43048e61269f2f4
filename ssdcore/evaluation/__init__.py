"""Metrics of a detector, or of files of detections, on a split; without TensorFlow where no detector runs."""

from ssdcore.evaluation.scores import Evaluation, Speed

__all__ = ["Evaluation", "Speed"]
