"""Divisions at random: in proportion, and the same for the same seed."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from voc_files import BOX

from ssdcore.data.annotations import Annotation, Example, ImageSource, LabelledSet
from ssdcore.data.splits import divide, parse_fractions
from ssdcore.errors import DataError, ParamError


def labelled(*examples: Example) -> LabelledSet:
    return LabelledSet(Path("/nowhere"), "voc", {"all": examples})


def example(name: str, *classes: str, image: Path | None = None) -> Example:
    objects = tuple(Annotation(label, BOX) for label in classes)
    return Example(name, ImageSource(image or Path(f"/nowhere/{name}.jpg")), Path(f"/nowhere/{name}.xml"), objects)


def shaped(counts: Mapping[str, int]) -> LabelledSet:
    """So many images that show each class alone; `` is none."""
    return labelled(*(example(f"{label}{n:03}", *filter(None, [label])) for label, count in counts.items()
                      for n in range(count)))  # fmt: skip


def count_classes(found: LabelledSet) -> dict[str, Counter[str]]:
    return {
        split: Counter("".join(item.name for item in one.objects) for one in examples)
        for split, examples in found.splits.items()
    }


HAND_MADE = {"a": 5, "b": 17, "c": 40, "d": 8, "": 10}


@pytest.mark.parametrize(
    "fractions",
    [
        (0.8, 0.2),
        (0.5, 0.5),
        (0.9, 0.1),
        (0.8, 0.1, 0.1),
    ],
)
def test_each_class_is_divided_to_within_one_image(fractions: tuple[float, ...]) -> None:
    for seed in range(5):
        found = count_classes(divide(shaped(HAND_MADE), fractions, seed))
        for label, total in HAND_MADE.items():
            dealt = [split[label] for split in found.values()]
            assert sum(dealt) == total
            assert all(abs(part - share * total) <= 1 for part, share in zip(dealt, fractions, strict=True)), label


def test_images_of_several_classes_are_divided_by_their_rarest() -> None:
    """Ten images show the rare class, five of them the common one, too; forty show the common one alone."""
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


def test_the_order_of_images_does_not_decide() -> None:
    images = shaped(HAND_MADE).splits["all"]
    turned = labelled(*images[::-1])
    assert divide(labelled(*images), (0.8, 0.2), 0).splits == divide(turned, (0.8, 0.2), 0).splits


def test_no_split_is_empty_where_classes_are_many_and_rare() -> None:
    found = divide(shaped({f"class{n}": 3 for n in range(20)}), (0.8, 0.2), 0)
    assert 6 <= len(found.splits["test"]) <= 20


def test_equal_images_stay_together(tmp_path: Path) -> None:
    for number in range(10):
        for copy in "xyz":
            (tmp_path / f"{number}{copy}.jpg").write_bytes(bytes([number]))
    images = [example(path.stem, "a", image=path) for path in sorted(tmp_path.iterdir())]
    for seed in range(10):
        for fractions in ((0.8, 0.2), (0.6, 0.2, 0.2)):
            found = divide(labelled(*images), fractions, seed)
            groups = [{one.name[0] for one in examples} for examples in found.splits.values()]
            assert sorted("".join(map("".join, groups))) == list("0123456789")
            assert sum(map(len, found.splits.values())) == 30
            assert all(map(len, groups))


def test_own_splits_are_forgotten_and_images_in_two_count_once() -> None:
    images = shaped({"a": 10}).splits["all"]
    mixed = LabelledSet(Path("/nowhere"), "voc", {"train": images, "mine": images[:3]})
    found = divide(mixed, (0.8, 0.2), 0)
    assert {split: len(examples) for split, examples in found.splits.items()} == {"trainval": 8, "test": 2}


@pytest.mark.parametrize(("text", "fractions"), [("0.8/0.2", (0.8, 0.2)), ("0.8/0.1/0.1", (0.8, 0.1, 0.1))])
def test_fractions_are_read(text: str, fractions: tuple[float, ...]) -> None:
    assert parse_fractions(text) == fractions


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
def test_wrong_fractions_are_errors(text: str) -> None:
    with pytest.raises(ParamError, match="two or three fractions that add up to 1"):
        parse_fractions(text)


def test_too_few_images_to_divide_are_an_error() -> None:
    with pytest.raises(DataError, match="has 2 images, too few for 3 splits"):
        divide(shaped({"a": 2}), (0.8, 0.1, 0.1), 0)
