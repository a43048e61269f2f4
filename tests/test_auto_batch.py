"""The batch that memory holds."""

import subprocess
import sys

import pytest

from ssdcore.errors import TrainingError
from ssdcore.training.auto_batch import largest_batch


@pytest.mark.parametrize(
    ("limit", "size"), [(1000, 64), (739, 32), (420, 32), (419, 16), (260, 16), (259, 8), (180, 8)]
)
def test_the_largest_batch_within_a_limit(limit: int, size: int) -> None:
    """100 bytes at rest and 10 for each image: 180, 260, 420 and 740 bytes for 8, 16, 32 and 64."""
    assert largest_batch(lambda images: 100 + 10 * images, limit) == size


def test_where_nothing_fits_the_message_says_how_much_it_takes() -> None:
    with pytest.raises(TrainingError, match=r"about 3 MiB per image, 10 MiB may be used.*batch_size"):
        largest_batch(lambda images: 3 * 2**20 * images, 10 * 2**20)


def test_a_size_that_fails_when_it_is_tried_is_not_taken() -> None:
    """As on a GPU, where the limit is not known before."""
    assert largest_batch(lambda images: None if images > 20 else 100, float("inf")) == 16
    with pytest.raises(TrainingError, match="a batch of 8 images does not fit"):
        largest_batch(lambda images: None, float("inf"))


PROGRAM = """
import numpy as np
from ssdcore.model import build_ssd
from ssdcore.contract.plugins import load_plugins
from ssdcore.training import auto_batch

stages = (
    "train.stages=[{name: one, epochs: 1, batch_size: auto,"
    " learning_rate: {kind: fixed, learning_rate: 0.4}}, {name: two, epochs: 1, batch_size: 5}]"
)
plugins = load_plugins()
params = plugins.param_sets["mobilenet025-ssd300"].override([stages])
ssd = build_ssd(params, ("cat",), plugins)
before = [variable.numpy() for variable in ssd.network.variables]
peaks = []
measure = auto_batch._Trial.__call__

def noted(trial, size):
    peaks.append(measure(trial, size))
    return peaks[-1]

auto_batch._Trial.__call__ = noted
auto_batch.free_memory = lambda: 2**50
settled = auto_batch.resolve_auto_batch(params, ssd, 2).train.stages
for variable, value in zip(ssd.network.variables, before, strict=True):
    np.testing.assert_array_equal(variable.numpy(), value, err_msg=variable.path)
print(settled[0].batch_size, settled[0].learning_rate.learning_rate, settled[1] == params.train.stages[1], *peaks)
"""


@pytest.mark.slow
def test_trial_steps_leave_the_weights_and_scale_the_rate() -> None:
    """Quarter-width MobileNet takes some MiB for each image; with memory without end the largest batch is taken.

    In a process of its own: the most memory that this one has used says nothing of a step.
    """
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    size, rate, unchanged, *peaks = done.stdout.split()
    assert (int(size), unchanged) == (2 * 64, "True")
    assert float(rate) == pytest.approx(0.4 * 128 / 32)
    assert 5 * 2**20 < (int(peaks[2]) - int(peaks[0])) / 62 < 100 * 2**20
