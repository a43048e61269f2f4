"""Names in the files of Keras Applications, published ones and those of today's Keras."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from ssd_keras.applications import APPLICATIONS
from ssd_keras.checkpoints import checkpoints_of, keras_names

from ssdcore.weights import open_weights

FIRST, SECOND = np.zeros(2, np.float32), np.ones(2, np.float32)


def arrays(path: Path) -> dict[str, float]:
    """Name -> first value of each array."""
    file = open_weights(path)
    return {name: float(file.values(name).flat[0]) for name in file.arrays}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("conv/kernel", "Conv/kernel"),
        ("conv_1_bn/gamma", "Conv_1/BatchNorm/gamma"),
        ("expanded_conv_depthwise/kernel", "expanded_conv/depthwise/depthwise_kernel"),
        ("expanded_conv_3_expand_bn/moving_mean", "expanded_conv_3/expand/BatchNorm/moving_mean"),
        ("expanded_conv_10_project/kernel", "expanded_conv_10/project/kernel"),
        ("expanded_conv_3_squeeze_excite_conv/bias", "expanded_conv_3/squeeze_excite/Conv/bias"),
        ("expanded_conv_3_squeeze_excite_conv_1/kernel", "expanded_conv_3/squeeze_excite/Conv_1/kernel"),
        ("block1a_dwconv/kernel", "block1a_dwconv/depthwise_kernel"),
        ("convnext_tiny_stage_0_block_0_layer_scale/gamma", "convnext_tiny_stage_0_block_0_layer_scale/variable"),
        ("conv1_conv/bias", "conv1_conv/bias"),
    ],
)
def test_names_in_published_files(ours: str, theirs: str) -> None:
    assert theirs in [name for source in keras_names(ours) for name in source.names]


def test_the_file_of_a_deeper_network_is_told_by_what_only_it_has() -> None:
    """Blocks: 3, 4, 6, 3 in ResNet-50; 3, 4, 23, 3 in 101; 3, 8, 36, 3 in 152. B1 begins with two where B0 has one."""
    deeper = {name: application.deeper for name, application in APPLICATIONS.items() if application.deeper}
    assert deeper["resnet50"] == deeper["resnet50_v2"] == ("conv3_block5_1_conv/kernel", "conv4_block7_1_conv/kernel")
    assert deeper["resnet101"] == ("conv3_block5_1_conv/kernel", "conv4_block24_1_conv/kernel")
    assert deeper["efficientnet_b0"] == deeper["efficientnet_v2_b0"] == ("block1b_project_conv/kernel",)
    others = checkpoints_of(APPLICATIONS["resnet50"])["keras-applications"].others
    assert others["conv4_block7_1_conv/kernel"] == "a deeper network than ResNet50"


def test_a_fully_connected_kernel_becomes_a_convolution() -> None:
    (source,) = (one for one in keras_names("a_pointwise_conv_1/kernel") if one.names == ("a_pointwise_conv_1/kernel",))
    assert source.convert is not None
    kernel = source.convert(np.arange(6.0).reshape(2, 3))
    assert kernel.shape == (1, 1, 2, 3)
    assert kernel[0, 0, 1, 2] == 5


def test_slashes_in_names_of_layers(tmp_path: Path) -> None:
    """As in the published files of MobileNetV3, whose layers of one block end in the same words."""
    with h5py.File(tmp_path / "v3.h5", "w") as file:
        for number, block in enumerate(("expanded_conv", "expanded_conv_1")):
            layer = f"{block}/depthwise/BatchNorm"
            file[f"{layer}/{layer}/gamma:0"] = np.full(2, number, np.float32)
    assert arrays(tmp_path / "v3.h5") == {
        "expanded_conv/depthwise/BatchNorm/gamma": 0,
        "expanded_conv_1/depthwise/BatchNorm/gamma": 1,
    }


@pytest.mark.parametrize("numbers", [(None, 1, 2), (1, 2, 3), (94, 99, 100)])
def test_numbered_layers_are_counted_from_0(numbers: tuple[int | None, ...], tmp_path: Path) -> None:
    """Published files of Inception count from 1; others from where the process was."""
    with h5py.File(tmp_path / "numbered.h5", "w") as file:
        for rank, number in enumerate(numbers):
            layer = "conv2d" if number is None else f"conv2d_{number}"
            file[f"{layer}/{layer}/kernel:0"] = np.full((1, 1, 1, 1), rank, np.float32)
        file["conv2d_1_bn/conv2d_1_bn/beta:0"] = FIRST
    expected = {"conv2d/kernel": 0, "conv2d_1/kernel": 1, "conv2d_2/kernel": 2, "conv2d_1_bn/beta": 0}
    assert arrays(tmp_path / "numbered.h5") == expected


def test_variables_without_names_of_keras_3(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "scale.h5", "w") as file:
        file["model_weights/a_layer_scale/a_layer_scale/variable_17"] = SECOND
        file["b_layer_scale/Variable:0"] = FIRST
    assert arrays(tmp_path / "scale.h5") == {"a_layer_scale/variable": 1, "b_layer_scale/variable": 0}


@pytest.mark.parametrize(
    ("shapes", "names"),
    [
        (((3, 3, 1, 2), (2,)), ("kernel", "bias")),
        (((3, 3, 1, 2),), ("kernel",)),
        (((3, 3, 2, 1), (1, 1, 2, 4)), ("depthwise_kernel", "pointwise_kernel")),
        (((2,), (2,)), ("gamma", "beta")),
        (((2,), (2,), (2,)), ("beta", "moving_mean", "moving_variance")),
        (((2,), (2,), (2,), (2,)), ("gamma", "beta", "moving_mean", "moving_variance")),
    ],
)
def test_numbered_variables_of_save_weights(
    shapes: tuple[tuple[int, ...], ...], names: tuple[str, ...], tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "new.weights.h5", "w") as file:
        group = file.create_group("layers/conv2d_7/vars")
        group.attrs["name"] = "first"
        for number, shape in enumerate(shapes):
            group[str(number)] = np.full(shape, number, np.float32)
    assert arrays(tmp_path / "new.weights.h5") == {f"first/{name}": number for number, name in enumerate(names)}
