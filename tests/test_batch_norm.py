"""Batch normalisation on one and several replicas, against formulas in float64."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass

import keras
import numpy as np
import pytest
import tensorflow as tf
from ports import free_ports

from ssdcore.contract.batch_norm import FusedBatchNormalization
from ssdcore.contract.plugins import Plugins
from ssdcore.model import build_ssd
from ssdcore.model.variables import synchronize_batch_norm

GAMMA, BETA = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 1.0, 2.0, 3.0])
EPSILON, MOMENTUM = 1e-3, 0.9

PROGRAM = """
import sys
import numpy as np, tensorflow as tf
from ssdcore.contract.batch_norm import FusedBatchNormalization

case = np.load(sys.argv[1])
if sys.argv[2] == "devices":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
else:
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
assert strategy.num_replicas_in_sync == 2
results = {}

def learn(name, axis, sync, dtype):
    inputs, weights = case["inputs"], case["weights"]
    if axis == 1:
        inputs, weights = inputs.transpose(0, 3, 1, 2), weights.transpose(0, 3, 1, 2)
    with strategy.scope():
        layer = FusedBatchNormalization(axis, momentum=0.9, epsilon=1e-3, synchronized=sync, dtype=dtype)
        layer.build(inputs.shape)
        layer.gamma.assign(case["gamma"])
        layer.beta.assign(case["beta"])

    def on_replica():
        context = tf.distribute.get_replica_context()
        part = slice(0, 4), slice(4, 8)
        own = tf.stack([tf.constant(inputs[p]) for p in part])[context.replica_id_in_sync_group]
        weight = tf.stack([tf.constant(weights[p]) for p in part])[context.replica_id_in_sync_group]
        own = tf.cast(own, layer.compute_dtype)
        with tf.GradientTape() as tape:
            tape.watch(own)
            outputs = layer(own, training=True)
            loss = tf.reduce_sum(tf.sin(tf.cast(outputs, tf.float32)) * weight)
        found = tape.gradient(loss, [own, layer.gamma.value, layer.beta.value])
        assert outputs.dtype == layer.compute_dtype
        return context.replica_id_in_sync_group, tf.cast(outputs, tf.float32), tf.cast(found[0], tf.float32), *found[1:]

    values = [strategy.experimental_local_results(v) for v in tf.function(lambda: strategy.run(on_replica))()]
    for index, found in enumerate(zip(*values, strict=True)):
        replica = int(found[0])
        mean, variance = (strategy.experimental_local_results(v.value)[index]
                          for v in (layer.moving_mean, layer.moving_variance))
        kinds = ("outputs", "inputs", "gamma", "beta", "mean", "variance")
        for kind, value in zip(kinds, (*found[1:], mean, variance), strict=True):
            value = value.numpy()
            if axis == 1 and value.ndim == 4:
                value = value.transpose(0, 2, 3, 1)
            results[f"{name}/{kind}/{replica}"] = value

learn("together", -1, True, "float32")
learn("together-nchw", 1, True, "float32")
learn("apart", -1, False, "float32")
learn("together-bfloat16", -1, True, "mixed_bfloat16")
np.savez(sys.argv[3], **results)
"""


@dataclass
class Learnt:
    """What a step gives: outputs, gradients, and the moving statistics after it."""

    outputs: np.ndarray
    inputs: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray
    mean: np.ndarray
    variance: np.ndarray


def case() -> tuple[np.ndarray, np.ndarray]:
    """Inputs (8, 3, 5, 4), whose halves differ in mean, and weights of the loss `sum(sin(outputs) * weights)`."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(8, 3, 5, 4)) * [1, 2, 3, 4] + [0, 10, -5, 1]
    inputs[4:] += [1, -2, 0, 3]
    return inputs.astype("f"), rng.normal(size=inputs.shape).astype("f")


