"""Metrics of a detector, or of files of detections, on a split; without TensorFlow where no detector runs."""

from typing import TYPE_CHECKING, Any

from ssdcore.evaluation.scores import Evaluation, Speed

if TYPE_CHECKING:
    from ssdcore.evaluation.evaluate import Evaluator

__all__ = ["Evaluation", "Evaluator", "Speed"]


def __getattr__(name: str) -> Any:
    if name == "Evaluator":
        from ssdcore.evaluation.evaluate import Evaluator

        return Evaluator
    raise AttributeError(f"module 'ssdcore.evaluation' has no attribute {name!r}")
