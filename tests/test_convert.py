"""`ssd data convert`: the same files however it is run, stopped and gone on with; divisions; manifests."""

import hashlib
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from ssdcli.main import main

from ssdcore.data.convert import PICTURES_PER_SHARD, convert
from ssdcore.data.example import Annotation, Example, LabelledSet, PictureSource
from ssdcore.data.formats import read_labelled
from ssdcore.data.manifest import Manifest
from ssdcore.data.splits import divide, parse_shares
from ssdcore.errors import DataError, ParamError

Objects = Sequence[tuple[str, tuple[float, float, float, float]]]
RunHere = Callable[..., tuple[int, str, str]]
BOX = (8, 6, 40, 30)
EMPTY = (8, 6, 8, 30)


@pytest.fixture
def ssd_here(capfd: pytest.CaptureFixture[str]) -> RunHere:
    """Runs the program in this process: exit code, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code: object = 0
        try:
            main([str(part) for part in arguments])
        except SystemExit as end:
            code = end.code
        return (int(code or 0), *capfd.readouterr())

    return run


def draw(path: Path, seed: int, size: tuple[int, int] = (60, 80)) -> None:
    """A picture that each seed has another one of."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    cv2.imwrite(str(path), cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC))


def write_xml(root: Path, name: str, objects: Objects) -> None:
    sides = ("xmin", "ymin", "xmax", "ymax")
    text = "".join(
        f"<object><name>{label}</name><bndbox>"
        + "".join(f"<{side}>{value}</{side}>" for side, value in zip(sides, box, strict=True))
        + "</bndbox></object>"
        for label, box in objects
    )
    (root / f"Annotations/{name}.xml").write_text(f"<annotation>{text}</annotation>", "utf-8")


def write_voc(
    root: Path, pictures: Mapping[str, Objects], lists: Mapping[str, Sequence[str]] | None = None, size=(60, 80)
) -> Path:
    """A VOC folder with these lists, or a list trainval of all."""
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for seed, (name, objects) in enumerate(pictures.items()):
        draw(root / f"JPEGImages/{name}.jpg", seed, size)
        write_xml(root, name, objects)
    for split, names in ({"trainval": list(pictures)} if lists is None else lists).items():
        (root / f"ImageSets/Main/{split}.txt").write_text("\n".join(names) + "\n", "utf-8")
    return root


def digests(folder: Path) -> dict[str, str]:
    """Everything in a folder."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def numbered(count: int, objects: Objects = (("a", BOX),)) -> dict[str, Objects]:
    return {f"{n:04}": objects for n in range(count)}


# --- several processes


def test_several_processes_write_what_one_writes(tmp_path: Path) -> None:
    pictures = numbered(600) | {"0017": [("b", EMPTY)], "0391": [("a", (-20, 5, 30, 30))], "0555": [("a", EMPTY)]}
    labelled = read_labelled(write_voc(tmp_path / "voc", pictures))
    told: list[tuple[int, int]] = []
    one = convert(labelled, tmp_path / "one", workers=1)
    two = convert(labelled, tmp_path / "two", workers=2, on_progress=lambda *done: told.append(done))
    assert one == two
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert (len(one.splits["trainval"].shards), one.splits["trainval"].images) == (3, 600)
    assert told == [(200, 600), (400, 600), (600, 600)]
    assert [line.split(".")[0] for line in one.dropped] == ["0555", "0017"]  # shards hold every third picture
    assert one.faults == {"empty box": 2, "box over the edge": 1}
    assert PICTURES_PER_SHARD * 2 < 600 <= PICTURES_PER_SHARD * 3


def test_several_processes_are_as_quiet_as_one(ssd_command: list[str], twelve: Path, tmp_path: Path) -> None:
    (twelve / "ImageSets/Main/test.txt").write_text("0003\n0004\n")
    command = [*ssd_command, "data", "convert", twelve, "--out", tmp_path / "out", "--workers", "2"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120, check=True)
    assert [line for line in done.stderr.splitlines() if not line.startswith("converting: ")] == []


# --- stopped anywhere, and gone on with


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
    monkeypatch.setattr("ssdcore.data.convert.PICTURES_PER_SHARD", 2)
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


def stop_after(pictures: int) -> Callable[[int, int], None]:
    def on_progress(done: int, total: int) -> None:
        if done > pictures:
            raise Crash

    return on_progress


def start_and_stop(source: Path, out: Path, **options: object) -> Path:
    """Stops a conversion of six shards of two in the fourth; returns the folder it leaves."""
    with pytest.raises(Crash):
        convert(read_labelled(source), out, on_progress=stop_after(7), **options)
    return out.with_name(f".{out.name}.partial")


@pytest.fixture
def twelve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve pictures of two classes, in shards of two."""
    monkeypatch.setattr("ssdcore.data.convert.PICTURES_PER_SHARD", 2)
    return write_voc(tmp_path / "voc", numbered(12, [("a", BOX), ("b", (1, 1, 9, 9))]))


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("*.tfrecord")}


