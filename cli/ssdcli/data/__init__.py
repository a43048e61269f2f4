"""`ssd data`: make, check, convert and show labelled images."""

import click

from ssdcli.data.check import check
from ssdcli.data.convert import convert, synth
from ssdcli.data.show import show


@click.group()
def data() -> None:
    """Make, check, convert and show labelled images."""


for command in (check, convert, show, synth):
    data.add_command(command)
