"""`ssd detect`, a file for each part.

`command.py` reads the command line, `sources.py` finds what it names, `frames.py` reads it, `tiles.py` takes large
images apart, `work.py` is the loop, `outputs.py` what all formats share; `formats.py` says where each one is written.
"""

from ssdcli.detect.command import detect

__all__ = ["detect"]
