"""Checks of what a plugin does to the process that it runs in."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context

from ssdcore.contract.plugins import DISABLE_VARIABLE
from ssdcore.testing.subject import Subject, require

_IMPORT = """
import sys
from ssdcore.contract.plugins import load_plugins
load_plugins()
print()  # ends what a plugin has printed
print("tensorflow" in sys.modules)
"""
_SETTERS = {
    "keras.config.floatx": keras.config.set_floatx,
    "keras.config.image_data_format": keras.config.set_image_data_format,
    "keras.config.dtype_policy": keras.config.set_dtype_policy,
    "the seed of tf.random": tf.random.set_seed,
}
_ORDINARY = ("float32", "channels_last", keras.DTypePolicy("float32"), None)


def import_is_light(subject: Subject) -> None:
    """Importing the plugin leaves TensorFlow alone."""
    provider = subject.plugins.providers.get(subject.backbone.name)
    if provider is None:  # not installed, as in a test of a backbone by itself
        return
    others = ",".join(name for name in subject.plugins.plugins if name != provider.name)
    # Output, not the exit code: the loader itself refuses the plugin where it comes first.
    done = run_python(["-c", _IMPORT], {DISABLE_VARIABLE: others})
    answer = last_line(done.stdout)
    require(
        answer in ("True", "False"),
        f"a process that imports {provider.distribution} ends early: {last_line(done.stderr)}; imports must not exit",
    )
    require(
        answer == "False",
        f"importing {provider.distribution} imports TensorFlow; import it inside the functions that use it",
    )


def leaves_the_process_alone(subject: Subject) -> None:
    """Building the base net changes no setting of Keras, and seeds no random generator."""
    scope, _ = subject.scope, subject.base_net
    drawn = []
    for seed in (1, 2):
        with _ordinary_process(seed):
            before = _settings()
            subject.make_base_net(300, scope)
            after = _settings()
            drawn.append(_random_states())
        changed = [f"{name} from {before[name]!r} to {after[name]!r}" for name in before if before[name] != after[name]]
        require(not changed, f"base_net changes {'; '.join(changed)}; put it back before it returns")
    # Initialisers draw their seeds here, so the states move; they must move on from where they were.
    seeded = [name for name, state in drawn[0].items() if state == drawn[1][name]]
    require(
        not seeded,
        f"base_net seeds {' and '.join(seeded)}: every detector would get the same weights, whatever train.seed says; "
        "call no set_random_seed() or seed(), give the layers seeds of their own",
    )


def _settings() -> dict[str, Any]:
    found = (
        keras.config.floatx(),
        keras.config.image_data_format(),
        keras.config.dtype_policy(),
        context.global_seed(),
    )
    return dict(zip(_SETTERS, found, strict=True))


def _random_states() -> dict[str, Any]:
    _, keys, *position = np.random.get_state(legacy=True)
    return {"random": random.getstate(), "np.random": (tuple(keys), *position)}


@contextmanager
def _ordinary_process(seed: int) -> Iterator[None]:
    """Keras as it starts, and random generators with a seed; afterwards all is as it was."""
    settings, python, numpy = _settings(), random.getstate(), np.random.get_state()
    _set(dict(zip(_SETTERS, _ORDINARY, strict=True)))
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        _set(settings)
        random.setstate(python)
        np.random.set_state(numpy)


def _set(settings: Mapping[str, Any]) -> None:
    for name, setter in _SETTERS.items():
        setter(settings[name])


def run_python(arguments: Sequence[str], environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """Runs Python in a process of its own that finds the modules of this one."""
    path = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "PYTHONPATH": path, **environment}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)


def last_line(text: str) -> str:
    """The last line of a program's output, stripped; empty if there is none."""
    return (text.strip().splitlines() or [""])[-1].strip()
