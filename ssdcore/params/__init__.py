"""Param sets: every number that makes a detector, validated, in one frozen object."""

from ssdcore.params.data import AugmentParams, CoverageCrop, DataParams, Expand, PatchCrop, Photometric, Resize
from ssdcore.params.loss import Focal, Loss
from ssdcore.params.model import Block, BlockNorm, Conv, DefaultBoxes, ModelParams, Preprocessing
from ssdcore.params.optimizers import Adadelta, Adagrad, Adam, AdamW, Ftrl, Optimizer, RMSprop, Sgd
from ssdcore.params.param_set import EvalParams, ParamSet, difference
from ssdcore.params.presets import mobilenet_ssd300, modular_ssd, ssd300, ssd512, ssdlite320, two_stages
from ssdcore.params.schedules import Cosine, Exponential, Fixed, LearningRate, Multistep, Polynomial, Schedule
from ssdcore.params.train import Precision, Stage, Trainable, TrainParams, Weights, WeightsFormat

__all__ = [
    "Adadelta",
    "Adagrad",
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
    "Exponential",
    "Fixed",
    "Focal",
    "Ftrl",
    "LearningRate",
    "Loss",
    "ModelParams",
    "Multistep",
    "Optimizer",
    "ParamSet",
    "PatchCrop",
    "Photometric",
    "Polynomial",
    "Precision",
    "Preprocessing",
    "RMSprop",
    "Resize",
    "Schedule",
    "Sgd",
    "Stage",
    "TrainParams",
    "Trainable",
    "Weights",
    "WeightsFormat",
    "difference",
    "mobilenet_ssd300",
    "modular_ssd",
    "ssd300",
    "ssd512",
    "ssdlite320",
    "two_stages",
]