def by_formula(inputs: np.ndarray, weights: np.ndarray) -> Learnt:
    """Ioffe and Szegedy, arXiv:1502.03167, section 3, in float64."""
    inputs, weights = inputs.astype(float), weights.astype(float)
    axes, count = (0, 1, 2), inputs[..., 0].size
    mean, variance = inputs.mean(axes), inputs.var(axes)
    unit = (inputs - mean) / np.sqrt(variance + EPSILON)
    outputs = GAMMA * unit + BETA
    slope = np.cos(outputs) * weights
    gradient = GAMMA / np.sqrt(variance + EPSILON) * (slope - slope.mean(axes) - unit * (slope * unit).mean(axes))
    return Learnt(
        outputs,
        gradient,
        (slope * unit).sum(axes),
        slope.sum(axes),
        (1 - MOMENTUM) * mean,
        MOMENTUM + (1 - MOMENTUM) * variance * count / (count - 1),
    )


@pytest.fixture(scope="module", params=["devices", "workers"])
def two_replicas(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """`name/kind/replica` -> array, from two logical devices or from two processes."""
    folder = tmp_path_factory.mktemp(request.param)
    inputs, weights = case()
    np.savez(folder / "case.npz", inputs=inputs, weights=weights, gamma=GAMMA, beta=BETA)
    if request.param == "devices":
        environs = [dict(os.environ)]
    else:
        cluster = {"worker": [f"localhost:{port}" for port in free_ports(2)]}
        tasks = [{"cluster": cluster, "task": {"type": "worker", "index": index}} for index in range(2)]
        environs = [{**os.environ, "TF_CONFIG": json.dumps(task)} for task in tasks]
    outs = [folder / f"{index}.npz" for index in range(len(environs))]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder / "case.npz"), request.param, str(out)],
            env=environ,
            stderr=subprocess.PIPE,
            text=True,
        )
        for environ, out in zip(environs, outs, strict=True)
    ]
    errors = [process.communicate(timeout=300)[1] for process in running]
    assert [process.returncode for process in running] == [0] * len(running), errors[0][-3000:]
    results: dict[str, np.ndarray] = {}
    for out in outs:
        results |= dict(np.load(out))
    return results


def learnt(results: dict[str, np.ndarray], name: str) -> Learnt:
    """Outputs and gradients of both replicas together; statistics, which must be the same bits on both."""
    parts = {kind: [results[f"{name}/{kind}/{replica}"] for replica in (0, 1)] for kind in Learnt.__annotations__}
    for kind in ("mean", "variance"):
        np.testing.assert_array_equal(*parts[kind])
    joined = {kind: np.concatenate(parts[kind]) for kind in ("outputs", "inputs")}
    summed = {kind: parts[kind][0] + parts[kind][1] for kind in ("gamma", "beta")}
    return Learnt(**joined, **summed, mean=parts["mean"][0], variance=parts["variance"][0])


def assert_close(found: Learnt, expected: Learnt, **tolerance: float) -> None:
    for kind, value in vars(expected).items():
        np.testing.assert_allclose(getattr(found, kind), value, err_msg=kind, **tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["together", "together-nchw"])
def test_two_replicas_in_step_are_one_batch(name: str, two_replicas: dict[str, np.ndarray]) -> None:
    assert_close(learnt(two_replicas, name), by_formula(*case()), rtol=1e-4, atol=2e-5)


@pytest.mark.slow
def test_two_replicas_in_step_are_one_batch_in_bfloat16(two_replicas: dict[str, np.ndarray]) -> None:
    """Inputs of up to 20 have 8 bits: outputs of up to 12 and their sines are off by some hundredths."""
    found, expected = learnt(two_replicas, "together-bfloat16"), by_formula(*case())
    np.testing.assert_allclose(found.outputs, expected.outputs, rtol=2**-7, atol=0.1)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(found.variance, expected.variance, rtol=1e-2)
    assert found.variance.dtype == np.float32


@pytest.mark.slow
def test_two_replicas_apart_normalise_their_own_and_share_averages(two_replicas: dict[str, np.ndarray]) -> None:
    inputs, weights = case()
    halves = [by_formula(inputs[part], weights[part]) for part in (slice(0, 4), slice(4, 8))]
    expected = Learnt(
        *(np.concatenate([getattr(half, kind) for half in halves]) for kind in ("outputs", "inputs")),
        *(sum(getattr(half, kind) for half in halves) for kind in ("gamma", "beta")),
        *(np.mean([getattr(half, kind) for half in halves], axis=0) for kind in ("mean", "variance")),
    )
    assert_close(learnt(two_replicas, "apart"), expected, rtol=1e-4, atol=2e-5)


