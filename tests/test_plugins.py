"""Plugins: discovery through entry points, what a broken one may not hurt, and what a good one adds."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ssdcore.errors import PluginError
from ssdcore.plugins import DISABLE_VARIABLE, PluginFailure, Plugins, load_plugins

Install = Callable[..., None]
Completed = subprocess.CompletedProcess[str]
Run = Callable[..., Completed]

TOY_BACKBONE = """
from ssdcore import Backbone, hookimpl

@hookimpl
def ssdcore_backbones():
    return [Backbone(name="{name}", base_net=print, arg_scope=print)]
"""

RAISES_AT_IMPORT = 'raise RuntimeError("no licence found")'

MISSPELT_HOOK = """
from ssdcore import hookimpl

@hookimpl
def ssdcore_backbone():
    return []
"""

WRONG_ARGUMENT = """
from ssdcore import hookimpl

@hookimpl
def ssdcore_feature_layers(backbon, model):
    return None
"""

HOOK_RAISES = """
from ssdcore import hookimpl

@hookimpl
def ssdcore_backbones():
    raise OSError("cannot read my tables")
"""

NOT_A_BACKBONE = """
from ssdcore import hookimpl

@hookimpl
def ssdcore_backbones():
    return ["resnet_50"]
"""

NOT_A_PARAM_SET = """
from ssdcore import hookimpl

@hookimpl
def ssdcore_param_sets():
    return {"my-set": {"backbone": "vgg_16"}}
"""

TWICE_THE_SAME = """
from ssdcore import Backbone, hookimpl

@hookimpl
def ssdcore_backbones():
    return [Backbone(name="toy", base_net=print, arg_scope=print)] * 2
"""

NAME_WITH_A_SPACE = TOY_BACKBONE.format(name="res net")

TOY_PARAM_SET = """
from ssdcore import ParamSet, hookimpl
from ssdcore.params.presets import ssd300, two_stages

@hookimpl
def ssdcore_param_sets():
    return {{"{name}": ParamSet(backbone="vgg_16", model=ssd300(), train=two_stages(1, 1, 1))}}
"""

RETARGET = """
@hookimpl
def ssdcore_feature_layers(backbone, model):
    return ["{layer}"] if (backbone, model) == ("vgg_16", "{model}") else None
"""

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


def write_plugin(folder: Path, name: str, code: str, module: str | None = None) -> None:
    """What pip leaves behind for a plugin of one module: `fake_NAME.py` and a dist-info folder."""
    if module is None:
        module = f"fake_{name}"
        (folder / f"{module}.py").write_text(code, "utf-8")
    info = folder / f"fake_{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: fake-{name}\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text(f"[ssdcore]\n{name} = {module}\n", "utf-8")


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Makes fake plugins importable in this process, for one test."""
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda name, code, module=None: write_plugin(tmp_path, name, code, module)
    for name in [name for name in sys.modules if name.startswith("fake_")]:
        del sys.modules[name]


@pytest.fixture
def run_with(tmp_path: Path, ssd_command: list[str]) -> Run:
    """Runs `ssd` in a process of its own that sees one fake plugin."""

    def run(name: str, code: str, *arguments: str) -> Completed:
        write_plugin(tmp_path, name, code)
        return run_program([*ssd_command, *arguments], tmp_path)

    return run


def run_program(command: list[str], *path: Path) -> Completed:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def only_failure(found: Plugins) -> PluginFailure:
    assert len(found.failures) == 1, found.failures
    return found.failures[0]


def assert_all_good_ones_work(found: Plugins, installed: Plugins) -> None:
    assert {"vgg_16", "mobilenet_v1"} <= set(found.backbones)
    assert found.providers == installed.providers
    assert found.param_sets == installed.param_sets
    assert found.feature_layers("vgg_16", "ssd300") == ("conv4_3",)
    assert found.feature_layers("mobilenet_v1", "mobilenet_ssd300") == ("Conv2d_11_pointwise", "Conv2d_13_pointwise")


