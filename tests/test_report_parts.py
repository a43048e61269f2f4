"""The pieces that a report is made of: markup, axes, cut-outs; and the browser that looks at it."""

import shutil

import browser
import numpy as np
import pytest
from pytest import approx
from ssdcli.report.galleries import window_around
from ssdcli.report.html import difference, tag
from ssdcli.report.svg import linear


def test_what_is_cut_out_shows_the_surroundings() -> None:
    """Around 40 px at (200, 100) in 400 x 300: 120 px, the larger of 2.4 x 40 and 0.3 x 400; then at a corner."""
    assert window_around(np.array([[180.0, 80.0, 220.0, 120.0]]), (300, 400)) == (140, 40, 260, 160)
    assert window_around(np.array([[0.0, 0.0, 40.0, 40.0]]), (300, 400)) == (0, 0, 120, 120)
    # Two boxes, 100 px wide together: 240 px. A box of nearly all of the image: all that is needed of it.
    both = np.array([[100.0, 100.0, 140.0, 120.0], [160.0, 100.0, 200.0, 120.0]])
    assert window_around(both, (300, 400)) == (30, 0, 270, 240)
    assert window_around(np.array([[0.0, 0.0, 390.0, 290.0]]), (300, 400)) == (0, 0, 390, 300)


def test_markup_is_escaped_once() -> None:
    inner = tag("em", '<b>&"', title='"')
    assert inner == '<em title="&quot;">&lt;b&gt;&amp;&quot;</em>'
    assert tag("p", inner, None, ["<", [1.5]], class_="a") == f'<p class="a">{inner}&lt;1.5</p>'


def test_differences_have_a_sign_and_say_what_is_better() -> None:
    minus, plus_minus = "\N{MINUS SIGN}", "\N{PLUS-MINUS SIGN}"
    assert difference(0.5, 0.25) == '<span class="difference better">+0.250</span>'
    assert difference(0.25, 0.5) == f'<span class="difference worse">{minus}0.250</span>'
    assert difference(0.25, 0.5, better=-1) == f'<span class="difference better">{minus}0.250</span>'
    assert difference(0.5, 0.25, better=0) == '<span class="difference same">+0.250</span>'
    assert difference(0.5, 0.5004) == f'<span class="difference same">{plus_minus}0.000</span>'
    assert difference(None, 0.5) is None


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (0, 2190, ["0", "500", "1000", "1500", "2000", "2500"]),
        (0.853, 0.882, ["0.85", "0.86", "0.87", "0.88", "0.89"]),
        (0, 1, ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
    ],
)
def test_axes_have_round_ticks(low: float, high: float, texts: list[str]) -> None:
    axis = linear("", low, high)
    assert [text for _, text in axis.ticks] == texts
    assert axis.place(axis.ticks[1][0]) == approx(1 / (len(texts) - 1))


def test_a_missing_browser_is_a_reason_to_skip_unless_it_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("SSD_REQUIRE_BROWSER", raising=False)
    with pytest.raises(pytest.skip.Exception, match="chromium"):
        browser.find_chromium()
    monkeypatch.setenv("SSD_REQUIRE_BROWSER", "1")
    with pytest.raises(FileNotFoundError, match="SSD_REQUIRE_BROWSER"):
        browser.find_chromium()
