"""Runs programs, and tells whether the `ssd` program ended with one clear line."""

import subprocess
from collections.abc import Callable

Completed = subprocess.CompletedProcess[str]
RunHere = Callable[..., tuple[int, str, str]]


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
