"""A head for some classes becomes a head for others, channel by channel."""

from pathlib import Path

import numpy as np
import pytest

from ssdcore.contract.plugins import Plugins
from ssdcore.errors import CheckpointError, ParamError
from ssdcore.model import SSD, build_ssd
from ssdcore.model.variables import named_variables
from ssdcore.params import Weights
from ssdcore.params.class_names import COCO, PASCAL_VOC
from ssdcore.runs.checkpoint import save_checkpoint
from ssdcore.weights import import_weights, load_weights
from ssdcore.weights.classes import move_channels, name_classes, transfer_classes

# COCO's label of each class of Pascal VOC, from the Caffe project's coco_voc_map.txt.
COCO_LABELS = (5, 2, 15, 9, 40, 6, 3, 16, 57, 20, 61, 17, 18, 4, 1, 59, 19, 58, 7, 63)


def test_every_class_of_voc_is_found_in_coco() -> None:
    transfer = transfer_classes(COCO, PASCAL_VOC)
    assert transfer.indices == (0, *COCO_LABELS)
    assert (transfer.kept, transfer.new, len(transfer.dropped)) == (PASCAL_VOC, (), 60)


def test_channels_move_by_name() -> None:
    """Two boxes, file classes (background, a, b), ours (background, c, b): c keeps its start."""
    transfer = transfer_classes(["a", "b"], ["c", "B"])
    given = np.array([10, 11, 12, 20, 21, 22])
    initial = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert move_channels(given, initial, transfer).tolist() == [10, 0.2, 12, 20, 0.5, 22]
    assert (transfer.kept, transfer.new, transfer.dropped) == (("B",), ("c",), ("a",))


@pytest.mark.parametrize(
    ("count", "stated", "carried", "here", "expected"),
    [
        (20, None, None, ["x"], PASCAL_VOC),
        (80, None, None, ["x"], COCO),
        (2, None, ("cat", "dog"), ["x"], ("cat", "dog")),
        (2, ["p", "q"], ("cat", "dog"), ["x"], ["p", "q"]),
        (2, None, None, ["r", "s"], ["r", "s"]),
        (20, None, None, ["person"] + ["x"] * 19, PASCAL_VOC),
    ],
)
def test_where_the_names_of_a_files_classes_come_from(count, stated, carried, here, expected) -> None:
    assert name_classes(count, stated, carried, here) == expected


@pytest.mark.parametrize(
    ("count", "stated", "here", "message"),
    [
        (20, ["a", "b"], ["a"], "predict 20 classes, but 2 names"),
        (31, None, ["a"], "31 classes that it does not name"),
        (20, None, [f"own{i}" for i in range(20)], "20 classes that it does not name"),
    ],
)
def test_wrong_or_unknown_number_of_classes(count, stated, here, message) -> None:
    with pytest.raises(CheckpointError, match=message):
        name_classes(count, stated, None, here)


@pytest.fixture(scope="module")
def coco(plugins: Plugins, tmp_path_factory: pytest.TempPathFactory) -> tuple[SSD, Path]:
    """A detector of the 80 classes of COCO, and its checkpoint."""
    params = plugins.param_sets["mobilenet025-ssd300"]
    ssd = build_ssd(params, COCO, plugins)
    for variable in ssd.network.variables:
        variable.assign(np.random.default_rng(7).normal(1, 0.1, variable.shape))
    path = tmp_path_factory.mktemp("coco") / "coco.npz"
    save_checkpoint(path, ssd, params)
    return ssd, path


def test_a_coco_detector_becomes_one_for_other_classes(coco, plugins: Plugins) -> None:
    source, path = coco
    ssd = build_ssd(plugins.param_sets["mobilenet025-ssd300"], ["tvmonitor", "platelet", "Person"], plugins)
    start = {name: variable.numpy() for name, variable in named_variables(ssd).items()}
    report = load_weights(ssd, plugins, Weights(file=str(path)))
    assert (report.skipped, report.missing, report.unused) == ((), (), ())
    assert (report.classes.kept, report.classes.new) == (("tvmonitor", "Person"), ("platelet",))
    assert len(report.classes.dropped) == 78
    assert "classes: 2 kept, 1 new, 78 dropped" in report.summary()
    before = named_variables(source)
    for name, variable in named_variables(ssd).items():
        if not name.endswith(("logits/kernel", "logits/bias")):
            np.testing.assert_array_equal(variable, before[name], err_msg=name)
            continue
        ours, theirs, first = (np.asarray(one) for one in (variable, before[name], start[name]))
        boxes = ours.shape[-1] // 4
        for box in range(boxes):
            # Ours: background, tvmonitor, platelet, Person. COCO: tv is 63, person 1.
            expected = [theirs[..., box * 81], theirs[..., box * 81 + 63], first[..., box * 4 + 2]]
            expected.append(theirs[..., box * 81 + 1])
            np.testing.assert_array_equal(ours[..., box * 4 : box * 4 + 4], np.stack(expected, axis=-1), err_msg=name)


