"""COCO's JSON in, labelled images out; what is wrong is named, and nothing else lost."""

from pathlib import Path

import pytest
from annotation_files import issues, names, write, write_coco

from ssdcore.data.annotations import Annotation, Example, ImageSource
from ssdcore.data.formats import coco, read_labelled
from ssdcore.errors import DataError


def test_coco_ids_boxes_and_marks(tmp_path: Path) -> None:
    images = [
        {"id": 7, "file_name": "b.jpg", "height": 60, "width": 80},
        {"id": 3, "file_name": "sub/a.png"},
        {"id": "x", "file_name": "c.jpg", "height": 0, "width": 0},
    ]
    annotations = [
        {"id": 1, "image_id": 3, "category_id": 90, "bbox": [10, 20, 5.5, 6], "iscrowd": 1, "segmentation": {"c": 1}},
        {"id": 2, "image_id": 7, "category_id": 2, "bbox": [1, 2, -3, 4], "ignore": 1, "area": 12},
        {"id": 3, "image_id": 3, "category_id": 2, "bbox": [0, 0, 1, 1], "iscrowd": 0},
    ]
    for name in ("images/b.jpg", "images/sub/a.png", "images/c.jpg"):
        write(tmp_path / name)
    path = write_coco(
        tmp_path / "labels.json", images, annotations, [{"id": 90, "name": "cat"}, {"id": 2, "name": "dog"}]
    )
    found = read_labelled(path)
    assert found.classes == ("dog", "cat")
    b, a, c = found.splits["all"]
    assert b == Example(
        "b",
        ImageSource(tmp_path / "images/b.jpg"),
        path,
        (Annotation("dog", (1, 2, -2, 6), difficult=True),),
        size=(60, 80),
    )
    assert a.objects == (Annotation("cat", (10, 20, 15.5, 26), crowd=True), Annotation("dog", (0, 0, 1, 1)))
    assert (a.name, a.image.path, a.size) == ("a", tmp_path / "images/sub/a.png", None)
    assert (c.objects, c.size) == ((), None)


def test_coco_folders_take_splits_from_instances_and_images_from_near(tmp_path: Path) -> None:
    for split, place in (("train2017", "train2017"), ("val2017", "images/val2017"), ("own", ".")):
        write(tmp_path / place / f"{split}.jpg")
        write_coco(tmp_path / f"annotations/instances_{split}.json", [{"id": 1, "file_name": f"{split}.jpg"}], [])
    for other in ("captions_train2017", "person_keypoints_val2017"):
        write(tmp_path / f"annotations/{other}.json", "{}")
    found = read_labelled(tmp_path)
    assert names(found) == {"own": ["own"], "train2017": ["train2017"], "val2017": ["val2017"]}
    (tmp_path / "train2017").rename(tmp_path / "elsewhere")
    single = read_labelled(tmp_path / "annotations/instances_train2017.json", tmp_path / "elsewhere")
    assert names(single) == {"train2017": ["train2017"]}


def test_roboflow_splits_lose_the_category_that_only_groups(tmp_path: Path) -> None:
    categories = [
        {"id": 0, "name": "pets", "supercategory": "none"},
        {"id": 1, "name": "cat", "supercategory": "pets"},
        {"id": 2, "name": "dog", "supercategory": "pets"},
    ]
    dog = {"id": 1, "image_id": 0, "category_id": 2, "bbox": [0, 0, 1, 1]}
    for split in ("train", "valid"):
        write(tmp_path / split / "x.jpg")
        write_coco(tmp_path / split / "_annotations.coco.json", [{"id": 0, "file_name": "x.jpg"}], [dog], categories)
    found = read_labelled(tmp_path)
    assert found.classes == ("cat", "dog")
    assert names(found) == {"train": ["train_x"], "valid": ["valid_x"]}
    dog["category_id"] = 0
    write_coco(tmp_path / "train/_annotations.coco.json", [{"id": 0, "file_name": "x.jpg"}], [dog], categories)
    assert read_labelled(tmp_path).classes == ("pets", "cat", "dog")


def test_each_coco_issue_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    files_named = [
        "good.jpg",
        "bad.jpg",
        "god.jpg",
        "../up.jpg",
        "/etc/passwd",
        "C:\\x.jpg",
        5,
        "a\0b",
        "x" * 999,
        "many.jpg",
    ]
    images: list = [{"id": key, "file_name": name} for key, name in enumerate(files_named)]
    images += [{"id": 0, "file_name": "again.jpg"}, {"file_name": "noid.jpg"}, "text", {"id": [1], "file_name": "x"}]
    good = {"id": 10, "image_id": 0, "category_id": 1, "bbox": [1, 2, 3, 4]}
    bad = {**good, "image_id": 1}
    broken: list = [
        {**bad, "id": 11, "bbox": [1, 2, 3]},
        {**bad, "id": 12, "bbox": [1, 2, float("nan"), 4]},
        {**bad, "id": 13, "category_id": 99},
        {**good, "id": 14, "image_id": 99},
        {**good, "id": 15, "image_id": {"a": 1}},
        {**bad, "id": 16, "iscrowd": "RLE"},
        {"id": 17, "image_id": 1, "category_id": 1},
        {**bad, "id": 18, "bbox": [1, 2, 10**400, 4]},
        None,
    ]
    for name in ("good.jpg", "bad.jpg", "many.jpg"):
        write(tmp_path / name)
    write(tmp_path.parent / "up.jpg")
    many = [{**good, "image_id": 9}] * 10_001
    found = read_labelled(write_coco(tmp_path / "train.json", images, [good, *broken, *many]))
    assert names(found) == {"train": ["good"]}
    (kinds,) = ({kind for kind, file, _ in issues(found) if file == "train.json"},)
    assert kinds == {"unreadable annotation", "missing image", "too many objects"}
    said = [issue.detail for issue in found.issues]
    assert [issue.object for issue in found.issues] == [None] * 4 + list(range(2, 11)) + [None] * 8
    for key, detail in zip(range(11, 19), said[4:12], strict=True):
        assert detail.startswith(f"annotation id {key}: ")
    assert "did you mean 'good'" in said[13]
    assert [("not a path inside" in detail) for detail in said[14:20]] == [True, True, True, False, True, True]
    assert "10001 objects" in said[20]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "is not JSON"),
        (b"", "is not JSON"),
        ('{"images": "größe"}'.encode("latin-1"), "is not UTF-8"),
        (b"[" * 200_000, "nested too deeply"),
        (b"[1]", "is not COCO's JSON"),
        (b'{"images": [], "annotations": []}', "no list 'categories'"),
        (b'{"images": [], "annotations": [], "categories": [{"id": 1}]}', "id 1 has no name"),
        (b'{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}', "both"),
        (b'{"images": [], "annotations": [], "categories": [{"id": 1, "name": "\\ud800"}]}', "id 1 has no name"),
        (b'\xef\xbb\xbf{"images": [], "annotations": [], "categories": []}', "names no images"),
    ],
)
def test_coco_files_that_cannot_be_used_stop(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_labelled(write(tmp_path / "train.json", content))


def test_json_too_large_is_not_read(tmp_path: Path) -> None:
    with write(tmp_path / "train.json").open("wb") as file:
        file.truncate(coco.MAX_JSON_BYTES + 1)
    with pytest.raises(DataError, match="above the 2147483648 bytes"):
        read_labelled(tmp_path)
