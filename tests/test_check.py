"""`ssd data check` finds every fault and invents none; hostile files end in an error line; pictures become upright."""

import io
import json
import os
import random
import re
import struct
import subprocess
import sys
import threading
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image, ImageOps
from ssdcli.main import main

from ssdcore.data.check import CheckReport, SplitStatistics, check
from ssdcore.data.example import Annotation, Example, LabelledSet, PictureSource
from ssdcore.data.faults import KINDS
from ssdcore.data.formats import read_labelled
from ssdcore.data.pictures import PictureError, decode_rgb, make_upright

WIDTH, HEIGHT = 64, 48
PLAIN_BOX = (16, 12, 32, 24)  # sqrt(16 * 12 / (64 * 48)) = 0.25
GOOD = [f"good{n:02}" for n in range(20)]
SeededSet = tuple[Path, list[str]]
RunHere = Callable[..., tuple[int, str, str]]


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


def noise(name: str, shape: tuple[int, ...] = (HEIGHT, WIDTH, 3)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(list(os.fsencode(name))).integers(0, 256, shape).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_bomb(side: int = 60_000) -> bytes:
    """Some hundred bytes that say that they are a picture of side x side px."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def xml(*objects: tuple, size: tuple[int, int] | None = None) -> str:
    """Objects are (name, box) or (name, box, difficult); size is width and height."""
    text = "<size><width>{}</width><height>{}</height></size>".format(*size) if size else ""
    for name, box, *difficult in objects:
        sides = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        hard = f"<difficult>{difficult[0]}</difficult>" if difficult else ""
        text += f"<object><name>{name}</name>{hard}<bndbox>{sides}</bndbox></object>"
    return f"<annotation>{text}</annotation>"


class Seeds:
    """Writes a VOC folder picture by picture."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (root / folder).mkdir(parents=True)
        self.names: list[str] = []

    def add(self, name: str, text: str | None, picture: bytes | None = b"", ending: str = "jpg") -> None:
        """None leaves a file out; b"" draws a faultless picture."""
        if text is not None:
            (self.root / f"Annotations/{name}.xml").write_text(text, "utf-8")
        if picture is not None:
            (self.root / f"JPEGImages/{name}.{ending}").write_bytes(picture or encoded(noise(name), quality=90))
        self.names.append(name)

    def save(self, split: str, names: list[str]) -> None:
        (self.root / f"ImageSets/Main/{split}.txt").write_text("\n".join(names) + "\n", "utf-8")


def seed_annotation_faults(seeds: Seeds) -> None:
    plain = ("helmet", PLAIN_BOX)
    seeds.add("broken", xml(plain)[:-20])
    seeds.add("unannotated", None)
    seeds.add("crowded", xml(*[plain] * 10_001))
    seeds.add("swapped", xml(plain, ("helmet", (40, 12, 20, 24))))
    seeds.add("hollow", xml(("helmet", (16, 12, 16, 24)), plain))
    seeds.add("outside", xml(plain, ("helmet", (20, 12, 36, 24)), ("helmet", (70, 12, 90, 24))))
    seeds.add("over", xml(("helmet", (57, 12, 69, 24))))
    seeds.add("resized", xml(plain, size=(WIDTH * 2, HEIGHT * 2)))
    seeds.add("twice", xml(plain, ("vest", PLAIN_BOX), plain))
    seeds.add("typo", xml(plain, ("helmt", (20, 12, 36, 24))))


def seed_picture_faults(seeds: Seeds) -> None:
    plain = xml(("helmet", PLAIN_BOX))
    whole = encoded(noise("cut"))
    seeds.add("cut", plain, whole[: len(whole) * 6 // 10])
    seeds.add("gone", plain, None)
    seeds.add("text", plain, b"This is no picture at all, but it says so in its name.\n")
    seeds.add("bomb", plain, png_bomb(), "png")
    seeds.add("turned", xml(("helmet", (12, 16, 24, 32))), encoded(noise("turned"), exif=exif(6)))
    deep = np.random.default_rng(1).integers(0, 65536, (HEIGHT, WIDTH)).astype(np.uint16)
    seeds.add("deep", plain, encoded(Image.fromarray(deep), "PNG"), "png")
    seeds.add("cmyk", plain, encoded(noise("cmyk", (HEIGHT, WIDTH, 4)).convert("RGB").convert("CMYK")))
    seeds.add("copied", plain, (seeds.root / "JPEGImages/good03.jpg").read_bytes())
    seeds.add("shared", plain)


EXPECTED = [
    ("unreadable annotation", "broken.xml", None),
    ("missing annotation", "unannotated.xml", None),
    ("missing picture", "gone.xml", None),
    ("unreadable picture", "cut.jpg", None),
    ("unreadable picture", "text.jpg", None),
    ("picture too large", "bomb.png", None),
    ("too many objects", "crowded.xml", None),
    ("swapped corners", "swapped.xml", 2),
    ("empty box", "hollow.xml", 1),
    ("box outside", "outside.xml", 3),
    ("box over the edge", "over.xml", 1),
    ("rotated by EXIF", "turned.jpg", None),
    ("unusual picture", "cmyk.jpg", None),
    ("unusual picture", "deep.png", None),
    ("size mismatch", "resized.xml", None),
    ("duplicate box", "twice.xml", 3),
    ("duplicate picture", "copied.jpg", None),
    ("in two splits", "shared.jpg", None),
    ("likely misspelt class", "typo.xml", 2),
]


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VOC folder with one of each fault among 22 faultless pictures; trainval holds train, too."""
    seeds = Seeds(tmp_path_factory.mktemp("seeded") / "voc")
    columns = [(16 + shift, 12, 32 + shift, 24) for shift in (0, 8, 16, 24, 33)]  # the last 1 px over the edge
    for name in GOOD:
        seeds.add(name, xml(*[("helmet", box) for box in columns], size=(WIDTH, HEIGHT)))
    seeds.add("nothing", xml(size=(WIDTH, HEIGHT)))
    seeds.add("hard", xml(("helmet", PLAIN_BOX, 1), ("vest", PLAIN_BOX, 1), size=(WIDTH, HEIGHT)))
    seed_annotation_faults(seeds)
    seed_picture_faults(seeds)
    seeds.save("trainval", seeds.names)
    seeds.save("train", GOOD[:4])
    seeds.save("test", ["shared"])
    return seeds.root


@pytest.fixture(scope="module")
def report(seeded: Path) -> CheckReport:
    return check(read_labelled(seeded))


def found(report: CheckReport) -> list[tuple[str, str, int | None]]:
    return [(fault.kind, fault.file.name, fault.object) for fault in report.faults]


def without_addresses(text: str) -> str:
    """Pillow's message about what is no picture has one, see `test_what_is_no_picture_is_told_without_an_address`."""
    return re.sub("0x[0-9a-f]+", "", text)


# --- the set with one of each fault


def test_every_seeded_fault_is_found_and_none_invented(report: CheckReport) -> None:
    assert sorted(found(report), key=str) == sorted(EXPECTED, key=str)


def test_every_kind_but_an_unknown_class_is_seeded_and_worst_come_first(report: CheckReport) -> None:
    assert [kind for kind in KINDS if kind != "unknown class"] == list(report.counts())


def test_details_say_by_how_much_and_what_is_meant(report: CheckReport) -> None:
    detail = {fault.kind: fault.detail for fault in report.faults}
    assert "by 5.0 px of 64 x 48" in detail["box over the edge"]
    assert "annotated as 128 x 96, the picture is 64 x 48" in detail["size mismatch"]
    assert detail["duplicate picture"].endswith("good03.jpg")
    assert "test and trainval" in detail["in two splits"]
    assert "'helmt' (1 objects) is close to 'helmet' (121)" in detail["likely misspelt class"]
    assert "orientation 6" in detail["rotated by EXIF"]
    assert "object 1" in detail["duplicate box"]


def test_statistics_are_those_counted_by_hand(report: CheckReport) -> None:
    # 41 names, of which 4 have no usable annotation (broken, unannotated, crowded, gone). Without objects: nothing,
    # and cut, text and bomb, which cannot be decoded. Objects: 20 x 5, hard 2, swapped 1, hollow 1, outside 2, over 1,
    # resized 1, twice 3, typo 2, turned 1, deep 1, cmyk 1, copied 1, shared 1; all are 16 x 12 px, but that `over`
    # ends after 7 of its 12, and 20 after 15 of 16 (those 1 px over the edge).
    whole = report.splits["trainval"]
    assert (whole.pictures, whole.without_objects, whole.objects, whole.difficult, whole.crowd) == (37, 4, 118, 2, 0)
    assert dict(whole.per_class) == {"helmet": 115, "vest": 2, "helmt": 1}
    low = np.sqrt(15 * 12 / (WIDTH * HEIGHT))
    np.testing.assert_allclose(whole.sides, (low, 0.25, 0.25), atol=1e-9)
    assert (report.splits["train"].pictures, report.splits["train"].objects) == (4, 20)
    assert report.splits["test"] == SplitStatistics(1, 0, 1, 0, 0, {"helmet": 1}, (0.25, 0.25, 0.25))


def test_what_is_no_picture_is_told_without_an_address(report: CheckReport) -> None:
    """Two conversions of the same pictures would differ by it."""
    assert [fault.detail for fault in report.faults if "0x" in fault.detail] == []


def test_json_is_the_report(ssd_here: RunHere, seeded: Path, report: CheckReport) -> None:
    code, out, _ = ssd_here("data", "check", seeded, "--json")
    assert code == 0
    assert json.loads(without_addresses(out)) == json.loads(without_addresses(json.dumps(report.as_dict())))
    rows = [(row["kind"], Path(row["file"]).name, row["object"]) for row in json.loads(out)["faults"]]
    assert rows == found(report)


def test_strict_ends_with_1_and_every_fault_is_printed(ssd_here: RunHere, seeded: Path) -> None:
    code, out, err = ssd_here("data", "check", seeded)
    strict, again, _ = ssd_here("data", "check", seeded, "--strict")
    assert (code, strict, without_addresses(again)) == (0, 1, without_addresses(out))
    assert "error" not in err
    for _, file, number in EXPECTED:
        assert re.search(rf"/{re.escape(file)}:{f' object {number}:' if number else ' '}", out), file
    assert f"{len(EXPECTED)} faults in voc data" in out


def test_faultless_data_is_called_so_and_is_fine_with_strict(ssd_here: RunHere, tmp_path: Path) -> None:
    seeds = Seeds(tmp_path / "voc")
    seeds.add("one", xml(("helmet", PLAIN_BOX)))
    code, out, _ = ssd_here("data", "check", tmp_path / "voc", "--strict", "--classes", "vest,helmet")
    assert code == 0
    assert out.splitlines()[-1] == "nothing is wrong"


def test_classes_that_are_not_given_are_unknown_and_near_ones_offered(ssd_here: RunHere, seeded: Path) -> None:
    _, out, _ = ssd_here("data", "check", seeded, "--json", "--classes", "helmet,vest")
    kinds = {(row["kind"], Path(row["file"]).name, row["object"]): row["detail"] for row in json.loads(out)["faults"]}
    assert "did you mean 'helmet'" in kinds["unknown class", "typo.xml", 2]
    expected = {row for row in EXPECTED if row[0] != "likely misspelt class"} | {("unknown class", "typo.xml", 2)}
    assert set(kinds) == expected


def test_page_shows_the_faulty_boxes_in_red(ssd_here: RunHere, seeded: Path, tmp_path: Path) -> None:
    code, _, err = ssd_here("data", "check", seeded, "--page", tmp_path / "x.png")
    pixels = np.asarray(Image.open(tmp_path / "x.png").convert("RGB")).astype(int)
    assert (code, str(tmp_path / "x.png") in err) == (0, True)
    red = (np.abs(pixels - [220, 30, 30]) < 5).all(axis=2)
    tiles = 5  # swapped, hollow, outside, over, twice
    assert red.sum() > 40 * tiles
    assert pixels.shape[0] // 340 * (pixels.shape[1] // 326) in (tiles, 8)
    assert (pixels == 255).all(axis=2).mean() < 0.7


def test_page_with_a_strange_ending_is_one_error_line(ssd_here: RunHere, seeded: Path, tmp_path: Path) -> None:
    code, _, err = ssd_here("data", "check", seeded, "--page", tmp_path / "x.docx")
    assert (code, err.splitlines()[-1][:7]) == (1, "error: ")
    assert "unexpected" not in err


def test_sides_are_quantiles_of_the_root_of_the_share(tmp_path: Path) -> None:
    """21 square boxes of 20, 22 ... 60 % of the side: the 2nd, 11th and 20th are 22, 40 and 58 %."""
    (tmp_path / "a.png").write_bytes(encoded(noise("a", (100, 100, 3)), "PNG"))
    objects = tuple(Annotation("a", (5, 5, 5 + side, 5 + side)) for side in range(60, 18, -2))
    one = Example("a", PictureSource(tmp_path / "a.png"), tmp_path / "a.xml", objects)
    split = check(LabelledSet(tmp_path, "voc", {"all": (one,)})).splits["all"]
    np.testing.assert_allclose(split.sides, (0.22, 0.40, 0.58), atol=1e-9)


def write_coco(root: Path, boxes: list[list[float]]) -> Path:
    """One picture with one object for each box."""
    root.mkdir(parents=True)
    for number in range(len(boxes)):
        (root / f"{number}.jpg").write_bytes(encoded(noise(f"coco{number}")))
    images = [{"id": number, "file_name": f"{number}.jpg"} for number in range(len(boxes))]
    annotations = [{"id": 9, "image_id": n, "category_id": 1, "bbox": box} for n, box in enumerate(boxes)]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "dog"}]}
    (root / "all.json").write_text(json.dumps(content))
    return root / "all.json"


