"""Mean average precision, and running it over a data set."""

from ssdcore.evaluation.evaluate import Evaluation, Evaluator

__all__ = ["Evaluation", "Evaluator"]
