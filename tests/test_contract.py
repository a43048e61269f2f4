"""`check_backbone` and its commands: planted failures are reported, and a new package passes unchanged."""

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import pytest
import tensorflow as tf
from planted import GOOD, BaseNet, arg_scope, plant, stages, through
from ssd_program import environment_with

from ssdcore import ArgScope, Backbone, BatchNorm, Preprocessing
from ssdcore.contract.plugins import load_plugins
from ssdcore.errors import PluginError
from ssdcore.testing import check_backbone, checks
from ssdcore.testing.pytest_plugin import ContractItem
from ssdcore.testing.subject import NotRunError

Ssd = Callable[..., tuple[int, str, str]]


def check(base_net: BaseNet, scope: Any = arg_scope, preprocessing: Preprocessing = GOOD) -> None:
    """Checks a base net as if its plugin were installed; raises at its first failure."""
    _, plugins = plant(base_net, scope, preprocessing)
    check_backbone("planted", plugins)


def test_a_right_backbone_passes() -> None:
    check(stages)


def fully_connected(inputs: Any, scope: ArgScope) -> tuple[Any, dict[str, Any]]:
    net, end_points = stages(inputs, scope)
    dense = keras.layers.Dense(8, name="fc6")(keras.layers.GlobalAveragePooling2D()(net))
    return keras.layers.Reshape((1, 1, 8))(dense), end_points


def without_scope(inputs: Any, scope: ArgScope) -> tuple[Any, dict[str, Any]]:
    return stages(keras.layers.Conv2D(4, 3, padding="same", name="own")(inputs), scope)


def without_stage3(inputs: Any, scope: ArgScope) -> tuple[Any, dict[str, Any]]:
    net, end_points = stages(inputs, scope)
    return net, {name: one for name, one in end_points.items() if name != "stage3"}


def with_wrong_stride(inputs: Any, scope: ArgScope) -> tuple[Any, dict[str, Any]]:
    return stages(inputs, scope, (2, 1, 2, 2, 2))


def channels_first(inputs: Any, scope: ArgScope) -> tuple[Any, dict[str, Any]]:
    net, end_points = stages(inputs, scope)
    return net, {name: keras.layers.Permute((3, 1, 2))(one) for name, one in end_points.items()}


def cut_off_at_the_rim(inputs: Any, scope: ArgScope) -> tuple[Any, dict[str, Any]]:
    """Pooling that leaves out an odd last row: right for 300 px only."""
    net = scope.conv2d(inputs, 4, 3, name="stem")
    for _ in range(2):
        net = keras.layers.MaxPooling2D(2)(net)
    return stages(net, scope, (1, 1, 2, 2, 2))


def rescaling(inputs: Any, scope: ArgScope) -> tuple[Any, dict[str, Any]]:
    return stages(keras.layers.Rescaling(1 / 255, name="scaled")(inputs), scope)


class Restless(keras.layers.BatchNormalization):
    """Normalises by the batch, whatever `training` is; Keras itself overrules a `training=True` in a base net."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        return super().call(inputs, training=True)


def restless(inputs: Any, scope: ArgScope) -> tuple[Any, dict[str, Any]]:
    norm = Restless(momentum=scope.norm.momentum if scope.norm else 0.9, name="restless")
    return stages(norm(scope.conv2d(inputs, 4, 3, name="stem")), scope)


class Noise(keras.layers.Layer):
    def call(self, inputs: Any) -> Any:
        return inputs + tf.random.normal(tf.shape(inputs), dtype=inputs.dtype)


FACTORS = itertools.count(1)


class Secret(keras.layers.Layer):
    """Keeps numbers of its own outside of its variables."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = float(next(FACTORS))

    def call(self, inputs: Any) -> Any:
        return inputs * self.factor


class Python(keras.layers.Layer):
    def call(self, inputs: Any) -> Any:
        return tf.ensure_shape(tf.py_function(lambda value: value * 1, [inputs], inputs.dtype), inputs.shape)


class Detached(keras.layers.Layer):
    def call(self, inputs: Any) -> Any:
        return tf.stop_gradient(inputs)