def test_a_box_of_coco_is_told_with_its_picture(tmp_path: Path) -> None:
    source = write_coco(tmp_path / "coco", [[5, 5, 9, 9], [5, 5, 0, 9], [5, 5, 9, 9]])
    (fault,) = check(read_labelled(source)).faults
    assert re.search(r"\b1\b", str(fault).replace("object 1", ""))


def test_page_of_coco_shows_the_picture_with_the_fault(tmp_path: Path) -> None:
    from ssdcli.sheet import faulty_tiles

    source = write_coco(tmp_path / "coco", [[5, 5, 9, 9], [5, 5, 0, 9], [5, 5, 9, 9]])
    (tmp_path / "coco/1.jpg").write_bytes(encoded(Image.new("RGB", (WIDTH, HEIGHT), (0, 0, 250))))
    labelled = read_labelled(source)
    (tile,) = faulty_tiles(labelled, check(labelled))
    assert np.median(tile.picture.reshape(-1, 3), axis=0)[2] > 240


def test_a_check_leaves_the_filters_of_warnings_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(noise("a", (400, 400, 3))))
    picture = PictureSource(tmp_path / "a.jpg")
    many = tuple(Example(str(n), picture, tmp_path / f"{n}.xml", ()) for n in range(60))
    with warnings.catch_warnings():
        before = list(warnings.filters)
        check(LabelledSet(tmp_path, "voc", {"all": many}))
        assert warnings.filters == before


