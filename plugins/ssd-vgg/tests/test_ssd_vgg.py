"""VGG-16 keeps the plugin contract and is the network of the paper."""

import numpy as np
import pytest
from ssd_vgg.checkpoints import caffe_fc6_kernel, fc6_kernel, fc7_kernel, fc_bias

from ssdcore.contract.plugins import load_plugins
from ssdcore.model import build_ssd
from ssdcore.testing import check_backbone

PLUGINS = load_plugins()
VOC_CLASSES = [str(number) for number in range(20)]


@pytest.mark.slow
def test_keeps_the_contract() -> None:
    check_backbone("vgg_16", PLUGINS)


def test_backbone_has_the_published_number_of_parameters() -> None:
    ssd = build_ssd(PLUGINS.param_sets["vgg16-ssd300"], VOC_CLASSES, PLUGINS)
    assert ssd.backbone.count_params() == 14_714_688


def test_ssd300_and_ssd512_for_voc_have_the_published_numbers_of_parameters() -> None:
    counts = [
        build_ssd(PLUGINS.param_sets[name], VOC_CLASSES, PLUGINS).network.count_params()
        for name in ("vgg16-ssd300", "vgg16-ssd512")
    ]
    assert counts == [26_285_486, 27_188_676]


def test_last_pooling_keeps_the_map_size() -> None:
    ssd = build_ssd(PLUGINS.param_sets["vgg16-ssd300"], VOC_CLASSES, PLUGINS)
    pool5 = ssd.backbone.get_layer("pool5")
    assert (pool5.pool_size, pool5.strides, pool5.output.shape[1:3]) == ((3, 3), (1, 1), (19, 19))


@pytest.mark.parametrize(
    ("name", "boxes", "squares"),
    [
        ("vgg16-ssd300", 8732, (30, 42.426407)),
        ("vgg16-ssd300-coco", 8732, (21, 30.740852)),
        ("vgg16-ssd512", 24564, (35, 51.575188)),
        ("vgg16-ssd512-coco", 24564, (20, 31.937439)),
        ("ssd-tensorflow-300", 8732, (21, 30.740852)),
        ("ssd-tensorflow-512", 24564, (20.48, 32.381699)),
        ("ssd-tensorflow-voc-300", 8732, (21, 30.740852)),
        ("modular-vgg16-ssd300", 8732, (21, 30.740852)),
        ("modular-vgg16-ssd512", 24564, (20.48, 32.381699)),
    ],
)
def test_default_boxes_of_the_named_models(name: str, boxes: int, squares: tuple[float, float]) -> None:
    """Number of boxes, and the sides, px, of the two squares of the finest layer: min and √(min · max)."""
    ssd = build_ssd(PLUGINS.param_sets[name], VOC_CLASSES, PLUGINS)
    assert len(ssd.default_boxes) == boxes
    size = ssd.model.image_size[0]
    sides = (ssd.default_boxes[:2, 2:] - ssd.default_boxes[:2, :2]) * size
    np.testing.assert_allclose(sides, [[squares[0]] * 2, [squares[1]] * 2], rtol=1e-5)


def test_fully_connected_layers_are_decimated_at_the_indices_of_the_paper() -> None:
    """Worked by hand: taps 0, 3, 6; outputs 0, 4, 8, …; fc7's inputs likewise."""
    inputs = np.arange(7 * 7 * 2 * 8).reshape(7, 7, 2, 8)
    taken = fc6_kernel(inputs)
    assert taken.shape == (3, 3, 2, 2)
    # (row 3, column 6, channel 1, output 4) is ((3 * 7 + 6) * 2 + 1) * 8 + 4.
    assert taken[1, 2, 1].tolist() == [440, 444]
    assert taken[0, 0, 0].tolist() == [0, 4]
    assert taken[2, 2, 1].tolist() == [((6 * 7 + 6) * 2 + 1) * 8, ((6 * 7 + 6) * 2 + 1) * 8 + 4]
    square = np.arange(4096 * 4096, dtype=np.int32).reshape(4096, 4096)
    assert fc7_kernel(square).shape == (1, 1, 1024, 1024)
    assert fc7_kernel(square)[0, 0, 2, 3] == 8 * 4096 + 12
    assert fc_bias(np.arange(4096))[[0, 1, 1023]].tolist() == [0, 4, 4092]


def test_caffes_fully_connected_fc6_counts_channels_first() -> None:
    """Caffe's input (channel 5, row 3, column 6) of 512 x 7 x 7, for output 8."""
    kernel = np.zeros((512 * 7 * 7, 4096), np.float32)
    kernel[5 * 49 + 3 * 7 + 6, 8] = 1
    taken = caffe_fc6_kernel(kernel)
    assert (taken.shape, np.argwhere(taken).tolist()) == ((3, 3, 512, 1024), [[1, 2, 5, 2]])


def test_layers_that_are_decimated_already_stay_as_they_are() -> None:
    fc6, fc7 = np.ones((3, 3, 512, 1024), np.float32), np.ones((1, 1, 1024, 1024), np.float32)
    assert fc6_kernel(fc6) is fc6
    assert fc7_kernel(fc7) is fc7
    assert fc_bias(np.ones(1024)).shape == (1024,)