def test_predictions_of_kept_classes_do_not_change(coco, plugins: Plugins) -> None:
    source, path = coco
    ssd, _ = import_weights(plugins.param_sets["mobilenet025-ssd300"], plugins, Weights(file=str(path)), ["dog", "cat"])
    images = np.random.default_rng(0).uniform(0, 255, (1, 300, 300, 3)).astype(np.float32)
    ours, theirs = ssd.network(images, training=False), source.network(images, training=False)
    expected = np.asarray(theirs["logits"])[..., [0, 17, 16]]
    np.testing.assert_allclose(ours["logits"], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ours["offsets"], theirs["offsets"], rtol=1e-4, atol=1e-4)


def test_without_classes_the_files_own_are_taken(coco, plugins: Plugins) -> None:
    ssd, report = import_weights(plugins.param_sets["mobilenet025-ssd300"], plugins, Weights(file=str(coco[1])))
    assert ssd.classes == COCO
    assert "classes" not in report.summary()


def test_a_wrong_number_of_stated_classes_changes_nothing(coco, plugins: Plugins) -> None:
    ssd = build_ssd(plugins.param_sets["mobilenet025-ssd300"], ["a"], plugins)
    before = [variable.numpy() for variable in ssd.network.variables]
    with pytest.raises(CheckpointError, match="80 classes, but 2 names"):
        load_weights(ssd, plugins, Weights(file=str(coco[1]), classes=("a", "b")))
    for values, variable in zip(before, ssd.network.variables, strict=True):
        np.testing.assert_array_equal(values, variable)


def test_scopes_choose_what_is_loaded(coco, plugins: Plugins) -> None:
    ssd = build_ssd(plugins.param_sets["mobilenet025-ssd300"], ["a"], plugins)
    weights = Weights(
        file=str(coco[1]),
        include=("mobilenet_v1_025/Conv2d_1_", "block"),
        exclude=("block11", "mobilenet_v1_025/Conv2d_1_p"),
    )
    report = load_weights(ssd, plugins, weights)
    layers = {name.split("/")[0 if name.startswith("block") else 1] for name in report.matched}
    assert {"Conv2d_1_depthwise", "Conv2d_1_depthwise_bn", "block9_conv1", "block10_logits"} <= layers
    assert not {name for name in layers if name.startswith(("block11", "Conv2d_1_p", "Conv2d_2"))}
    assert ssd.classes == ("a",)


def test_a_scope_that_names_nothing_is_refused(coco, plugins: Plugins) -> None:
    ssd = build_ssd(plugins.param_sets["mobilenet025-ssd300"], ["a"], plugins)
    with pytest.raises(ParamError, match=r"name starts with 'conv7'; layers: mobilenet_v1_025/, block9_conv1"):
        load_weights(ssd, plugins, Weights(file=str(coco[1]), exclude=("conv7",)))


def test_a_head_of_another_shape_is_skipped_and_not_stretched(coco, plugins: Plugins) -> None:
    """The 3x3 heads of the file do not fit 1x1 heads, though NumPy could broadcast one into the other."""
    params = plugins.param_sets["mobilenet025-ssd300"].override(["model.head=conv1x1"])
    report = load_weights(build_ssd(params, ["dog"], plugins), plugins, Weights(file=str(coco[1])))
    kernels = [name for name, _ in report.skipped]
    assert len([name for name in kernels if name.endswith("logits/kernel")]) == 6
    assert len([name for name in kernels if name.endswith("offsets/kernel")]) == 6


def test_nothing_left_to_load_is_an_error(coco, plugins: Plugins) -> None:
    with pytest.raises(CheckpointError, match="leave no variable to load"):
        load_weights(
            build_ssd(plugins.param_sets["mobilenet025-ssd300"], ["a"], plugins),
            plugins,
            Weights(file=str(coco[1]), include=()),
        )
