"""Plugins: discovery through entry points, what a broken one may not hurt, and what a good one adds."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from plugin_files import HEAVY, MISSPELT_HOOK, RAISES_AT_IMPORT, TOY_BACKBONE, TOY_PARAM_SET, run_program, write_plugin

from ssdcore import Backbone
from ssdcore.contract.plugins import DISABLE_VARIABLE, PluginFailure, Plugins, load_plugins
from ssdcore.errors import PluginError

Install = Callable[..., None]

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

RETARGET = """
@hookimpl
def ssdcore_feature_layers(backbone, model):
    return ["{layer}"] if (backbone, model) == ("vgg_16", "{model}") else None
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Makes fake plugins importable in this process, for one test."""
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda name, code, module=None: write_plugin(tmp_path, name, code, module)
    for name in [name for name in sys.modules if name.startswith("fake_")]:
        del sys.modules[name]


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


def test_plugin_that_imports_tensorflow_is_refused(tmp_path: Path, plugins: Plugins) -> None:
    write_plugin(tmp_path, "heavy", HEAVY)
    code = "from ssdcore.contract.plugins import load_plugins; p = load_plugins(); print(*p.backbones)"
    code += "; print(p.failures[0].reason)"
    names, reason = run_program([sys.executable, "-c", code], tmp_path).stdout.splitlines()
    assert names.split() == list(plugins.backbones)
    assert all(part in reason for part in ("fake_heavy", "imports TensorFlow"))


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


@pytest.mark.parametrize("given", ['"conv4_3"', '["conv4_3", "conv4_3"]', "[1, 2]", "7"])
def test_feature_layers_that_are_no_list_of_different_names_are_refused(install: Install, given: str) -> None:
    code = "from ssdcore import hookimpl\n" + RETARGET.format(model="ssd640", layer="")
    install("tiles", code.replace('[""]', given))
    found = load_plugins()
    assert not found.failures
    with pytest.raises(PluginError) as caught:
        found.feature_layers("vgg_16", "ssd640")
    shown = given.replace('"', "'")
    start = f"ssdcore_feature_layers('vgg_16', 'ssd640') of a plugin returned {shown}"
    assert str(caught.value).startswith(f"{start}; it must")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"name": None}, "name must be letters"),
        ({"preprocessing": None}, "'toy': preprocessing must be an ssdcore.Preprocessing, not None"),
        (
            {"checkpoints": {"pytorch": "x"}},
            r"'toy': checkpoints\['pytorch'\] must be an ssdcore.CheckpointMap, not 'x'",
        ),
        ({"checkpoints": ["caffe"]}, r"'toy': checkpoints must be a dict.*not \['caffe'\]"),
    ],
)
def test_a_backbone_of_wrong_values_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(PluginError, match=says):
        Backbone(**{"name": "toy", "base_net": print, "arg_scope": print, **fields})


def test_nobody_knows_the_feature_layers_of_an_unknown_model(plugins: Plugins) -> None:
    assert plugins.feature_layers("vgg_16", "ssd640") == ()


@pytest.mark.parametrize(
    ("asked", "offered"), [("vgg_61", "'vgg_16'"), ("mobilnet_v1", "'mobilenet_v1'"), ("zzz", "mobilenet_v1,")]
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
    "module", ["ssdcore", "ssdcore.contract.plugins", "ssd_vgg", "ssd_mobilenet", "ssd_keras", "ssdcli.main"]
)
def test_importing_needs_no_tensorflow(module: str) -> None:
    code = f"import sys, {module}; print('loaded', sorted({{'keras', 'tensorflow'}} & set(sys.modules)))"
    assert run_program([sys.executable, "-c", code]).stdout == "loaded []\n"
