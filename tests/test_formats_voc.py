"""Pascal VOC's folders in, labelled images out; what is wrong is named, and nothing else lost."""

from pathlib import Path

import pytest
from annotation_files import issues, names, only, write, write_voc

from ssdcore.data.annotations import Annotation, Example, ImageSource
from ssdcore.data.formats import paths, read_labelled
from ssdcore.errors import DataError

BOX = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"
OBJECT = "<object><name>{}</name>" + BOX + "{}</object>"
DOG = OBJECT.format("dog", 1, 2, 3, 4, "")


def test_voc_objects_keep_boxes_flags_and_order(tmp_path: Path) -> None:
    part = "<part><name>head</name>" + BOX.format(1, 1, 2, 2) + "</part>"
    size = "<size><width>80</width><height>60</height><depth>3</depth></size>"
    first = f"<object><name>person</name><difficult>1</difficult>{part}{BOX.format(8, 6, 40.5, 30)}</object>"
    second = OBJECT.format("dog", 9, 9, 3, 3, "<truncated>1</truncated><difficult>0</difficult><occluded>1</occluded>")
    found = read_labelled(write_voc(tmp_path, {"one": size + first + second, "none": ""}))
    one, none = found.splits["train"]
    assert one == Example(
        "one",
        ImageSource(tmp_path / "JPEGImages/one.jpg"),
        tmp_path / "Annotations/one.xml",
        (Annotation("person", (8, 6, 40.5, 30), difficult=True), Annotation("dog", (9, 9, 3, 3), truncated=True)),
        size=(60, 80),
    )
    assert (none.objects, none.size, none.normalised) == ((), None, False)
    assert (found.format, found.classes, found.issues, found.root) == ("voc", None, (), tmp_path)


def test_voc_splits_are_the_lists_that_are_not_for_one_class(tmp_path: Path) -> None:
    lists = {
        "train": "\ufeffmy pic 1\r\n图 🐕\r\n",
        "val": "it's\n",
        "dog_train": "it's  1\nmy pic 1 -1\n",
        "test": "\n",
    }
    root = write_voc(tmp_path, {"my pic 1": "", "图 🐕": "", "it's": ""}, lists)
    assert names(read_labelled(root)) == {"train": ["my pic 1", "图 🐕"], "val": ["it's"]}


@pytest.mark.parametrize("below", ["", "VOCdevkit"])
def test_years_of_a_devkit_are_joined_and_names_that_clash_get_the_year(tmp_path: Path, below: str) -> None:
    write_voc(tmp_path / below / "VOC2012", {"b": DOG, "same": ""}, {"train": "same\nb", "val": "b"})
    write_voc(tmp_path / below / "VOC2007", {"a": "", "same": DOG}, {"train": "a\nsame", "test": "same"})
    found = read_labelled(tmp_path)
    assert names(found) == {
        "train": ["a", "VOC2007_same", "VOC2012_same", "b"],
        "test": ["VOC2007_same"],
        "val": ["b"],
    }
    assert [len(example.objects) for example in found.splits["train"]] == [0, 1, 0, 1]


def test_voc_without_lists_and_xml_beside_images_are_one_split(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "voc", {"b": "", "a": ""})
    (root / "ImageSets/Main/train.txt").unlink()
    assert names(read_labelled(root)) == {"all": ["a", "b"]}
    for name in ("y.xml", "x.xml", "x.PNG", "y.jpeg", "._x.xml"):
        write(tmp_path / f"flat/{name}", "<annotation/>")
    assert names(read_labelled(tmp_path / "flat")) == {"all": ["x", "y"]}
    (root / "JPEGImages").rename(tmp_path / "elsewhere")
    assert names(read_labelled(root, tmp_path / "elsewhere")) == {"all": ["a", "b"]}


