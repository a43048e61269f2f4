"""Param sets: every number that makes a detector, validated, in one frozen object."""

from ssdcore.params.data import AugmentParams, CoverageCrop, DataParams, Expand, PatchCrop, Photometric, Resize
from ssdcore.params.eval import EvalParams
from ssdcore.params.model import Block, BlockNorm, Conv, DefaultBoxes, ModelParams, Preprocessing
from ssdcore.params.param_set import ParamSet, difference
from ssdcore.params.train import (
    Adam,
    AdamW,
    Cosine,
    Fixed,
    Loss,
    Multistep,
    Schedule,
    Sgd,
    Stage,
    TrainParams,
    Weights,
    WeightsFormat,
)

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
    "Loss",
    "ModelParams",
    "Multistep",
    "ParamSet",
    "PatchCrop",
    "Photometric",
    "Preprocessing",
    "Resize",
    "Schedule",
    "Sgd",
    "Stage",
    "TrainParams",
    "Weights",
    "WeightsFormat",
    "difference",
]
