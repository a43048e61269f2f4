"""`ssd eval` of a small trained detector, of its checkpoints, and of what it writes."""

import csv
import io
import json
import shutil
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from devkit import Guess, Thing, eleven_points, voc_ap, voc_eval_det
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from small_runs import Pond

from ssdcore.data.convert import convert
from ssdcore.data.formats import read_labelled
from ssdcore.data.pipeline import evaluation_batches, read_records
from ssdcore.data.records.ground_truth import read_ground_truth
from ssdcore.data.records.manifest import Manifest
from ssdcore.detection.predict import make_predict
from ssdcore.evaluation.evaluate import Evaluator
from ssdcore.model.variables import named_variables
from ssdcore.params import EvalParams
from ssdcore.runs.checkpoint import load_checkpoint, restore_model
from ssdcore.training import train

RULES = {"voc07": eleven_points, "voc12": voc_ap}
Eval = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def pond(tmp_path_factory: pytest.TempPathFactory) -> Pond:
    """With a `run` that was chosen by its score on `test`."""
    pond = Pond(tmp_path_factory.mktemp("eval"))
    train(pond.params.override(["train.save_minutes=0", "train.keep=3"]), pond.data, pond.root / "run", pond.plugins)
    return pond


@pytest.fixture
def run(pond: Pond) -> Path:
    return pond.root / "run"


@pytest.fixture
def evaluate(pond: Pond, ssd_here: Eval, monkeypatch: pytest.MonkeyPatch) -> Eval:
    monkeypatch.syspath_prepend(pond.path)
    return lambda source, *more: ssd_here("eval", source, "--data", pond.data, *more)


@pytest.fixture
def scores(evaluate: Eval) -> Callable[..., Any]:
    """What `ssd eval --json` says."""

    def run(source: Path, *more: object) -> Any:
        code, out, err = evaluate(source, *more, "--json")
        assert code == 0, err
        return json.loads(out)

    return run


def steps(run: Path) -> list[Path]:
    return sorted((run / "checkpoints").glob("step-*.npz"))


def devkit_on(out: Path, data: Path, split: str, metric: str) -> dict[str, float | None]:
    """The devkit's average precisions of VOC's files in a folder."""
    truths, found = read_ground_truth(data, split), {}
    for name in Manifest.load(data).classes:
        label = Manifest.load(data).classes.index(name) + 1
        lines = [line.split(" ") for line in (out / f"comp4_det_{split}_{name}.txt").read_text().splitlines()]
        images = [
            (
                [Thing(tuple(box), 1) for box in truth.boxes[truth.labels == label].tolist()],
                [Guess(tuple(map(float, box)), float(score)) for image, score, *box in lines if image == truth.name],
            )
            for truth in truths
        ]
        precision, recall, wanted = voc_eval_det(images, 1, 0.5, 0)
        found[name] = RULES[metric](precision, recall) if wanted else None
    return found


@pytest.mark.parametrize("metric", ["voc07", "voc12"])
def test_the_score_is_that_of_the_devkit_on_the_files(
    pond: Pond, run: Path, scores, tmp_path: Path, metric: str
) -> None:
    result = scores(run, "--metric", metric, "--out", tmp_path / "out", "eval.score_threshold=0.05")
    expected = devkit_on(tmp_path / "out", pond.data, "test", metric)
    assert result["average_precisions"] == pytest.approx(expected, abs=1e-9)
    assert 0 < result["mean_average_precision"] == pytest.approx(np.mean(list(expected.values())), abs=1e-9)
    # The files, in both formats, score as the model that wrote them.
    for source in (tmp_path / "out", tmp_path / "out/coco_results.json"):
        again = scores(source, "--metric", metric)
        assert again["average_precisions"] == result["average_precisions"]
        assert again["mean_average_precision"] == result["mean_average_precision"]


def test_the_score_is_that_of_pycocotools_on_the_files(run: Path, scores, tmp_path: Path) -> None:
    result = scores(run, "--metric", "coco", "--out", tmp_path / "out", "eval.keep=30")
    with redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / "out/coco_annotations.json"))
        official = COCOeval(truth, truth.loadRes(str(tmp_path / "out/coco_results.json")), "bbox")
        official.evaluate()
        official.accumulate()
        official.summarize()
    assert [-1 if value is None else value for value in result["coco"].values()] == official.stats.tolist()
    assert 0 < result["mean_average_precision"] == official.stats[0]
    assert scores(tmp_path / "out", "--metric", "coco")["coco"] == result["coco"]


