"""Reduced precision: where it is chosen, and that a network in it is the same network."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from ssdcore.contract.plugins import Plugins
from ssdcore.errors import PluginError
from ssdcore.model import SSD, build_ssd
from ssdcore.model.blocks import L2Normalize, Preprocess
from ssdcore.model.variables import named_variables, set_trainable
from ssdcore.params import ParamSet, Preprocessing
from ssdcore.training.precision import best_precision, choose_precision, cpu_flags, has_depthwise

POLICIES = ["mixed_bfloat16", "mixed_float16"]
STEP = {"mixed_bfloat16": 2**-8, "mixed_float16": 2**-11}
"""The largest relative error of rounding to 8 and to 11 binary digits."""

FIRST = 38 * 38 * 4
"""Default boxes of the first source."""


@pytest.mark.parametrize(
    ("capabilities", "flags", "depthwise", "expected"),
    [
        ([(8, 0)], set(), True, "mixed_bfloat16"),
        ([(9, 0), (8, 6)], set(), False, "mixed_bfloat16"),
        ([(12, 0)], set(), False, "mixed_bfloat16"),
        ([(8, 0), (7, 5)], set(), False, "mixed_float16"),
        ([(7, 0)], {"amx_bf16"}, True, "mixed_float16"),
        ([(6, 1)], {"amx_bf16"}, False, "float32"),
        ([], {"avx2", "avx512_bf16"}, False, "mixed_bfloat16"),
        ([], {"amx_bf16"}, False, "mixed_bfloat16"),
        ([], {"amx_bf16"}, True, "float32"),
        ([], {"avx2", "avx512f"}, False, "float32"),
        ([], set(), False, "float32"),
    ],
)
def test_the_best_precision(
    capabilities: list[tuple[int, int]], flags: set[str], depthwise: bool, expected: str
) -> None:
    assert best_precision(capabilities, flags, depthwise=depthwise) == expected


def test_flags_of_the_cpu(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nflags\t\t: fpu avx2 amx_bf16\n\nprocessor\t: 1\nflags\t\t: fpu sse\n")
    assert cpu_flags(info) == {"fpu", "avx2", "amx_bf16"}
    info.write_text("processor\t: 0\nFeatures\t: fp asimd\n")
    assert cpu_flags(info) == set()
    assert cpu_flags(tmp_path / "missing") == set()


@pytest.fixture(scope="module")
def sets(plugins: Plugins) -> dict[str, ParamSet]:
    return {"mobilenet": plugins.param_sets["mobilenet025-ssd300"], "vgg": plugins.param_sets["vgg16-ssd300"]}


@pytest.fixture(scope="module")
def plain(sets: dict[str, ParamSet], plugins: Plugins) -> dict[str, SSD]:
    """Both networks in float32, their moving statistics those of the images: else signals die out on the way."""
    keras.utils.set_random_seed(3)
    networks = {name: build_ssd(params, ["a", "b"], plugins) for name, params in sets.items()}
    network = networks["mobilenet"].network
    norms = [layer for layer in network._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in norms:
        layer.momentum = 0.0
    network(images(), training=True)
    return networks


def images() -> Any:
    return tf.constant(np.random.default_rng(0).uniform(0, 255, (1, 300, 300, 3)), tf.float32)


def reduced(params: ParamSet, plugins: Plugins, policy: str, like: SSD) -> SSD:
    """A network of reduced precision with the weights of another, given by name."""
    ssd = build_ssd(params, ["a", "b"], plugins, policy)
    ours, theirs = named_variables(ssd), named_variables(like)
    assert ours.keys() == theirs.keys()
    assert {variable.dtype for variable in ours.values()} == {"float32"}
    for name, variable in ours.items():
        variable.assign(theirs[name])
    return ssd


def test_networks_with_depthwise_convolutions(plain: dict[str, SSD], monkeypatch: pytest.MonkeyPatch) -> None:
    assert has_depthwise(plain["mobilenet"].network)
    assert not has_depthwise(plain["vgg"].network)
    monkeypatch.setattr("ssdcore.training.precision.cpu_flags", lambda: {"amx_bf16"})
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [])
    assert choose_precision("auto", plain["mobilenet"].network) == "float32"
    assert choose_precision("auto", plain["vgg"].network) == "mixed_bfloat16"
    assert choose_precision("mixed_float16", plain["mobilenet"].network) == "mixed_float16"
    assert choose_precision("float32", plain["vgg"].network) == "float32"
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["gpu"])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: {"compute_capability": (7, 5)})
    assert choose_precision("auto", plain["mobilenet"].network) == "mixed_float16"


@pytest.mark.parametrize("policy", POLICIES)
def test_images_are_prepared_in_float32(policy: str) -> None:
    """0.3 and 200.7 are no numbers of 8 or 11 binary digits."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        layer = Preprocess(Preprocessing(mean=(0.1, 0.2, 0.3), scale=0.5))
        norm = L2Normalize(20.0)
    finally:
        keras.config.set_dtype_policy(before)
    found = layer(tf.constant([[[[0.3, 200.7, 100.1]]]])).numpy()
    np.testing.assert_allclose(found, [[[[0.1, 100.25, 49.9]]]], rtol=1e-6)
    # The sum of squares, 1.6e5 and 2.5e9, is beyond float16; the norms are 400 and 5e4.
    maps = tf.constant([[[[240.0, 320.0]]], [[[30_000.0, 40_000.0]]]], tf.float16)
    np.testing.assert_allclose(norm(maps), [[[[12, 16]]], [[[12, 16]]]], rtol=1e-6)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("net", ["mobilenet", "vgg"])
