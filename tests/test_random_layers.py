"""A backbone with Dropout: its state has a name that lasts, and a training goes on with it."""

import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import pytest
from small_runs import Pond

from ssdcore.contract.plugins import Plugins
from ssdcore.model import build_ssd
from ssdcore.model.variables import named_variables, named_weights
from ssdcore.params import Weights
from ssdcore.runs.checkpoint import load_checkpoint, save_checkpoint
from ssdcore.training import TrainingCallback, train
from ssdcore.weights import load_weights


@dataclass(frozen=True)
class Rain:
    """A pond whose images lose three tenths of their numbers in training."""

    pond: Pond
    plugins: Plugins


@pytest.fixture(scope="module")
def rain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rain]:
    with closing(Pond(tmp_path_factory.mktemp("rain"))) as pond:
        plain = pond.plugins.backbones["pond"]

        def base_net(inputs: Any, scope: Any) -> Any:
            return plain.base_net(keras.layers.Dropout(0.3)(inputs), scope)

        backbones = {**pond.plugins.backbones, "pond": replace(plain, base_net=base_net)}
        yield Rain(pond, replace(pond.plugins, backbones=MappingProxyType(backbones)))


class StopsAt(TrainingCallback):
    def __init__(self, step: int) -> None:
        self.left = step

    def on_step(self, done: int, total: int) -> None:
        self.left -= 1
        if not self.left:
            signal.raise_signal(signal.SIGINT)


def test_a_resumed_training_drops_what_it_would_have_dropped(rain: Rain, tmp_path: Path) -> None:
    keras.layers.Dropout(0.5)  # Keras' numbers do not start at 0
    train(rain.pond.params, rain.pond.data, tmp_path / "whole", rain.plugins)
    with pytest.raises(KeyboardInterrupt):
        train(rain.pond.params, rain.pond.data, tmp_path / "parts", rain.plugins, callback=StopsAt(9))
    train(rain.pond.params, rain.pond.data, tmp_path / "parts", rain.plugins, resume=True)
    whole, parts = (load_checkpoint(tmp_path / run / "checkpoints/last.npz") for run in ("whole", "parts"))
    assert "random_state/0" in whole.weights(averaged=False)
    for averaged in (False, True):
        expected, found = whole.weights(averaged), parts.weights(averaged)
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_averages_hold_the_last_state(rain: Rain, tmp_path: Path) -> None:
    train(rain.pond.params, rain.pond.data, tmp_path / "run", rain.plugins)
    checkpoint = load_checkpoint(tmp_path / "run/checkpoints/last.npz")
    last, averaged = (checkpoint.weights(averaged=which)["random_state/0"] for which in (False, True))
    np.testing.assert_array_equal(averaged, last)


def test_weights_of_a_run_fit_with_the_state_and_without(rain: Rain, tmp_path: Path) -> None:
    """It is no weight: neither missing where a file lacks it, nor unused where a file holds it."""
    wet, plain = (build_ssd(rain.pond.params, ["a"], plugins) for plugins in (rain.plugins, rain.pond.plugins))
    assert named_variables(wet).keys() - named_weights(wet).keys() == {"random_state/0"}
    for ssd, other, plugins in ((wet, plain, rain.pond.plugins), (plain, wet, rain.plugins)):
        save_checkpoint(tmp_path / "model.npz", ssd, rain.pond.params)
        report = load_weights(other, plugins, Weights(file=str(tmp_path / "model.npz")))
        assert set(report.matched) == set(named_weights(plain))
        assert (report.missing, report.unused) == ((), ())
