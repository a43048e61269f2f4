"""Why a detector scores as it does: curves, sizes, confusion matrix, calibration and kinds of errors; no TensorFlow.

All of it is computed from one matching by Pascal VOC's rule (`ssdcore.evaluation.voc`).
"""

from ssdcore.evaluation.analysis.summary import Analysis, ClassScores, analyse

__all__ = ["Analysis", "ClassScores", "analyse"]
