"""Learning rates against tables worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf

from ssdcore.params import Cosine, Exponential, Fixed, Multistep, Polynomial, Schedule
from ssdcore.training.schedules import make_schedule


def rates(schedule: Schedule, steps: int, steps_per_epoch: float = 1.0) -> list[float]:
    rate_at = tf.function(make_schedule(schedule, steps, steps_per_epoch))  # as in training
    return [float(rate_at(tf.constant(step, tf.int64))) for step in range(steps)]


def at(schedule: Schedule, step: int, total: int, steps_per_epoch: float) -> float:
    return float(make_schedule(schedule, total, steps_per_epoch)(tf.constant(step, tf.int64)))


def test_fixed() -> None:
    np.testing.assert_allclose(rates(Fixed(learning_rate=0.4), 3), [0.4] * 3, rtol=1e-7)


def test_a_warm_up_rises_in_a_straight_line() -> None:
    found = rates(Fixed(learning_rate=0.4, warmup_steps=4, warmup_start=0.5), 6)
    np.testing.assert_allclose(found, [0.2, 0.25, 0.3, 0.35, 0.4, 0.4], rtol=1e-7)


def test_a_warm_up_may_start_at_nothing() -> None:
    found = rates(Fixed(learning_rate=3.0, warmup_steps=3, warmup_start=0.0), 5)
    np.testing.assert_allclose(found, [0, 1, 2, 3, 3], rtol=1e-7)


def test_exponential_falls_in_a_staircase() -> None:
    """2 epochs of 1.7 steps are 3.4 steps, rounded down to 3."""
    found = rates(Exponential(learning_rate=2.0, factor=0.5, epochs=2.0), 10, steps_per_epoch=1.7)
    np.testing.assert_allclose(found, [2, 2, 2, 1, 1, 1, 0.5, 0.5, 0.5, 0.25], rtol=1e-7)


def test_exponential_falls_little_by_little() -> None:
    found = rates(Exponential(learning_rate=1.0, factor=0.25, epochs=1.0, staircase=False), 5, steps_per_epoch=2)
    np.testing.assert_allclose(found, [1, 0.5, 0.25, 0.125, 0.0625], rtol=1e-7)


def test_exponential_in_less_than_a_step_falls_at_each_step() -> None:
    found = rates(Exponential(learning_rate=1.0, factor=0.5, epochs=0.5), 3, steps_per_epoch=0.5)
    np.testing.assert_allclose(found, [1, 0.5, 0.25], rtol=1e-7)


def test_exponential_as_the_seeds_had_it() -> None:
    """5011 images by 32 for 2 epochs: int(313.1875) steps. 0.94^2 is 0.8836."""
    schedule = Exponential(learning_rate=0.01)
    found = [at(schedule, step, 10**6, 5011 / 32) for step in (0, 312, 313, 625, 626)]
    np.testing.assert_allclose(found, [0.01, 0.01, 0.0094, 0.0094, 0.008836], rtol=1e-7)


def test_the_staircase_has_exact_edges_late_in_training() -> None:
    """The 30,000th fall, of a factor near 1: 0.9999^29999 and 0.9999^30000."""
    schedule = Exponential(learning_rate=1.0, factor=0.9999, epochs=1.0)
    found = [at(schedule, step, 10**8, 313) for step in (30000 * 313 - 1, 30000 * 313)]
    np.testing.assert_allclose(found, [0.04978458, 0.04977960], rtol=2e-7)
    assert found[1] / found[0] == pytest.approx(0.9999, rel=2e-7)


def test_polynomial_falls_in_a_straight_line_to_its_end() -> None:
    """To a tenth in four steps: 1, 0.775, 0.55, 0.325; the end itself would be the fifth."""
    found = rates(Polynomial(learning_rate=2.0, end=0.1), 4)
    np.testing.assert_allclose(found, [2, 1.55, 1.1, 0.65], rtol=1e-7)


def test_polynomial_of_another_power() -> None:
    found = rates(Polynomial(learning_rate=1.0, end=0.2, power=2.0), 4)
    np.testing.assert_allclose(found, [1, 0.2 + 0.8 * 9 / 16, 0.2 + 0.8 / 4, 0.2 + 0.8 / 16], rtol=1e-7)


def test_polynomial_in_a_number_of_epochs_stays_at_its_end() -> None:
    """2 epochs of 1.2 steps: int(2.4) steps."""
    found = rates(Polynomial(learning_rate=1.0, end=0.5, epochs=2.0), 5, steps_per_epoch=1.2)
    np.testing.assert_allclose(found, [1, 0.75, 0.5, 0.5, 0.5], rtol=1e-7)


def test_multistep_falls_at_its_milestones() -> None:
    found = rates(Multistep(learning_rate=1.0, milestones=(0.5, 0.8), factor=0.1), 10)
    np.testing.assert_allclose(found, [1] * 5 + [0.1] * 3 + [0.01] * 2, rtol=1e-6)


def test_multistep_without_milestones_is_fixed() -> None:
    np.testing.assert_allclose(rates(Multistep(learning_rate=0.3, milestones=()), 3), [0.3] * 3, rtol=1e-7)


def test_cosine() -> None:
    """cos 45 degrees is 0.7071068."""
    found = rates(Cosine(learning_rate=2.0, end=0.1), 4)
    np.testing.assert_allclose(found, [2.0, 0.2 + 1.8 * 0.8535534, 0.2 + 1.8 * 0.5, 0.2 + 1.8 * 0.1464466], rtol=1e-6)


WARM_UP = {"learning_rate": 2.0, "warmup_steps": 4, "warmup_start": 0.2}
SHARES = np.array([0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1])


@pytest.mark.parametrize(
    ("schedule", "table"),
    [
        (Fixed(**WARM_UP), [2] * 8),
        (Exponential(**WARM_UP, factor=0.5, epochs=1.0), [2, 2, 2, 1, 1, 1, 0.5, 0.5]),
        (Exponential(**WARM_UP, factor=0.125, epochs=1.0, staircase=False), [2 ** (1 - step) for step in range(8)]),
        (Polynomial(**WARM_UP, end=0.5), [2, 1.875, 1.75, 1.625, 1.5, 1.375, 1.25, 1.125]),
        (Multistep(**WARM_UP, milestones=(0.25, 0.75), factor=0.5), [2, 2, 1, 1, 1, 1, 0.5, 0.5]),
        (Cosine(**WARM_UP), [2, 1.9238795, 1.7071068, 1.3826834, 1, 0.6173166, 0.2928932, 0.0761205]),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_each_schedule_counts_on_below_its_warm_up(schedule: Schedule, table: list[float]) -> None:
    """The table, without warm-up, times the share that has been reached of it."""
    np.testing.assert_allclose(rates(schedule, 8, steps_per_epoch=3.9), SHARES * table, rtol=1e-6)


def test_the_rate_is_float32() -> None:
    rate = make_schedule(Exponential(learning_rate=0.5), 10, 2.5)(tf.constant(5, tf.int64))
    assert rate.dtype == tf.float32
    assert float(rate) == pytest.approx(0.47)
