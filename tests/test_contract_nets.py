"""Checks of one kind at a time: nets of many kinds that pass, and failures hidden in them."""

import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from planted import BaseNet, plant, stages, through
from plugin_files import write_plugin

from ssdcore import ArgScope
from ssdcore.contract.plugins import load_plugins
from ssdcore.testing import checks, run_checks
from ssdcore.testing.checks import CHECKS
from ssdcore.testing.checks.behaviour import close
from ssdcore.testing.contract import result_of
from ssdcore.testing.subject import Subject

L = keras.layers
STATIC = (checks.leaves_the_process_alone, checks.convolutional_only, checks.scope_is_applied)
Check = Callable[[Subject], None]


def decay(scope: ArgScope) -> Any:
    return keras.regularizers.L2(scope.weight_decay / 2)


def momentum(scope: ArgScope) -> float:
    return 0.99 if scope.norm is None else scope.norm.momentum


class Block(L.Layer):
    """A custom layer that holds a convolution and its normalisation."""

    def __init__(self, scope: ArgScope, **options: Any) -> None:
        super().__init__(**options)
        self.conv = L.Conv2D(8, 3, strides=2, padding="same", kernel_regularizer=decay(scope), name="conv")
        self.norm = L.BatchNormalization(momentum=momentum(scope), name="bn")

    def build(self, shape: Any) -> None:
        self.conv.build(shape)
        self.norm.build(self.conv.compute_output_shape(shape))

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return keras.ops.relu(self.norm(self.conv(inputs), training=training))


def five(make: Callable[[Any, ArgScope, int], Any]) -> BaseNet:
    """A base net of five alike stages."""

    def base_net(inputs: Any, scope: ArgScope) -> tuple[Any, dict[str, Any]]:
        end_points = {}
        for stage in range(1, 6):
            inputs = end_points[f"stage{stage}"] = make(inputs, scope, stage)
        return inputs, end_points

    return base_net


def custom(net: Any, scope: ArgScope, stage: int) -> Any:
    return Block(scope, name=f"block{stage}")(net)


def nested(net: Any, scope: ArgScope, stage: int) -> Any:
    inner = keras.Input(net.shape[1:])
    return keras.Model(inner, scope.conv2d(inner, 8, 3, strides=2, name=f"c{stage}"), name=f"part{stage}")(net)


def sequential(net: Any, scope: ArgScope, stage: int) -> Any:
    conv = L.Conv2D(8, 3, strides=2, padding="same", kernel_regularizer=decay(scope), name="conv")
    return keras.Sequential([conv, L.ReLU(name="relu")], name=f"part{stage}")(net)


def separable(net: Any, scope: ArgScope, stage: int) -> Any:
    return L.SeparableConv2D(
        8, 3, strides=2, padding="same", pointwise_regularizer=decay(scope), activation="relu", name=f"s{stage}"
    )(net)


def fpn(inputs: Any, scope: ArgScope) -> tuple[Any, dict[str, Any]]:
    """Coarse maps, enlarged, are added to finer ones."""
    net, maps = stages(inputs, scope)
    for fine in (4, 3):
        size = maps[f"stage{fine}"].shape[1:3]
        large = keras.ops.image.resize(maps[f"stage{fine + 1}"], size, interpolation="nearest")
        maps[f"stage{fine}"] = scope.conv2d(maps[f"stage{fine}"] + large, 8, 3, name=f"fpn{fine}")
    return net, maps


def pooled_by_an_operation(inputs: Any, scope: ArgScope) -> tuple[Any, dict[str, Any]]:
    net = keras.ops.max_pool(scope.conv2d(inputs, 4, 3, strides=2, name="stem"), 3, 2, padding="same")
    return stages(net, scope, (1, 1, 2, 2, 2))


def focus(inputs: Any, scope: ArgScope) -> tuple[Any, dict[str, Any]]:
    """Every second row and column, beside one another."""
    _, height, width, _ = inputs.shape
    net = L.ZeroPadding2D(((0, height % 2), (0, width % 2)), name="pad")(inputs)
    parts = [net[:, row::2, column::2] for row in (0, 1) for column in (0, 1)]
    return stages(L.Concatenate(name="focus")(parts), scope, (1, 2, 2, 2, 2))


