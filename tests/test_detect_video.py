"""`ssd detect` on videos: every frame, in order, with its own boxes; and what becomes of damaged and stopped ones."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from detect_helpers import RATE, SQUARE, RedFinder, place, read_video, red_square, write_rgb, write_video
from ssdcli.detect.command import FORMATS, DetectRequest
from ssdcli.detect.loop import detect_sources
from ssdcli.detect.sources import find_sources

import ssdcore.detection.detector
from ssdcore.detection import Detections
from ssdcore.errors import DataError, Terminated

Outcome = tuple[int, str, str]


@pytest.fixture
def detect(monkeypatch: pytest.MonkeyPatch, ssd_here: Callable[..., Outcome]) -> Callable[..., Outcome]:
    """The command, whose model is the finder of red squares."""
    monkeypatch.setattr(ssdcore.detection.detector, "load_detector", lambda *arguments: RedFinder())
    return partial(ssd_here, "detect", "model")


def frames_in(out: Path) -> list[dict]:
    return json.loads((out / "detections.json").read_text())


@pytest.mark.parametrize(("ending", "fourcc", "frames"), [("mp4", "mp4v", 30), ("avi", "MJPG", 7)])
def test_all_frames_come_out_and_boxes_follow_the_square(
    ending: str, fourcc: str, frames: int, detect: Callable[..., Outcome], tmp_path: Path
) -> None:
    clip = write_video(tmp_path / f"clip.{ending}", frames, fourcc)
    code, told, err = detect(clip, "--out", tmp_path / "out", "--batch", 4)
    assert (code, "1 of 1 sources" in told) == (0, True), err
    header, drawn = read_video(tmp_path / "out/clip.mp4")
    assert (header["frames"], len(drawn), header["size"]) == (frames, frames, (160, 120))
    assert header["rate"] == pytest.approx(RATE)
    found = frames_in(tmp_path / "out")
    assert [one["frame"] for one in found] == list(range(frames))
    for number, one in enumerate(found):
        left, top = place(number)
        (item,) = one["detections"]
        np.testing.assert_allclose(item["box"], [left, top, left + SQUARE, top + SQUARE], atol=2)
        # Its lower part, since a label covers the upper one where there is no room above the box.
        red = drawn[number][top + 22 : top + 34, left + 8 : left + 32].reshape(-1, 3).mean(axis=0)
        np.testing.assert_allclose(red, (230, 20, 20), atol=25)


def test_images_and_videos_are_not_mixed_up(tmp_path: Path) -> None:
    """Two videos with an image between them, in batches that hold frames of several."""
    sources = [str(write_video(tmp_path / "a.mp4", 3)), str(write_rgb(tmp_path / "b.png", red_square(1, 2)))]
    sources.append(str(write_video(tmp_path / "c.mp4", 5)))
    detector = RedFinder()
    assert detect_sources(detector, find_sources(sources, ()), DetectRequest(tmp_path / "out", batch=4)) == 0
    assert detector.batches == [4, 4, 1]
    assert [len(read_video(tmp_path / f"out/{name}.mp4")[1]) for name in "ac"] == [3, 5]
    names = [one["name"] for one in frames_in(tmp_path / "out")]
    assert names == [*(f"a-00000{n}" for n in range(3)), "b", *(f"c-00000{n}" for n in range(5))]


def test_damaged_videos_are_named_and_the_others_done(detect: Callable[..., Outcome], tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.avi", 20, "MJPG").read_bytes()
    (tmp_path / "half.avi").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "headless.mp4").write_bytes(write_video(tmp_path / "z.mp4", 6).read_bytes()[:1200])
    (tmp_path / "nothing.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video")
    code, _, err = detect(tmp_path, "--out", tmp_path / "out", "--format", "drawn", "--format", "json")
    assert code == 1
    assert f"{tmp_path}/half.avi is cut off or damaged: of its 20 frames" in err
    for name in ("headless", "nothing", "text"):
        assert f"{tmp_path}/{name}.mp4 is not a readable video" in err
    assert "4 of 6 sources could not be read" in err
    assert "Traceback" not in err
    lengths = {path.stem: len(read_video(path)[1]) for path in (tmp_path / "out").glob("*.mp4")}
    assert lengths == {"whole": 20, "z": 6, "half": lengths["half"]}
    assert 5 <= lengths["half"] < 20
    assert len(frames_in(tmp_path / "out")) == sum(lengths.values())


def test_a_camera_that_is_not_there_is_named(detect: Callable[..., Outcome], tmp_path: Path) -> None:
    code, _, err = detect("97", "--out", tmp_path / "out")
    assert code == 1
    assert err.splitlines() == [
        "skipped: there is no camera 97 that could be opened; check that it is connected and not in use",
        "error: 1 of 1 sources could not be read; they are named above",
    ]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Serves the files in `tmp_path`; gives its URL."""

    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(tmp_path))) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def test_streams(detect: Callable[..., Outcome], server: str, tmp_path: Path) -> None:
    """Frames are taken one by one, as they come."""
    write_video(tmp_path / "clip.avi", 5, "MJPG")
    code, _, err = detect(f"{server}/clip.avi", "--out", tmp_path / "out")
    assert code == 0, err
    assert len(read_video(tmp_path / "out/clip.mp4")[1]) == len(frames_in(tmp_path / "out")) == 5
    code, _, err = detect(f"{server.replace('//', '//me:s3cret@')}/gone.avi", "--out", tmp_path / "out")
    assert code == 1
    assert f"the stream {server}/gone.avi cannot be opened; check its address" in err
    assert "s3cret" not in err