@pytest.mark.parametrize(
    ("base_net", "says"),
    [
        (fully_connected, r"convolutional_only: fc6 is fully connected"),
        (with_wrong_stride, r"feature_layers_fit: ssd300 wants prediction layers of 38.*stage3 75x75"),
        (without_stage3, r"feature_layers_fit: .*no end point 'stage3'"),
        (without_scope, r"scope_is_applied: the kernel of own does not carry.*weight_decay"),
        (restless, r"evaluation_is_still: inference changes .*restless.*/moving_mean"),
        (channels_first, r"base_net_gives_maps: stage1 is \(None, 8, 150, 150\), not \(B, H, W, C\)"),
        (cut_off_at_the_rim, r"other_sizes_follow: stage3 has 40x42 cells for 321x337 px.*gives 41x43"),
        (through(Noise), r"evaluation_is_still: two inferences of the same images differ"),
        (through(Secret), r"save_and_load_give_the_same: .*keep all state of a layer in variables"),
        (through(Python), r"exports_to_a_graph: .*calls Python"),
        (through(Detached), r"gradients_reach_everything: no finite gradient reaches .*stem"),
        (rescaling, r"preprocessing_is_plausible: scaled in the base net scales images.*already"),
        (lambda inputs, scope: inputs, r"base_net_gives_maps: base_net must return \(net, end_points\)"),
        (lambda inputs: inputs, r"base_net_gives_maps: TypeError"),
    ],
)
def test_a_planted_failure_is_reported(base_net: BaseNet, says: str) -> None:
    with pytest.raises(PluginError, match=says):
        check(base_net)


@pytest.mark.parametrize(
    ("stated", "says"),
    [
        (Preprocessing(mean=(0.485, 0.456, 0.406), scale=4.4), "is for images from 0 to 1"),
        (Preprocessing(scale=1 / 255 / 127.5), "maps pixels from 0 to 255 to 0 to 0.00784"),
        (Preprocessing(scale=255.0), "maps pixels from 0 to 255 to 0 to 6.5e.04"),
    ],
)
def test_preprocessing_of_another_range_is_named(stated: Preprocessing, says: str) -> None:
    with pytest.raises(PluginError, match=f"preprocessing_is_plausible: .*{says}"):
        check(stages, preprocessing=stated)


def test_an_arg_scope_that_forgets_the_data_format_is_named() -> None:
    def forgetful(*, weight_decay: float, data_format: str) -> ArgScope:
        return ArgScope(weight_decay, norm=BatchNorm())

    with pytest.raises(PluginError, match=r"scope_is_applied: arg_scope\(.*'channels_first'\) returned .*pass both on"):
        check(stages, forgetful)


def test_a_backbone_without_feature_layers_is_reported() -> None:
    with pytest.raises(PluginError, match=r"no plugin names its feature layers.*implement ssdcore_feature_layers"):
        check_backbone(Backbone("lonely", stages, arg_scope, GOOD), load_plugins())


HEAVY = """
import tensorflow
from ssdcore import ArgScope, Backbone, hookimpl

@hookimpl
def ssdcore_backbones():
    return [Backbone("heavy", print, ArgScope)]
"""


@pytest.mark.slow
def test_a_plugin_that_imports_tensorflow_is_named(tmp_path: Path) -> None:
    (tmp_path / "ssd_heavy.py").write_text(HEAVY)
    info = tmp_path / "ssd_heavy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ssd-heavy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ssdcore]\nheavy = ssd_heavy\n")
    environment = environment_with(tmp_path)
    code = "import tensorflow; from ssdcore.testing import check_backbone; check_backbone('heavy')"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "import_is_light: importing ssd-heavy imports TensorFlow; import it inside" in done.stderr


