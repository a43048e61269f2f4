"""Param sets: every number that makes a detector, validated, in one frozen object."""

from ssdcore.params.data import AugmentParams, Crop, DataParams, Expand, Photometric
from ssdcore.params.eval import EvalParams
from ssdcore.params.model import Block, Conv, DefaultBoxes, ModelParams
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
)

__all__ = [
    "Adam",
    "AdamW",
    "AugmentParams",
    "Block",
    "Conv",
    "Cosine",
    "Crop",
    "DataParams",
    "DefaultBoxes",
    "EvalParams",
    "Expand",
    "Fixed",
    "Loss",
    "ModelParams",
    "Multistep",
    "ParamSet",
    "Photometric",
    "Schedule",
    "Sgd",
    "Stage",
    "TrainParams",
    "difference",
]
