"""Training: one loop on a `tf.distribute` strategy, in stages, with checkpoints and logs."""

from ssdcore.training.callback import TrainingCallback
from ssdcore.training.run import train

__all__ = ["TrainingCallback", "train"]
