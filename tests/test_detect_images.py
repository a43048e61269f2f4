"""`ssd detect` on images of all kinds, by a real network of a real run; and the same in Python."""

import io
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import supervision as sv
from detect_helpers import read_video, red_square, short_run, write_rgb, write_video
from PIL import Image
from small_runs import Pond
from ssdcli.detect.command import parse_thresholds
from ssdcli.draw import draw, label_font

from ssdcore import Detections, Detector, load_detector
from ssdcore.errors import DataError, SsdError

Outcome = tuple[int, str, str]


@pytest.fixture(scope="module")
def run(pond: Pond) -> Path:
    return short_run(pond)


@pytest.fixture(scope="module")
def detector(pond: Pond, run: Path) -> Detector:
    return load_detector(run, 0.0, pond.plugins, batch_size=3)


@pytest.fixture
def detect(pond: Pond, run: Path, ssd_here: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch):
    """The command with the run's model."""
    monkeypatch.syspath_prepend(pond.path)
    return lambda *arguments: ssd_here("detect", run, *arguments)


def told(out: Path) -> dict[str, dict]:
    return {one["name"]: one for one in json.loads((out / "detections.json").read_text())}


ODD = {
    "cmyk.jpg": (lambda: Image.new("CMYK", (50, 40), (0, 255, 255, 0)), {}),
    "deep.png": (lambda: Image.fromarray(np.full((40, 50), 65535 // 2, np.uint16)), {}),
    "clear.png": (lambda: Image.new("RGBA", (50, 40), (10, 200, 30, 99)), {}),
    "dot.png": (lambda: Image.new("RGB", (1, 1)), {}),
    "grey.webp": (lambda: Image.new("L", (50, 40), 77), {}),
    "vast.png": (lambda: Image.new("RGB", (8_000, 5_000), (90, 90, 90)), {"compress_level": 1}),
}
"""Images of unusual kinds, and how they are saved."""


@pytest.mark.slow
def test_unusual_images_are_detected_and_unreadable_ones_named(detect, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for name, (make, options) in ODD.items():
        make().save(folder / name, **options)
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter to the right
    Image.new("RGB", (50, 40), (200, 30, 30)).save(folder / "turned.jpg", exif=turned)
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("no image")
    (folder / "half.jpg").write_bytes((folder / "turned.jpg").read_bytes()[:400])
    code, _, err = detect(folder, "--out", tmp_path / "out", "--score", 0)
    assert code == 1
    for name in ("empty", "text", "half"):
        assert f"skipped: {folder}/{name}.jpg is not a readable image: " in err
    assert err.endswith("error: 3 of 10 images could not be read; they are named above\n")
    sizes = {name: (one["width"], one["height"]) for name, one in told(tmp_path / "out").items()}
    usual = dict.fromkeys(("cmyk", "deep", "clear", "grey"), (50, 40))
    assert sizes == {**usual, "dot": (1, 1), "turned": (40, 50), "vast": (8_000, 5_000)}
    for name, size in sizes.items():
        with Image.open(tmp_path / f"out/{name}.jpg") as drawn:
            assert drawn.size == size
        for item in told(tmp_path / "out")[name]["detections"]:
            left, top, right, bottom = item["box"]
            assert 0 <= left <= right <= size[0]
            assert 0 <= top <= bottom <= size[1]


@pytest.fixture(scope="module")
def shapes(pond: Pond) -> Path:
    return pond.root / "voc/JPEGImages"


def test_each_class_has_its_own_threshold(detect, detector: Detector, shapes: Path, tmp_path: Path) -> None:
    everything = detector(shapes / "00000.jpg")
    circles = np.sort(everything.scores[everything.labels == 1])
    limit, general = float(circles[len(circles) // 2]) + 1e-6, float(np.median(everything.scores))
    code, _, err = detect(
        *(shapes / "00000.jpg", "--out", tmp_path / "out"), *("--score", general, "--score", f"circle={limit}")
    )
    assert code == 0, err
    found = [(item["label"], item["score"]) for item in told(tmp_path / "out")["00000"]["detections"]]
    limits = np.where(everything.labels == 1, limit, general)
    expected = [
        (int(label), round(float(score), 4))
        for label, score, least in zip(everything.labels, everything.scores, limits, strict=True)
        if score > least
    ]
    assert found == expected
    assert 0 < len(found) < len(everything)


def test_an_unknown_class_is_named_with_the_nearest_one(detect, shapes: Path, tmp_path: Path) -> None:
    code, _, err = detect(shapes / "00000.jpg", "--out", tmp_path / "out", "--score", "circel=0.7")
    assert code == 1
    assert err == "error: --score circel=…: the model has no class 'circel'; did you mean 'circle'?\n"


@pytest.mark.parametrize("text", ["high", "1.5", "-0.1", "nan", "circle=", "=0.5", "circle=x"])
def test_scores_that_are_none_are_refused(text: str, detect, shapes: Path, tmp_path: Path) -> None:
    code, _, err = detect(shapes / "00000.jpg", "--out", tmp_path / "out", f"--score={text}")
    assert code == 2
    assert f"{text!r} is neither a number from 0 to 1 nor CLASS=NUMBER" in err


def test_thresholds_by_hand() -> None:
    limits = parse_thresholds(None, None, ("0.4", "a=b=0.9", "c=0.2"))
    assert (limits.general, dict(limits.by_class), limits.least) == (0.4, {"a=b": 0.9, "c": 0.2}, 0.2)
    scores, labels = np.float32([0.95, 0.9, 0.5, 0.3, 0.25]), np.int32([1, 1, 2, 3, 2])
    found = Detections(np.zeros((5, 4), np.float32), scores, labels, ("a=b", "d", "c"))
    assert limits.apply(found).scores.tolist() == scores[[0, 2, 3]].tolist()


def test_tiles_by_command(detect, detector: Detector, shapes: Path, tmp_path: Path) -> None:
    """An image no larger than a tile is detected as without; what is cut is found near a part of it, in its place."""
    path = shapes / "00001.jpg"
    for name, options in (("plain", ()), ("same", ("--tile", 300)), ("cut", ("--tile", 150, "--overlap", 0))):
        code, _, err = detect(path, "--out", tmp_path / name, "--score", 0, *options)
        assert code == 0, err
    assert told(tmp_path / "same") == told(tmp_path / "plain")
    image = cv2.imread(str(path))[..., ::-1]
    corner = detector(image[150:, 150:])
    best = (corner.boxes[0] + 150).tolist()
    boxes = np.array([item["box"] for item in told(tmp_path / "cut")["00001"]["detections"]])
    assert np.abs(boxes - best).max(axis=1).min() < 0.01
    code, _, err = detect(path, "--out", tmp_path / "cut", "--overlap", 0.5)
    assert (code, "--overlap is for --tile" in err) == (2, True)


def test_paths_on_standard_input(detect, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = f"{shapes}/00001.jpg\n{tmp_path}/gone.jpg\n{shapes}/00003.jpg\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    code, _, err = detect("-", "--out", tmp_path / "out")
    assert code == 1
    assert f"skipped: cannot read the image {tmp_path}/gone.jpg: No such file or directory" in err
    assert set(told(tmp_path / "out")) == {"00001", "00003"}


@pytest.mark.slow
def test_ctrl_c_in_a_real_program_leaves_a_playable_video(pond: Pond, run: Path, tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mp4", 4000)
    program = pond.program("detect", str(run), str(clip), "--out", str(tmp_path / "out"))
    program.wait_for("detecting: ")
    program.send(signal.SIGINT)
    assert program.wait() == 130
    assert program.lines()[-1] == "interrupted"
    frames = json.loads((tmp_path / "out/detections.json").read_text())
    header, drawn = read_video(tmp_path / "out/clip.mp4")
    assert 400 <= len(frames) < 4000
    assert header["frames"] == len(drawn) == len(frames)


# --- in Python


def test_a_list_gives_a_list_whatever_the_batches(detector: Detector, shapes: Path) -> None:
    """Seven images in batches of three, from files and arrays alike; each as if it were alone."""
    paths = sorted(shapes.iterdir())[:7]
    found = detector([*paths[:5], *(cv2.imread(str(path))[..., ::-1] for path in paths[5:])])
    assert isinstance(found, list)
    for path, one in zip(paths, found, strict=True):
        alone = detector(str(path))
        np.testing.assert_allclose(one.boxes, alone.boxes, atol=0.01)
        np.testing.assert_allclose(one.scores, alone.scores, atol=1e-6)
        np.testing.assert_array_equal(one.labels, alone.labels)
    assert detector([]) == []
    with pytest.raises(DataError, match=r"an image is \(H, W, 3\) uint8 RGB, got shape \(2, 8, 8, 3\)"):
        detector(np.zeros((2, 8, 8, 3), np.uint8))


def test_pillow_images_are_detected_upright(detector: Detector, shapes: Path, tmp_path: Path) -> None:
    """Alone and in lists, of any mode; `turned` is saved lying, and says so."""
    path = shapes / "00002.jpg"
    expected = detector(path)
    assert len(expected)
    with Image.open(path) as image:
        turned = Image.Exif()
        turned[0x0112] = 6  # a quarter to the right
        image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=turned)
        found = [detector(image), *detector([image, path, Image.open(tmp_path / "turned.png")])]
    for one in found:
        np.testing.assert_allclose(one.boxes, expected.boxes, atol=0.01)
        np.testing.assert_array_equal(one.labels, expected.labels)
    assert isinstance(detector(Image.new("RGBA", (50, 40))), Detections)


def test_conversion_for_supervision() -> None:
    found = Detections(
        np.float32([(1, 2, 3, 4), (5, 6, 7, 9)]), np.float32([0.75, 0.5]), np.int32([2, 1]), ("Katze", "Übung")
    )
    other = found.to_supervision()
    assert isinstance(other, sv.Detections)
    assert other.xyxy.tolist() == [[1, 2, 3, 4], [5, 6, 7, 9]]
    assert other.confidence.tolist() == [0.75, 0.5]
    assert other.class_id.tolist() == [2, 1]
    assert other["class_name"].tolist() == ["Übung", "Katze"]
    assert other[other["class_name"] == "Katze"].xyxy.tolist() == [[5, 6, 7, 9]]
    assert len(found.above(1.0).to_supervision()) == 0


def test_without_supervision_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    none = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), ("a",))
    with pytest.raises(SsdError, match="pip install supervision"):
        none.to_supervision()


# --- drawing


def one_box(name: str, box: tuple[float, float, float, float] = (60, 60, 200, 110)) -> Detections:
    return Detections(np.float32([box]), np.float32([0.5]), np.int32([1]), (name,))


@pytest.mark.parametrize("name", ["Größe", "эритроцит", "κύτταρο", "naïve"])
def test_names_are_drawn_with_glyphs_of_their_own(name: str) -> None:
    """No character looks like the box that stands for a missing one, nor like `?`."""
    grey = np.full((160, 260, 3), 128, np.uint8)
    drawn = {text: draw(grey, one_box(text)) for text in (name, "?" * len(name), "\U0010fffe" * len(name))}
    images = list(drawn.values())
    assert not np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])
    assert label_font(name).endswith("DejaVuSans.ttf")
    assert np.array_equal(images[0], draw(grey, one_box(name)))


def test_labels_stay_inside_at_the_upper_edge() -> None:
    """There the label's background lies in the box, and above it elsewhere."""
    black = np.zeros((120, 260, 3), np.uint8)
    for top, label_rows in ((0, slice(5, 15)), (60, slice(49, 59))):
        drawn = draw(black, one_box("name", (60, top, 200, top + 50)))
        assert drawn[label_rows, 63:100].any(axis=2).mean() > 0.9


def test_the_original_is_not_drawn_upon(tmp_path: Path) -> None:
    image = red_square(5, 5)
    path = write_rgb(tmp_path / "a.png", image)
    draw(image, one_box("a", (1, 1, 50, 50)))
    np.testing.assert_array_equal(image[..., ::-1], cv2.imread(str(path)))