@pytest.fixture(scope="module")
def pond(tmp_path_factory: pytest.TempPathFactory, ssd_command: list[str]) -> tuple[Path, dict[str, str]]:
    """A new package, untouched, and an environment that it is installed in."""
    root = tmp_path_factory.mktemp("new")
    subprocess.run([*ssd_command, "backbones", "new", "my_pond"], cwd=root, check=True, capture_output=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps", "--no-index"]
    site = root / "site"
    subprocess.run([*pip, "--no-build-isolation", "--target", site, root / "ssd-my-pond"], check=True)
    return root, environment_with(site)


def run(pond: tuple[Path, dict[str, str]], *command: str) -> "subprocess.CompletedProcess[str]":
    root, environment = pond
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_new_package_passes_the_check(pond: tuple[Path, dict[str, str]], ssd_command: list[str]) -> None:
    done = run(pond, *ssd_command, "backbones", "check", "my_pond")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok    ") == 13


@pytest.mark.slow
def test_a_new_package_passes_its_own_tests(pond: tuple[Path, dict[str, str]]) -> None:
    """One of its own, and thirteen of the contract by a line in its settings."""
    folder = pond[0] / "ssd-my-pond"
    done = run((folder, pond[1]), sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert "14 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_a_new_package_trains_on_the_shapes(pond: tuple[Path, dict[str, str]], ssd_command: list[str]) -> None:
    for command in (
        "data synth shapes --trainval 8 --test 4",
        "data convert shapes --out records",
        "train --params my-pond-ssd300 --data records --out run train.stages.0.epochs=2 train.stages.0.batch_size=4",
    ):
        done = run(pond, *ssd_command, *command.split())
        assert done.returncode == 0, done.stderr
    assert (pond[0] / "run/checkpoints/last.npz").is_file()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["My-Net"], "'My-Net' cannot name a backbone.*lower-case"),
        (["vgg_16"], "ssd-vgg provides a backbone 'vgg_16' already"),
        (["lake", "--out", "."], "exists; choose another --out"),
    ],
)
def test_a_name_or_folder_that_is_taken(arguments: list[str], says: str, ssd_here: Ssd) -> None:
    code, _, err = ssd_here("backbones", "new", *arguments)
    assert code == 1
    assert re.search(says, err)


def test_the_command_exits_with_1_and_continues_after_a_failure(ssd_here: Ssd, monkeypatch: pytest.MonkeyPatch) -> None:
    from ssdcore.testing import contract

    def wrong(_: object) -> None:
        """All is well."""
        raise PluginError("it is not; mend it")

    def hindered(_: object) -> None:
        """All is well here too."""
        raise NotRunError("nothing to look at")

    monkeypatch.setattr(contract, "CHECKS", (wrong, checks.base_net_gives_maps, hindered))
    code, out, err = ssd_here("backbones", "check", "mobilenet_v1_025")
    assert code == 1
    lines = out.splitlines()
    assert lines[:2] == ["FAIL  All is well.", "      it is not; mend it"]
    assert lines[2].startswith("ok    `base_net(inputs, scope)` returns")
    assert lines[3:5] == ["-     All is well here too.", "      nothing to look at"]
    assert "mobilenet_v1_025 fails 1 of 3 checks and 1 could not be run" in err
    _, out, _ = ssd_here("backbones", "check", "mobilenet_v1_025", "--json")
    assert [(row["check"], row["failure"], row["not_run"]) for row in json.loads(out)] == [
        ("wrong", "it is not; mend it", None),
        ("base_net_gives_maps", None, None),
        ("hindered", None, "nothing to look at"),
    ]


@pytest.fixture
def pytest_in(tmp_path: Path) -> Callable[..., str]:
    """Runs pytest in a folder with one test and a setting of backbones; what it prints."""

    def run_pytest(backbones: str, *arguments: str) -> str:
        (tmp_path / "pytest.ini").write_text(f"[pytest]\nssd_backbones = {backbones}\n")
        (tmp_path / "test_a.py").write_text("def test_a(): pass\n")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    return run_pytest


def test_a_misspelt_name_in_the_settings_of_pytest_is_one_line(pytest_in: Callable[..., str]) -> None:
    said = pytest_in("mobilenet_v1_02")
    assert re.search(r"^ERROR: ssd_backbones: no installed plugin provides .*mobilenet_v1_025", said, re.MULTILINE)
    assert "Traceback" not in said
    assert "INTERNALERROR" not in said


@pytest.mark.slow
def test_pytest_adds_the_checks_unless_certain_tests_are_asked_for(pytest_in: Callable[..., str]) -> None:
    whole = pytest_in("mobilenet_v1_025", "--collect-only", "test_a.py").splitlines()
    assert "test_a.py::test_a" in whole
    assert "::mobilenet_v1_025: import_is_light" in whole
    assert sum(line.startswith("::mobilenet_v1_025: ") for line in whole) == 13
    assert "1 passed" in pytest_in("mobilenet_v1_025", "test_a.py::test_a")


def test_a_check_that_cannot_say_anything_is_a_skipped_test() -> None:
    def hindered(_: object) -> None:
        raise NotRunError("nothing to look at")

    item: Any = SimpleNamespace(_check=hindered, _subject=None)
    with pytest.raises(pytest.skip.Exception, match="nothing to look at"):
        ContractItem.runtest(item)
