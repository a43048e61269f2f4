"""One training in a run folder at a time."""

import signal
import time
from pathlib import Path

import pytest
from small_runs import Pond
from ssdcli.advice import with_advice

from ssdcore.errors import TrainingError
from ssdcore.files import exclusive
from ssdcore.training import train


def test_two_trainings_do_not_share_a_folder(pond: Pond, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with exclusive(run / ".lock", TrainingError("busy")):
        for resume in (True, False):
            with pytest.raises(TrainingError, match=rf"^another process trains in {run}$") as error:
                train(pond.params, pond.data, run, pond.plugins, resume=resume)
            assert with_advice(error.value).endswith("; stop it or wait for its end, or give another --out")
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match="is a file") as error:
        train(pond.params, pond.data, tmp_path / "file", pond.plugins)
    assert with_advice(error.value).endswith("file is a file; give another --out")


def test_a_lock_goes_with_a_killed_process(pond: Pond, tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = f"""
import time
from pathlib import Path
from ssdcore.errors import SsdError
from ssdcore.files import exclusive
with exclusive(Path({str(path)!r}), SsdError("busy")):
    print("held", file=__import__("sys").stderr, flush=True)
    time.sleep(300)
"""
    program = pond.child(code)
    program.wait_for("held")
    with pytest.raises(TrainingError, match=r"^busy$"), exclusive(path, TrainingError("busy"), timeout=0.1):
        pass
    program.send(signal.SIGKILL)
    assert program.wait() == -signal.SIGKILL
    begin = time.monotonic()
    with exclusive(path, TrainingError("busy"), timeout=5):
        assert time.monotonic() - begin < 2
