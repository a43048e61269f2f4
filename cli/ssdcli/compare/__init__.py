"""`ssd compare`: cost and accuracy of backbones and runs, measured side by side."""

from ssdcli.compare.command import compare

__all__ = ["compare"]