def test_what_is_scored_is_what_a_detector_finds(pond: Pond, run: Path) -> None:
    """The network and the suppression are run one after the other; together they find the same."""
    ssd = restore_model(load_checkpoint(run / "checkpoints/best.npz"), pond.plugins)
    params = EvalParams(batch_size=3, score_threshold=0.2)
    evaluator, found = Evaluator(ssd, pond.data, "test", params), []
    evaluator.run(on_image=lambda truth, one: found.append((truth, one)))
    predict, place = make_predict(ssd, params), 0
    for batch in evaluation_batches(read_records(pond.data, "test"), ssd.model.image_size, "warp", 3):
        expected = predict(batch.images, batch.windows)
        for index, count in enumerate(expected.counts.numpy()):
            truth, one = found[place]
            assert len(one.scores) == count > 0
            height, width = batch.sizes[index].numpy()
            assert truth.size == (height, width)
            boxes = expected.boxes[index, :count].numpy() * [width, height, width, height]
            np.testing.assert_allclose(one.boxes, boxes, atol=1e-3)
            np.testing.assert_allclose(one.scores, expected.scores[index, :count], atol=1e-6)
            np.testing.assert_array_equal(one.labels, expected.labels[index, :count])
            place += 1
    assert place == len(found) == 4


def test_speed_leaves_the_warm_up_out(pond: Pond, run: Path) -> None:
    ssd = restore_model(load_checkpoint(run / "checkpoints/last.npz"), pond.plugins)
    evaluator = Evaluator(ssd, pond.data, "test", EvalParams(batch_size=2))
    network, finish, calls = evaluator._network, evaluator._finish, []

    def slow(images):
        calls.append(len(images))
        time.sleep(2 if len(calls) == 1 else 0.2)
        return network(images)

    def slower(*arguments):
        time.sleep(0.3)
        return finish(*arguments)

    evaluator._network, evaluator._finish = slow, slower
    before = time.perf_counter()
    speed = evaluator.run().speed
    whole = time.perf_counter() - before
    assert calls == [2, 2, 2]
    assert speed.images == 4
    assert speed.network >= 0.4
    assert speed.nms >= 0.6
    assert speed.read + speed.network + speed.nms <= whole - 2
    assert speed.as_dict()["network_ms"] == pytest.approx(250 * speed.network, abs=1e-3)
    assert speed.images_per_second == pytest.approx(4 / (speed.read + speed.network + speed.nms))


def test_text_names_scores_counts_and_speed(run: Path, evaluate: Eval) -> None:
    code, out, err = evaluate(run / "checkpoints/last.npz", "--metric", "coco")
    assert code == 0, err
    assert "AP (coco, IoU 0.50 to 0.95)" in out
    assert all(name in out for name in ("circle", "square", "triangle", "AP small", "AR 100"))
    assert "4 images, " in out
    assert "images/s; ms for each: " in out
    assert "step: 14" in out
    assert "warning" not in err


def test_a_part_of_the_images(pond: Pond, run: Path, scores, tmp_path: Path) -> None:
    result = scores(run, "--max-images", 2, "--out", tmp_path / "out")
    truths = read_ground_truth(pond.data, "test")[:2]
    assert (result["images"], result["objects"]) == (2, sum(len(truth.labels) for truth in truths))
    assert len(json.loads((tmp_path / "out/coco_annotations.json").read_text())["images"]) == 2
    whole = scores(run, "--out", tmp_path / "whole")
    assert whole["images"] == 4
    part = scores(tmp_path / "whole", "--max-images", 2)
    assert part["average_precisions"] == result["average_precisions"] != whole["average_precisions"]