def test_finished_shards_are_kept(twelve: Path, tmp_path: Path) -> None:
    before = stamps(start_and_stop(twelve, tmp_path / "out"))
    convert(read_labelled(twelve), tmp_path / "out")
    after = stamps(tmp_path / "out")
    assert (len(before), len(after)) == (3, 6)
    assert before.items() < after.items()


def replace_picture(root: Path) -> None:
    draw(root / "JPEGImages/0001.jpg", 999)


def touch_picture(root: Path) -> None:
    """Other content of the same length."""
    path = root / "JPEGImages/0001.jpg"
    length = path.stat().st_size
    cv2.imwrite(str(path), cv2.imread(str(path)), [cv2.IMWRITE_JPEG_QUALITY, 50])
    path.write_bytes(path.read_bytes().ljust(length, b"\0"))
    assert path.stat().st_size == length


def move_box(root: Path) -> None:
    write_xml(root, "0001", [("a", (8, 6, 41, 30)), ("b", (1, 1, 9, 9))])


def drop_picture(root: Path) -> None:
    path = root / "ImageSets/Main/trainval.txt"
    path.write_text(path.read_text().replace("0001\n", ""))


@pytest.mark.parametrize("change", [replace_picture, touch_picture, move_box, drop_picture])
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


def test_progress_of_one_that_goes_on_ends_at_all_pictures(twelve: Path, tmp_path: Path) -> None:
    start_and_stop(twelve, tmp_path / "out")
    told: list[tuple[int, int]] = []
    convert(read_labelled(twelve), tmp_path / "out", on_progress=lambda *done: told.append(done))
    assert told[-1] == (12, 12)