def test_the_installed_plugins_load_without_failure(plugins: Plugins) -> None:
    assert not plugins.failures
    assert plugins.providers["vgg_16"].distribution == "ssd-vgg"
    assert plugins.providers["mobilenet_v1_025"].distribution == "ssd-mobilenet"


BROKEN = {
    "raises at import": (RAISES_AT_IMPORT, ["RuntimeError", "no licence found"]),
    "syntax error": ("def broken(:", ["SyntaxError"]),
    "imports what is not there": ("import no_such_package", ["ModuleNotFoundError", "no_such_package"]),
    "misspelt hook": (MISSPELT_HOOK, ["'ssdcore_backbone'", "ssdcore_backbones", "ssdcore_param_sets"]),
    "wrong argument": (WRONG_ARGUMENT, ["backbon", "ssdcore_feature_layers"]),
    "hook raises": (HOOK_RAISES, ["OSError", "cannot read my tables"]),
    "not a backbone": (NOT_A_BACKBONE, ["Backbone", "'resnet_50'"]),
    "not a param set": (NOT_A_PARAM_SET, ["ParamSet", "my-set"]),
    "one name twice": (TWICE_THE_SAME, ["'toy'", "twice"]),
    "name with a space": (NAME_WITH_A_SPACE, ["'res net'", "letters"]),
}


