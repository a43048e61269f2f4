"""`ssd data`: make, check, convert and show labelled images."""

import click

from ssdcli.data.check import check
from ssdcli.data.convert import convert
from ssdcli.data.show import show
from ssdcli.data.synth import synth


@click.group()
def data() -> None:
    """Make, check, convert and show labelled images."""


for command in (check, convert, show, synth):
    data.add_command(command)
