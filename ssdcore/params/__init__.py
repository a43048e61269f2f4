"""Param sets: every number that makes a detector, validated, in one frozen object."""

from ssdcore.params.data import AugmentParams, CoverageCrop, DataParams, Expand, PatchCrop, Photometric, Resize
from ssdcore.params.eval import EvalParams
from ssdcore.params.loss import Loss
from ssdcore.params.model import Block, BlockNorm, Conv, DefaultBoxes, ModelParams, Preprocessing
from ssdcore.params.optimizers import Adam, AdamW, Optimizer, Sgd
from ssdcore.params.param_set import ParamSet, difference
from ssdcore.params.schedules import Cosine, Fixed, LearningRate, Multistep, Schedule
from ssdcore.params.train import Precision, Stage, Trainable, TrainParams, Weights, WeightsFormat

__all__ = [
    "Adam",
    "AdamW",
    "AugmentParams",
    "Block",
    "BlockNorm",
    "Conv",
    "Cosine",
    "CoverageCrop",
    "DataParams",
    "DefaultBoxes",
    "EvalParams",
    "Expand",
    "Fixed",
    "LearningRate",
    "Loss",
    "ModelParams",
    "Multistep",
    "Optimizer",
    "ParamSet",
    "PatchCrop",
    "Photometric",
    "Precision",
    "Preprocessing",
    "Resize",
    "Schedule",
    "Sgd",
    "Stage",
    "TrainParams",
    "Trainable",
    "Weights",
    "WeightsFormat",
    "difference",
]
