"""Why a detector scores as it does: curves, sizes, confusions, calibration and kinds of errors; no TensorFlow.

All of it follows from one matching, Pascal VOC's (`ssdcore.evaluation.matching`).
"""

from ssdcore.evaluation.analysis.summary import Analysis, ClassScores, analyse

__all__ = ["Analysis", "ClassScores", "analyse"]
