"""The SSD network: a plugin's base net, SSD blocks, heads, loss and post-processing."""

from ssdcore.model.ssd import SSD, build_ssd

__all__ = ["SSD", "build_ssd"]