class Table(L.Layer):
    """Adds what is looked up in a table, whose gradient then has slices only."""

    def build(self, shape: Any) -> None:
        self.table = self.add_weight(shape=(9, shape[-1]), initializer="zeros", name="table")

    def call(self, inputs: Any) -> Any:
        found = tf.gather(tf.convert_to_tensor(self.table), [0, 1])
        return inputs + keras.ops.cast(keras.ops.sum(found, axis=0), inputs.dtype)


def tokens(inputs: Any, scope: ArgScope) -> tuple[Any, dict[str, Any]]:
    """Attention and dense layers on (B, N, C), dropout, and a table."""
    net, end_points = stages(inputs, scope)
    height, width = net.shape[1:3]
    row = Table(name="rel")(L.Reshape((height * width, 8), name="to_tokens")(net))
    row = row + L.MultiHeadAttention(2, 4, dropout=0.1, name="attention")(row, row)
    wide = L.Dense(16, activation="gelu", kernel_regularizer=decay(scope), name="mlp1")(row)
    row = row + L.Dropout(0.2)(L.Dense(8, kernel_regularizer=decay(scope), name="mlp2")(wide))
    end_points["stage5"] = L.Reshape((height, width, 8), name="to_map")(row)
    return end_points["stage5"], end_points


RIGHT = {
    "custom layers": five(custom),
    "nested models": five(nested),
    "sequential models": five(sequential),
    "separable convolutions alone": five(separable),
    "feature pyramid": fpn,
    "operations": pooled_by_an_operation,
    "strided slices": focus,
}


@pytest.mark.parametrize("base_net", RIGHT.values(), ids=RIGHT.keys())
def test_nets_of_many_makes_are_right(base_net: BaseNet) -> None:
    subject = Subject(*plant(base_net))
    found = {check.__name__: result_of(check, subject).failure for check in (*STATIC, checks.other_sizes_follow)}
    assert set(found.values()) == {None}, found


def test_tokens_with_attention_dropout_and_a_table_pass_every_check() -> None:
    results = list(run_checks(*plant(tokens)))
    assert [(one.name, one.failure) for one in results if one.failure or one.not_run] == []
    assert len(results) == len(CHECKS) == 13


@pytest.mark.parametrize(
    ("wanted", "found", "same"),
    [
        ([2e5, 0.0], [2e5, 150.0], True),
        ([2e5, 0.0], [2e5, 250.0], False),
        ([1e-3, 0.0], [1e-3, 5e-7], True),
        ([1e-3, 0.0], [1e-3, 2e-6], False),
        ([1.0, 0.0], [float("nan"), 0.0], False),
    ],
)
def test_rounding_is_measured_by_the_largest_logit(wanted: list[float], found: list[float], same: bool) -> None:
    """A thousandth of it."""
    assert close(np.array(wanted, np.float32), np.array(found, np.float32)) == same


class OwnKernel(L.Layer):
    """A convolution of its own make."""

    def __init__(self, kernel_name: str) -> None:
        super().__init__(name="own")
        self.kernel_name = kernel_name

    def build(self, shape: Any) -> None:
        self.w = self.add_weight(shape=(3, 3, 4, 4), name=self.kernel_name)

    def call(self, inputs: Any) -> Any:
        return keras.ops.conv(inputs, self.w, padding="same")


def hidden_dense(inputs: Any, scope: ArgScope) -> tuple[Any, dict[str, Any]]:
    """Flatten and a dense layer, inside a model inside the net."""
    net, end_points = stages(inputs, scope)
    inner = keras.Input(net.shape[1:])
    row = L.Dense(8, kernel_regularizer=decay(scope), name="fc")(L.Flatten(name="flat")(inner))
    factors = L.Reshape((1, 1, 8), name="factors")(row)
    end_points["stage5"] = keras.Model(inner, inner * factors, name="head")(net)
    return end_points["stage5"], end_points


class Squeeze(L.Layer):
    """A dense layer on (B, C), inside of a layer."""

    def __init__(self) -> None:
        super().__init__(name="squeeze")
        self.dense = L.Dense(4, name="inner_fc")

    def build(self, shape: Any) -> None:
        self.dense.build((shape[0], shape[-1]))

    def call(self, inputs: Any) -> Any:
        return inputs * self.dense(keras.ops.mean(inputs, axis=(1, 2)))[:, None, None]