# --- killed


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 pictures of 640 x 480 px: three shards, some seconds."""
    return write_voc(tmp_path_factory.mktemp("many") / "voc", numbered(600), size=(480, 640))


class Killer:
    """Starts conversions of one source and kills them."""

    def __init__(self, command: Sequence[str], source: Path) -> None:
        self.command = [*command, "data", "convert", str(source), "--out"]
        self.finished = self.kills = self.kept = 0

    def run(self, out: Path) -> None:
        subprocess.run([*self.command, str(out)], check=True, capture_output=True, timeout=120)

    def kill(self, out: Path, workers: int, lines: int, delay: float) -> None:
        """Kills a conversion some seconds after it has written some lines of progress, unless it ends before."""
        command = [*self.command, str(out), "--workers", str(workers)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as child:
            assert child.stderr is not None
            for _ in range(lines):
                if not child.stderr.readline():
                    break
            time.sleep(delay)
            child.send_signal(signal.SIGKILL)
            killed = child.wait() == -signal.SIGKILL
        self.kills += killed
        self.finished += not killed

    def unfinished(self, out: Path) -> dict[str, tuple[int, int]]:
        """The shards that a further run has to keep."""
        folder = out.with_name(f".{out.name}.partial")
        if not (folder / "plan.txt").is_file():
            return {}
        reported = {path.with_suffix(".tfrecord").name for path in folder.glob("*-of-*.json")}
        return {name: stamp for name, stamp in stamps(folder).items() if name in reported}


def choose_moments(count: int) -> list[tuple[int, int, float]]:
    """Workers, lines of progress to wait for, and seconds after them: start-up, the work, and its end."""
    chance = random.Random(20)
    moments = []
    for number in range(count):
        workers = 2 if number % 4 == 3 else 1
        lines = 0 if number % 5 == 0 else chance.randrange(0, 3) if workers == 2 else chance.randrange(1, 9)
        moments.append((workers, lines, chance.uniform(0, 4.5 if lines == 0 else 0.4)))
    return moments


def test_killed_at_twenty_moments_the_files_are_the_same(ssd_command: list[str], many: Path, tmp_path: Path) -> None:
    killer = Killer(ssd_command, many)
    killer.run(tmp_path / "whole")
    whole = digests(tmp_path / "whole")
    folders = 0
    for number, moment in enumerate(choose_moments(40)):
        out = tmp_path / f"out{folders}"
        killer.kill(out, *moment)
        assert not out.exists() or digests(out) == whole
        if killer.kills == 20 or number % 5 == 4 or out.exists():
            before = killer.unfinished(out)
            if not out.exists():
                killer.run(out)
            assert digests(out) == whole, moment
            assert before.items() <= stamps(out).items()
            killer.kept += len(before)
            folders += 1
        if killer.kills == 20:
            break
    print(f"{killer.kills} killed, {killer.finished} ended before, {killer.kept} shards kept in {folders} folders")
    assert killer.kills == 20
    assert killer.kept >= 1
    assert {path.name for path in tmp_path.iterdir()} == {"whole", *(f"out{n}" for n in range(folders))}


# --- a full disk


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


# --- divided at random


def labelled(*examples: Example) -> LabelledSet:
    return LabelledSet(Path("/nowhere"), "voc", {"all": examples})


def example(name: str, *classes: str, picture: Path | None = None) -> Example:
    objects = tuple(Annotation(label, BOX) for label in classes)
    return Example(name, PictureSource(picture or Path(f"/nowhere/{name}.jpg")), Path(f"/nowhere/{name}.xml"), objects)


def shaped(counts: Mapping[str, int]) -> LabelledSet:
    """So many pictures that show each class alone; `` is none."""
    return labelled(*(example(f"{label}{n:03}", *filter(None, [label])) for label, count in counts.items()
                      for n in range(count)))  # fmt: skip


def count_classes(found: LabelledSet) -> dict[str, Counter[str]]:
    return {
        split: Counter("".join(item.name for item in one.objects) for one in examples)
        for split, examples in found.splits.items()
    }


HAND_MADE = {"a": 5, "b": 17, "c": 40, "d": 8, "": 10}


@pytest.mark.parametrize(
    "shares",
    [
        (0.8, 0.2),
        (0.5, 0.5),
        (0.9, 0.1),
        (0.8, 0.1, 0.1),
    ],
)
def test_each_class_is_divided_to_within_one_picture(shares: tuple[float, ...]) -> None:
    for seed in range(5):
        found = count_classes(divide(shaped(HAND_MADE), shares, seed))
        for label, total in HAND_MADE.items():
            dealt = [split[label] for split in found.values()]
            assert sum(dealt) == total
            assert all(abs(part - share * total) <= 1 for part, share in zip(dealt, shares, strict=True)), label


def test_pictures_of_several_classes_are_divided_by_their_rarest() -> None:
    """Ten pictures show the rare class, five of them the common one, too; forty show the common one alone."""
    rare = [example(f"r{n}", "rare", *["common"] * (n % 2)) for n in range(10)]
    found = divide(labelled(*rare, *(example(f"c{n}", "common") for n in range(40))), (0.8, 0.2), 3)
    names = {split: [one.name for one in examples] for split, examples in found.splits.items()}
    assert [sum(name[0] == "r" for name in names[split]) for split in ("trainval", "test")] == [8, 2]
    assert [sum(name[0] == "c" for name in names[split]) for split in ("trainval", "test")] == [32, 8]


def test_the_seed_alone_decides() -> None:
    one, same, other = (divide(shaped(HAND_MADE), (0.8, 0.2), seed) for seed in (1, 1, 2))
    assert one.splits == same.splits
    assert one.splits != other.splits
    assert set(one.splits) == {"trainval", "test"}
    assert set(divide(shaped(HAND_MADE), (0.6, 0.2, 0.2), 0).splits) == {"train", "val", "test"}


def test_the_order_of_pictures_does_not_decide() -> None:
    pictures = shaped(HAND_MADE).splits["all"]
    turned = labelled(*pictures[::-1])
    assert divide(labelled(*pictures), (0.8, 0.2), 0).splits == divide(turned, (0.8, 0.2), 0).splits


def test_no_split_is_empty_where_classes_are_many_and_rare() -> None:
    found = divide(shaped({f"class{n}": 3 for n in range(20)}), (0.8, 0.2), 0)
    assert 6 <= len(found.splits["test"]) <= 20


def test_equal_pictures_stay_together(tmp_path: Path) -> None:
    for number in range(10):
        for copy in "xyz":
            (tmp_path / f"{number}{copy}.jpg").write_bytes(bytes([number]))
    pictures = [example(path.stem, "a", picture=path) for path in sorted(tmp_path.iterdir())]
    for seed in range(10):
        for shares in ((0.8, 0.2), (0.6, 0.2, 0.2)):
            found = divide(labelled(*pictures), shares, seed)
            groups = [{one.name[0] for one in examples} for examples in found.splits.values()]
            assert sorted("".join(map("".join, groups))) == list("0123456789")
            assert sum(map(len, found.splits.values())) == 30
            assert all(map(len, groups))


def test_own_splits_are_forgotten_and_pictures_in_two_count_once() -> None:
    pictures = shaped({"a": 10}).splits["all"]
    mixed = LabelledSet(Path("/nowhere"), "voc", {"train": pictures, "mine": pictures[:3]})
    found = divide(mixed, (0.8, 0.2), 0)
    assert {split: len(examples) for split, examples in found.splits.items()} == {"trainval": 8, "test": 2}


@pytest.mark.parametrize(("text", "shares"), [("0.8/0.2", (0.8, 0.2)), ("0.8/0.1/0.1", (0.8, 0.1, 0.1))])
def test_shares_are_read(text: str, shares: tuple[float, ...]) -> None:
    assert parse_shares(text) == shares


WRONG = [
    "nan/1",
    "1/nan",
    "",
    "1",
    "0.8",
    "0.8/0.3",
    "0.7/0.2",
    "1/0",
    "1.2/-0.2",
    "a/b",
    "0.8,0.2",
    "0.8/",
    ".25/.25/.25/.25",
    "inf/0",
]


@pytest.mark.parametrize("text", WRONG)
def test_wrong_shares_are_errors(text: str) -> None:
    with pytest.raises(ParamError, match="two or three shares that add up to 1"):
        parse_shares(text)


def test_too_few_pictures_to_divide_are_an_error() -> None:
    with pytest.raises(DataError, match="has 2 pictures, too few for 3 splits"):
        divide(shaped({"a": 2}), (0.8, 0.1, 0.1), 0)


# --- the manifest


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """Records of twelve pictures, of which four are in two splits; one of those has an empty box."""
    pictures = numbered(12, [("a", BOX), ("b", BOX)]) | {"0001": [("a", EMPTY), ("b", BOX)], "0009": []}
    lists = {"trainval": list(pictures), "val": [f"{n:04}" for n in range(4)]}
    convert(read_labelled(write_voc(tmp_path / "voc", pictures, lists)), tmp_path / "out")
    return tmp_path / "out"


def test_manifest_counts_each_split_and_each_fault_once(records: Path) -> None:
    manifest = Manifest.load(records)
    counts = {name: (split.images, split.objects) for name, split in manifest.splits.items()}
    assert counts == {"trainval": (12, 21), "val": (4, 7)}
    assert manifest.faults == {"empty box": 1}
    assert [line.split(": ")[:3] for line in manifest.dropped] == [["0001.xml", "object 1", "empty box"]]


def test_equal_faults_in_files_of_one_name_are_two(tmp_path: Path) -> None:
    """Two years of a devkit, each with a picture 000001."""
    for year in ("VOC2007", "VOC2012"):
        write_voc(tmp_path / "kit" / year, {"000001": [("a", BOX), ("a", EMPTY)]})
        draw(tmp_path / "kit" / year / "JPEGImages/000001.jpg", int(year[3:]))
    manifest = convert(read_labelled(tmp_path / "kit"), tmp_path / "out")
    assert manifest.faults == {"empty box": 2}


def test_equal_faults_of_two_pictures_in_one_json_are_two(tmp_path: Path) -> None:
    images = [{"id": number, "file_name": f"{number}.jpg"} for number in range(3)]
    objects = [{"id": n, "image_id": n, "category_id": 1, "bbox": [5, 5, 0 if n else 9, 9]} for n in range(3)]
    content = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "dog"}]}
    (tmp_path / "train.json").write_text(json.dumps(content))
    for number in range(3):
        draw(tmp_path / f"{number}.jpg", number)
    manifest = convert(read_labelled(tmp_path / "train.json"), tmp_path / "out")
    assert (manifest.faults, len(manifest.dropped)) == ({"empty box": 2}, 2)


def test_digests_and_sizes_are_those_of_the_files(records: Path) -> None:
    for split in Manifest.load(records).splits.values():
        for shard, size, digest in zip(split.shards, split.sizes, split.digests, strict=True):
            content = (records / shard).read_bytes()
            assert (len(content), hashlib.sha256(content).hexdigest()) == (size, digest)


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("spoil", "says"), [(alter, "was changed"), (shorten, "was changed"), (Path.unlink, "is missing")]
)
def test_check_of_records_names_the_shard(
    spoil: Callable[[Path], None], says: str, ssd_here: RunHere, records: Path
) -> None:
    assert ssd_here("data", "check", records)[0] == 0
    spoil(records / "val-00000-of-00001.tfrecord")
    code, _, err = ssd_here("data", "check", records)
    assert code == 1
    assert err.startswith("error: ")
    assert f"val-00000-of-00001.tfrecord {says}" in err
    assert "trainval-" not in err


def test_records_without_digests_are_told_so(ssd_here: RunHere, records: Path) -> None:
    content = json.loads((records / "manifest.json").read_text("utf-8"))
    for split in content["splits"].values():
        del split["digests"]
    (records / "manifest.json").write_text(json.dumps(content), "utf-8")
    code, _, err = ssd_here("data", "check", records)
    assert "unexpected" not in err
    assert code == 1


def move_a_box(source: Path) -> None:
    write_xml(source, "0002", [("a", BOX), ("b", (8, 6, 40, 31))])


def rename_an_object(source: Path) -> None:
    write_xml(source, "0002", [("b", BOX), ("b", BOX)])


def draw_another(source: Path) -> None:
    draw(source / "JPEGImages/0002.jpg", 1000)


@pytest.mark.parametrize("change", [move_a_box, rename_an_object, draw_another])
def test_source_is_another_where_the_data_is(change: Callable[[Path], None], records: Path, tmp_path: Path) -> None:
    before = Manifest.load(records).source
    assert convert(read_labelled(tmp_path / "voc"), tmp_path / "same").source == before
    change(tmp_path / "voc")
    assert convert(read_labelled(tmp_path / "voc"), tmp_path / "other").source != before


# --- the command


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pictures in train, four in val and six in test."""
    names = [f"{n:04}" for n in range(20)]
    lists = {"train": names[:10], "val": names[10:14], "test": names[14:]}
    return write_voc(tmp_path_factory.mktemp("listed") / "voc", numbered(20), lists)


