"""`ssd report`: its numbers, its files, and the page as a parser and a browser read it."""

import base64
import csv
import html
import json
import re
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import browser
import cv2
import keras
import numpy as np
import pytest
from small_runs import Pond
from ssdcli.main import main
from voc_files import write_voc

from ssdcore.data.convert import convert
from ssdcore.data.formats import read_labelled
from ssdcore.model import build_ssd
from ssdcore.runs.checkpoint import save_checkpoint
from ssdcore.runs.run_folder import RunFolder

CLASSES = ('<b>&"ä', "</title><script>alert(1)</script>", "{cell}")
IMAGES = [f'<i>&"{number}' for number in range(6)]
BOXES = [(4, 4, 24, 24), (30, 20, 60, 50), (50, 2, 78, 20), (10, 30, 30, 58)]
METRICS = """step,epoch,stage,loss,map
10,1,first,2.5,
10,1,first,,0.25
20,2,first (watch val voc12),,0.75
20,2,first,,0.5
10,1,first (watch val voc12),,0.125
30,3,fir"""
"""Rows of training, one of them half written, and rows of a watching evaluation as older versions wrote them there."""

WATCHED = """step,metric,map
20,voc12,0.2
10,voc12,0.1
30,voc12,0.4"""
EMPTY_TAGS = {"meta", "img", "br"}

Report = Callable[..., tuple[int, str, str]]