@pytest.mark.parametrize("name", ["a_broken", "z_broken"], ids=["loaded first", "loaded last"])
@pytest.mark.parametrize(("code", "telling"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_plugin_is_recorded_and_hurts_no_other(
    install: Install, plugins: Plugins, name: str, code: str, telling: list[str]
) -> None:
    install(name, code)
    found = load_plugins()
    failure = only_failure(found)
    assert (failure.plugin.name, failure.plugin.distribution) == (name, f"fake-{name}")
    assert [part for part in telling if part not in failure.reason] == []
    assert_all_good_ones_work(found, plugins)


@pytest.mark.parametrize(
    "code", [WRONG_ARGUMENT, 'raise ValueError("first line\\nsecond line")'], ids=["wrong argument", "two-line error"]
)
def test_reason_of_a_failure_is_one_line(install: Install, code: str) -> None:
    install("broken", code)
    assert len(only_failure(load_plugins()).reason.splitlines()) == 1


def test_entry_point_without_a_module_is_recorded(install: Install, plugins: Plugins) -> None:
    install("ghost", "", module="fake_no_such_module")
    found = load_plugins()
    assert "fake_no_such_module" in only_failure(found).reason
    assert_all_good_ones_work(found, plugins)


def test_taken_backbone_name_is_refused_naming_both_distributions(install: Install, plugins: Plugins) -> None:
    install("zoo", TOY_BACKBONE.format(name="vgg_16"))
    found = load_plugins()
    reason = only_failure(found).reason
    assert all(part in reason for part in ("'vgg_16'", "fake-zoo", "ssd-vgg"))
    assert_all_good_ones_work(found, plugins)


def test_taken_param_set_name_is_refused_naming_both_distributions(install: Install, plugins: Plugins) -> None:
    install("zoo", TOY_PARAM_SET.format(name="vgg16-ssd300"))
    found = load_plugins()
    reason = only_failure(found).reason
    assert all(part in reason for part in ("'vgg16-ssd300'", "fake-zoo", "ssd-vgg"))
    assert_all_good_ones_work(found, plugins)


def test_refused_plugin_leaves_nothing_behind(install: Install, plugins: Plugins) -> None:
    retarget = RETARGET.format(model="ssd300", layer="pool5")
    install("zoo", TOY_BACKBONE.format(name="zoo_net") + TOY_PARAM_SET.format(name="vgg16-ssd300") + retarget)
    found = load_plugins()
    assert "vgg16-ssd300" in only_failure(found).reason
    assert "zoo_net" not in found.backbones
    assert_all_good_ones_work(found, plugins)


def test_second_entry_point_for_a_loaded_module_leaves_the_first_working(install: Install, plugins: Plugins) -> None:
    install("zoo", "", module="ssd_vgg")
    found = load_plugins()
    assert only_failure(found).plugin.name == "zoo"
    assert_all_good_ones_work(found, plugins)


def test_entry_point_name_that_is_taken_is_refused(install: Install, plugins: Plugins) -> None:
    install("vgg", TOY_BACKBONE.format(name="other_vgg"))
    found = load_plugins()
    assert "'vgg'" in only_failure(found).reason
    assert len({"other_vgg", "vgg_16"} & set(found.backbones)) == 1
    assert found.feature_layers("mobilenet_v1", "ssd300") == plugins.feature_layers("mobilenet_v1", "ssd300")


HEAVY = "import tensorflow\n" + TOY_BACKBONE.format(name="heavy_net")


def test_plugin_that_imports_tensorflow_is_refused(tmp_path: Path, plugins: Plugins) -> None:
    write_plugin(tmp_path, "heavy", HEAVY)
    code = "from ssdcore.plugins import load_plugins as l; p = l(); print(*p.backbones); print(p.failures[0].reason)"
    names, reason = run_program([sys.executable, "-c", code], tmp_path).stdout.splitlines()
    assert names.split() == list(plugins.backbones)
    assert all(part in reason for part in ("fake_heavy", "imports TensorFlow"))


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


def test_disabled_plugin_is_never_imported(install: Install, plugins: Plugins, monkeypatch: pytest.MonkeyPatch) -> None:
    install("blocked", RAISES_AT_IMPORT)
    install("allowed", TOY_BACKBONE.format(name="toy"))
    monkeypatch.setenv(DISABLE_VARIABLE, "vgg, blocked")
    found = load_plugins()
    assert "fake_blocked" not in sys.modules
    assert not found.failures
    assert set(found.backbones) == set(plugins.backbones) - {"vgg_16"} | {"toy"}


def test_plugins_load_in_the_order_of_their_names(install: Install) -> None:
    for name in ("zebra", "ant", "napkin"):
        install(name, TOY_BACKBONE.format(name=name))
    order = list(dict.fromkeys(provider.name for provider in load_plugins().providers.values()))
    assert order == sorted(order)
    assert {"ant", "mobilenet", "napkin", "vgg", "zebra"} <= set(order)


def test_plugin_may_retarget_the_backbone_of_another(install: Install) -> None:
    install("tiles", "from ssdcore import hookimpl\n" + RETARGET.format(model="ssd640", layer="conv5_3"))
    found = load_plugins()
    assert not found.failures
    assert found.feature_layers("vgg_16", "ssd640") == ("conv5_3",)
    assert found.feature_layers("vgg_16", "ssd300") == ("conv4_3",)


def test_nobody_knows_the_feature_layers_of_an_unknown_model(plugins: Plugins) -> None:
    assert plugins.feature_layers("vgg_16", "ssd640") == ()


@pytest.mark.parametrize(
    ("asked", "offered"), [("vgg_61", "'vgg_16'"), ("mobilnet_v1", "'mobilenet_v1'"), ("zzz", "mobilenet_v1_stride1")]
)
def test_unknown_backbone_is_answered_with_near_or_known_names(plugins: Plugins, asked: str, offered: str) -> None:
    with pytest.raises(PluginError) as caught:
        plugins.backbone(asked)
    message = str(caught.value)
    assert repr(asked) in message
    assert offered in message


def test_unknown_backbone_message_names_the_plugins_that_failed(install: Install) -> None:
    install("resnet", RAISES_AT_IMPORT)
    with pytest.raises(PluginError, match=r"failed to load: resnet"):
        load_plugins().backbone("resnet_50")


@pytest.mark.parametrize(
    "module", ["ssdcore", "ssdcore.plugins", "ssd_vgg", "ssd_mobilenet", "ssd_keras", "ssdcli.main"]
)
def test_importing_needs_no_tensorflow(module: str) -> None:
    code = f"import sys, {module}; print('loaded', sorted({{'keras', 'tensorflow'}} & set(sys.modules)))"
    assert run_program([sys.executable, "-c", code]).stdout == "loaded []\n"


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