class Stopped(RedFinder):
    """Gets a signal while it looks at a batch."""

    def __init__(self, batch: int, *signals: int) -> None:
        super().__init__()
        self.batch, self.signals = batch, signals

    def __call__(self, images: list[np.ndarray]) -> list[Detections]:
        if len(self.batches) == self.batch:
            for number in self.signals:
                signal.raise_signal(number)
        return super().__call__(images)


@pytest.mark.parametrize(
    ("signals", "error"),
    [([signal.SIGINT], KeyboardInterrupt), ([signal.SIGTERM], Terminated), ([signal.SIGINT] * 2, KeyboardInterrupt)],
)
def test_stopped_within_a_video_it_leaves_whole_files(signals: list[int], error: type, tmp_path: Path) -> None:
    """In the third batch of 5: ten frames are written, and all files agree."""
    sources = find_sources([str(write_video(tmp_path / "clip.mp4"))], ())
    with pytest.raises(error):
        detect_sources(Stopped(2, *signals), sources, DetectRequest(tmp_path / "out", FORMATS, batch=5))
    assert len(read_video(tmp_path / "out/clip.mp4")[1]) == 10
    assert [one["frame"] for one in frames_in(tmp_path / "out")] == list(range(10))
    assert len((tmp_path / "out/detections.jsonl").read_text().splitlines()) == 10
    assert len(json.loads((tmp_path / "out/coco_results.json").read_text())) == 10
    assert len(json.loads((tmp_path / "out/coco_annotations.json").read_text())["images"]) == 10
    assert len((tmp_path / "out/comp4_det_detected_square.txt").read_text().splitlines()) == 10
    assert [path for path in (tmp_path / "out").rglob("*") if "partial" in path.name] == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_video_is_never_written_over(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mp4", 2)
    before = clip.read_bytes()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/clip.mp4").symlink_to(clip)
    for out in (tmp_path, tmp_path / "out"):
        with pytest.raises(DataError, match=r"clip.mp4 is one of the videos; choose another --out"):
            detect_sources(RedFinder(), find_sources([str(clip)], ()), DetectRequest(out))
    assert clip.read_bytes() == before


# --- windows


def test_without_a_display_it_says_so(
    detect: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    image = write_rgb(tmp_path / "a.png", red_square(1, 1))
    code, _, err = detect(image, "--out", tmp_path / "out", "--show")
    assert (code, err) == (
        1,
        "error: --show: there is no display to open a window on; leave --show out and look at --out\n",
    )


class Screen:
    """Stands for OpenCV's windows: keeps what is shown, and presses keys in turn."""

    WINDOW_NORMAL = WND_PROP_VISIBLE = 0

    def __init__(self, keys: str) -> None:
        self.keys, self.shown = list(keys), []

    def namedWindow(self, *arguments: object) -> None:  # noqa: N802
        pass

    def imshow(self, title: str, image: np.ndarray) -> None:
        self.shown.append(image)

    def waitKey(self, milliseconds: int) -> int:  # noqa: N802
        key = self.keys.pop(0)
        return -1 if key == " " else ord(key)

    def getWindowProperty(self, *arguments: object) -> float:  # noqa: N802
        return 1.0

    def destroyAllWindows(self) -> None:  # noqa: N802
        self.keys.append("closed")


def test_images_wait_for_a_key_and_q_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The video runs by itself, the image until the third look at the keys, and `q` is for the next video."""
    sources = [str(write_video(tmp_path / "a.mp4", 2)), str(write_rgb(tmp_path / "b.png", red_square(1, 2)))]
    sources.append(str(write_video(tmp_path / "c.mp4", 9)))
    screen = Screen("  " + "  x" + " q")
    for name in ("namedWindow", "imshow", "waitKey", "getWindowProperty", "destroyAllWindows"):
        monkeypatch.setattr(f"ssdcli.detect.image_outputs.cv2.{name}", getattr(screen, name))
    monkeypatch.setattr("ssdcli.detect.image_outputs._has_display", lambda: True)
    assert detect_sources(RedFinder(), find_sources(sources, ()), DetectRequest(tmp_path / "out", show=True)) == 0
    assert (len(screen.shown), screen.keys) == (5, ["closed"])
    assert [len(frames_in(tmp_path / "out")), len(read_video(tmp_path / "out/c.mp4")[1])] == [5, 2]