class Work:
    """Images and classes with names that mean something in HTML, and run folders of untrained detectors."""

    def __init__(self, root: Path) -> None:
        self.pond = Pond(root / "pond")
        images = {
            name: [(html.escape(CLASSES[(place + number) % 3]), box) for number, box in enumerate(BOXES[: place % 5])]
            for place, name in enumerate(IMAGES)
        }
        self.voc = write_voc(root / "voc", images, {"test": IMAGES})
        convert(read_labelled(self.voc), root / "records", CLASSES)
        self.data = root / "records"
        self.run = self._run(root / '<u>&"run', 1, "voc07")
        self.other = self._run(root / "other", 2, "coco")
        (self.run / "metrics.csv").write_text(METRICS)
        (self.run / "watch").mkdir()
        (self.run / "watch/test.csv").write_text(WATCHED)

    def report(self, name: str, *models: Path) -> Path:
        """The folder of a report, which many tests look at."""
        out = self.data.parent / name
        main(["report", *map(str, models), "--data", str(self.data), "--out", str(out)])
        return out

    def _run(self, folder: Path, seed: int, metric: str) -> Path:
        (folder / "checkpoints").mkdir(parents=True)
        keras.utils.set_random_seed(seed)
        params = self.pond.params.override(["eval.score_threshold=0.2", "eval.nms_iou=0.9", f"eval.metric={metric}"])
        ssd = build_ssd(params, CLASSES, self.pond.plugins)
        save_checkpoint(folder / "checkpoints/last.npz", ssd, params, {"step": 30})
        return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    work = Work(tmp_path_factory.mktemp("report"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(work.pond.path)
        yield work


@pytest.fixture
def report(work: Work, ssd_here: Report) -> Report:
    return lambda *models, more=(): ssd_here("report", *models, "--data", work.data, *more)


@pytest.fixture(scope="module")
def one(work: Work) -> Path:
    return work.report("one", work.run)


@pytest.fixture(scope="module")
def two(work: Work) -> Path:
    return work.report("two", work.run, work.other)


def numbers_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text("utf-8"))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class Elements(HTMLParser):
    """The elements of a page: name, attributes and the text inside."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], list[str]]] = []
        self._open: list[tuple[str, list[str]]] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        texts: list[str] = []
        self.found.append((name, dict(attributes), texts))
        if name not in EMPTY_TAGS:
            self._open.append((name, texts))

    def handle_endtag(self, name: str) -> None:
        opened, _ = self._open.pop()
        assert opened == name

    def handle_data(self, text: str) -> None:
        for _, texts in self._open:
            texts.append(text)

    def named(self, name: str) -> Iterator[tuple[dict[str, str | None], str]]:
        return ((attributes, "".join(texts)) for found, attributes, texts in self.found if found == name)


@pytest.mark.parametrize("metric", ["voc07", "voc12"])
def test_the_numbers_are_those_of_an_evaluation(work: Work, one: Path, ssd_here: Report, metric: str) -> None:
    code, out, err = ssd_here("eval", work.run, "--data", work.data, "--metric", metric, "--json")
    assert code == 0, err
    expected, numbers = json.loads(out), numbers_of(one)
    assert expected["mean_average_precision"] > 0
    assert numbers["map"][metric] == expected["mean_average_precision"]
    assert {name: found[metric] for name, found in numbers["classes"].items()} == expected["average_precisions"]
    for key in ("images", "objects", "difficult", "step", "split", "checkpoint"):
        assert numbers[key] == expected[key]


def test_json_prints_the_numbers_of_the_file(work: Work, report: Report, tmp_path: Path) -> None:
    code, out, err = report(work.run, more=("--out", tmp_path / "one", "--json"))
    assert code == 0, err
    printed = json.loads(out)
    assert Path(printed.pop("report")) == tmp_path / "one/index.html"
    assert printed == numbers_of(tmp_path / "one")


def test_the_tables_hold_the_numbers(one: Path) -> None:
    numbers = numbers_of(one)
    assert {row["class"]: float(row["voc12"]) for row in table(one / "classes.csv")} == {
        name: found["voc12"] for name, found in numbers["classes"].items()
    }
    confusion = [int(row["count"]) for row in table(one / "confusion.csv")]
    assert confusion == [count for row in numbers["confusion"] for count in row]
    errors = table(one / "errors.csv")
    for kind, counts in numbers["errors"].items():
        found = [row["class"] for row in errors if row["kind"] == kind]
        assert [found.count(name) for name in CLASSES] == counts
    assert {row["image"] for row in errors} <= set(IMAGES)
    scores = [float(row["score"]) for row in errors if row["score"]]
    assert scores == sorted(scores, reverse=True)
    assert min(scores) >= numbers["at"]["score"]
    assert sum(int(row["true"]) + int(row["false"]) for row in table(one / "scores.csv")) == sum(
        found["detections"] for found in numbers["classes"].values()
    )
    assert [(row["series"], row["step"], row["map"]) for row in table(one / "steps.csv")] == [
        ("training", "10", "0.25"),
        ("training", "20", "0.5"),
        ("watch val voc12", "10", "0.125"),
        ("watch val voc12", "20", "0.75"),
        ("watch test voc12", "10", "0.1"),
        ("watch test voc12", "20", "0.2"),
    ]


def test_the_page_shows_the_numbers(work: Work, one: Path) -> None:
    numbers, page = numbers_of(one), Elements((one / "index.html").read_text("utf-8"))
    text = "".join(text for _, text in page.named("body"))
    assert f"{numbers['mean_average_precision']:.3f}" in [text for _, text in page.named("b")]
    for name, found in numbers["classes"].items():
        rows = [text for _, text in page.named("tr") if text.startswith(name)]
        assert f"{found['voc07']:.3f}{found['voc12']:.3f}{found['over_ious']:.3f}" in rows[0]
    assert numbers["checkpoint"] in text
    assert "0 difficult ones" in text
    assert f"Expected calibration error {numbers['calibration']['error']:.3f}" in text


def test_names_are_shown_literally_and_are_not_markup(work: Work, one: Path, two: Path) -> None:
    for folder in (one, two):
        content = (folder / "index.html").read_text("utf-8")
        page = Elements(content)
        assert not {name for name, *_ in page.found} & {"script", "i", "u"}
        assert "alert(1)</script>" not in content
        headings = {text for _, text in page.named("th")}
        assert headings >= set(CLASSES)
        for _, attributes, _ in page.found:
            assert not {name for name in attributes if name.startswith("on")}
    titles = [text for _, text in Elements((one / "index.html").read_text("utf-8")).named("h1")]
    assert titles == ['<u>&"run on test']


def test_the_page_needs_nothing_else_and_can_be_read_aloud(one: Path, two: Path) -> None:
    for folder in (one, two):
        page = Elements((folder / "index.html").read_text("utf-8"))
        for name, attributes, _ in page.found:
            for key in ("src", "href", "srcset", "data", "action", "poster", "xlink:href"):
                value = attributes.get(key) or "#"
                assert value.startswith(("#", "data:image/jpeg;base64,")), (name, key)
        assert not [url for text in page.named("style") for url in re.findall(r"url\(|@import|//", text[1])]
        assert all(attributes.get("scope") in ("col", "row") and text for attributes, text in page.named("th"))
        assert all(attributes.get("alt") for attributes, _ in page.named("img"))
        assert all(
            (attributes.get("role") == "img" and attributes.get("aria-label")) or attributes.get("aria-hidden")
            for attributes, _ in page.named("svg")
        )
        assert len(list(page.named("caption"))) == len(list(page.named("table"))) > 0
    assert len(list(Elements((one / "index.html").read_text("utf-8")).named("img"))) > 5


def test_images_of_errors_are_crops_of_the_right_image(work: Work, one: Path) -> None:
    """Each is compared with the file that was converted, around the very box that the table of errors names."""
    page, errors = Elements((one / "index.html").read_text("utf-8")), table(one / "errors.csv")
    checked = 0
    for attributes, _ in page.named("img"):
        words = re.fullmatch(r"Part of image (.*): (.*), score ([\d.]+), .*", attributes["alt"] or "")
        if not words:
            continue
        shown = cv2.imdecode(np.frombuffer(base64.b64decode((attributes["src"] or "").split(",")[1]), np.uint8), 1)
        assert shown.shape[:2] == (int(attributes["height"] or 0), int(attributes["width"] or 0))
        whole = cv2.imread(str(work.voc / f"JPEGImages/{words[1]}.jpg"))
        assert whole is not None
        match = cv2.matchTemplate(whole, shown, cv2.TM_SQDIFF)
        assert match.min() / shown.size < 60, words[0]  # JPEG was encoded twice
        assert any(
            row["image"] == words[1] and row["class"] == words[2] and f"{float(row['score']):.2f}" == words[3]
            for row in errors
        )
        checked += 1
    assert checked > 5


def test_models_are_compared_with_the_first(work: Work, two: Path) -> None:
    numbers, page = numbers_of(two), Elements((two / "index.html").read_text("utf-8"))
    first, second = numbers["models"]
    assert [first["model"], second["model"]] == ['<u>&"run', "other"]
    change = second["map"]["voc07"] - first["map"]["voc07"]
    sign = "\N{MINUS SIGN}" if change < 0 else "+"
    rows = [text for _, text in page.named("tr") if text.startswith("mAP voc07")]
    assert rows == [f"mAP voc07{first['map']['voc07']:.3f}{second['map']['voc07']:.3f}{sign}{abs(change):.3f}"]
    assert {row["model"] for row in table(two / "classes.csv")} == {'<u>&"run', "other"}
    # A chart for each class, with a line of each model.
    charts = [attributes["aria-label"] for attributes, _ in page.named("svg") if attributes.get("aria-label")]
    assert sum("precision over recall" in (label or "") for label in charts) == 3


def test_the_score_from_which_errors_count_can_be_given(work: Work, report: Report, tmp_path: Path) -> None:
    for score in (0.1, 0.99):
        out = tmp_path / str(score)
        assert report(work.run, more=("--out", out, "--score", score))[0] == 0
        assert numbers_of(out)["at"]["score"] == score
    assert sum(numbers_of(tmp_path / "0.99")["errors"]["missed"]) == numbers_of(tmp_path / "0.99")["objects"] == 10
    everything = sum(one["detections"] for one in numbers_of(tmp_path / "0.1")["classes"].values())
    assert np.array(numbers_of(tmp_path / "0.1")["confusion"])[:, 1:].sum() == everything


def test_the_report_of_a_run_lies_in_it_and_is_replaced(work: Work, report: Report, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(work.other, run)
    for images in (2, 6):
        code, out, err = report(run, more=("--max-images", images))
        assert code == 0, err
        assert f"report: {run / 'report/index.html'}" in out
        assert numbers_of(run / "report")["images"] == images
    page = Elements((run / "report/index.html").read_text("utf-8"))
    assert [text for _, text in page.named("span")].count("mAP, coco") == 1
    assert "Training" not in {text for _, text in page.named("h2")}
    assert [path for path in (run / "report").iterdir() if "partial" in path.name] == []


def test_wrong_use_is_refused_before_anything_is_evaluated(work: Work, report: Report, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/letters.txt").write_text("mine")
    checkpoint = work.run / "checkpoints/last.npz"
    cases = [
        ((checkpoint,), (), 2, "--out is needed"),
        ((work.run, work.other), (), 2, "--out is needed"),
        ((work.run, work.run), ("--out", tmp_path / "new"), 2, "given twice"),
        ((work.run,), ("--out", tmp_path / "full"), 1, "holds no report"),
        ((work.run,), ("--out", tmp_path / "new", "--split", "tset"), 1, "no split 'tset'"),
        ((work.run, tmp_path / "none"), ("--out", tmp_path / "new"), 1, "there is no run folder"),
        ((work.run,), ("--out", tmp_path / "new", "--score", "2"), 2, "--score"),
    ]
    for models, more, expected, words in cases:
        code, out, err = report(*models, more=more)
        assert (code, out) == (expected, ""), err
        assert words in err
        assert "evaluating" not in err
    assert not (tmp_path / "new").exists()


def test_a_full_disk_is_reported_and_the_next_report_replaces_what_is_there(
    work: Work, report: Report, tmp_path: Path, limit_files: Callable[[int], None]
) -> None:
    """There is room for the tables, not for the page with its images."""
    out = tmp_path / "out"
    limit_files(20_000)
    code, _, err = report(work.run, more=("--out", out))
    assert code == 1
    problem = err.splitlines()[-1]
    assert problem.startswith(f"error: cannot write {out}/")
    assert problem.endswith(": File too large; make room there, or choose another --out")
    assert not (out / "index.html").exists()
    assert not list(out.glob(".*"))
    limit_files(-1)
    assert report(work.run, more=("--out", out))[0] == 0
    assert (out / "index.html").stat().st_size > 20_000


def test_steps_are_read_from_a_run_that_is_still_training(work: Work, tmp_path: Path) -> None:
    assert RunFolder(work.run).scores() == {
        "training": [(10, 0.25), (20, 0.5)],
        "watch val voc12": [(10, 0.125), (20, 0.75)],
        "watch test voc12": [(10, 0.1), (20, 0.2)],
    }
    assert RunFolder(tmp_path).scores() == {}


LOADED = "[...document.images].map(image => image.complete && image.naturalWidth)"
CHARTS = "[...document.querySelectorAll('svg.chart')].map(chart => chart.getBoundingClientRect().height)"
INK = """[...document.querySelectorAll('svg.chart')].map(
  chart => chart.querySelectorAll('[style*="var(--m"], [style*="var(--true"]').length
)"""
OVERLAYS = """[...document.querySelectorAll('.cut')].map(cut => {
  const [one, other] = [...cut.children].map(child => child.getBoundingClientRect());
  return Math.max(...['x', 'y', 'width', 'height'].map(key => Math.abs(one[key] - other[key])));
})"""
BACKGROUND = "getComputedStyle(document.body).backgroundColor"


@pytest.mark.slow
@pytest.mark.browser
def test_a_browser_shows_the_pages(one: Path, two: Path, tmp_path: Path) -> None:
    with browser.open_tab() as tab:
        for folder in (one, two):
            backgrounds = []
            for width, dark in ((1200, False), (390, False), (1200, True)):
                tab.open(folder / "index.html", width, dark=dark)
                assert tab.messages == []
                assert {url for url in tab.requests if not url.startswith("data:")} == {
                    (folder / "index.html").as_uri()
                }
                images = tab.ask(LOADED)
                assert all(size and size > 8 for size in images)
                assert len(images) > 5 or folder == two
                assert all(height > 100 for height in tab.ask(CHARTS))
                assert all(tab.ask(INK))
                assert all(apart < 1 for apart in tab.ask(OVERLAYS))
                assert tab.ask("document.documentElement.scrollWidth") <= width
                backgrounds.append(tab.ask(BACKGROUND))
            assert backgrounds[0] == backgrounds[1] == "rgb(255, 255, 255)" != backgrounds[2]
        heading = tab.ask("document.querySelector('tbody th').textContent")
        assert heading == "mAP voc07"
        tab.open(one / "index.html")
        tab.image(tmp_path / "page.png")
    seen = cv2.imread(str(tmp_path / "page.png"))
    assert seen is not None
    assert seen.shape[0] > 2000
    assert len(np.unique(seen.reshape(-1, 3), axis=0)) > 1000  # photographs, not an empty page


@pytest.mark.slow
@pytest.mark.browser
def test_the_browser_reports_errors_of_a_page(tmp_path: Path) -> None:
    """Otherwise the silence above would mean nothing."""
    page = tmp_path / "wrong.html"
    page.write_text('<script>console.error("no"); nothing.here</script><img src="http://example.invalid/a.png">')
    with browser.open_tab() as tab:
        tab.open(page)
        assert "no" in tab.messages
        assert len(tab.messages) >= 3
        assert "http://example.invalid/a.png" in tab.requests
        assert tab.ask(LOADED) == [0]
