"""Fixtures that several test files share."""

import gc
import io
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import psutil
import pytest
from ssdcli.main import main

from ssdcore.contract.plugins import Plugins, load_plugins
from ssdcore.params import ParamSet

if TYPE_CHECKING:
    from small_runs import Pond

# What a failed assertion compared is told for test files only, unless a module is named here.
pytest.register_assert_rewrite("annotation_files", "browser", "shared_runs", "small_runs", "ssd_program")

# A shell's background jobs ignore SIGINT, and so would the programs that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of real data skip where it is absent, unless SSD_REQUIRE_DATA says it must be there."""
    if data_folder().is_dir() or os.environ.get("SSD_REQUIRE_DATA"):
        return
    skip = pytest.mark.skip(reason=f"no data in {data_folder()}; name the folder with SSD_TEST_DATA")
    for item in items:
        if item.get_closest_marker("realdata"):
            item.add_marker(skip)


def pytest_collection_finish() -> None:
    """What is imported by now stays: leaving it out makes `gc.collect` take milliseconds instead of half a second."""
    gc.freeze()


GROWTH = 50 * 2**20
"""Bytes that a test may leave behind before the garbage is collected."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Frees the networks of a test that built some.

    Each is a reference cycle of a few thousand Python objects, too few for an automatic collection, with 100 MB of
    tensors, which Python does not count.
    """
    before = psutil.Process().memory_info().rss
    result = yield
    if psutil.Process().memory_info().rss > before + GROWTH:
        gc.collect()
    return result


def data_folder() -> Path:
    """The folder of real data: `SSD_TEST_DATA`, or `shared/data` beside the repository."""
    return Path(os.environ.get("SSD_TEST_DATA", ROOT.parent / "shared/data"))


@pytest.fixture(scope="session")
def bccd() -> Path:
    """BCCD in Pascal VOC layout; use it in tests marked `realdata`."""
    return _existing(data_folder() / "bccd")


@pytest.fixture(scope="session")
def mobilenet_weights() -> Path:
    """Keras Applications' ImageNet weights of quarter-width MobileNet; for tests marked `realdata`."""
    return _existing(data_folder() / "weights/mobilenet_2_5_224_tf_no_top.h5")


def _existing(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; SSD_REQUIRE_DATA demands it")
    return path


@pytest.fixture(scope="session")
def plugins() -> Plugins:
    """The installed plugins."""
    return load_plugins()


@pytest.fixture
def vgg300(plugins: Plugins) -> ParamSet:
    """The shipped param set `vgg16-ssd300`."""
    return plugins.param_sets["vgg16-ssd300"]


@pytest.fixture(scope="module")
def pond(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Pond"]:
    """A small detector's plugin and data; imported here, since most tests do not need it and it takes long."""
    from small_runs import Pond

    with closing(Pond(tmp_path_factory.mktemp("pond"))) as found:
        yield found


@pytest.fixture(scope="session")
def ssd_command() -> list[str]:
    """The `ssd` program of this environment, for real subprocesses."""
    return [str(Path(sys.executable).with_name("ssd"))]


@pytest.fixture
def ssd_here(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the program inside this process, where TensorFlow is loaded once: exit code, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code: object = 0
        try:
            main([str(part) for part in arguments])
        except SystemExit as end:
            code = end.code
        return (code if isinstance(code, int) else 1, *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def ssd_in_process() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Like `ssd_here`, for fixtures of a module; gives what `subprocess.run` would, and checks a `code`."""

    def run(*arguments: object, code: int | None = None) -> "subprocess.CompletedProcess[str]":
        command = [str(part) for part in arguments]
        out, err, status = io.StringIO(), io.StringIO(), 0
        with redirect_stdout(out), redirect_stderr(err):
            try:
                main(command)
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else 1
        assert code in (None, status), err.getvalue()
        return subprocess.CompletedProcess(command, status, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def limit_files() -> Iterator[Callable[[int], None]]:
    """Lets no file become longer than so many bytes, as if the disk were full; -1: as long as the system allows."""

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    yield limit
    limit(-1)
