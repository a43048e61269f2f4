"""What the SOURCE arguments of `ssd detect` mean."""

from pathlib import Path

import pytest
from ssdcli.detect.sources import find_sources

from ssdcore.errors import DataError


def touch(folder: Path, *names: str) -> list[str]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return [str(folder / name) for name in names]


def meant(*texts: object, stdin: tuple[str, ...] = ()) -> list[tuple[str, str, str]]:
    return [(one.address, one.kind, one.name) for one in find_sources([str(text) for text in texts], stdin)]


def test_a_folder_means_its_images_and_videos_in_order_of_their_names(tmp_path: Path) -> None:
    b, a, clip, tif, *_ = touch(tmp_path, "b.PNG", "a.jpg", "clip.MOV", "scan.tiff", "notes.txt", "deeper/c.jpg")
    expected = [(a, "image", "a"), (b, "image", "b"), (clip, "video", "clip"), (tif, "image", "scan")]
    assert meant(tmp_path) == sorted(expected)


def test_globs_and_equal_sources(tmp_path: Path) -> None:
    one, other = touch(tmp_path, "x/1.jpg", "y/2.jpg")
    assert meant(tmp_path / "*" / "*.jpg", other, one) == [(one, "image", "1"), (other, "image", "2")]


def test_a_file_is_taken_whatever_its_ending(tmp_path: Path) -> None:
    (odd,) = touch(tmp_path, "no-ending")
    assert meant(odd) == [(odd, "image", "no-ending")]


def test_standard_input_is_a_list_of_paths_even_of_files_that_are_gone(tmp_path: Path) -> None:
    (here,) = touch(tmp_path, "a b.jpg")
    lines = (f"{here}\n", "\n", "gone/*.mp4\r\n", "7\n")
    assert meant("-", stdin=lines) == [(here, "image", "a b"), ("gone/*.mp4", "video", "*"), ("7", "image", "7")]
    with pytest.raises(DataError, match="no paths came on standard input"):
        find_sources(["-"], ["\n"])


def test_cameras_and_streams() -> None:
    assert meant("0", "rtsp://10.0.0.1/yard/live.sdp", "http://10.0.0.1:8080/?q=1") == [
        ("0", "camera", "camera-0"),
        ("rtsp://10.0.0.1/yard/live.sdp", "stream", "live"),
        ("http://10.0.0.1:8080/?q=1", "stream", "10.0.0.1"),
    ]


def test_a_folder_named_by_a_number_is_no_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "0/a.jpg")
    assert meant("0") == [("0/a.jpg", "image", "a")]


def test_passwords_are_not_shown() -> None:
    (source,) = find_sources(["rtsp://me:s3cret@10.0.0.1/live"], ())
    assert source.shown == "rtsp://10.0.0.1/live"
    assert source.address == "rtsp://me:s3cret@10.0.0.1/live"


def test_no_two_outputs_have_one_name(tmp_path: Path) -> None:
    """Not even where a number makes a name that another source has, or a file system knows no capitals."""
    paths = touch(tmp_path, "1/a.jpg", "2/a.png", "3/a-2.jpg", "4/A.jpg", "5/a.mp4")
    names = [name for _, _, name in meant(*paths)]
    assert names == ["a", "a-3", "a-2", "A-4", "a-5"]


@pytest.mark.parametrize("name", ["absent.jpg", "*.jpg", "empty"])
def test_what_means_nothing_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no such file, or no images or videos in that folder") as caught:
        find_sources([str(tmp_path / name)], ())
    assert str(tmp_path / name) in str(caught.value)
