"""What a run keeps and reports: averages, accumulation, the loss, loss scale, early stops, events, traces."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from injected import wrap_steps
from small_runs import Pond, events

from ssdcore.data.records.manifest import Manifest
from ssdcore.data.records.record import decode, parse
from ssdcore.detection.detector import Detector, load_detector
from ssdcore.evaluation.evaluate import Evaluator
from ssdcore.evaluation.validation_loss import ValidationLoss
from ssdcore.model import build_ssd
from ssdcore.model.variables import named_variables
from ssdcore.params import Stage
from ssdcore.runs.checkpoint import AVERAGES_PREFIX, load_checkpoint, restore_model
from ssdcore.training import TrainingCallback, train
from ssdcore.training.metrics import NonFiniteError, StepMetrics
from ssdcore.training.optimizers import Update
from ssdcore.training.precision import FIRST_SCALE, GROWTH_STEPS, LossScale
from ssdcore.training.step import METRICS, make_step


def test_averages_follow_the_recurrence(pond: Pond, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """average += (1 - min(decay, (1 + n) / (10 + n))) * (weight - average), over both stages."""
    sequence: list[dict[str, Any]] = []

    def watched(step: Any, ssd: Any, _: Any) -> Any:
        found = named_variables(ssd)

        def watch(*batch: Any) -> Any:
            if not sequence:
                sequence.append({name: variable.numpy() for name, variable in found.items()})
            metrics = step(*batch)
            sequence.append({name: variable.numpy() for name, variable in found.items()})
            return metrics

        return watch

    wrap_steps(watched, monkeypatch.setattr)
    params = pond.params.override(["train.ema_decay=0.5"])
    train(params, pond.data, tmp_path / "run", pond.plugins)
    assert len(sequence) == 15
    averages = sequence[0]
    for number, weights in enumerate(sequence[1:]):
        kept = min(0.5, (1 + number) / (10 + number))
        averages = {name: value + (1 - kept) * (weights[name] - value) for name, value in averages.items()}
    last = load_checkpoint(tmp_path / "run/checkpoints/last.npz")
    for name, value in averages.items():
        np.testing.assert_allclose(last.arrays[f"averages/{name}"], value, rtol=1e-4, atol=1e-6, err_msg=name)
        np.testing.assert_array_equal(last.arrays[f"model/{name}"], sequence[-1][name], err_msg=name)
    assert any("moving_mean" in name for name in averages)


@pytest.fixture(scope="module")
def averaged(pond: Pond) -> Path:
    """A run whose averages are far from its weights."""
    params = pond.params.override(["train.ema_decay=0.99", "train.stages.0.learning_rate.learning_rate=0.05"])
    train(params, pond.data, pond.root / "averaged", pond.plugins)
    return pond.root / "averaged"


def test_a_checkpoint_detects_by_its_averages(pond: Pond, averaged: Path) -> None:
    path = averaged / "checkpoints/last.npz"
    checkpoint = load_checkpoint(path)
    ssd = build_ssd(checkpoint.params, checkpoint.classes, pond.plugins)
    image = str(pond.root / "voc/JPEGImages/00000.jpg")
    scores = {}
    for kind in ("averages/", "model/"):
        for name, variable in named_variables(ssd).items():
            variable.assign(checkpoint.arrays[kind + name])
        scores[kind] = Detector(ssd, checkpoint.params.eval)(image).scores
    found = load_detector(path, plugins=pond.plugins)(image).scores
    np.testing.assert_array_equal(found, scores["averages/"])
    assert len(found) > 10
    assert not np.array_equal(found, scores["model/"])


def test_scores_while_training_are_those_of_the_averages(pond: Pond, averaged: Path) -> None:
    """The last row's mAP is what the averages in the last checkpoint get, and not what the weights get."""
    checkpoint = load_checkpoint(averaged / "checkpoints/last.npz")
    ssd = restore_model(checkpoint, pond.plugins)
    score = Evaluator(ssd, pond.data, "test", checkpoint.params.eval).run().mean_average_precision
    with (averaged / "metrics.csv").open(newline="") as file:
        row = list(csv.DictReader(file))[-1]
    assert float(row["map"]) == score
    best = load_checkpoint(averaged / "checkpoints/best.npz")
    assert best.below(AVERAGES_PREFIX).keys() == checkpoint.below(AVERAGES_PREFIX).keys()


def bare(pond: Pond, *assignments: str) -> Any:
    """A detector without batch normalisation."""
    tf.keras.utils.set_random_seed(3)
    params = pond.params.override(["backbone=bare", "model.weight_decay=0.01", *assignments])
    return build_ssd(params, ("a", "b"), pond.plugins)


