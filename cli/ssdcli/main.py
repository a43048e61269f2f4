"""The `ssd` program: its commands, and the one place where errors become messages and exit codes."""

import sys
from collections.abc import Sequence
from pathlib import Path

import click

import ssdcore
from ssdcli.advice import with_advice
from ssdcli.anchors import anchors
from ssdcli.backbones import backbones
from ssdcli.compare.command import compare
from ssdcli.data import data
from ssdcli.demo import demo
from ssdcli.detect import detect
from ssdcli.evaluate import evaluate
from ssdcli.info import info
from ssdcli.options import Program
from ssdcli.params import params
from ssdcli.report.command import report
from ssdcli.train import train
from ssdcli.weights import weights
from ssdcore.contract.plugins import load_plugins
from ssdcore.errors import SsdError, Terminated
from ssdcore.system.tensorflow import set_tensorflow_defaults

FAILED, USAGE, INTERRUPTED = 1, 2, 130

FIRST_STEPS = """\b
First steps:
  ssd demo                                        on drawn shapes, in minutes
  ssd data check IMAGES                           or with images of your own
  ssd data convert IMAGES --out records
  ssd train --params mobilenet025-ssd300 --data records --out run
  ssd detect run IMAGES --out found
"""


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=FIRST_STEPS)
@click.version_option(ssdcore.__version__, prog_name="ssd")
@click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks and TensorFlow's own messages.")
def cli() -> None:
    """Build, train, evaluate and run SSD object detectors."""


for command in (anchors, backbones, compare, data, demo, detect, evaluate, info, params, report, train, weights):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the program and exits: 0 done, 1 error, 2 wrong usage, 130 interrupted, 143 terminated."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    set_tensorflow_defaults(verbose=debug)
    try:
        program = Program(load_plugins().with_commands(cli), debug)
        cli.main(arguments, prog_name="ssd", standalone_mode=False, obj=program)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except Terminated:
        click.echo("terminated", err=True)
        raise
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(INTERRUPTED)
    except Exception as error:
        if debug:
            raise
        click.echo(_message(error), err=True)
        sys.exit(FAILED)


def _message(error: Exception) -> str:
    if isinstance(error, SsdError):
        return f"error: {with_advice(error)}"
    if isinstance(error, OSError) and error.filename:
        return f"error: {Path(error.filename).absolute()}: {error.strerror}; check the path and its permissions"
    text = " ".join(str(error).split())
    return f"error: {type(error).__name__}: {text:.500}; this is unexpected, run 'ssd --debug ...' for the traceback"
