"""CSV files in, labelled images out; what is wrong is named, and nothing else lost."""

from pathlib import Path

import pytest
from annotation_files import HEADER, issues, names, write

from ssdcore.data.annotations import Annotation, Example, ImageSource
from ssdcore.data.formats import read_labelled, table
from ssdcore.errors import DataError


def test_csv_rows_are_grouped_whatever_the_order_of_columns(tmp_path: Path) -> None:
    for name in ("a.jpg", "images/b 图.jpg", "c.jpg"):
        write(tmp_path / name)
    rows = "YMAX;ymin;xmax;xmin;Label;filename;height;width\r\n4;2;3;1;dog;a.jpg;60;80\r\n"
    rows += '.5;-1e1;9;7;"a ""b"";c";b 图.jpg;;\r\n\r\n8;6;7;5;cat;a.jpg;60;80\r\n;;;;;c.jpg;10;20\r\n'
    path = write(tmp_path / "boxes.csv", "\ufeff" + rows)
    found = read_labelled(tmp_path)
    a, b, c = found.splits["all"]
    objects = (Annotation("dog", (1, 2, 3, 4)), Annotation("cat", (5, 6, 7, 8)))
    assert a == Example("a", ImageSource(tmp_path / "a.jpg"), path, objects, (60, 80))
    assert (b.name, b.size, b.objects) == ("b 图", None, (Annotation('a "b";c', (7, -10, 9, 0.5)),))
    assert (c.objects, c.size) == ((), (10, 20))
    assert (found.format, found.classes) == ("csv", None)


def test_csv_files_are_splits_and_names_that_clash_get_their_folder(tmp_path: Path) -> None:
    for split in ("train", "other"):
        write(tmp_path / f"{split}.csv", HEADER + "x.jpg,,,,,,,\n")
        write(tmp_path / f"{split}/x.jpg")
    assert names(read_labelled(tmp_path)) == {"other": ["other_x"], "train": ["train_x"]}
    assert names(read_labelled(tmp_path / "train.csv")) == {"train": ["x"]}
    assert names(read_labelled(tmp_path / "other.csv", tmp_path / "train")) == {"all": ["x"]}


def test_each_csv_issue_is_named_with_its_line_and_the_rest_is_read(tmp_path: Path) -> None:
    rows = [
        "good.jpg,80,60,dog,1,2,3,4",
        "bad.jpg,80,60,dog,1,2,3,4",
        "bad.jpg,80,60,dog,1,2,three,4",
        "bad.jpg,80,60,,1,2,3,4",
        "bad.jpg,80,60,dog,1,2",
        "bad.jpg,81,60,dog,1,2,3,4",
        ",80,60,dog,1,2,3,4",
        "bad.jpg,wide,60,dog,1,2,3,4",
        "god.jpg,80,60,dog,1,2,3,4",
        "../up.jpg,80,60,dog,1,2,3,4",
        "/etc/passwd,80,60,dog,1,2,3,4",
        *["many.jpg,,,dog,1,2,3,4"] * 10_001,
    ]
    for name in ("good.jpg", "bad.jpg", "../up.jpg", "many.jpg"):
        write(tmp_path / "set" / name)
    found = read_labelled(write(tmp_path / "set/val.csv", HEADER + "\n".join(rows)))
    assert names(found) == {"val": ["good"]}
    lines = [("unreadable annotation", "val.csv", line) for line in (4, 5, 6, 7, 8, 9)]
    assert issues(found) == [
        *lines,
        ("missing image", "val.csv", None),
        ("unreadable annotation", "val.csv", None),
        ("unreadable annotation", "val.csv", None),
        ("too many objects", "val.csv", None),
    ]
    assert "did you mean 'good'" in found.issues[6].detail


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no column filename, class"),
        (b"file_name,class,xmin,ymin,xmax,ymax\n", "no column filename .*did you mean 'file_name'"),
        (HEADER + '"' + "x" * 200_000, "not a readable table"),
        (HEADER.encode() + "größe.jpg,,,,,,,\n".encode("latin-1"), "is not UTF-8"),
        (HEADER, "names no images"),
    ],
)
def test_csv_files_that_cannot_be_used_stop(tmp_path: Path, content: str | bytes, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_labelled(write(tmp_path / "train.csv", content))


def test_csv_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "_MAX_BYTES", 10)
    with pytest.raises(DataError, match="above the 10 bytes"):
        read_labelled(write(tmp_path / "train.csv", HEADER))
