"""Optimizers and the update of weights, against their definitions in NumPy, TensorFlow's own kernels, and by hand."""

import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from optimizer_rules import DEFINITIONS, Kernel
from pydantic import TypeAdapter, ValidationError

from ssdcore.contract.plugins import Plugins
from ssdcore.model import build_ssd
from ssdcore.model.variables import named_variables
from ssdcore.params import (
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    Cosine,
    Exponential,
    Fixed,
    Ftrl,
    Multistep,
    Optimizer,
    Polynomial,
    RMSprop,
    Schedule,
    Sgd,
    Stage,
)
from ssdcore.training.optimizers import Update, rate_factor

Array = Any
STEPS = 10
YES, NO = tf.constant(True), tf.constant(False)

OPTIMIZERS: dict[str, Any] = {
    "plain": Sgd(momentum=0.0),
    "momentum": Sgd(),
    "nesterov": Sgd(momentum=0.8, nesterov=True),
    "adam": Adam(),
    "adam-seeds": Adam(beta_1=0.8, beta_2=0.99, epsilon=1.0),
    "adamw": AdamW(weight_decay=0.0),
    "rmsprop": RMSprop(),
    "rmsprop-seeds": RMSprop(epsilon=1.0),
    "rmsprop-plain": RMSprop(rho=0.8, momentum=0.0, epsilon=0.01),
    "rmsprop-centered": RMSprop(centered=True, epsilon=0.01),
    "adagrad": Adagrad(epsilon=0.2),
    "adagrad-tf1": Adagrad(initial_accumulator=0.5, epsilon=0.0),
    "adadelta": Adadelta(epsilon=0.01),
    "adadelta-seeds": Adadelta(rho=0.9, epsilon=1.0),
    "ftrl": Ftrl(),
    "ftrl-regularised": Ftrl(initial_accumulator=0.2, l1=0.3, l2=0.1),
    "ftrl-power": Ftrl(learning_rate_power=-0.3),
}

