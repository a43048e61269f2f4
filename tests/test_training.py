"""Training: rates and updates against closed forms, stages, logs and resuming."""

import csv
import signal
from pathlib import Path

import keras
import numpy as np
import pytest
from ssdcli.advice import with_advice

from ssdcore.contract.plugins import Plugins
from ssdcore.data.convert import choose_splits, convert
from ssdcore.data.formats import read_labelled
from ssdcore.data.synth import synthesize
from ssdcore.errors import CheckpointError, DataError, ParamError, TrainingError
from ssdcore.evaluation import Evaluation
from ssdcore.model import build_ssd
from ssdcore.model.variables import named_variables
from ssdcore.params import ParamSet, Stage
from ssdcore.runs.checkpoint import load_checkpoint, save_checkpoint
from ssdcore.training import TrainingCallback, train
from ssdcore.training.state import ends_epochs, stage_steps

TINY = [
    "augment.crop=null",
    "train.log_every=2",
    "train.eval_every=0",
    "data.parallel_calls=1",
    "train.stages=[{name: ssd-layers, trainable: ssd, steps: 3, batch_size: 2},"
    " {name: everything, steps: 4, batch_size: 2, optimizer: {kind: adam}}]",
]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("training")
    synthesize(root / "voc", 8, 4, seed=1)
    convert(read_labelled(root / "voc"), root / "records")
    return root / "records"


@pytest.fixture(scope="module")
def tiny(plugins: Plugins, tmp_path_factory: pytest.TempPathFactory) -> ParamSet:
    """Seven steps in two stages on quarter-width MobileNet, from some weights since the first stage keeps them."""
    params = plugins.param_sets["mobilenet025-ssd300"].override(TINY)
    keras.utils.set_random_seed(4)
    start = tmp_path_factory.mktemp("start") / "start.npz"
    save_checkpoint(start, build_ssd(params, ("any",), plugins), params)
    return params.override([f"train.weights.file={start}", "train.weights.include=[mobilenet_v1_025/]"])


def test_lengths_of_stages() -> None:
    assert stage_steps(Stage(name="a", epochs=2.5, batch_size=4), 10) == 7
    assert stage_steps(Stage(name="a", steps=9), 10) == 9


def test_evaluations_follow_whole_passes_whatever_the_batch() -> None:
    """Steps of 4 over 10 images end passes 1, 2, 3, 4 at 12, 20, 32, 40 images."""
    stage = Stage(name="a", epochs=4, batch_size=4)
    assert [step for step in range(1, 11) if ends_epochs(stage, step, 10, 1)] == [3, 5, 8, 10]
    assert [step for step in range(1, 11) if ends_epochs(stage, step, 10, 2)] == [5, 10]