def validation_loss(ssd: Any, pond: Pond) -> ValidationLoss:
    return ValidationLoss(ssd, pond.params.train.loss, pond.data, "test", batch_size=3)


def random_batch(ssd: Any, size: int) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(5)
    count = len(ssd.default_boxes)
    labels = np.where(rng.random((size, count)) < 0.05, rng.integers(1, 3, (size, count)), 0)
    return (
        tf.constant(rng.uniform(0, 255, (size, *ssd.model.image_size, 3)), tf.float32),
        tf.constant(labels, tf.int32),
        tf.constant(rng.normal(size=(size, count, 4)), tf.float32),
    )


def one_step(pond: Pond, accumulate: int) -> tuple[dict[str, Any], dict[str, float]]:
    """Weights and metrics after a step over 32 images."""
    ssd = bare(pond)
    stage = Stage(name="only", steps=1)
    update = Update(stage, named_variables(ssd), 1, 1.0)
    step = make_step(ssd, pond.params.train, update, None, None, accumulate, tf.distribute.get_strategy())
    metrics = step(random_batch(ssd, 32), tf.zeros(3)).numpy()
    weights = {name: variable.numpy() for name, variable in named_variables(ssd).items()}
    return weights, dict(zip(METRICS, metrics, strict=True))


def test_a_batch_in_parts_is_the_same_step(pond: Pond) -> None:
    whole, metrics = one_step(pond, 1)
    parts, same = one_step(pond, 4)
    start = {name: variable.numpy() for name, variable in named_variables(bare(pond)).items()}
    for name, value in whole.items():
        assert not np.array_equal(value, start[name])
        np.testing.assert_allclose(parts[name] - start[name], value - start[name], rtol=2e-3, atol=1e-7, err_msg=name)
    assert same == pytest.approx(metrics, rel=1e-5)


def test_l2_in_the_loss_is_the_sum_by_hand(pond: Pond) -> None:
    """Half of the decay times the squares of all kernels; biases have none."""
    _, metrics = one_step(pond, 4)
    kernels = [v.numpy() for name, v in named_variables(bare(pond)).items() if name.endswith("kernel")]
    expected = 0.01 / 2 * sum(float((kernel.astype(np.float64) ** 2).sum()) for kernel in kernels)
    assert metrics["l2_loss"] == pytest.approx(expected, rel=1e-5)
    assert metrics["loss"] == pytest.approx(metrics["class_loss"] + metrics["box_loss"] + expected, rel=1e-5)


def adapted(scale: LossScale, finite: bool, loss: float = 1.0) -> tuple[bool, float, float]:
    non_finite, norm = scale.adapt(tf.constant(finite), tf.constant(7.0 if finite else np.inf), tf.constant(loss))
    return bool(non_finite), float(norm), float(scale.value)


def test_the_loss_scale_falls_at_once_and_rises_slowly() -> None:
    scale = LossScale()
    assert float(scale.value) == FIRST_SCALE == 32768
    assert adapted(scale, False) == (False, 0.0, 16384)
    assert adapted(scale, False) == (False, 0.0, 8192)
    for _ in range(GROWTH_STEPS - 1):
        found = adapted(scale, True)
    assert found == (False, 7.0, 8192)
    assert adapted(scale, True) == (False, 7.0, 16384)
    assert adapted(scale, True) == (False, 7.0, 16384)


def test_what_no_loss_scale_helps_is_non_finite() -> None:
    scale = LossScale()
    assert adapted(scale, False, loss=np.nan)[0]
    while float(scale.value) > 1:
        assert not adapted(scale, False)[0]
    assert adapted(scale, False) == (True, np.inf, 1.0)


@pytest.mark.slow
def test_the_focal_loss_begins_with_background(pond: Pond, tmp_path: Path) -> None:
    """Lin et al. with a softmax of three classes: 0.99 for background, ln(0.99 * 3 / 0.01) = ln 297, the others 0."""
    found = {}
    for name in ("focal", "mined"):
        more = ["train.loss.focal={}"] if name == "focal" else []
        train(pond.params.override(["train.keep=20", *more]), pond.data, tmp_path / name, pond.plugins)
        weights = load_checkpoint(tmp_path / name / "checkpoints/step-00000000.npz").below("model/")
        found[name] = {key: value for key, value in weights.items() if key.endswith("_logits/bias")}
    assert len(found["focal"]) == 2
    for bias in found["focal"].values():
        each = bias.reshape(-1, 4)
        np.testing.assert_allclose(each, [[np.log(297), 0, 0, 0]] * len(each), rtol=1e-6)
        np.testing.assert_allclose(np.exp(each).sum(1) ** -1 * np.exp(each[:, 0]), 0.99, rtol=1e-6)
    assert not any(bias.any() for bias in found["mined"].values())