def l1_decay(inputs: Any, scope: ArgScope) -> tuple[Any, dict[str, Any]]:
    own = keras.regularizers.L1(scope.weight_decay / 2)
    return stages(L.Conv2D(4, 3, padding="same", kernel_regularizer=own, name="own")(inputs), scope)


def own_momentum(inputs: Any, scope: ArgScope) -> tuple[Any, dict[str, Any]]:
    norm = L.BatchNormalization(momentum=0.9999, name="own_bn")
    return stages(keras.Sequential([norm], name="part")(scope.conv2d(inputs, 4, 3, name="stem")), scope)


def sets(change: Callable[[], None]) -> BaseNet:
    """A base net that changes the process it is built in."""

    def base_net(inputs: Any, scope: ArgScope) -> tuple[Any, dict[str, Any]]:
        change()
        return stages(inputs, scope)

    return base_net


class Float32Constant(L.Layer):
    def call(self, inputs: Any) -> Any:
        return inputs * tf.constant([1.0, 2.0, 3.0, 4.0])


SCOPE, FLAT, PROCESS = checks.scope_is_applied, checks.convolutional_only, checks.leaves_the_process_alone
FAILURES: dict[str, tuple[BaseNet, Check, list[str]]] = {
    "separable": (
        through(lambda: L.SeparableConv2D(4, 3, padding="same", name="own")),
        SCOPE,
        ["kernel of own (pointwise_kernel)", "pointwise_regularizer"],
    ),
    "transposed": (through(lambda: L.Conv2DTranspose(4, 3, padding="same", name="own")), SCOPE, ["kernel of own does"]),
    "dense on a map": (through(lambda: L.Dense(4, name="own")), SCOPE, ["kernel of own does"]),
    "own kernel": (through(lambda: OwnKernel("kernel")), SCOPE, ["kernel of own does", "add_weight"]),
    "own kernel, other name": (through(lambda: OwnKernel("w")), SCOPE, ["kernel of own (w) does"]),
    "one channel": (through(lambda: L.Conv2D(1, 3, padding="same", name="own")), SCOPE, ["kernel of own does"]),
    "L1": (l1_decay, SCOPE, ["kernel of own does"]),
    "momentum": (own_momentum, SCOPE, ["own_bn does not take its momentum", "momentum=scope.norm.momentum"]),
    "flatten in a model": (hidden_dense, FLAT, ["is fully connected"]),
    "dense in a layer": (through(Squeeze), FLAT, ["inner_fc is fully connected", "1x1 convolution"]),
    "data format": (
        sets(lambda: keras.config.set_image_data_format("channels_first")),
        PROCESS,
        ["image_data_format from 'channels_last' to 'channels_first'", "restore it"],
    ),
    "dtype policy": (
        sets(lambda: keras.config.set_dtype_policy("mixed_bfloat16")),
        PROCESS,
        ["dtype_policy from", "mixed_bfloat16"],
    ),
    "floatx": (sets(lambda: keras.config.set_floatx("float16")), PROCESS, ["floatx from 'float32' to 'float16'"]),
    "TensorFlow's seed": (sets(lambda: tf.random.set_seed(3)), PROCESS, ["seed of tf.random from None to 3"]),
    "all seeds": (sets(lambda: keras.utils.set_random_seed(1)), PROCESS, ["seed of tf.random"]),
    "mixed precision": (
        through(Float32Constant),
        checks.mixed_precision_fits,
        ["mixed_bfloat16", "cast constants to the layer's compute_dtype"],
    ),
}


@pytest.fixture
def process() -> Iterator[None]:
    """Restores Keras' settings after the test."""
    yield
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    tf.random.set_seed(None)


@pytest.mark.usefixtures("process")
@pytest.mark.parametrize(("base_net", "check", "says"), FAILURES.values(), ids=FAILURES.keys())
def test_a_hidden_failure_is_reported(base_net: BaseNet, check: Check, says: list[str]) -> None:
    found = result_of(check, Subject(*plant(base_net))).failure or ""
    assert [part for part in says if part not in found] == [], found


