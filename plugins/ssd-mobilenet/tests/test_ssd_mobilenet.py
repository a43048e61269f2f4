"""MobileNet v1 keeps the plugin contract in both geometries and at all widths."""

import keras
import pytest
from ssd_mobilenet.checkpoints import keras_names

from ssdcore.contract.plugins import load_plugins
from ssdcore.model.ssd import build_base_net, build_ssd
from ssdcore.testing import check_backbone

PLUGINS = load_plugins()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v1_025", "mobilenet_v1_stride1_025"])
def test_keeps_the_contract(name: str) -> None:
    check_backbone(name, PLUGINS)


@pytest.mark.parametrize(("suffix", "alpha"), [("", 1.0), ("_075", 0.75), ("_050", 0.5), ("_025", 0.25)])
def test_each_width_has_the_parameters_of_keras_applications(suffix: str, alpha: float) -> None:
    params = PLUGINS.param_sets["mobilenet-ssd300-1917"]
    net = build_base_net(PLUGINS.backbones["mobilenet_v1" + suffix], params, ["Conv2d_13_pointwise"])
    reference = keras.applications.MobileNet((224, 224, 3), alpha=alpha, include_top=False, weights=None)
    assert net.count_params() == reference.count_params()


def test_the_1917_box_model_has_its_feature_maps_and_boxes() -> None:
    ssd = build_ssd(PLUGINS.param_sets["mobilenet-ssd300-1917"], ["one"], PLUGINS)
    assert [size for _, size in ssd.feature_maps] == [(n, n) for n in (19, 10, 5, 3, 2, 1)]
    assert len(ssd.default_boxes) == 1917


def test_arg_scope_is_tf_slims() -> None:
    scope = PLUGINS.backbones["mobilenet_v1"].arg_scope(weight_decay=0.1, data_format="channels_last")
    assert (scope.activation, scope.norm.momentum, scope.norm.epsilon) == ("relu6", 0.9997, 1e-3)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("Conv2d_0/kernel", "conv1/kernel"),
        ("Conv2d_0_bn/moving_mean", "conv1_bn/moving_mean"),
        ("Conv2d_3_depthwise/kernel", "conv_dw_3/depthwise_kernel"),
        ("Conv2d_12_pointwise_bn/gamma", "conv_pw_12_bn/gamma"),
    ],
)
def test_names_in_keras_applications_files(ours: str, theirs: str) -> None:
    source = keras_names(ours)[0]
    assert (source.names, source.convert) == ((theirs,), None)