@pytest.mark.realdata
def test_bccd_has_exactly_two_faulty_boxes(bccd: Path) -> None:
    expected = [("empty box", "BloodImage_00338.xml", 13), ("empty box", "BloodImage_00343.xml", 4)]
    assert found(check(read_labelled(bccd))) == expected


# --- hostile files, in processes of their own


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
        assert child.stdout is not None
        assert child.stderr is not None
        errors: list[str] = []
        reader = threading.Thread(target=lambda: errors.append(child.stderr.read()))
        reader.start()
        out = child.stdout.read()
        reader.join()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        timer.cancel()
    return Ended(child.returncode, out, errors[0], usage.ru_maxrss / 1024)


def assert_calm(ended: Ended, code: int = 0, megabytes: int = 1500) -> None:
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err + ended.out
    assert "unexpected" not in ended.err
    assert ended.megabytes < megabytes


WEIRD = ["two words", "it's", 'a "quote"', "写真", "🐕🏽", "ﬀ\u202egnp", "%s%d", "-rf", "a,b;c", "e\u0301", "[bold]x"]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VOC folder of `len(WEIRD)` good pictures and some that mean harm."""
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


HOSTILE_FAULTS = {
    "unreadable annotation": 2,
    "missing annotation": 3,
    "missing picture": 2,
    "picture too large": 1,
    "too many objects": 2,
}


def test_hostile_voc_is_checked_in_bounds(ssd_command: list[str], hostile: Path) -> None:
    ended = run_bounded(ssd_command, "data", "check", hostile, "--json")
    assert_calm(ended)
    assert json.loads(ended.out)["counts"] == HOSTILE_FAULTS
    assert json.loads(ended.out)["splits"]["trainval"]["objects"] == len(WEIRD)
    assert "root:" not in ended.out + ended.err


def test_hostile_voc_is_converted_without_the_faulty_ones(ssd_command: list[str], hostile: Path) -> None:
    out = hostile.parent / "records"
    assert_calm(run_bounded(ssd_command, "data", "convert", hostile, "--out", out, "--skip-faulty"))
    manifest = json.loads((out / "manifest.json").read_text("utf-8"))
    assert manifest["faults"] == HOSTILE_FAULTS
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


VAST_FAULTS = {"unreadable annotation": 4, "missing picture": 1}


def test_a_vast_coco_file_is_checked_in_bounds_and_leads_nowhere(ssd_command: list[str], vast: Path) -> None:
    started = time.monotonic()
    ended = run_bounded(ssd_command, "data", "check", vast, "--json")
    assert_calm(ended)
    assert time.monotonic() - started < 100
    assert json.loads(ended.out)["counts"] == VAST_FAULTS
    assert json.loads(ended.out)["splits"]["train"]["objects"] == 1


def test_a_vast_coco_file_is_converted_without_the_faulty_ones(ssd_command: list[str], vast: Path) -> None:
    out = vast.parent.parent / "records"
    assert_calm(run_bounded(ssd_command, "data", "convert", vast, "--out", out, "--skip-faulty"))
    manifest = json.loads((out / "manifest.json").read_text("utf-8"))
    assert manifest["faults"] == VAST_FAULTS
    assert (manifest["splits"]["train"]["images"], manifest["splits"]["train"]["objects"]) == (1, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse names that are not UTF-8")
def test_names_that_are_not_utf8_are_converted(ssd_command: list[str], tmp_path: Path) -> None:
    seeds = Seeds(tmp_path / "flat")
    for name in ("a", os.fsdecode(b"\xff")):
        seeds.add(name, xml(("dog", PLAIN_BOX), ("dog", (5, 5, 5, 5))))
    ended = run_bounded(ssd_command, "data", "convert", tmp_path / "flat", "--out", tmp_path / "out", "--skip-faulty")
    assert_calm(ended)


# --- pictures made upright

TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", TURNS)
def test_png_is_turned_upright_exactly(orientation: int) -> None:
    image = noise("turn", (5, 9, 3))
    upright = make_upright(encoded(image, "PNG", exif=exif(orientation)))
    expected = TURNS[orientation](np.asarray(image))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(upright.encoded))), expected)
    assert upright.size == expected.shape[:2]
    assert [kind for kind, _ in upright.changes] == ([] if orientation == 1 else ["rotated by EXIF"])


@pytest.mark.parametrize("orientation", TURNS)
def test_jpeg_is_turned_upright_as_pillow_does_and_only_once(orientation: int) -> None:
    smooth = noise("turn", (3, 5, 3)).resize((80, 48), Image.Resampling.BICUBIC)
    original = encoded(smooth, exif=exif(orientation))
    upright = make_upright(original)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(original)))).astype(int)
    written = Image.open(io.BytesIO(upright.encoded))
    assert written.format == "JPEG"
    assert written.getexif().get(0x0112, 1) == 1
    assert np.abs(np.asarray(written).astype(int) - expected).mean() < 2
    assert np.abs(expected - TURNS[orientation](np.asarray(smooth)).astype(int)).mean() < 4
    assert upright.size == expected.shape[:2]
    np.testing.assert_array_equal(decode_rgb(original), expected)


@pytest.mark.parametrize(
    ("picture", "kind"),
    [
        (noise("k"), "JPEG"),
        (noise("k", (HEIGHT, WIDTH)), "JPEG"),
        (noise("k"), "PNG"),
        (noise("k", (HEIGHT, WIDTH)), "PNG"),
    ],
    ids=["JPEG", "grey JPEG", "PNG", "grey PNG"],
)
def test_plain_pictures_are_kept_bit_for_bit(picture: Image.Image, kind: str) -> None:
    original = encoded(picture, kind, exif=exif(1))
    assert make_upright(original) == (original, (HEIGHT, WIDTH), ())


def test_sixteen_bits_of_grey_become_eight_by_division() -> None:
    levels = np.array([[0, 257, 25700, 32768, 65535]], np.uint16)  # 32768 / 257 = 127.502
    upright = make_upright(encoded(Image.fromarray(levels), "PNG"))
    pixels = np.asarray(Image.open(io.BytesIO(upright.encoded)))
    assert (pixels.tolist(), pixels.dtype) == ([[0, 1, 100, 128, 255]], np.uint8)


def test_cmyk_becomes_rgb() -> None:
    ink = Image.new("CMYK", (32, 32), (0, 255, 255, 0))  # magenta and yellow: red
    upright = make_upright(encoded(ink))
    written = Image.open(io.BytesIO(upright.encoded))
    assert (written.format, written.mode) == ("JPEG", "RGB")
    assert np.abs(np.asarray(written).astype(int) - [255, 0, 0]).max() < 12


def test_transparency_and_palettes_lose_nothing_but_alpha() -> None:
    image = noise("t", (8, 8, 4))
    upright = make_upright(encoded(image, "PNG"))
    np.testing.assert_array_equal(decode_rgb(upright.encoded), np.asarray(image)[..., :3])
    assert make_upright(upright.encoded).changes == ()
    few = image.convert("RGB").quantize(16)
    np.testing.assert_array_equal(decode_rgb(make_upright(encoded(few, "PNG")).encoded), few.convert("RGB"))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_animations_are_refused_and_single_frames_are_not(kind: str) -> None:
    frames = [noise(f"frame{n}") for n in range(3)]
    with pytest.raises(PictureError, match="an animation of 3 frames") as caught:
        make_upright(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
    assert caught.value.kind == "unreadable picture"
    assert make_upright(encoded(frames[0], kind)).size == (HEIGHT, WIDTH)


@pytest.mark.parametrize("side", [9_500, 60_000])  # Pillow warns of the first and refuses the second
def test_pictures_too_large_are_refused_by_their_header(side: int) -> None:
    with pytest.raises(PictureError) as caught:
        make_upright(png_bomb(side))
    assert caught.value.kind == "picture too large"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF"])
def test_pictures_cut_off_anywhere_never_raise_anything_else(kind: str) -> None:
    original = encoded(noise("c"), kind)
    draw = random.Random(0)
    for length in [0, 1, 10, *(draw.randrange(len(original) - 64) for _ in range(40))]:
        with pytest.raises(PictureError) as caught:
            make_upright(original[:length])
        assert caught.value.kind == "unreadable picture"
