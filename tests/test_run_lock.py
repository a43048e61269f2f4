"""One training in a run folder at a time, and several writers of its metrics.csv."""

import csv
import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from small_runs import Pond

from ssdcore.errors import TrainingError
from ssdcore.runs.run_folder import RunFolder
from ssdcore.training import train
from ssdcore.training.lock import alone_in, held, is_held
from ssdcore.training.log import MetricsLog
from ssdcore.training.metrics import add_watched, watched_steps


def test_two_trainings_do_not_share_a_folder(pond: Pond, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with alone_in(RunFolder(run)):
        assert is_held(run / ".lock")
        for resume in (True, False):
            with pytest.raises(
                TrainingError, match=rf"^another process \({os.getpid()} on .+\) trains in {run}; stop it"
            ):
                train(pond.params, pond.data, run, pond.plugins, resume=resume)
    assert not is_held(run / ".lock")
    # What a killed process leaves locks nothing, and a folder that nothing came into goes.
    (run / ".lock").write_text("1 on nowhere\n")
    with alone_in(RunFolder(run)), alone_in(RunFolder(tmp_path / "other")):
        pass
    assert not (run / ".lock").exists()
    assert not (tmp_path / "other").exists()
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match="is a file; give another --out"):
        train(pond.params, pond.data, tmp_path / "file", pond.plugins)


def test_a_lock_goes_with_a_killed_process(pond: Pond, tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = f"""
import time
from pathlib import Path
from ssdcore.training.lock import held
with held(Path({str(path)!r})) as alone:
    assert alone
    print("held", file=__import__("sys").stderr, flush=True)
    time.sleep(300)
"""
    program = pond.child(code)
    program.wait_for("held")
    with held(path, patience=0.1) as alone:
        assert not alone
    program.send(signal.SIGKILL)
    assert program.wait() == -signal.SIGKILL
    begin = time.monotonic()
    with held(path, patience=5) as alone:
        assert alone
    assert time.monotonic() - begin < 2


def rows_of(run: Path) -> list[tuple[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return [(row["step"], row["stage"]) for row in csv.DictReader(file)]


def test_rows_of_others_are_neither_counted_nor_lost(tmp_path: Path) -> None:
    """Training goes on from its second row, at step 4; rows of a watcher stay up to that step, wherever they are."""
    run = RunFolder(tmp_path)
    row = {"stage": "first", "epoch": 1.0, "map": 0.25}
    add_watched(run, {**row, "step": 0}, "val voc12")
    log = MetricsLog(run, 0, 0)
    log.write({"step": 2, "stage": "first"})
    for step in (2, 6):
        add_watched(run, {**row, "step": step}, "val voc12")
    for step in (4, 6):
        log.write({"step": step, "stage": "first"})
    add_watched(run, {**row, "step": 4}, "val voc12")
    log.close()
    assert log.rows == 3
    with run.metrics.open("a") as file:
        file.write("8,0.5,sec")  # cut off by a crash
    add_watched(run, {**row, "step": 8}, "val voc12")
    assert watched_steps(run, "val voc12") == dict.fromkeys((0, 2, 6, 4, 8), "0.25")
    assert watched_steps(run, "val voc07") == {}
    MetricsLog(run, 2, 4).close()
    mark = "first (watch val voc12)"
    assert rows_of(tmp_path) == [("0", mark), ("2", "first"), ("2", mark), ("4", "first"), ("4", mark)]
    with pytest.raises(TrainingError, match="has 2 rows, the checkpoint was made behind 3"):
        MetricsLog(run, 3, 6)
    assert len(rows_of(tmp_path)) == 5


def test_many_writers_of_rows(tmp_path: Path) -> None:
    """Two threads add 30 rows each while training writes and begins anew: no line is lost or torn."""
    run = RunFolder(tmp_path)
    MetricsLog(run, 0, 0).close()

    def add(name: str) -> None:
        for step in range(30):
            with held(run.metrics_lock, 60) as alone:
                assert alone
                add_watched(run, {"step": step, "epoch": 0.5, "stage": "first"}, name)

    threads = [threading.Thread(target=add, args=(f"val {number}",)) for number in range(2)]
    for thread in threads:
        thread.start()
    for number in range(9):
        log = MetricsLog(run, number, 1000)
        log.write({"step": number, "stage": "first"})
        log.close()
    for thread in threads:
        thread.join()
    found = Counter(stage for _, stage in rows_of(tmp_path))
    assert found == {"first": 9, **{f"first (watch val {number})": 30 for number in range(2)}}
    assert not run.metrics_lock.exists()
