"""The order of records in an endless training stream, and which of them each worker takes."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssdcore.errors import DataError, ParamError


class WorkerSlice(NamedTuple):
    """One worker's slice of each batch: the `worker`-th, from 0 on, of `workers` equal contiguous ones."""

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
        batches, index = divmod(position, self.batch_size)
        own = self.per_batch()
        return batches * own + min(max(index - self.worker * own, 0), own)

    def positions(self, taken: NDArray[np.int64]) -> NDArray[np.int64]:
        """The positions in the whole stream of what the worker takes first (0), second (1) and so on."""
        batches, index = np.divmod(taken, self.per_batch())
        return batches * self.batch_size + self.worker * self.per_batch() + index


WHOLE_BATCH = WorkerSlice()


def records_at(
    records: int, seed: Sequence[int], positions: NDArray[np.int64], skip: Collection[int] = ()
) -> NDArray[np.int64]:
    """The numbers of the records at given positions of a training stream.

    Position n is entry n % `records` of the permutation of epoch n // `records`. The permutation of epoch e
    sorts the first numbers of NumPy's `Philox([*seed, e])`, which are the same in all its versions.

    Args:
        records: how many there are.
        seed: non-negative integers.
        positions: (N,) int64, from 0 on; so is the result.
        skip: records that are replaced by the next one that is not skipped; the last is followed by the first.

    Raises:
        DataError: all records are skipped.
    """
    kept = np.delete(np.arange(records), np.array(list(skip), np.int64))
    if not len(kept):
        raise DataError(f"none of the {records} training images can be decoded; convert the data again")
    epochs, indices = np.divmod(positions, records)
    numbers = np.empty_like(indices)
    for epoch in np.unique(epochs):
        mask = epochs == epoch
        permutation = np.argsort(np.random.Philox([*seed, int(epoch)]).random_raw(records), kind="stable")
        numbers[mask] = permutation[indices[mask]]
    return kept[np.searchsorted(kept, numbers) % len(kept)]
