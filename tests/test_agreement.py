"""Workers do what one of them requests, all after the same step."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ssdcore.training.distributed import agreement
from ssdcore.training.distributed.agreement import Agreement, Requests
from ssdcore.training.step import METRICS


def metrics_of(*sent: Any) -> Any:
    """The metrics of a step with which the workers have sent these requests."""
    return np.concatenate([np.zeros(len(METRICS) - 3, np.float32), np.sum(sent, axis=0)])


def test_one_worker_acts_at_once() -> None:
    alone = Agreement(tf.distribute.get_strategy())
    own = Requests(save=True)
    assert alone.after_step(own, metrics_of(alone.to_send(own))) == own


def test_two_workers_act_one_step_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first asks to save from step 1 on, the second to stop from step 2 on; a save is requested once."""
    monkeypatch.setattr(agreement, "worker_count", lambda strategy: 2)
    workers = [Agreement(None), Agreement(None)]
    agreed = []
    for own in (
        (Requests(save=True), Requests()),
        (Requests(save=True), Requests(stop=True)),
        (Requests(), Requests()),
    ):
        metrics = metrics_of(*(worker.to_send(request) for worker, request in zip(workers, own, strict=True)))
        first, second = (worker.after_step(Requests(), metrics) for worker in workers)
        assert first == second
        agreed.append(first)
    assert agreed == [Requests(), Requests(save=True), Requests(stop=True)]
