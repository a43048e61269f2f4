"""Mean average precision, and running it over a data set."""

from ssdcore.evaluation.evaluate import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]