def images(out: Path) -> dict[str, int]:
    return {name: split.images for name, split in Manifest.load(out).splits.items()}


def test_only_some_splits_are_converted(ssd_here: RunHere, listed: Path, tmp_path: Path) -> None:
    assert ssd_here("data", "convert", listed, "--out", tmp_path / "out", "--only", "test", "--only", "val")[0] == 0
    assert images(tmp_path / "out") == {"test": 6, "val": 4}


def test_a_split_is_divided_by_seed(ssd_here: RunHere, listed: Path, tmp_path: Path) -> None:
    options = ("--split", "0.6/0.2/0.2", "--only", "train")
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        code, out, _ = ssd_here("data", "convert", listed, "--out", tmp_path / name, *options, "--seed", seed)
        assert code == 0
        assert images(tmp_path / name) == {"train": 6, "val": 2, "test": 2}
        assert ["train", "6", "6"] in [line.split() for line in out.splitlines()]
    assert digests(tmp_path / "one") == digests(tmp_path / "same") != digests(tmp_path / "other")


def test_all_splits_are_divided_into_three(ssd_here: RunHere, listed: Path, tmp_path: Path) -> None:
    assert ssd_here("data", "convert", listed, "--out", tmp_path / "out", "--split", "0.8/0.1/0.1")[0] == 0
    assert images(tmp_path / "out") == {"train": 16, "val": 2, "test": 2}