def test_the_filename_in_xml_counts_only_where_no_image_has_the_name_and_stays_inside(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "voc", {"one": "<filename>two.jpg</filename>", "two": ""})
    for name in ("three", "four"):
        write(root / f"Annotations/{name}.xml", f"<a><filename>C:\\x/../../{name[0]}.png</filename></a>")
    write(root / "JPEGImages/t.png")
    write(tmp_path / "f.png")
    write(root / "ImageSets/Main/train.txt", "one\nthree\nfour")
    found = read_labelled(root)
    assert [(e.name, e.image.path.name) for e in found.splits["train"]] == [("one", "one.jpg"), ("three", "t.png")]
    assert issues(found) == [("missing image", "four.xml", None)]


def test_each_voc_issue_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    bad = {
        "noname": "<object>" + BOX.format(1, 2, 3, 4) + "</object>",
        "nobox": DOG + "<object><name>dog</name></object>" + OBJECT.format("x", 1, "nan", 3, 4, ""),
        "noside": DOG.replace("<xmax>3</xmax>", ""),
        "flag": OBJECT.format("dog", 1, 2, 3, 4, "<difficult>maybe</difficult>"),
        "size": "<size><width>wide</width><height>60</height></size>",
        "open": "<object>",
        "many": "<object/>" * 10_001,
    }
    root = write_voc(tmp_path, {"good": DOG, **bad})
    write(root / "Annotations/large.xml", b"<a>" + b" " * paths.MAX_BYTES + b"</a>")
    write(root / "Annotations/latin.xml", "<a><b>größe</b></a>".encode("latin-1"))
    write(root / "Annotations/lonely.xml", "<a/>")
    write(root / "JPEGImages/lonly.jpg")
    more = ["large", "latin", "lonely", "absent", "../../etc/passwd", "/etc/passwd", "x" * 5000, "a\0b"]
    write(root / "ImageSets/Main/train.txt", "\n".join(["good", *bad, *more]))
    write(root / "ImageSets/Main/val.txt", "good\nnoname")
    found = read_labelled(root)
    assert names(found) == {"train": ["good"], "val": ["good"]}
    assert issues(found) == [
        ("unreadable annotation", "noname.xml", 1),
        ("unreadable annotation", "nobox.xml", 2),
        ("unreadable annotation", "nobox.xml", 3),
        ("unreadable annotation", "noside.xml", 1),
        ("unreadable annotation", "flag.xml", 1),
        ("unreadable annotation", "size.xml", None),
        ("unreadable annotation", "open.xml", None),
        ("too many objects", "many.xml", None),
        ("too many objects", "large.xml", None),
        ("unreadable annotation", "latin.xml", None),
        ("missing image", "lonely.xml", None),
        ("missing annotation", "absent.xml", None),
        ("missing annotation", "Annotations", None),
        ("missing annotation", "Annotations", None),
        ("missing annotation", "Annotations", None),
        ("missing annotation", "Annotations", None),
    ]
    assert "did you mean 'lonly'?" in found.issues[10].detail


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;">]><a>&y;</a>',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        '<?xml version="1.0" encoding="no-such"?><a/>',
        "",
    ],
)
def test_hostile_xml_is_refused(tmp_path: Path, text: str) -> None:
    root = write_voc(tmp_path, {"one": ""})
    write(root / "Annotations/one.xml", text)
    assert issues(read_labelled(root)) == [("unreadable annotation", "one.xml", None)]


def test_deeply_nested_xml_is_read(tmp_path: Path) -> None:
    assert only(read_labelled(write_voc(tmp_path, {"one": "<a>" * 100_000 + "</a>" * 100_000 + DOG}))).objects


def test_voc_lists_that_cannot_be_used_stop(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"one": ""})
    write(root / "ImageSets/Main/val.txt", "größe".encode("latin-1"))
    with pytest.raises(DataError, match=r"val\.txt is not a list of images: it is not UTF-8 text \(byte 2\)"):
        read_labelled(root)
    (root / "ImageSets/Main/val.txt").unlink()
    write(root / "ImageSets/Main/train.txt", "\n")
    with pytest.raises(DataError, match="no lists of image names"):
        read_labelled(root)
