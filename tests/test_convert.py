"""`ssd data convert`: the same files however it is run, stopped and resumed."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest
from voc_files import BOX, EMPTY, digests, draw, numbered, write_voc, write_xml

from ssdcore.data.convert import IMAGES_PER_SHARD, convert
from ssdcore.data.formats import read_labelled


def test_several_processes_write_what_one_writes(tmp_path: Path) -> None:
    images = numbered(600) | {"0017": [("b", EMPTY)], "0391": [("a", (-20, 5, 30, 30))], "0555": [("a", EMPTY)]}
    labelled = read_labelled(write_voc(tmp_path / "voc", images))
    told: list[tuple[int, int]] = []
    one = convert(labelled, tmp_path / "one", workers=1)
    two = convert(labelled, tmp_path / "two", workers=2, on_progress=lambda *done: told.append(done))
    assert one == two
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert (len(one.splits["trainval"].shards), one.splits["trainval"].images) == (3, 600)
    assert told == [(200, 600), (400, 600), (600, 600)]
    assert [line.split(".")[0] for line in one.dropped] == ["0555", "0017"]  # shards hold every third image
    assert one.issues == {"empty box": 2, "box over the edge": 1}
    assert IMAGES_PER_SHARD * 2 < 600 <= IMAGES_PER_SHARD * 3


@pytest.mark.slow
def test_several_processes_are_as_quiet_as_one(ssd_command: list[str], twelve: Path, tmp_path: Path) -> None:
    (twelve / "ImageSets/Main/test.txt").write_text("0003\n0004\n")
    command = [*ssd_command, "data", "convert", twelve, "--out", tmp_path / "out", "--workers", "2"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120, check=True)
    assert [line for line in done.stderr.splitlines() if not line.startswith("converting: ")] == []


class Crash(BaseException):
    """The power fails."""


CALLS = ("replace", "unlink", "mkdir", "rmdir", "fsync")


def crash_at(monkeypatch: pytest.MonkeyPatch, moment: int) -> Counter[str]:
    """Lets the computer crash just before the `moment`-th change to the file system, as another process."""
    done: Counter[str] = Counter()

    def wrap(name: str, real: Callable) -> Callable:
        def call(*arguments: object, **options: object) -> object:
            if done.total() >= moment:
                raise Crash
            done[name] += 1
            return real(*arguments, **options)

        return call

    for name in CALLS:
        monkeypatch.setattr(os, name, wrap(name, getattr(os, name)))
    monkeypatch.setattr(os, "getpid", lambda: 4242)
    return done


@pytest.mark.parametrize("prepared", [False, True], ids=["no folder", "empty folder"])
def test_a_crash_before_any_change_to_the_disk_is_made_good(
    prepared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssdcore.data.convert.IMAGES_PER_SHARD", 2)
    source = write_voc(tmp_path / "voc", numbered(5, [("a", BOX), ("a", EMPTY)]))
    convert(read_labelled(source), tmp_path / "whole")
    whole = digests(tmp_path / "whole")
    for moment in range(100):
        out = tmp_path / "outs" / str(moment)
        (out if prepared else out.parent).mkdir(parents=True, exist_ok=True)
        with monkeypatch.context() as patch:
            done = crash_at(patch, moment)
            try:
                convert(read_labelled(source), out)
                finished = True
            except Crash:
                finished = False
        assert finished or not out.exists() or digests(out) in ({}, whole)
        if not finished:
            convert(read_labelled(source), out)
        assert digests(out) == whole
        if finished:
            break
    assert finished
    assert done["replace"] >= 1 + 2 * 3 + 1 + 1  # the plan, three shards with reports, the manifest, the folder
    assert {path.name for path in (tmp_path / "outs").iterdir()} == set(map(str, range(moment + 1)))


def stop_after(images: int) -> Callable[[int, int], None]:
    def on_progress(done: int, total: int) -> None:
        if done > images:
            raise Crash

    return on_progress


def start_and_stop(source: Path, out: Path, **options: object) -> Path:
    """Stops a conversion of six shards of two in the fourth; returns the folder it leaves."""
    with pytest.raises(Crash):
        convert(read_labelled(source), out, on_progress=stop_after(7), **options)
    return out.with_name(f".{out.name}.partial")


@pytest.fixture
def twelve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve images of two classes, in shards of two."""
    monkeypatch.setattr("ssdcore.data.convert.IMAGES_PER_SHARD", 2)
    return write_voc(tmp_path / "voc", numbered(12, [("a", BOX), ("b", (1, 1, 9, 9))]))


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("*.tfrecord")}