def one_replica(inputs: np.ndarray, weights: np.ndarray, axis: int, dtype: str) -> Learnt:
    layer = FusedBatchNormalization(axis, momentum=MOMENTUM, epsilon=EPSILON, synchronized=True, dtype=dtype)
    order = (0, 3, 1, 2) if axis == 1 else (0, 1, 2, 3)
    own, weight = tf.cast(inputs.transpose(order), layer.compute_dtype), weights.transpose(order)
    layer.build(own.shape)
    layer.gamma.assign(GAMMA)
    layer.beta.assign(BETA)
    with tf.GradientTape() as tape:
        tape.watch(own)
        outputs = layer(own, training=True)
        loss = tf.reduce_sum(tf.sin(tf.cast(outputs, tf.float32)) * weight)
    found = tape.gradient(loss, [own, layer.gamma.value, layer.beta.value])
    assert outputs.dtype == found[0].dtype == layer.compute_dtype
    assert {variable.dtype for variable in layer.variables} == {"float32"}
    back = np.argsort(order)
    maps = [tf.cast(value, tf.float32).numpy().transpose(back) for value in (outputs, found[0])]
    return Learnt(*maps, found[1].numpy(), found[2].numpy(), layer.moving_mean.numpy(), layer.moving_variance.numpy())


@pytest.mark.parametrize("axis", [-1, 1])
def test_one_replica(axis: int) -> None:
    assert_close(one_replica(*case(), axis, "float32"), by_formula(*case()), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(("dtype", "step"), [("mixed_bfloat16", 2**-7), ("mixed_float16", 2**-10)])
def test_one_replica_in_reduced_precision(dtype: str, step: float) -> None:
    """`step` is the distance of neighbouring numbers at 1; outputs reach 12, their rounding is below 8 steps."""
    found, expected = one_replica(*case(), -1, dtype), by_formula(*case())
    np.testing.assert_allclose(found.outputs, expected.outputs, rtol=step, atol=12 * step)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=step, atol=step)
    np.testing.assert_allclose(found.variance, expected.variance, rtol=step)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_a_frozen_layer_uses_and_keeps_its_statistics(dtype: str) -> None:
    layer = FusedBatchNormalization(synchronized=True, epsilon=0.0, dtype=dtype)
    layer.build((None, 1, 1, 2))
    layer.moving_mean.assign([1.0, 2.0])
    layer.moving_variance.assign([4.0, 16.0])
    layer.trainable = False
    outputs = layer(tf.constant([[[[3.0, 10.0]]], [[[5.0, -6.0]]]]), training=True)
    np.testing.assert_allclose(tf.cast(outputs, tf.float32)[:, 0, 0], [[1, 2], [2, -2]], rtol=1e-2)
    np.testing.assert_array_equal(layer.moving_mean, [1, 2])
    np.testing.assert_array_equal(layer.moving_variance, [4, 16])


def test_synchronizing_a_network_reaches_every_layer(plugins: Plugins) -> None:
    """MobileNet v1 has 27 normalisations, and the six convolutions of this set's blocks have one each."""
    ssd = build_ssd(plugins.param_sets["mobilenet025-ssd300"], ["a"], plugins)
    layers = [one for one in ssd.network._flatten_layers() if isinstance(one, keras.layers.BatchNormalization)]
    flags = []
    for on in (True, False):
        synchronize_batch_norm(ssd, on)
        flags.append([layer.synchronized for layer in layers])
    assert [len(set(found)) for found in flags] == [1, 1]
    assert (flags[0][0], flags[1][0]) == (True, False)
    assert sum(layer.name.startswith("Conv2d_") for layer in layers) == 27
    assert sum(layer.name.startswith("block") for layer in layers) == 6
