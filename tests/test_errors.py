"""Parts of error messages."""

from ssdcore.errors import did_you_mean


def test_the_nearest_names_are_offered() -> None:
    assert did_you_mean("resnet_51", ["vgg_16", "resnet_50"]) == "did you mean 'resnet_50'?"


def test_a_long_list_is_cut() -> None:
    names = [f"{letter}{letter}" for letter in "abcdefghijklmnopqrstuvwxy"]
    assert did_you_mean("???", names[:3]) == "known: aa, bb, cc"
    assert did_you_mean("???", names).endswith("ss, tt and 5 more")
    assert did_you_mean("???", []) == "known: none"