def test_predictions_are_close_to_float32(
    net: str, policy: str, sets: dict[str, ParamSet], plain: dict[str, SSD], plugins: Plugins
) -> None:
    """On the first source, behind 10 or 11 layers. Each layer rounds its inputs and its kernel, and normalisation
    takes the common part of a map away and with it what the errors were small against: 20 roundings at most.
    Farther on a random network with normalisation, unlike a trained one, doubles any difference every few layers.
    """
    inputs = images()
    ssd = reduced(sets[net], plugins, policy, plain[net])
    expected, found = plain[net].network(inputs), ssd.network(inputs)
    for name, value in expected.items():
        assert found[name].dtype == tf.float32
        near, far = value[:, :FIRST], found[name][:, :FIRST]
        error = np.sqrt(np.mean(np.square(far - near))) / np.sqrt(np.mean(np.square(near)))
        assert STEP[policy] / 10 < error < 20 * STEP[policy], name


@pytest.mark.parametrize(
    ("net", "policy"), [("mobilenet", "mixed_bfloat16"), ("mobilenet", "mixed_float16"), ("vgg", "mixed_bfloat16")]
)
def test_gradients_are_close_to_float32(
    net: str, policy: str, sets: dict[str, ParamSet], plain: dict[str, SSD], plugins: Plugins
) -> None:
    """With fixed statistics they point where those of float32 point; with learning ones they are numbers."""
    ssd = reduced(sets[net], plugins, policy, plain[net])
    found, expected = gradient(ssd, fixed=True), gradient(plain[net], fixed=True)
    assert found @ expected / (np.linalg.norm(found) * np.linalg.norm(expected)) > 0.98
    np.testing.assert_allclose(np.linalg.norm(found), np.linalg.norm(expected), rtol=0.05)
    assert np.isfinite(gradient(ssd, fixed=False)).all()


def gradient(ssd: SSD, *, fixed: bool) -> np.ndarray:
    """All gradients of a smooth loss in a row; `fixed` keeps the statistics of batch normalisation."""
    set_trainable(ssd, "all", freeze_batch_norm=fixed)
    with tf.GradientTape() as tape:
        outputs = ssd.network(images(), training=True)
        loss = tf.add_n([tf.reduce_mean(tf.square(value[:, :FIRST] - 0.5)) for value in outputs.values()])
    found = tape.gradient(loss, ssd.network.trainable_variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    assert {value.dtype for value in found} == {tf.float32}
    return np.concatenate([value.numpy().ravel() for value in found])


@pytest.mark.parametrize("backbone", ["mobilenet_v1_025", "none"])
def test_the_global_policy_is_as_it_was(backbone: str, sets: dict[str, ParamSet], plugins: Plugins) -> None:
    before = keras.config.dtype_policy().name
    params = sets["mobilenet"].model_copy(update={"backbone": backbone})
    if backbone == "none":
        with pytest.raises(PluginError):
            build_ssd(params, ["a"], plugins, "mixed_bfloat16")
    else:
        build_ssd(params, ["a"], plugins, "mixed_bfloat16")
    assert keras.config.dtype_policy().name == before == "float32"


def test_layers_compute_in_the_precision_asked_for(
    sets: dict[str, ParamSet], plain: dict[str, SSD], plugins: Plugins
) -> None:
    ssd = build_ssd(sets["vgg"], ["a"], plugins, "mixed_bfloat16")
    compute = {layer.name: layer.compute_dtype for layer in (*ssd.network.layers, *ssd.backbone.layers)}
    assert compute["conv1_1"] == compute["block7_conv1"] == compute["conv4_3_logits"] == "bfloat16"
    assert compute["preprocess"] == compute["conv4_3_norm"] == compute["logits"] == "float32"
    assert {layer.compute_dtype for layer in plain["vgg"].network.layers} == {"float32"}
    assert ssd.network.inputs[0].dtype == "float32"