WARM_UP = {"learning_rate": 0.05, "warmup_steps": 3, "warmup_start": 0.25}
SCHEDULES: list[tuple[Schedule, Callable[[int], float]]] = [
    (Fixed(**WARM_UP), lambda step: 1.0),
    (Exponential(**WARM_UP, factor=0.5, epochs=2.0), lambda step: 0.5 ** (step // 5)),  # int(2 * 2.7) steps
    (Polynomial(**WARM_UP, end=0.2), lambda step: 0.2 + 0.8 * (1 - step / STEPS)),
    (Multistep(**WARM_UP, milestones=(0.4, 0.8)), lambda step: 0.1 ** ((step >= 4) + (step >= 8))),
    (Cosine(**WARM_UP, end=0.1), lambda step: 0.1 + 0.45 * (1 + math.cos(math.pi * step / STEPS))),
]


def expected_rates(share: Callable[[int], float]) -> list[float]:
    return [0.05 * min(1, 0.25 + 0.25 * step) * share(step) for step in range(STEPS)]


def some_gradients(seed: int = 0) -> Array:
    """Gradients of steps for a kernel of 1 x 1 x 3 x 4, of several sizes, in float32 and so exact in float64."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(STEPS, 1, 1, 3, 4)) * [0.01, 0.3, 1.0, 5.0]).astype("f")


def some_weights() -> Array:
    return np.random.default_rng(1).uniform(0.5, 2, (1, 1, 3, 4)).astype("f")


def stage(optimizer: Any, schedule: Any, **changes: Any) -> Stage:
    return Stage(name="only", steps=STEPS, optimizer=optimizer, learning_rate=schedule, **changes)


def weights_by_us(optimizer: Any, schedule: Schedule) -> tuple[Array, list[float]]:
    """The weights after each step, and the rates that were told."""
    kernel = keras.Variable(some_weights())
    update = Update(stage(optimizer, schedule), {"conv/kernel": kernel}, STEPS, 2.7)
    weights, rates = [], []
    for gradient in some_gradients():
        rates.append(float(update.apply([tf.constant(gradient)], YES)))
        weights.append(kernel.numpy())
    return np.stack(weights), rates


def by_definition(optimizer: Any, rates: Sequence[float]) -> Array:
    steps = list(zip(some_gradients().astype(np.float64), rates, strict=True))
    return np.stack(list(DEFINITIONS[type(optimizer)](optimizer, some_weights().astype(np.float64), steps)))


def check_weights(found: Array, expected: Array, optimizer: Any) -> None:
    """Equal but for rounding, measured on the largest weight, after they have moved so far that it means something."""
    largest = np.abs(expected).max()
    assert np.abs(expected[-1] - some_weights()).max() > 0.05
    # Adam's corrections are made in float32, where 1 - 0.999 is off by 1.3e-5 of itself.
    precision = 3e-6 if isinstance(optimizer, Adam) else 1e-6
    np.testing.assert_allclose(found, expected, rtol=0, atol=precision * largest)


@pytest.mark.parametrize(("schedule", "share"), SCHEDULES, ids=lambda value: getattr(value, "kind", ""))
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_each_optimizer_follows_its_definition_on_each_schedule(
    optimizer: Any, schedule: Schedule, share: Callable[[int], float]
) -> None:
    weights, rates = weights_by_us(optimizer, schedule)
    np.testing.assert_allclose(rates, expected_rates(share), rtol=1e-6)
    check_weights(weights, by_definition(optimizer, expected_rates(share)), optimizer)


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "adagrad"])  # TF1's has no epsilon
def test_optimizers_do_what_the_kernels_of_tf1_do(name: str) -> None:
    schedule, share = SCHEDULES[1]
    found, _ = weights_by_us(OPTIMIZERS[name], schedule)
    weights, kernel = tf.Variable(some_weights()), Kernel(OPTIMIZERS[name], (1, 1, 3, 4))
    expected = []
    for number, (gradient, rate) in enumerate(zip(some_gradients(), expected_rates(share), strict=True), start=1):
        kernel.step(weights, gradient, rate, number)
        expected.append(weights.numpy())
    check_weights(found, np.stack(expected), OPTIMIZERS[name])


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_is_that_of_tf1_while_the_rate_stays(nesterov: bool) -> None:
    found, _ = weights_by_us(Sgd(nesterov=nesterov), Fixed(learning_rate=0.05))
    weights, momentum = tf.Variable(some_weights()), tf.Variable(tf.zeros([1, 1, 3, 4]))
    for gradient in some_gradients():
        tf.raw_ops.ResourceApplyMomentum(
            var=weights.handle, accum=momentum.handle, lr=0.05, grad=gradient, momentum=0.9, use_nesterov=nesterov
        )
    np.testing.assert_allclose(found[-1], weights.numpy(), rtol=1e-6)


# What an update does besides.
LAYER = {"conv/kernel": (3, 3, 2, 4), "conv/bias": (4,), "dw/kernel": (3, 3, 2, 1), "dw_bn/gamma": (2,)}
LAYER |= {"dw_bn/beta": (2,), "norm/gamma": (4,)}


def ones(shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    return {name: keras.Variable(np.ones(shape, "f")) for name, shape in shapes.items()}


def constant(variables: dict[str, Any], value: float) -> list[Any]:
    return [tf.fill(variable.shape, value) for variable in variables.values()]


def values(variables: dict[str, Any]) -> dict[str, float]:
    """The one number that fills each variable."""
    found = {name: np.unique(variable.numpy()) for name, variable in variables.items()}
    assert all(len(numbers) == 1 for numbers in found.values())
    return {name: float(numbers[0]) for name, numbers in found.items()}


DECAYING = [Sgd, Adam, AdamW, RMSprop, Adagrad, Adadelta]


@pytest.mark.parametrize("kind", DECAYING)
def test_decay_takes_a_share_off_kernels_alone(kind: Any) -> None:
    """With gradients of 0 nothing else happens: twice 1 - 0.2 * 0.1, or 1 - 0.2 * 0.2 where the factor is 2."""
    layer = ones(LAYER | {"fast/kernel": (1, 1, 2, 2)})
    own = stage(kind(weight_decay=0.2), Fixed(learning_rate=0.1), rate_factors={"fast": 2.0})
    update = Update(own, layer, STEPS, 1)
    for _ in range(2):
        update.apply(constant(layer, 0.0), YES)
    expected = dict.fromkeys(layer, 1.0) | {"conv/kernel": 0.9604, "fast/kernel": 0.9216}
    assert values(layer) == pytest.approx(expected, rel=1e-6)


def test_decay_comes_before_the_step() -> None:
    """Nesterov's look ahead included: 1 - 0.5 * 0.1 = 0.95, then 0.1 * 3 and 0.9 * 0.1 * 3 less."""
    layer = ones({"conv/kernel": (1, 1, 1, 2)})
    own = stage(Sgd(nesterov=True, weight_decay=0.5), Fixed(learning_rate=0.1))
    Update(own, layer, STEPS, 1).apply(constant(layer, 3.0), YES)
    assert values(layer)["conv/kernel"] == pytest.approx(0.95 - 0.3 - 0.27, rel=1e-6)


def test_decay_acts_on_what_l2_acts_on(plugins: Plugins) -> None:
    params = plugins.param_sets["mobilenet-ssd300-1917"]
    variables = named_variables(build_ssd(params, ("a",), plugins))
    before = {name: variable.numpy() for name, variable in variables.items()}
    update = Update(stage(Sgd(weight_decay=0.5), Fixed(learning_rate=1.0)), variables, STEPS, 1)
    update.apply(constant(variables, 0.0), YES)
    with_l2 = {name for name, variable in variables.items() if variable.regularizer is not None}
    assert {name for name, variable in variables.items() if (variable.numpy() != before[name]).any()} == with_l2
    assert len(with_l2) > 30


def test_ftrl_has_no_decay() -> None:
    with pytest.raises(ValidationError, match="weight_decay"):
        Ftrl(weight_decay=0.1)


def test_each_kind_is_found_by_its_name() -> None:
    kinds = {kind: TypeAdapter(Optimizer).validate_python({"kind": kind}) for kind in KINDS}
    assert {kind: type(found).__name__ for kind, found in kinds.items()} == {
        "sgd": "Sgd",
        "adam": "Adam",
        "adamw": "AdamW",
        "rmsprop": "RMSprop",
        "adagrad": "Adagrad",
        "adadelta": "Adadelta",
        "ftrl": "Ftrl",
    }
    assert kinds["adamw"].weight_decay == 1e-4


KINDS = ("sgd", "adam", "adamw", "rmsprop", "adagrad", "adadelta", "ftrl")


def test_the_longest_scope_and_the_bias_factor_count() -> None:
    own = stage(Sgd(), Fixed(), rate_factors={"vgg/": 0.5, "vgg/conv4": 0.1, "block": 3.0}, bias_rate_factor=2.0)
    names = ("vgg/conv1/kernel", "vgg/conv1/bias", "vgg/conv4_1/kernel", "vgg/conv4_1/bias", "block9/bias", "x/kernel")
    assert [rate_factor(own, name) for name in names] == pytest.approx([0.5, 1.0, 0.1, 0.2, 6.0, 1.0])
    assert rate_factor(own, "bias_net/beta") == 1.0


def test_factors_multiply_the_rate_of_their_variables() -> None:
    """Gradients of 1 at a rate of 0.1, all of it doubled; 0 keeps a layer as it is, whatever the optimizer."""
    layer = ones(dict.fromkeys(("a/kernel", "a/bias", "b/kernel", "c/kernel"), (1, 1, 1, 2)))
    own = stage(
        Sgd(momentum=0, weight_decay=0.1),
        Fixed(learning_rate=0.1),
        rate_factors={"a": 0.5, "c": 0.0},
        bias_rate_factor=3.0,
    )
    rate = Update(own, layer, STEPS, 1, rate_scale=2.0).apply(constant(layer, 1.0), YES)
    assert float(rate) == pytest.approx(0.2)
    expected = {"a/kernel": 1 - 0.01 - 0.1, "a/bias": 1 - 0.3, "b/kernel": 1 - 0.02 - 0.2, "c/kernel": 1.0}
    assert values(layer) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_factor_of_0_keeps_a_layer(kind: str) -> None:
    layer = ones({"a/kernel": (1, 1, 1, 2), "b/kernel": (1, 1, 1, 2)})
    optimizer = TypeAdapter(Optimizer).validate_python({"kind": kind})
    update = Update(stage(optimizer, Fixed(learning_rate=0.1), rate_factors={"b": 0.0}), layer, STEPS, 1)
    update.apply(constant(layer, 1.0), YES)
    found = values(layer)
    assert found["b/kernel"] == 1.0
    assert found["a/kernel"] < 1.0


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_that_is_not_finite_changes_nothing_but_is_counted(name: str) -> None:
    """In a graph, as in training: two steps, one left out, and the state of before with the rate of the third."""
    kernel = keras.Variable(some_weights())
    own = stage(OPTIMIZERS[name], Multistep(learning_rate=0.05, milestones=(0.25,)))
    update = Update(own, {"conv/kernel": kernel}, STEPS, 1)
    apply = tf.function(lambda gradient, finite: update.apply([gradient], finite))
    gradients = some_gradients()
    for gradient in gradients[:2]:
        apply(tf.constant(gradient), YES)
    counter, *slots = update.state
    before = [variable.numpy() for variable in (kernel, *slots)]
    rate = apply(tf.constant(np.where(gradients[2] > 0, np.nan, np.inf).astype("f")), NO)
    for variable, value in zip((kernel, *slots), before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert (int(counter.numpy()), float(rate)) == (3, pytest.approx(0.05 * 0.1))
    apply(tf.constant(gradients[3]), YES)
    for variable, value in zip((kernel, *slots), before, strict=True):
        assert (variable.numpy() != value).any()
        assert np.isfinite(variable.numpy()).all()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_warm_up_from_rate_0_moves_nothing_at_first(name: str) -> None:
    kernel = keras.Variable(some_weights())
    schedule = Fixed(learning_rate=0.1, warmup_steps=2, warmup_start=0.0)
    update = Update(stage(OPTIMIZERS[name], schedule), {"conv/kernel": kernel}, STEPS, 1)
    update.apply([tf.constant(some_gradients()[0])], YES)
    np.testing.assert_array_equal(kernel.numpy(), some_weights())
    update.apply([tf.constant(some_gradients()[1])], YES)
    assert np.isfinite(kernel.numpy()).all()
    assert (kernel.numpy() != some_weights()).mean() > 0.5


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_is_all_that_a_resumed_stage_needs(name: str) -> None:
    own = stage(OPTIMIZERS[name], SCHEDULES[3][0])
    whole, _ = weights_by_us(own.optimizer, own.learning_rate)
    first, second = (keras.Variable(some_weights()) for _ in range(2))
    before, after = (Update(own, {"conv/kernel": kernel}, STEPS, 2.7) for kernel in (first, second))
    for gradient in some_gradients()[:5]:
        before.apply([tf.constant(gradient)], YES)
    for variable, saved in zip([second, *after.state], [first, *before.state], strict=True):
        variable.assign(saved.numpy())
    for gradient in some_gradients()[5:]:
        after.apply([tf.constant(gradient)], YES)
    np.testing.assert_array_equal(second.numpy(), whole[-1])


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_mixed_precision_updates_in_float32(name: str, policy: str) -> None:
    whole, _ = weights_by_us(OPTIMIZERS[name], SCHEDULES[1][0])
    usual = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        layer = keras.layers.Conv2D(4, 1, use_bias=False)
        layer.build((None, 8, 8, 3))
        assert layer.compute_dtype != "float32"
        layer.kernel.assign(some_weights())
        update = Update(stage(OPTIMIZERS[name], SCHEDULES[1][0]), {"conv/kernel": layer.kernel}, STEPS, 2.7)
        for gradient in some_gradients():
            update.apply([tf.constant(gradient)], YES)
    finally:
        keras.config.set_dtype_policy(usual)
    assert {variable.dtype for variable in update.state[1:]} <= {"float32"}
    np.testing.assert_array_equal(layer.kernel.numpy(), whole[-1])


TWO_DEVICES = """
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from pydantic import TypeAdapter
from ssdcore.params import Exponential, Optimizer, Stage
from ssdcore.training.optimizers import Update

rng = np.random.default_rng(0)
shapes = {"a/kernel": (3, 3, 2, 4), "a/bias": (4,)}
start = {name: rng.normal(size=shape).astype("f") for name, shape in shapes.items()}
parts = [[rng.normal(size=(2, *shape)).astype("f") for shape in shapes.values()] for _ in range(5)]

def run(strategy, kind, share):
    decay = {} if kind == "ftrl" else {"weight_decay": 0.1}
    optimizer = TypeAdapter(Optimizer).validate_python({"kind": kind} | decay)
    stage = Stage(name="s", steps=5, optimizer=optimizer, bias_rate_factor=2.0,
                  learning_rate=Exponential(learning_rate=0.05, warmup_steps=2, factor=0.5, epochs=1.0))
    with strategy.scope():
        variables = {name: keras.Variable(value) for name, value in start.items()}
        update = Update(stage, variables, 5, 3.0)

    def on_replica(gradients, finite):
        context = tf.distribute.get_replica_context()
        return update.apply(context.all_reduce(tf.distribute.ReduceOp.SUM, gradients), finite)

    @tf.function
    def step(gradients, finite):
        return strategy.experimental_local_results(strategy.run(on_replica, args=(gradients, finite)))

    rates = []
    for number, both in enumerate(parts):
        gradients = [strategy.experimental_distribute_values_from_function(
            lambda context, g=gradient: tf.constant(share(g, context.replica_id_in_sync_group))) for gradient in both]
        rates.append([float(rate) for rate in step(gradients, tf.constant(number != 2))])
    return rates, [*variables.values(), *update.state]

mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
for kind in KINDS:
    one, expected = run(tf.distribute.get_strategy(), kind, lambda g, replica: g[0] + g[1])
    two, found = run(mirrored, kind, lambda g, replica: g[replica])
    assert two == [rate * 2 for rate in one], (one, two)
    assert len(found) == len(expected)
    for left, right in zip(expected, found):
        copies = [copy.numpy() for copy in right.value.values]
        assert len(copies) == 2
        np.testing.assert_array_equal(copies[0], copies[1], err_msg=right.path)
        np.testing.assert_allclose(copies[0], left.numpy(), rtol=1e-6, atol=1e-7, err_msg=f"{kind} {right.path}")
    assert int(found[2].numpy()) == 5
    print("same", kind)
"""


@pytest.mark.slow
def test_two_devices_update_as_one_does() -> None:
    """The sum of two devices' gradients, with a step in between that is left out; both copies stay the same."""
    code = f"KINDS = {KINDS!r}\n{TWO_DEVICES}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split("\n")[:-1] == [f"same {kind}" for kind in KINDS], done.stderr[-3000:]
