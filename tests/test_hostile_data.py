"""Hostile files end in an error line or a clean skip, in bounded memory and time."""

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from faulty_files import PLAIN_BOX, Seeds, encoded, noise, png_bomb, xml


class Ended(NamedTuple):
    code: int
    out: str
    err: str
    megabytes: float


def run_bounded(command: list[str], *arguments: object) -> Ended:
    """Runs a program that must end within two minutes, and measures its memory at the peak."""
    with subprocess.Popen(
        [*command, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        timer = threading.Timer(120, child.kill)
        timer.start()
        peaks = [0]
        watcher = threading.Thread(target=watch_memory, args=(child, peaks))
        watcher.start()
        out, errors = child.communicate()
        watcher.join()
        timer.cancel()
    return Ended(child.returncode, out, errors, max(peaks) / 1024)


def watch_memory(child: subprocess.Popen, peaks: list[int]) -> None:
    """Collects the most memory (KiB) that a process has used so far, until it ends.

    The figure of `wait4` would not do: it begins with that of the process which started it.
    """
    while child.poll() is None:
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            status = Path(f"/proc/{child.pid}/status").read_text()
            peaks += [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")]
        time.sleep(0.05)


def assert_calm(ended: Ended, code: int = 0, megabytes: int = 1500) -> None:
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err + ended.out
    assert "unexpected" not in ended.err
    assert 100 < ended.megabytes < megabytes


WEIRD = ["two words", "it's", 'a "quote"', "写真", "🐕🏽", "ﬀ\u202egnp", "%s%d", "-rf", "a,b;c", "e\u0301", "[bold]x"]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VOC folder of `len(WEIRD)` good images and some that mean harm."""
    seeds = Seeds(tmp_path_factory.mktemp("hostile") / "voc")
    plain = xml(("dog", PLAIN_BOX))
    for name in WEIRD:
        seeds.add(name, plain)
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    head = f'<!DOCTYPE a [<!ENTITY e0 "dog">{entities}]>'
    seeds.add("entities", head + plain.replace("dog", "&e9;"))
    seeds.add("outer", '<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/passwd">]>' + plain.replace("dog", "&f;"))
    seeds.add("upward", plain.replace("<object>", f"<filename>{'../' * 9}etc/passwd</filename><object>"), None)
    seeds.add("absolute", plain.replace("<object>", "<filename>/etc/passwd</filename><object>"), None)
    seeds.add("swarm", xml(*[("dog", PLAIN_BOX)] * 100_000))
    seeds.add("short swarm", f"<annotation>{'<object/>' * 100_000}</annotation>")
    seeds.add("bomb", plain, png_bomb(), "png")
    seeds.names += ["../../../etc/passwd", "/etc/passwd", "n" * 5000]
    (seeds.root / "JPEGImages/loop").symlink_to(seeds.root, target_is_directory=True)
    (seeds.root / "loop").symlink_to(seeds.root.parent, target_is_directory=True)
    seeds.save("trainval", seeds.names)
    return seeds.root


HOSTILE_ISSUES = {
    "unreadable annotation": 2,
    "missing annotation": 3,
    "missing image": 2,
    "image too large": 1,
    "too many objects": 2,
}


def test_hostile_voc_is_checked_in_bounds(ssd_command: list[str], hostile: Path) -> None:
    ended = run_bounded(ssd_command, "data", "check", hostile, "--json")
    assert_calm(ended)
    assert json.loads(ended.out)["counts"] == HOSTILE_ISSUES
    assert json.loads(ended.out)["splits"]["trainval"]["objects"] == len(WEIRD)
    assert "root:" not in ended.out + ended.err


@pytest.mark.slow
def test_hostile_voc_is_converted_without_the_faulty_ones(ssd_command: list[str], hostile: Path) -> None:
    out = hostile.parent / "records"
    assert_calm(run_bounded(ssd_command, "data", "convert", hostile, "--out", out, "--skip-faulty"))
    manifest = json.loads((out / "manifest.json").read_text("utf-8"))
    assert manifest["issues"] == HOSTILE_ISSUES
    assert manifest["splits"]["trainval"]["images"] == manifest["splits"]["trainval"]["objects"] == len(WEIRD)
    content = b"".join(path.read_bytes() for path in out.iterdir())
    assert b"root:" not in content
    assert all(name.encode() in content for name in WEIRD)


@pytest.fixture(scope="module")
def vast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """COCO of 200 MB, nearly all of it one polygon, with names that lead upward."""
    root = tmp_path_factory.mktemp("vast")
    names = ["fine.jpg", "../secret.jpg", f"{root}/coco/secret.jpg", "a/../../secret.jpg", "gone.jpg", "n" * 5000]
    (root / "coco/images").mkdir(parents=True)
    (root / "coco/images/fine.jpg").write_bytes(encoded(noise("fine")))
    (root / "coco/annotations").mkdir()
    (root / "coco/secret.jpg").write_bytes(encoded(noise("secret")))
    images = json.dumps([{"id": n, "file_name": name} for n, name in enumerate(names)])
    box = '"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 2, 30, 40]'
    path = root / "coco/annotations/instances_train.json"
    with path.open("w") as file:
        file.write(f'{{"images": {images}, "categories": [{{"id": 1, "name": "dog"}}], "annotations": [{{{box}, ')
        file.write('"segmentation": [[')
        for _ in range(200):
            file.write("100," * 250_000)
        file.write("100]]}]}")
    return path


VAST_ISSUES = {"unreadable annotation": 4, "missing image": 1}


@pytest.mark.slow
def test_a_vast_coco_file_is_checked_in_bounds_and_leads_nowhere(ssd_command: list[str], vast: Path) -> None:
    started = time.monotonic()
    ended = run_bounded(ssd_command, "data", "check", vast, "--json")
    assert_calm(ended)
    assert time.monotonic() - started < 100
    assert json.loads(ended.out)["counts"] == VAST_ISSUES
    assert json.loads(ended.out)["splits"]["train"]["objects"] == 1


@pytest.mark.slow
def test_a_vast_coco_file_is_converted_without_the_faulty_ones(ssd_command: list[str], vast: Path) -> None:
    out = vast.parent.parent / "records"
    assert_calm(run_bounded(ssd_command, "data", "convert", vast, "--out", out, "--skip-faulty"))
    manifest = json.loads((out / "manifest.json").read_text("utf-8"))
    assert manifest["issues"] == VAST_ISSUES
    assert (manifest["splits"]["train"]["images"], manifest["splits"]["train"]["objects"]) == (1, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse names that are not UTF-8")
def test_names_that_are_not_utf8_are_converted(ssd_command: list[str], tmp_path: Path) -> None:
    seeds = Seeds(tmp_path / "flat")
    for name in ("a", os.fsdecode(b"\xff")):
        seeds.add(name, xml(("dog", PLAIN_BOX), ("dog", (5, 5, 5, 5))))
    ended = run_bounded(ssd_command, "data", "convert", tmp_path / "flat", "--out", tmp_path / "out", "--skip-faulty")
    assert_calm(ended)
