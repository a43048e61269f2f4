"""Which record stands at which position of an endless training stream, and which worker takes it."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssdcore.errors import DataError, ParamError


class Share(NamedTuple):
    """The part of each batch that a worker takes: the `worker`-th, from 0 on, of `workers` equal ones in a row."""

    batch_size: int = 1
    worker: int = 0
    workers: int = 1

    def per_batch(self) -> int:
        """Images of a batch that the worker takes.

        Raises:
            ParamError: a batch cannot be divided equally.
        """
        if self.batch_size % self.workers:
            raise ParamError(
                f"a batch of {self.batch_size} images cannot be divided equally among {self.workers} workers; "
                f"make batch_size of each stage a multiple of {self.workers}"
            )
        return self.batch_size // self.workers

    def taken_before(self, position: int) -> int:
        """How many of the positions before this one the worker takes."""
        batches, place = divmod(position, self.batch_size)
        part = self.per_batch()
        return batches * part + min(max(place - self.worker * part, 0), part)

    def positions(self, taken: NDArray[np.int64]) -> NDArray[np.int64]:
        """The positions in the whole stream of what the worker takes first (0), second (1) and so on."""
        batches, place = np.divmod(taken, self.per_batch())
        return batches * self.batch_size + self.worker * self.per_batch() + place


def records_at(
    records: int, seed: Sequence[int], positions: NDArray[np.int64], skip: Collection[int] = ()
) -> NDArray[np.int64]:
    """The numbers of the records at positions of a training stream.

    Position n is entry n % `records` of the permutation of epoch n // `records`. The permutation of epoch e
    sorts the first numbers of NumPy's `Philox([*seed, e])`, which are the same in all its versions.

    Args:
        records: how many there are.
        seed: numbers from 0 on.
        positions: (N,) int64, from 0 on.
        skip: records in whose place the next one that is not skipped stands; the first follows the last.

    Returns:
        (N,) int64.

    Raises:
        DataError: all records are to be skipped.
    """
    kept = np.delete(np.arange(records), np.array(list(skip), np.int64))
    if not len(kept):
        raise DataError(f"none of the {records} images to learn from can be decoded; convert the data again")
    epochs, places = np.divmod(positions, records)
    numbers = np.empty_like(places)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        numbers[here] = _permutation(records, seed, int(epoch))[places[here]]
    return kept[np.searchsorted(kept, numbers) % len(kept)]


def _permutation(records: int, seed: Sequence[int], epoch: int) -> NDArray[np.int64]:
    return np.argsort(np.random.Philox([*seed, epoch]).random_raw(records), kind="stable")
