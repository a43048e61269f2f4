"""`ssd eval`: score a detector, its checkpoints, a run while it is trained, or files of detections."""

from ssdcli.evaluate.command import evaluate

__all__ = ["evaluate"]
