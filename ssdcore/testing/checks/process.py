"""Checks of a plugin's side effects on the process."""

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context

from ssdcore.contract.plugins import DISABLE_VARIABLE
from ssdcore.testing.subject import Subject, require
from ssdcore.testing.subprocesses import last_line, run_python

_IMPORT = """
import sys
from ssdcore.contract.plugins import load_plugins
load_plugins()
print()  # a plugin may have printed
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
    """Importing the plugin does not import TensorFlow."""
    provider = subject.plugins.providers.get(subject.backbone.name)
    if provider is None:  # not installed, as in a test of a backbone alone
        return
    others = ",".join(name for name in subject.plugins.plugins if name != provider.name)
    # By output, not exit code: the loader refuses the plugin itself if it is imported first.
    done = run_python(["-c", _IMPORT], {DISABLE_VARIABLE: others})
    answer = last_line(done.stdout)
    require(
        answer in ("True", "False"),
        f"a process that imports {provider.distribution} exits: {last_line(done.stderr)}; imports must not exit",
    )
    require(
        answer == "False",
        f"importing {provider.distribution} imports TensorFlow; import it inside the functions that use it",
    )


def leaves_the_process_alone(subject: Subject) -> None:
    """Building the base net changes no Keras setting and seeds no random generator."""
    scope, _ = subject.scope, subject.base_net
    drawn = []
    for seed in (1, 2):
        with _ordinary_process(seed):
            before = _settings()
            subject.make_base_net(300, scope)
            after = _settings()
            _, keys, *position = np.random.get_state(legacy=True)
            drawn.append({"random": random.getstate(), "np.random": (tuple(keys), *position)})
        changed = [f"{name} from {before[name]!r} to {after[name]!r}" for name in before if before[name] != after[name]]
        require(not changed, f"base_net changes {'; '.join(changed)}; restore it before returning")
    # Initialisers draw their seeds from these generators, so their states may change, but not to a fixed one.
    seeded = [name for name, state in drawn[0].items() if state == drawn[1][name]]
    require(
        not seeded,
        f"base_net seeds {' and '.join(seeded)}: every detector would get the same weights, whatever train.seed is; "
        "do not call set_random_seed() or seed(), give layers their own seeds",
    )


def _settings() -> dict[str, Any]:
    config = keras.config
    found = (config.floatx(), config.image_data_format(), config.dtype_policy(), context.global_seed())
    return dict(zip(_SETTERS, found, strict=True))


@contextmanager
def _ordinary_process(seed: int) -> Iterator[None]:
    """Keras' default settings and seeded random generators; restored on exit."""
    settings, python, numpy = _settings(), random.getstate(), np.random.get_state()
    _set(_ORDINARY)
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        _set(settings.values())
        random.setstate(python)
        np.random.set_state(numpy)


def _set(values: Iterable[Any]) -> None:
    for setter, value in zip(_SETTERS.values(), values, strict=True):
        setter(value)
