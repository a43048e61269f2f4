"""Training: one loop on a `tf.distribute` strategy, in stages, with checkpoints and logs."""

from ssdcore.training.listener import TrainingListener
from ssdcore.training.run import train

__all__ = ["TrainingListener", "train"]