def weights(path: Path) -> dict[str, np.ndarray]:
    return dict(load_checkpoint(path).arrays)


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(tiny: ParamSet, shapes: Path, plugins: Plugins, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an undisturbed run."""
    run = tmp_path_factory.mktemp("finished") / "run"
    train(tiny, shapes, run, plugins)
    return run


def test_a_run_leaves_what_is_needed_to_repeat_it(finished: Path, tiny: ParamSet) -> None:
    assert ParamSet.load(finished / "params.yaml") == tiny.override(["data.train_split=trainval"])
    assert (finished / "classes.json").read_text() == '["circle", "square", "triangle"]\n'
    assert list((finished / "events").iterdir())


def test_metrics_have_a_row_per_window_and_stage_end(finished: Path) -> None:
    found = rows(finished)
    assert [int(row["step"]) for row in found] == [2, 3, 5, 7]
    assert [row["stage"] for row in found] == ["ssd-layers"] * 2 + ["everything"] * 2
    for row in found:
        total = sum(float(row[name]) for name in ("class_loss", "box_loss", "l2_loss"))
        assert float(row["loss"]) == pytest.approx(total, rel=1e-5)
        assert float(row["negatives"]) == pytest.approx(3 * float(row["positives"]), rel=1e-5)


@pytest.mark.slow
def test_the_first_stage_leaves_the_backbone_alone(
    tiny: ParamSet, shapes: Path, plugins: Plugins, tmp_path: Path
) -> None:
    start = load_checkpoint(Path(tiny.train.weights.file or "")).arrays
    only_first = tiny.override(["train.stages=[{name: ssd-layers, trainable: ssd, steps: 2, batch_size: 2}]"])
    end = {k: v.numpy() for k, v in named_variables(train(only_first, shapes, tmp_path / "run", plugins)).items()}
    changed = {name.split("/")[0] for name in end if not np.array_equal(start[f"model/{name}"], end[name])}
    assert "mobilenet_v1_025" not in changed
    assert {"block9_conv1_bn", "block9_logits"} <= changed


class Stop(TrainingCallback):
    """Sends this process what Ctrl-C sends, after some steps."""

    def __init__(self, after: int) -> None:
        self.left = after

    def on_step(self, done: int, total: int) -> None:
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_weights(
    finished: Path, tiny: ParamSet, shapes: Path, plugins: Plugins, tmp_path: Path
) -> None:
    """Interrupted in the second stage; `test_survival.py` ends a smaller network at every other place."""
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(tiny, shapes, run, plugins, callback=Stop(4))
    assert load_checkpoint(run / "checkpoints/last.npz").progress["step"] == 4
    train(tiny, shapes, run, plugins, resume=True)
    expected, found = weights(finished / "checkpoints/last.npz"), weights(run / "checkpoints/last.npz")
    assert expected.keys() == found.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    steps = [int(row["step"]) for row in rows(run)]
    assert steps == sorted(set(steps))
    assert steps[-1] == 7


def test_a_used_folder_needs_resume(finished: Path, tiny: ParamSet, shapes: Path, plugins: Plugins) -> None:
    with pytest.raises(TrainingError, match=r"is in use$") as error:
        train(tiny, shapes, finished, plugins)
    assert with_advice(error.value).endswith("; give --resume to continue that run, or another --out")


def test_resume_refuses_other_parameters(finished: Path, tiny: ParamSet, shapes: Path, plugins: Plugins) -> None:
    with pytest.raises(TrainingError, match=r"train\.clip_norm was 10.0, now 5.0"):
        train(tiny.override(["train.clip_norm=5"]), shapes, finished, plugins, resume=True)


def test_resume_refuses_other_classes(
    finished: Path, tiny: ParamSet, shapes: Path, plugins: Plugins, tmp_path: Path
) -> None:
    convert(read_labelled(shapes.parent / "voc"), tmp_path / "other", classes=["triangle", "square", "circle"])
    with pytest.raises(CheckpointError, match="knows the classes circle, square, triangle"):
        train(tiny, tmp_path / "other", finished, plugins, resume=True)


def test_resume_needs_a_run(tiny: ParamSet, shapes: Path, plugins: Plugins, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        train(tiny, shapes, tmp_path, plugins, resume=True)


@pytest.mark.parametrize(
    ("override", "error", "says"),
    [
        ("data.train_split=trian", DataError, "no split 'trian'"),
        ("train.stages.0.trainable=[blokc]", ParamError, "no layer's name starts with 'blokc'"),
        ("train.weights=nowhere.h5", CheckpointError, "no weights file"),
        pytest.param(
            "train.stages.0.learning_rate.learning_rate=1e30",
            TrainingError,
            r"not finite at step 2, .* lower train\.stages",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_cannot_work_says_why(
    override: str, error: type, says: str, tiny: ParamSet, shapes: Path, plugins: Plugins, tmp_path: Path
) -> None:
    with pytest.raises(error, match=says):
        train(tiny.override([override]), shapes, tmp_path / "run", plugins)


class Scores(TrainingCallback):
    def __init__(self) -> None:
        self.seen: list[tuple[int, bool]] = []

    def on_evaluation(self, step: int, evaluation: Evaluation, is_best: bool) -> None:
        assert evaluation.images == 4
        self.seen.append((step, is_best))


def test_evaluation_every_n_epochs_keeps_the_best(
    tiny: ParamSet, shapes: Path, plugins: Plugins, tmp_path: Path
) -> None:
    stages = "train.stages=[{name: only, epochs: 3, batch_size: 4}]"
    scores = Scores()
    train(tiny.override([stages, "train.eval_every=1"]), shapes, tmp_path / "run", plugins, callback=scores)
    assert [step for step, _ in scores.seen] == [2, 4, 6]
    best = [step for step, is_best in scores.seen if is_best][-1]
    assert load_checkpoint(tmp_path / "run/checkpoints/best.npz").progress["step"] == best
    assert [row["map"] != "" for row in rows(tmp_path / "run")].count(True) == 3


def test_damaged_checkpoints_are_refused(finished: Path, tmp_path: Path) -> None:
    whole = (finished / "checkpoints/last.npz").read_bytes()
    for number, content in enumerate((b"", whole[:1000], whole[: len(whole) // 2], b"text", whole[:-100])):
        path = tmp_path / f"{number}.npz"
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="damaged or no checkpoint"):
            load_checkpoint(path)


def test_a_pickle_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    np.savez(tmp_path / "bomb.npz", **{"meta.json": np.array([Bomb()], dtype=object)})
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "bomb.npz")
    assert not (tmp_path / "exploded").exists()


def test_a_failed_start_leaves_no_run_folder(tiny: ParamSet, shapes: Path, plugins: Plugins, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        train(tiny.override(["train.weights=nowhere.h5"]), shapes, tmp_path / "run", plugins)
    assert not (tmp_path / "run").exists()


def test_resume_refuses_another_number_of_images(
    finished: Path, tiny: ParamSet, shapes: Path, plugins: Plugins, tmp_path: Path
) -> None:
    source = shapes.parent / "voc"
    names = (source / "ImageSets/Main/trainval.txt").read_text().split()
    (source / "ImageSets/Main/few.txt").write_text("\n".join(names[:4]))
    convert(choose_splits(read_labelled(source), ["few"]), tmp_path / "few")
    manifest = (tmp_path / "few/manifest.json").read_text().replace('"few":', '"trainval":')
    (tmp_path / "few/manifest.json").write_text(manifest)
    with pytest.raises(TrainingError, match=r"started on 8 images, .* has 4"):
        train(tiny, tmp_path / "few", finished, plugins, resume=True)


def test_a_fixed_backbone_of_random_weights_is_refused(shapes: Path, plugins: Plugins, tmp_path: Path) -> None:
    params = plugins.param_sets["vgg16-ssd300"]
    with pytest.raises(TrainingError, match=r"'ssd-layers'.*random weights; give .*train.weights=FILE"):
        train(params, shapes, tmp_path / "run", plugins)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_training_starts_from_the_classes_of_another_detector(
    tiny: ParamSet, shapes: Path, plugins: Plugins, tmp_path: Path
) -> None:
    """A detector for two other classes and one of ours is reported to the callback and kept where names agree."""
    classes = ("moon", "square", "sun")
    donor = build_ssd(tiny, classes, plugins)
    save_checkpoint(tmp_path / "donor.npz", donor, tiny)
    reports = []

    class Callback(TrainingCallback):
        def on_weights(self, report):
            reports.append(report)

    one_step = [
        "train.stages=[{name: only, steps: 1, batch_size: 2, learning_rate: {kind: fixed, learning_rate: 1e-9}}]"
    ]
    start = [f"train.weights={tmp_path / 'donor.npz'}"]
    ssd = train(tiny.override(one_step + start), shapes, tmp_path / "run", plugins, callback=Callback())
    (report,) = reports
    assert (report.missing, report.skipped, report.classes.kept) == ((), (), ("square",))
    ours = ssd.network.get_layer("block9_logits").bias.numpy().reshape(-1, len(ssd.classes) + 1)
    theirs = donor.network.get_layer("block9_logits").bias.numpy().reshape(-1, 4)
    index = ssd.classes.index("square") + 1
    np.testing.assert_allclose(ours[:, [0, index]], theirs[:, [0, 2]], atol=1e-6)
    kernel = "block9_conv1"
    np.testing.assert_allclose(
        ssd.network.get_layer(kernel).kernel, donor.network.get_layer(kernel).kernel, rtol=0, atol=1e-6
    )


def test_a_fixed_backbone_that_the_file_does_not_fill_is_refused(
    tiny: ParamSet, shapes: Path, plugins: Plugins, tmp_path: Path
) -> None:
    params = tiny.override(["train.weights.include=null", "train.weights.exclude=[mobilenet_v1_025/Conv2d_3_]"])
    with pytest.raises(TrainingError, match=r"'ssd-layers'.*random weights"):
        train(params, shapes, tmp_path / "run", plugins)


@pytest.mark.slow
def test_default_boxes_that_miss_the_objects_are_warned_of(
    tiny: ParamSet, shapes: Path, plugins: Plugins, tmp_path: Path
) -> None:
    """Boxes of 2 to 8 px for shapes of 30 px and more; with the set's own boxes nothing is said."""
    warnings = []

    class Callback(TrainingCallback):
        def on_warning(self, warning):
            warnings.append(warning)

    step = ["train.stages=[{name: only, steps: 1, batch_size: 2}]", "train.weights=null"]
    boxes = ["model.default_boxes.min_sizes=[2,3,4,5,6,7]", "model.default_boxes.max_sizes=[3,4,5,6,7,8]"]
    train(tiny.override(step), shapes, tmp_path / "good", plugins, callback=Callback())
    assert warnings == []
    train(tiny.override(step + boxes), shapes, tmp_path / "bad", plugins, callback=Callback())
    (warning,) = warnings
    assert "overlap only 0.0% of the ground-truth boxes by 0.5" in str(warning)
    assert (warning.reason, warning.facts) == ("low_recall", {"data": shapes})
