"""How fast labelled images become records: one process against two, in the same run.

    python benchmarks/conversion.py SOURCE [--copies 30]

SOURCE is anything that `ssd data convert` takes. Its images are converted `--copies` times over, so
that starting a process does not decide; times include it.
"""

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from ssdcore.data.annotations import LabelledSet
from ssdcore.data.convert import convert
from ssdcore.data.formats import read_labelled


def copied(labelled: LabelledSet, copies: int) -> LabelledSet:
    """One split with every image of the set `copies` times, under different names."""
    unique = {example.name: example for split in labelled.splits.values() for example in split}
    examples = [replace(one, name=f"{one.name}-{copy}") for copy in range(copies) for one in unique.values()]
    return replace(labelled, splits={"trainval": tuple(examples)})


def images_per_second(labelled: LabelledSet, workers: int) -> float:
    """Throughput of a whole conversion into a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        manifest = convert(labelled, Path(folder) / "records", workers=workers)
        return manifest.splits["trainval"].images / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--copies", type=int, default=30)
    arguments = parser.parse_args()
    labelled = copied(read_labelled(arguments.source), arguments.copies)
    print(f"{len(labelled.splits['trainval'])} images")
    rates = {workers: images_per_second(labelled, workers) for workers in (1, 2)}
    for workers, rate in rates.items():
        print(f"{workers} process(es)  {rate:7.1f} img/s  {rate / rates[1]:5.2f} x one process")


if __name__ == "__main__":
    main()
