"""`ssd data check` finds every issue and invents none."""

import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from faulty_files import (
    EXPECTED,
    GOOD,
    HEIGHT,
    PLAIN_BOX,
    WIDTH,
    RunHere,
    Seeds,
    encoded,
    found,
    noise,
    seed_annotation_issues,
    seed_image_issues,
    without_addresses,
    xml,
)
from PIL import Image

from ssdcore.data.annotations import ISSUE_KINDS, Annotation, Example, ImageSource, LabelledSet
from ssdcore.data.formats import read_labelled
from ssdcore.data.validation import CheckReport, SplitStatistics, check


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VOC folder with one of each issue among 22 faultless images; trainval holds train, too."""
    seeds = Seeds(tmp_path_factory.mktemp("seeded") / "voc")
    columns = [(16 + shift, 12, 32 + shift, 24) for shift in (0, 8, 16, 24, 33)]  # the last 1 px over the edge
    for name in GOOD:
        seeds.add(name, xml(*[("helmet", box) for box in columns], size=(WIDTH, HEIGHT)))
    seeds.add("nothing", xml(size=(WIDTH, HEIGHT)))
    seeds.add("hard", xml(("helmet", PLAIN_BOX, 1), ("vest", PLAIN_BOX, 1), size=(WIDTH, HEIGHT)))
    seed_annotation_issues(seeds)
    seed_image_issues(seeds)
    seeds.save("trainval", seeds.names)
    seeds.save("train", GOOD[:4])
    seeds.save("test", ["shared"])
    return seeds.root


@pytest.fixture(scope="module")
def report(seeded: Path) -> CheckReport:
    return check(read_labelled(seeded))


def test_every_seeded_issue_is_found_and_none_invented(report: CheckReport) -> None:
    assert sorted(found(report), key=str) == sorted(EXPECTED, key=str)


def test_every_kind_but_an_unknown_class_is_seeded_and_worst_come_first(report: CheckReport) -> None:
    assert [kind for kind in ISSUE_KINDS if kind != "unknown class"] == list(report.counts())


def test_details_say_by_how_much_and_what_is_meant(report: CheckReport) -> None:
    detail = {issue.kind: issue.detail for issue in report.issues}
    assert "by 5.0 px of 64 x 48" in detail["box over the edge"]
    assert "annotated as 128 x 96, the image is 64 x 48" in detail["size mismatch"]
    assert detail["duplicate image"].endswith("good03.jpg")
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
    assert (whole.images, whole.without_objects, whole.objects, whole.difficult, whole.crowd) == (37, 4, 118, 2, 0)
    assert dict(whole.per_class) == {"helmet": 115, "vest": 2, "helmt": 1}
    low = np.sqrt(15 * 12 / (WIDTH * HEIGHT))
    np.testing.assert_allclose(whole.sides, (low, 0.25, 0.25), atol=1e-9)
    assert (report.splits["train"].images, report.splits["train"].objects) == (4, 20)
    assert report.splits["test"] == SplitStatistics(1, 0, 1, 0, 0, {"helmet": 1}, (0.25, 0.25, 0.25))


def test_what_is_no_image_is_told_without_an_address(report: CheckReport) -> None:
    """Two conversions of the same images would differ by it."""
    assert [issue.detail for issue in report.issues if "0x" in issue.detail] == []


def test_json_is_the_report(ssd_here: RunHere, seeded: Path, report: CheckReport) -> None:
    code, out, _ = ssd_here("data", "check", seeded, "--json")
    assert code == 0
    assert json.loads(without_addresses(out)) == json.loads(without_addresses(json.dumps(report.as_dict())))
    rows = [(row["kind"], Path(row["file"]).name, row["object"]) for row in json.loads(out)["issues"]]
    assert rows == found(report)


def test_strict_ends_with_1_and_every_issue_is_printed(ssd_here: RunHere, seeded: Path) -> None:
    code, out, err = ssd_here("data", "check", seeded)
    strict, again, _ = ssd_here("data", "check", seeded, "--strict")
    assert (code, strict, without_addresses(again)) == (0, 1, without_addresses(out))
    assert "error" not in err
    for _, file, number in EXPECTED:
        assert re.search(rf"/{re.escape(file)}:{f' object {number}:' if number else ' '}", out), file
    assert f"{len(EXPECTED)} issues in voc data" in out


def test_faultless_data_is_called_so_and_is_fine_with_strict(ssd_here: RunHere, tmp_path: Path) -> None:
    seeds = Seeds(tmp_path / "voc")
    seeds.add("one", xml(("helmet", PLAIN_BOX)))
    code, out, _ = ssd_here("data", "check", tmp_path / "voc", "--strict", "--classes", "vest,helmet")
    assert code == 0
    assert out.splitlines()[-1] == "no issues"


def test_classes_that_are_not_given_are_unknown_and_near_ones_offered(ssd_here: RunHere, seeded: Path) -> None:
    _, out, _ = ssd_here("data", "check", seeded, "--json", "--classes", "helmet,vest")
    kinds = {(row["kind"], Path(row["file"]).name, row["object"]): row["detail"] for row in json.loads(out)["issues"]}
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
    one = Example("a", ImageSource(tmp_path / "a.png"), tmp_path / "a.xml", objects)
    split = check(LabelledSet(tmp_path, "voc", {"all": (one,)})).splits["all"]
    np.testing.assert_allclose(split.sides, (0.22, 0.40, 0.58), atol=1e-9)


def write_coco(root: Path, boxes: list[list[float]]) -> Path:
    """One image with one object for each box."""
    root.mkdir(parents=True)
    for number in range(len(boxes)):
        (root / f"{number}.jpg").write_bytes(encoded(noise(f"coco{number}")))
    images = [{"id": number, "file_name": f"{number}.jpg"} for number in range(len(boxes))]
    annotations = [{"id": 9, "image_id": n, "category_id": 1, "bbox": box} for n, box in enumerate(boxes)]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "dog"}]}
    (root / "all.json").write_text(json.dumps(content))
    return root / "all.json"


def test_a_box_of_coco_is_told_with_its_image(tmp_path: Path) -> None:
    source = write_coco(tmp_path / "coco", [[5, 5, 9, 9], [5, 5, 0, 9], [5, 5, 9, 9]])
    (issue,) = check(read_labelled(source)).issues
    assert re.search(r"\b1\b", str(issue).replace("object 1", ""))


def test_page_of_coco_shows_the_image_with_the_issue(tmp_path: Path) -> None:
    from ssdcli.data.contact_sheet import TITLE, faulty_tiles

    source = write_coco(tmp_path / "coco", [[5, 5, 9, 9], [5, 5, 0, 9], [5, 5, 9, 9]])
    (tmp_path / "coco/1.jpg").write_bytes(encoded(Image.new("RGB", (WIDTH, HEIGHT), (0, 0, 250))))
    labelled = read_labelled(source)
    (tile,) = faulty_tiles(labelled, check(labelled))
    assert np.median(tile[TITLE : TITLE + 20, :300].reshape(-1, 3), axis=0)[2] > 240


def test_a_check_leaves_the_filters_of_warnings_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(noise("a", (400, 400, 3))))
    image = ImageSource(tmp_path / "a.jpg")
    many = tuple(Example(str(n), image, tmp_path / f"{n}.xml", ()) for n in range(60))
    with warnings.catch_warnings():
        before = list(warnings.filters)
        check(LabelledSet(tmp_path, "voc", {"all": many}))
        assert warnings.filters == before


@pytest.mark.realdata
def test_bccd_has_exactly_two_faulty_boxes(bccd: Path) -> None:
    expected = [("empty box", "BloodImage_00338.xml", 13), ("empty box", "BloodImage_00343.xml", 4)]
    assert found(check(read_labelled(bccd))) == expected
