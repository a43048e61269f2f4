"""The pieces that a report is made of: differences, charts, crops; and the browser that looks at it."""

import re
import shutil

import browser
import numpy as np
import pytest
from ssdcli.report.charts import steps_chart
from ssdcli.report.galleries import crop_window
from ssdcli.report.page import difference


def test_crops_show_the_surroundings() -> None:
    """Around 40 px at (200, 100) in 400 x 300: 120 px, the larger of 2.4 x 40 and 0.3 x 400; then at a corner."""
    assert crop_window(np.array([[180.0, 80.0, 220.0, 120.0]]), (300, 400)) == (140, 40, 260, 160)
    assert crop_window(np.array([[0.0, 0.0, 40.0, 40.0]]), (300, 400)) == (0, 0, 120, 120)
    # Two boxes, 100 px wide together: 240 px. A box of nearly all of the image: all that is needed of it.
    both = np.array([[100.0, 100.0, 140.0, 120.0], [160.0, 100.0, 200.0, 120.0]])
    assert crop_window(both, (300, 400)) == (30, 0, 270, 240)
    assert crop_window(np.array([[0.0, 0.0, 390.0, 290.0]]), (300, 400)) == (0, 0, 390, 300)


def test_differences_have_a_sign_and_show_what_is_better() -> None:
    minus, plus_minus = "\N{MINUS SIGN}", "\N{PLUS-MINUS SIGN}"
    assert difference(0.5, 0.25) == '<span class="difference better">+0.250</span>'
    assert difference(0.25, 0.5) == f'<span class="difference worse">{minus}0.250</span>'
    assert difference(0.25, 0.5, better=-1) == f'<span class="difference better">{minus}0.250</span>'
    assert difference(0.5, 0.25, better=0) == '<span class="difference same">+0.250</span>'
    assert difference(0.5, 0.5004) == f'<span class="difference same">{plus_minus}0.000</span>'
    assert difference(None, 0.5) == difference(0.5, None) == ""


def test_charts_are_the_same_every_time_and_hold_only_what_a_page_needs() -> None:
    steps = {"a <b>": [(100, 0.25), (200, 0.5)], "other": [(100, 0.125)]}
    chart = steps_chart(steps)
    assert chart == steps_chart(steps)
    assert 'aria-label="mAP over steps: a &lt;b&gt;: best 0.5000; other: best 0.1250"' in chart
    assert not [part for part in ("metadata", "<style", "font-family", "#0a0b", "<b>") if part in chart]
    assert "stroke: var(--m0)" in chart
    assert "stroke: var(--m1)" in chart
    ids = re.findall(r' id="([^"]+)"', chart + steps_chart({"third": [(1, 0.5)]}))
    assert len(ids) == len(set(ids)) > 0


def test_a_missing_browser_is_a_reason_to_skip_unless_it_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("SSD_REQUIRE_BROWSER", raising=False)
    with pytest.raises(pytest.skip.Exception, match="chromium"):
        browser.find_chromium()
    monkeypatch.setenv("SSD_REQUIRE_BROWSER", "1")
    with pytest.raises(FileNotFoundError, match="SSD_REQUIRE_BROWSER"):
        browser.find_chromium()