def test_an_overflow_in_half_precision_is_skipped(pond: Pond) -> None:
    """At a scale of 2^60 the gradients of half-precision outputs overflow; weights stay, the scale halves."""
    tf.keras.utils.set_random_seed(3)
    params = pond.params.override(["backbone=bare"])
    ssd = build_ssd(params, ("a", "b"), pond.plugins, "mixed_float16")
    update, scale = Update(Stage(name="only", steps=9), named_variables(ssd), 9, 1.0), LossScale()
    scale.state["scale"].assign(2.0**60)
    step = make_step(ssd, params.train, update, None, scale, 1, tf.distribute.get_strategy())
    before = {name: variable.numpy() for name, variable in named_variables(ssd).items()}
    metrics = dict(zip(METRICS, step(random_batch(ssd, 2), tf.zeros(3)).numpy(), strict=True))
    assert (metrics["non_finite"], metrics["gradient_norm"], float(scale.value)) == (0.0, 0.0, 2.0**59)
    for name, variable in named_variables(ssd).items():
        np.testing.assert_array_equal(variable.numpy(), before[name], err_msg=name)
    scale.state["scale"].assign(2.0**5)
    metrics = dict(zip(METRICS, step(random_batch(ssd, 2), tf.zeros(3)).numpy(), strict=True))
    assert metrics["non_finite"] == 0.0
    assert 0 < metrics["gradient_norm"] < np.inf
    assert any(not np.array_equal(v.numpy(), before[name]) for name, v in named_variables(ssd).items())


def test_an_early_stop_ends_a_stage_and_keeps_its_rows(pond: Pond, tmp_path: Path, monkeypatch: Any) -> None:
    """All weights score 0.5, so the first evaluation is the best; two more end the stage."""
    from ssdcore.training.scoring import Score

    monkeypatch.setattr(Score, "value", property(lambda self: 0.5))
    stages = "[{name: first, epochs: 9, batch_size: 4}, {name: second, steps: 1, batch_size: 4}]"
    params = pond.params.override([f"train.stages={stages}", "train.early_stop=2", "train.log_every=4"])
    train(params, pond.data, tmp_path / "run", pond.plugins)
    with (tmp_path / "run/metrics.csv").open(newline="") as file:
        found = [(row["step"], row["stage"], row["loss"] != "") for row in csv.DictReader(file)]
    assert found == [
        ("2", "first", False),
        ("4", "first", True),
        ("4", "first", False),
        ("6", "first", False),
        ("7", "first", True),
        ("8", "second", True),
        ("8", "second", False),
    ]
    assert load_checkpoint(tmp_path / "run/checkpoints/best.npz").progress["step"] == 2


def test_the_latest_checkpoints_are_kept(pond: Pond, tmp_path: Path) -> None:
    train(pond.params.override(["train.keep=2"]), pond.data, tmp_path / "run", pond.plugins)
    folder = tmp_path / "run/checkpoints"
    assert {path.name for path in folder.iterdir()} == {
        "best.npz",
        "last.npz",
        "step-00000013.npz",
        "step-00000014.npz",
    }
    assert folder.joinpath("last.npz").read_bytes() == folder.joinpath("step-00000014.npz").read_bytes()


def softmax_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return -np.take_along_axis(logs, labels[..., None], -1)[..., 0]


def iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(-1)
    areas = [(b[:, 2:] - b[:, :2]).prod(-1) for b in (boxes, others)]
    return common / (areas[0][:, None] + areas[1][None] - common)


