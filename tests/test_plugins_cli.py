"""What `ssd` tells of plugins, and the commands that they add."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from plugin_files import HEAVY, MISSPELT_HOOK, RAISES_AT_IMPORT, TOY_BACKBONE, TOY_PARAM_SET, run_program, write_plugin
from ssd_program import Completed

from ssdcore.contract.plugins import Plugins

Run = Callable[..., Completed]

COMMANDS = """
import os
import signal

import click
from ssdcore import hookimpl

@click.command()
@click.argument("whom")
def hello(whom):
    click.echo("hello " + whom)

@click.command()
def boom():
    raise RuntimeError("the tables turned")

@click.command()
def wait():
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()

@hookimpl
def ssdcore_commands(cli):
    for command in (hello, boom, wait):
        cli.add_command(command)
"""

COMMANDS_HOOK_RAISES = """
from ssdcore import hookimpl

@hookimpl
def ssdcore_commands(cli):
    raise RuntimeError("no commands today")
"""


@pytest.fixture
def run_with(tmp_path: Path, ssd_command: list[str]) -> Run:
    """Runs `ssd` in a process of its own that sees one fake plugin."""

    def run(name: str, code: str, *arguments: str) -> Completed:
        write_plugin(tmp_path, name, code)
        return run_program([*ssd_command, *arguments], tmp_path)

    return run


def test_backbones_list_shows_the_plugin_that_imports_tensorflow(run_with: Run, plugins: Plugins) -> None:
    shown = json.loads(run_with("heavy", HEAVY, "backbones", "list", "--json").stdout)
    assert [row["name"] for row in shown["backbones"]] == list(plugins.backbones)
    assert [failure["plugin"] for failure in shown["failures"]] == ["heavy"]


def test_plugin_that_exits_at_import_does_not_end_the_program(run_with: Run, plugins: Plugins) -> None:
    done = run_with("quitter", "import sys\nsys.exit(3)", "backbones", "list", "--json")
    assert done.returncode == 0, done
    shown = json.loads(done.stdout)
    assert [failure["plugin"] for failure in shown["failures"]] == ["quitter"]
    assert [row["name"] for row in shown["backbones"]] == list(plugins.backbones)


@pytest.fixture(scope="module")
def broken_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three broken plugins and a good one, for PYTHONPATH."""
    folder = tmp_path_factory.mktemp("broken")
    write_plugin(folder, "alpha", RAISES_AT_IMPORT)
    write_plugin(folder, "beta", MISSPELT_HOOK)
    write_plugin(folder, "good", TOY_BACKBONE.format(name="toy"))
    write_plugin(folder, "zeta", TOY_BACKBONE.format(name="vgg_16"))
    return folder


def test_backbones_list_tells_broken_plugins_in_json(
    broken_environment: Path, ssd_command: list[str], plugins: Plugins
) -> None:
    done = run_program([*ssd_command, "backbones", "list", "--json"], broken_environment)
    shown = json.loads(done.stdout)
    reasons = {failure["plugin"]: failure["reason"] for failure in shown["failures"]}
    assert done.returncode == 0
    assert list(reasons) == ["alpha", "beta", "zeta"]
    assert "no licence found" in reasons["alpha"]
    assert "ssdcore_backbone'" in reasons["beta"]
    assert "ssd-vgg" in reasons["zeta"]
    assert {row["name"]: row["distribution"] for row in shown["backbones"]} == {
        name: provider.distribution for name, provider in plugins.providers.items()
    } | {"toy": "fake-good"}


def test_backbones_list_tells_broken_plugins_in_a_table(
    broken_environment: Path, ssd_command: list[str], plugins: Plugins
) -> None:
    done = run_program([*ssd_command, "backbones", "list"], broken_environment)
    assert done.returncode == 0
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert {*plugins.backbones, "toy", "alpha", "beta", "zeta"} <= set(rows)
    assert "no licence found" in rows["alpha"]
    assert "ssdcore_backbone'" in rows["beta"]
    assert "fake-zeta" in rows["zeta"]


def test_backbones_list_shows_feature_layers(broken_environment: Path, ssd_command: list[str]) -> None:
    shown = json.loads(run_program([*ssd_command, "backbones", "list", "--json"], broken_environment).stdout)
    layers = {row["name"]: row["ssd300"] for row in shown["backbones"]}
    assert layers["vgg_16"] == ["conv4_3"]
    assert layers["mobilenet_v1_stride1"] == ["Conv2d_11_pointwise"]
    assert layers["toy"] == []


def test_param_set_of_a_plugin_is_listed(run_with: Run) -> None:
    done = run_with("tables", TOY_PARAM_SET.format(name="my-very-own"), "params", "list")
    assert done.returncode == 0
    assert {"my-very-own", "vgg16-ssd300"} <= {line.split()[0] for line in done.stdout.splitlines() if line.strip()}


def test_command_of_a_plugin_runs(run_with: Run) -> None:
    done = run_with("greeter", COMMANDS, "hello", "world")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello world\n", "")


def test_command_of_a_plugin_is_in_the_help(run_with: Run) -> None:
    listed = run_with("greeter", COMMANDS, "--help").stdout.split()
    assert {"hello", "boom", "train"} <= set(listed)


def test_unexpected_error_is_one_line(run_with: Run) -> None:
    done = run_with("greeter", COMMANDS, "boom")
    assert done.returncode == 1
    assert done.stderr.startswith("error: RuntimeError: the tables turned")
    assert done.stderr.count("\n") == 1
    assert "--debug" in done.stderr


def test_debug_shows_the_traceback_of_an_unexpected_error(
    run_with: Run,
) -> None:
    done = run_with("greeter", COMMANDS, "--debug", "boom")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "fake_greeter.py" in done.stderr


def test_interrupted_command_ends_with_130(run_with: Run) -> None:
    done = run_with("greeter", COMMANDS, "wait")
    assert done.returncode == 130
    assert done.stderr.split() == ["interrupted"]


def test_commands_hook_that_raises_leaves_all_other_commands(
    run_with: Run,
) -> None:
    done = run_with("grumpy", COMMANDS_HOOK_RAISES, "params", "list")
    assert done.returncode == 0, done.stderr
    assert "vgg16-ssd300" in done.stdout