def test_finished_shards_are_kept(twelve: Path, tmp_path: Path) -> None:
    before = stamps(start_and_stop(twelve, tmp_path / "out"))
    convert(read_labelled(twelve), tmp_path / "out")
    after = stamps(tmp_path / "out")
    assert (len(before), len(after)) == (3, 6)
    assert before.items() < after.items()


def replace_image(root: Path) -> None:
    draw(root / "JPEGImages/0001.jpg", 999)


def touch_image(root: Path) -> None:
    """Other content of the same length."""
    path = root / "JPEGImages/0001.jpg"
    length = path.stat().st_size
    cv2.imwrite(str(path), cv2.imread(str(path)), [cv2.IMWRITE_JPEG_QUALITY, 50])
    path.write_bytes(path.read_bytes().ljust(length, b"\0"))
    assert path.stat().st_size == length


def move_box(root: Path) -> None:
    write_xml(root, "0001", [("a", (8, 6, 41, 30)), ("b", (1, 1, 9, 9))])


def drop_image(root: Path) -> None:
    path = root / "ImageSets/Main/trainval.txt"
    path.write_text(path.read_text().replace("0001\n", ""))


@pytest.mark.parametrize("change", [replace_image, touch_image, move_box, drop_image])
def test_a_changed_source_is_converted_anew(change: Callable[[Path], None], twelve: Path, tmp_path: Path) -> None:
    before = stamps(start_and_stop(twelve, tmp_path / "out"))
    time.sleep(0.01)
    change(twelve)
    convert(read_labelled(twelve), tmp_path / "out")
    convert(read_labelled(twelve), tmp_path / "fresh")
    assert digests(tmp_path / "out") == digests(tmp_path / "fresh")
    assert not before.items() & stamps(tmp_path / "out").items()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh", "out", "voc"]


def test_another_order_of_classes_is_converted_anew(twelve: Path, tmp_path: Path) -> None:
    start_and_stop(twelve, tmp_path / "out", classes=["a", "b"])
    convert(read_labelled(twelve), tmp_path / "out", classes=["b", "a"])
    convert(read_labelled(twelve), tmp_path / "fresh", classes=["b", "a"])
    assert digests(tmp_path / "out") == digests(tmp_path / "fresh")


def test_progress_of_one_that_goes_on_ends_at_all_images(twelve: Path, tmp_path: Path) -> None:
    start_and_stop(twelve, tmp_path / "out")
    told: list[tuple[int, int]] = []
    convert(read_labelled(twelve), tmp_path / "out", on_progress=lambda *done: told.append(done))
    assert told[-1] == (12, 12)


KILLED = """
import os, signal, sys
from pathlib import Path
import ssdcore.data.convert as module
from ssdcore.data.formats import read_labelled

def on_progress(done, total):
    if done > 7:
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    module.IMAGES_PER_SHARD = 2
    module.convert(read_labelled(Path(sys.argv[1])), Path(sys.argv[2]), on_progress=on_progress)
"""


@pytest.mark.slow
def test_killed_it_goes_on_to_the_same_files(twelve: Path, tmp_path: Path) -> None:
    """A real process, killed in the fourth of six shards; `Crash` dies before every other change to the disk."""
    done = subprocess.run([sys.executable, "-c", KILLED, twelve, tmp_path / "out"], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    before = stamps(tmp_path / ".out.partial")
    convert(read_labelled(twelve), tmp_path / "out")
    convert(read_labelled(twelve), tmp_path / "whole")
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")
    assert len(before) >= 3
    assert before.items() < stamps(tmp_path / "out").items()
    assert {path.name for path in tmp_path.iterdir()} == {"voc", "out", "whole"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError:
        pytest.skip("there is no program called mount")
    if done.returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def told(stderr: str) -> list[str]:
    """The lines but those of progress, and those of TensorFlow, see `test_several_processes_are_as_quiet_as_one`."""
    return [line for line in stderr.splitlines() if line.startswith(("error", "Trace", "ssdcore", "  "))]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_one_clear_line_and_leaves_no_records(
    workers: int, ssd_command: list[str], small_disk: Path, tmp_path: Path
) -> None:
    source = write_voc(tmp_path / "voc", numbered(300), size=(240, 320))
    command = [*ssd_command, "data", "convert", source, "--out", small_disk / "out", "--workers", workers]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120, check=False)
    errors = told(done.stderr)
    assert done.returncode == 1
    assert [line[:7] for line in errors] == ["error: "]
    assert "No space left on device" in errors[0]
    assert not (small_disk / "out").exists()
    assert list(small_disk.rglob("manifest.json")) == []
    assert "unexpected" not in errors[0]
