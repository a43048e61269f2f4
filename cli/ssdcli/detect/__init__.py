"""`ssd detect`: `sources.py` finds and reads images, `tiles.py` splits large ones, `loop.py` feeds the outputs."""

from ssdcli.detect.command import detect

__all__ = ["detect"]