@pytest.mark.parametrize("shares", ["0.8/0.3", "0.8", "many"])
def test_wrong_shares_are_one_clear_line(ssd_here: RunHere, listed: Path, tmp_path: Path, shares: str) -> None:
    code, _, err = ssd_here("data", "convert", listed, "--out", tmp_path / "out", "--split", shares)
    assert (code, err.count("\n"), err[:7]) == (1, 1, "error: ")
    assert repr(shares) in err
    assert list(tmp_path.iterdir()) == []


def test_faulty_pictures_stop_or_are_left_out(ssd_here: RunHere, tmp_path: Path) -> None:
    source = write_voc(tmp_path / "voc", numbered(6) | {"0002": [("a", EMPTY), ("a", BOX)]})
    (source / "JPEGImages/0003.jpg").write_bytes((source / "JPEGImages/0003.jpg").read_bytes()[:300])
    (source / "Annotations/0004.xml").write_text("<annotation>")
    code, _, err = ssd_here("data", "convert", source, "--out", tmp_path / "out")
    assert (code, err.count("\n"), err[:7]) == (1, 1, "error: ")
    assert str(source / "Annotations/0004.xml") in err
    assert "--skip-faulty" in err
    code, out, _ = ssd_here("data", "convert", source, "--out", tmp_path / "out", "--skip-faulty")
    assert code == 0
    assert {"left out: 3", "empty box: 1", "unreadable picture: 1", "unreadable annotation: 1"} <= set(out.splitlines())
    assert images(tmp_path / "out") == {"trainval": 4}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "voc"]