def matched(default: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The object of each default box, -1 for background: the best of each object, then all above one half."""
    overlap = iou(default, boxes)
    found = np.where(overlap.max(1) > 0.5, overlap.argmax(1), -1)
    left = overlap.copy()
    for _ in range(len(boxes)):
        box, thing = np.unravel_index(left.argmax(), left.shape)
        found[box] = thing
        left[box, :], left[:, thing] = -1, -1
    return found


def offsets_of(boxes: np.ndarray, default: np.ndarray) -> np.ndarray:
    centre, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    own, side = (default[:, :2] + default[:, 2:]) / 2, default[:, 2:] - default[:, :2]
    return np.concatenate([(centre - own) / side / 0.1, np.log(size / side) / 0.2], 1)


def test_the_loss_of_an_evaluation_is_the_sum_by_hand(pond: Pond) -> None:
    """Over the four images of the test split: softmax on positives and three times as many of the worst
    negatives of each image, smooth L1 on offsets, divided by all positives."""
    params = pond.params.override(["train.monitor=loss", "eval.batch_size=3"])
    ssd = build_ssd(params, Manifest.load(pond.data).classes, pond.plugins)
    default = np.asarray(ssd.default_boxes)
    total = positives = 0.0
    (shard,) = pond.data.glob("test*")
    for serialized in tf.data.TFRecordDataset(str(shard)):
        record = parse(serialized)
        image = tf.image.resize(tf.cast(decode(record["image"]), tf.float32), (64, 64), antialias=False)
        outputs = ssd.network(image[None], training=False)
        logits, offsets = outputs["logits"].numpy()[0], outputs["offsets"].numpy()[0]
        things = matched(default, record["boxes"].numpy())
        positive = things >= 0
        labels = np.where(positive, record["labels"].numpy()[things], 0)
        losses = softmax_losses(logits, labels)
        negatives = np.sort(losses[~positive])[::-1][: 3 * positive.sum()]
        apart = np.abs(offsets - offsets_of(record["boxes"].numpy()[things], default))[positive]
        boxes = np.where(apart < 1, apart**2 / 2, apart - 0.5).sum()
        total, positives = total + losses[positive].sum() + negatives.sum() + boxes, positives + positive.sum()
    seen: list[tuple[int, int]] = []
    found = validation_loss(ssd, pond).mean(lambda done, of: seen.append((done, of)))
    assert found == pytest.approx(total / positives, rel=1e-4)
    assert seen == [(3, 4), (4, 4)]


@pytest.mark.slow
def test_the_best_checkpoint_may_be_that_of_least_loss(pond: Pond, tmp_path: Path) -> None:
    told: list[tuple[int, bool]] = []

    class Callback(TrainingCallback):
        def on_evaluation(self, step: int, evaluation: Any, is_best: bool) -> None:
            told.append((step, is_best))

    train(pond.params.override(["train.monitor=loss"]), pond.data, tmp_path / "run", pond.plugins, callback=Callback())
    with (tmp_path / "run/metrics.csv").open(newline="") as file:
        losses = [float(row["eval_loss"]) for row in csv.DictReader(file) if row["eval_loss"]]
    assert [best for _, best in told] == [loss < min([np.inf, *losses[:n]]) for n, loss in enumerate(losses)]
    best = load_checkpoint(tmp_path / "run/checkpoints/best.npz")
    assert best.progress["best"] == pytest.approx(min(losses), rel=1e-6)
    assert best.progress["step"] == told[int(np.argmin(losses))][0]
    ssd = restore_model(best, pond.plugins)
    assert validation_loss(ssd, pond).mean(lambda *_: None) == pytest.approx(min(losses), rel=1e-5)


def test_images_and_histograms_are_among_the_events(pond: Pond, tmp_path: Path) -> None:
    params = pond.params.override(["train.augmentation_images=2", "train.histograms=true", "train.ema_decay=null"])
    train(params, pond.data, tmp_path / "run", pond.plugins)
    found = {(step, name) for step, name, _ in events(tmp_path / "run")}
    assert {step for step, name in found if name == "1 original"} == {0, 6}
    assert {step for step, name in found if name == "pond/stage1/kernel"} == {4, 6, 10, 14}


@pytest.mark.slow
def test_a_profile_is_a_trace(pond: Pond, tmp_path: Path) -> None:
    params = pond.params.override(["train.stages.1.steps=15", "train.eval_every=0"])
    train(params, pond.data, tmp_path / "run", pond.plugins, profile=True)
    (trace,) = (tmp_path / "run/events").rglob("*.xplane.pb")
    assert trace.stat().st_size > 1000


def test_no_time_outside_of_steps_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four steps of 0.5 s over 2 images, each waiting 0.1 s; the first, compiled, and 9 s between are left out."""
    clock = [0.0]
    monkeypatch.setattr("ssdcore.training.metrics.time.perf_counter", lambda: clock[0])
    metrics = StepMetrics()
    for number in range(5):
        with metrics.timed(2):
            with metrics.waiting():
                clock[0] += 0.1
            clock[0] += 0.4
        if number == 0:
            metrics.restart_timing()
        metrics.add(np.full(len(METRICS), number, np.float32) * [name != "non_finite" for name in METRICS])
        clock[0] += 9
    metrics.check_finite()
    row = metrics.take()
    assert (row["loss"], row["images_per_second"], row["data_wait"]) == (2.0, 4.0, 0.2)
    assert metrics.values().shape == (0, len(METRICS))


def test_the_first_non_finite_step_is_reported() -> None:
    metrics = StepMetrics(np.zeros((2, len(METRICS)), np.float32))
    for number in range(5):
        metrics.add(np.array([name == "non_finite" and number in (1, 3) for name in METRICS], np.float32))
    with pytest.raises(NonFiniteError) as error:
        metrics.check_finite()
    assert error.value.steps_ago == 4
