"""Runs programs, and tells whether the `ssd` program ended with one clear line."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

Completed = subprocess.CompletedProcess[str]
RunHere = Callable[..., tuple[int, str, str]]


def environment_with(*folders: Path) -> dict[str, str]:
    """For subprocesses that are to find these folders' modules, and else import what this process imports."""
    path = os.pathsep.join([*map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path}


def run_program(*command: str) -> Completed:
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def assert_one_clear_line(code: int, err: str, telling: list[str]) -> None:
    assert code == 1
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert "Traceback" not in err
    assert "unexpected" not in err
    assert [part for part in telling if part not in err] == []
