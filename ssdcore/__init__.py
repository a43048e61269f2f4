"""SSD object detectors in TensorFlow and Keras 3 whose backbones are plugins.

Importing this package is cheap: TensorFlow is loaded by the first name that needs it, without its
start-up messages. `TF_CPP_MIN_LOG_LEVEL=0` in the environment shows them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ssdcore.contract.arg_scope import ArgScope, BatchNorm
from ssdcore.contract.backbones import Backbone
from ssdcore.contract.checkpoint_maps import CAFFE_EPSILON, CheckpointMap, Source, caffe_batch_norm, flip_channels
from ssdcore.contract.hookspecs import hookimpl
from ssdcore.contract.plugins import Plugins, load_plugins, param_set
from ssdcore.detection import Detections
from ssdcore.errors import SsdError
from ssdcore.params import ParamSet, Preprocessing
from ssdcore.system.tensorflow import load_tensorflow

if TYPE_CHECKING:
    from ssdcore.contract.batch_norm import FusedBatchNormalization
    from ssdcore.data.convert import convert
    from ssdcore.detection.detector import Detector, load_detector
    from ssdcore.evaluation import Evaluation
    from ssdcore.evaluation.evaluate import evaluate
    from ssdcore.model import SSD, build_ssd
    from ssdcore.runs.checkpoint import load_ssd
    from ssdcore.training import TrainingCallback, train

__version__ = "0.1.0"
__all__ = [
    "CAFFE_EPSILON",
    "SSD",
    "ArgScope",
    "Backbone",
    "BatchNorm",
    "CheckpointMap",
    "Detections",
    "Detector",
    "Evaluation",
    "FusedBatchNormalization",
    "ParamSet",
    "Plugins",
    "Preprocessing",
    "Source",
    "SsdError",
    "TrainingCallback",
    "build_ssd",
    "caffe_batch_norm",
    "convert",
    "evaluate",
    "flip_channels",
    "hookimpl",
    "load_detector",
    "load_plugins",
    "load_ssd",
    "param_set",
    "train",
]

_NEEDS_TENSORFLOW = {
    "ssdcore.contract.batch_norm": ["FusedBatchNormalization"],
    "ssdcore.data.convert": ["convert"],
    "ssdcore.detection.detector": ["Detector", "load_detector"],
    "ssdcore.evaluation": ["Evaluation"],
    "ssdcore.evaluation.evaluate": ["evaluate"],
    "ssdcore.model": ["SSD", "build_ssd"],
    "ssdcore.runs.checkpoint": ["load_ssd"],
    "ssdcore.training": ["TrainingCallback", "train"],
}
_MODULES = {name: module for module, names in _NEEDS_TENSORFLOW.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'ssdcore' has no attribute {name!r}")
    load_tensorflow()
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