def test_averaged_and_raw_weights(pond: Pond, run: Path, scores) -> None:
    last = run / "checkpoints/last.npz"
    checkpoint = load_checkpoint(last)
    ssd = restore_model(checkpoint, pond.plugins)
    averaged = Evaluator(ssd, pond.data, "test", pond.params.eval).run().average_precisions
    for name, variable in named_variables(ssd).items():
        variable.assign(checkpoint.arrays[f"model/{name}"])
    raw = Evaluator(ssd, pond.data, "test", pond.params.eval).run().average_precisions
    assert averaged != raw
    assert scores(last)["average_precisions"] == averaged
    assert scores(last, "--weights", "averaged")["average_precisions"] == averaged
    assert scores(last, "--weights", "raw")["average_precisions"] == raw


def test_all_checkpoints_of_a_run(run: Path, scores, evaluate: Eval, tmp_path: Path) -> None:
    found = scores(run, "--all", "--out", tmp_path / "out")
    singly = [scores(path) for path in steps(run)]
    assert len(found) == len(singly) > 1
    assert [one["step"] for one in found] == [int(path.stem.removeprefix("step-")) for path in steps(run)]
    assert [one["average_precisions"] for one in found] == [one["average_precisions"] for one in singly]
    with (tmp_path / "out/steps.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [one["step"] for one in found]
    assert [float(row["map"]) for row in rows] == [one["mean_average_precision"] for one in found]
    assert [float(row["square"]) for row in rows] == [one["average_precisions"]["square"] for one in found]
    code, out, _ = evaluate(run, "--all")
    assert code == 0
    for one in found:
        assert any(
            line.split()[:2] == [str(one["step"]), f"{one['mean_average_precision']:.4f}"] for line in out.splitlines()
        )


def test_the_split_that_chose_the_best_is_no_fair_one(pond: Pond, run: Path, evaluate: Eval, tmp_path: Path) -> None:
    assert "best.npz was chosen by its score on this very split 'test'" in evaluate(run)[2]
    for source, more in ((run / "checkpoints/last.npz", ()), (run, ("--split", "trainval"))):
        code, _, err = evaluate(source, *more)
        assert (code, "warning" in err) == (0, False)
    # The same name of a split in other data is fair.
    shutil.copytree(pond.root / "voc", tmp_path / "voc")
    (tmp_path / "voc/ImageSets/Main/test.txt").write_text("00008\n00009\n")
    convert(read_labelled(tmp_path / "voc"), tmp_path / "other", classes=Manifest.load(pond.data).classes)
    code, _, err = evaluate(run, "--data", tmp_path / "other")
    assert (code, "warning" in err) == (0, False)


def test_overrides(run: Path, scores, tmp_path: Path) -> None:
    plain = scores(run, "--out", tmp_path / "plain")
    few = scores(run, "--out", tmp_path / "few", "eval.keep=1", "eval.match_iou=0.3")
    assert few["match_iou"] == 0.3
    sizes = [len(json.loads((tmp_path / name / "coco_results.json").read_text())) for name in ("plain", "few")]
    assert sizes[0] > sizes[1] == 4
    strict = scores(tmp_path / "plain", "eval.match_iou=0.9", "eval.inclusive_pixels=true")
    assert strict["mean_average_precision"] < plain["mean_average_precision"]


def test_resizing_can_be_changed(run: Path, pond: Pond, scores, tmp_path: Path) -> None:
    """Half of each side of a square image is left where it is cut around its centre to the network's 64 px."""
    scores(run, "data.resize=central_crop", "--out", tmp_path / "cut")
    boxes = [item["bbox"] for item in json.loads((tmp_path / "cut/coco_results.json").read_text())]
    (height, width) = read_ground_truth(pond.data, "test")[0].size
    edges = np.array([(left, top, left + wide, top + high) for left, top, wide, high in boxes])
    assert edges[:, 0].min() >= (width - 64) / 2 - 0.01
    assert edges[:, 2].max() <= (width + 64) / 2 + 0.01
    assert edges[:, 3].max() <= (height + 64) / 2 + 0.01


@pytest.mark.parametrize(
    ("more", "telling"),
    [
        (["train.seed=1"], "only eval.* and data.resize can be changed for an evaluation"),
        (["eval.keeep=1"], "did you mean 'keep'"),
        (["--split", "dev"], "the data has no split 'dev'"),
        (["--all"], "holds no checkpoints step-*.npz; give a run folder"),
        (["--out", "."], "exists already"),
    ],
)
def test_what_cannot_be_scored_is_one_clear_line(run: Path, evaluate: Eval, more: list[str], telling: str) -> None:
    code, out, err = evaluate(run / "checkpoints/last.npz", *more)
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert telling in err


@pytest.mark.parametrize(
    ("more", "telling"),
    [
        (["eval.keep=1"], "files of detections are scored by eval.match_iou, eval.inclusive_pixels, eval.metric only"),
        (["eval.match_iou"], "files of detections are scored by"),
        (["eval.match_iou=2"], "eval.match_iou: input should be less than or equal to 1, got 2"),
    ],
)
def test_what_cannot_be_changed_of_files_is_one_clear_line(evaluate: Eval, tmp_path: Path, more, telling: str) -> None:
    (tmp_path / "comp4_det_test_circle.txt").touch()
    code, _, err = evaluate(tmp_path, *more)
    assert (code, err.count("\n")) == (1, 1)
    assert telling in err


@pytest.mark.parametrize("option", [["--weights", "raw"], ["--all"], ["--out", "out"]])
def test_options_of_models_are_refused_of_files(evaluate: Eval, tmp_path: Path, option: list[str]) -> None:
    (tmp_path / "comp4_det_test_circle.txt").touch()
    code, _, err = evaluate(tmp_path, *option)
    assert code == 2
    assert f"{option[0]} is for a model." in err


@pytest.mark.parametrize(("name", "telling"), [("last.npz", "is a file"), ("lost.npz", "is named like a checkpoint")])
def test_a_checkpoint_is_not_watched(
    run: Path, evaluate: Eval, monkeypatch: pytest.MonkeyPatch, name: str, telling: str
) -> None:
    monkeypatch.setattr("os.nice", lambda by: by)
    monkeypatch.setattr("ssdcli.evaluate.command.limit_resources", lambda request: None)
    code, _, err = evaluate(run / "checkpoints" / name, "--watch")
    assert (code, err.count("\n")) == (1, 1)
    assert f"{name} {telling}; --watch wants the run folder of a training" in err


def test_options_of_files_are_refused_of_models(run: Path, evaluate: Eval) -> None:
    code, _, err = evaluate(run, "--annotations", "truth.json")
    assert code == 2
    assert "--annotations is for COCO's file of results." in err


@pytest.mark.slow
@pytest.mark.realdata
def test_real_images_score_alike_in_every_way(bccd: Path, plugins, tmp_path: Path, ssd_here: Eval) -> None:
    """A detector that learnt nothing, on BCCD: the model, its files, the devkit's rule and pycocotools agree."""
    from ssdcore.model import build_ssd
    from ssdcore.runs.checkpoint import save_checkpoint

    convert(read_labelled(bccd), tmp_path / "records")
    classes = Manifest.load(tmp_path / "records").classes
    params = plugins.param_sets["mobilenet025-ssd300"].override(["eval.score_threshold=0.0001"])
    save_checkpoint(tmp_path / "noise.npz", build_ssd(params, classes, plugins), params)

    def scores(source: Path, *more: object) -> Any:
        code, out, err = ssd_here("eval", source, "--data", tmp_path / "records", "--split", "test", "--json", *more)
        assert code == 0, err
        return json.loads(out)

    out = tmp_path / "out"
    result = scores(tmp_path / "noise.npz", "--out", out)
    assert len(json.loads((out / "coco_results.json").read_text())) > 1000
    assert result["mean_average_precision"] > 0
    assert result["average_precisions"] == pytest.approx(
        devkit_on(out, tmp_path / "records", "test", "voc07"), abs=1e-9
    )
    for source in (out, out / "coco_results.json"):
        assert scores(source)["average_precisions"] == result["average_precisions"]
    with redirect_stdout(io.StringIO()):
        truth = COCO(str(out / "coco_annotations.json"))
        official = COCOeval(truth, truth.loadRes(str(out / "coco_results.json")), "bbox")
        official.evaluate()
        official.accumulate()
        official.summarize()
    assert list(scores(out, "--metric", "coco")["coco"].values()) == official.stats.tolist()
