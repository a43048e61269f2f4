"""`ssd compare`: backbones and runs beside each other, by what they cost and what they find."""

from ssdcli.compare.command import compare

__all__ = ["compare"]