@pytest.mark.parametrize(("name", "seed"), [("random", random.seed), ("np.random", np.random.seed)])
def test_seeding_of_one_generator_is_named(name: str, seed: Callable[[int], None]) -> None:
    found = result_of(PROCESS, Subject(*plant(sets(lambda: seed(1))))).failure or ""
    assert f"base_net seeds {name}: every detector would get the same weights" in found


def test_the_check_of_the_process_leaves_it_alone() -> None:
    random.seed(5)
    keras.config.set_dtype_policy("mixed_bfloat16")
    subject = Subject(*plant(stages))
    _ = subject.base_net
    before = random.getstate()
    assert result_of(PROCESS, subject).failure is None
    assert random.getstate() == before
    assert keras.config.dtype_policy().name == "mixed_bfloat16"
    keras.config.set_dtype_policy("float32")


def test_a_failure_of_the_arg_scope_is_reported_once() -> None:
    def short(*, weight_decay: float) -> ArgScope:
        return ArgScope(weight_decay)

    results = {one.name: one for one in run_checks(*plant(stages, short))}
    assert [one.name for one in results.values() if one.failure] == ["base_net_gives_maps"]
    assert "unexpected keyword argument 'data_format'" in (results["base_net_gives_maps"].failure or "")
    left = {name for name, one in results.items() if one.not_run}
    assert left == set(results) - {"import_is_light", "base_net_gives_maps"}
    assert results["scope_is_applied"].not_run == "not run: it needs what failed above"


PLUGIN = """
{before}
from ssdcore import ArgScope, Backbone, BatchNorm, Preprocessing, hookimpl

def base_net(inputs, scope):
    import os
    import keras
    parts = [scope.conv2d(inputs, 2, 3, strides=2, name=one) for one in {parts}]
    net, end_points = keras.layers.Concatenate(name="all")(parts), {{}}
    for stage in range(2, 6):
        net = end_points[f"stage{{stage}}"] = scope.conv2d(net, 8, 3, strides=2, name=f"stage{{stage}}")
    return net, end_points

@hookimpl
def ssdcore_backbones():
    return [Backbone("fake", base_net, ArgScope, Preprocessing(mean=(127.5,) * 3, scale=1 / 127.5))]

@hookimpl
def ssdcore_feature_layers(backbone, model):
    return ["stage3", "stage4", "stage5"] if (backbone, model) == ("fake", "ssd300") else None
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Subject]]:
    """Installs a plugin for this process, and those that it starts, for one test."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(parts: str = "['a', 'b']", before: str = "") -> Subject:
        write_plugin(tmp_path, "one", PLUGIN.format(parts=parts, before=before))
        plugins = load_plugins()
        return Subject(plugins.backbone("fake"), plugins)

    yield make
    sys.modules.pop("fake_one", None)


@pytest.mark.slow
def test_branches_in_the_order_of_a_set_are_named(install: Callable[..., Subject]) -> None:
    """Eight have the same order in two processes once in 40,320 times."""
    subject = install("{'north', 'east', 'south', 'west', 'up', 'down', 'in', 'out'}")
    found = result_of(checks.save_and_load_give_the_same, subject).failure or ""
    assert "predicts something else" in found
    assert "the order of a set differs between processes" in found


@pytest.mark.slow
def test_names_that_differ_from_process_to_process_are_named(install: Callable[..., Subject]) -> None:
    found = result_of(checks.save_and_load_give_the_same, install("[f'p{os.getpid()}', 'b']")).failure or ""
    assert "a subprocess cannot load the saved detector" in found
    assert f"fake/p{os.getpid()}/bias is unknown" in found


def test_a_plugin_may_print_when_imported(install: Callable[..., Subject]) -> None:
    assert result_of(checks.import_is_light, install(before="print('hello'); print('world', end='')")).failure is None


def test_a_plugin_that_ends_the_program_when_imported_is_named(install: Callable[..., Subject]) -> None:
    code = "import os, sys\nif 'tensorflow' not in sys.modules: os.write(2, b'no licence\\n'); os._exit(3)"
    found = result_of(checks.import_is_light, install(before=code)).failure or ""
    assert "a process that imports fake-one exits: no licence" in found
