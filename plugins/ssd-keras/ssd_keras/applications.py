"""The table of Keras Applications used as base nets, one row per architecture."""

from collections.abc import Mapping
from dataclasses import dataclass

from ssdcore import Preprocessing

CAFFE = Preprocessing(channel_order="bgr", mean=(103.939, 116.779, 123.68))
TENSORFLOW = Preprocessing(mean=(127.5, 127.5, 127.5), scale=1 / 127.5)
TORCH = Preprocessing(
    mean=(0.485 * 255, 0.456 * 255, 0.406 * 255), scale=(1 / (0.229 * 255), 1 / (0.224 * 255), 1 / (0.225 * 255))
)
"""Keras' three kinds of preprocessing. Networks that contain it as layers lose these in the base net.
EfficientNet's published weights divide by the standard deviations, as `TORCH` does."""


@dataclass(frozen=True)
class Application:
    """An architecture of `keras.applications`.

    Attributes:
        builder: its function there.
        end_points: names of the layers whose outputs have strides of 8, 16 and 32 px; the last one ends the
            base net.
        preprocessing: of pixel values, as its published weights expect.
        momentum: of its batch normalisation; None: it has no batch normalisation.
        deeper: arrays of the files of deeper networks, which contain all names of this one.
    """

    builder: str
    end_points: tuple[str, str, str]
    preprocessing: Preprocessing
    momentum: float | None = 0.99
    deeper: tuple[str, ...] = ()


def _resnet(builder: str, third: int, fourth: int) -> Application:
    """Version 1: the sums at the end of the stages, of `third` and `fourth` blocks."""
    ends = (f"conv3_block{third}_out", f"conv4_block{fourth}_out", "conv5_block3_out")
    return Application(builder, ends, CAFFE, deeper=_further_blocks(third, fourth))


def _resnet_v2(builder: str, third: int, fourth: int) -> Application:
    """Version 2 strides in the last block of a stage: the normalised input of that block."""
    ends = (f"conv3_block{third}_preact_relu", f"conv4_block{fourth}_preact_relu", "post_relu")
    return Application(builder, ends, TENSORFLOW, deeper=_further_blocks(third, fourth))


def _further_blocks(third: int, fourth: int) -> tuple[str, ...]:
    return (f"conv3_block{third + 1}_1_conv/kernel", f"conv4_block{fourth + 1}_1_conv/kernel")


def _densenet(builder: str) -> Application:
    return Application(builder, ("pool3_relu", "pool4_relu", "relu"), TORCH)


def _efficientnet(builder: str, momentum: float, preprocessing: Preprocessing = TORCH) -> Application:
    """The expansions at the start of the next stage, still at the finer stride."""
    ends = ("block4a_expand_activation", "block6a_expand_activation", "top_activation")
    # B1 is B0 with more blocks; the others have other widths, and so other shapes.
    deeper = ("block1b_project_conv/kernel",) if builder.endswith("B0") else ()
    return Application(builder, ends, preprocessing, momentum, deeper)


def _convnext(builder: str, size: str) -> Application:
    """The outputs of the stages, normalised for the next one."""
    third, fourth = (f"convnext_{size}_downsampling_layernorm_{stage}" for stage in (1, 2))
    return Application(builder, (third, fourth, "layer_normalization"), TORCH, momentum=None)


APPLICATIONS: Mapping[str, Application] = {
    "resnet50": _resnet("ResNet50", 4, 6),
    "resnet101": _resnet("ResNet101", 4, 23),
    "resnet152": _resnet("ResNet152", 8, 36),
    "resnet50_v2": _resnet_v2("ResNet50V2", 4, 6),
    "resnet101_v2": _resnet_v2("ResNet101V2", 4, 23),
    "resnet152_v2": _resnet_v2("ResNet152V2", 8, 36),
    # The expansion of the layer with stride 32, as in section 6.2 of the paper.
    "mobilenet_v2": Application(
        "MobileNetV2", ("block_6_expand_relu", "block_13_expand_relu", "out_relu"), TENSORFLOW, 0.999
    ),
    "mobilenet_v3_small": Application(
        "MobileNetV3Small", ("activation_1", "activation_11", "activation_17"), TENSORFLOW, 0.999
    ),
    "mobilenet_v3_large": Application(
        "MobileNetV3Large", ("activation_1", "activation_13", "activation_19"), TENSORFLOW, 0.999
    ),
    "inception_v3": Application("InceptionV3", ("mixed2", "mixed7", "mixed10"), TENSORFLOW),
    "inception_resnet_v2": Application(
        "InceptionResNetV2", ("block35_10_ac", "block17_20_ac", "conv_7b_ac"), TENSORFLOW
    ),
    "xception": Application(
        "Xception", ("block4_sepconv2_act", "block13_sepconv2_act", "block14_sepconv2_act"), TENSORFLOW
    ),
    "densenet121": _densenet("DenseNet121"),
    "densenet169": _densenet("DenseNet169"),
    "densenet201": _densenet("DenseNet201"),
    **{f"efficientnet_b{size}": _efficientnet(f"EfficientNetB{size}", 0.99) for size in range(4)},
    **{f"efficientnet_v2_b{size}": _efficientnet(f"EfficientNetV2B{size}", 0.9) for size in range(4)},
    "efficientnet_v2_s": _efficientnet(
        "EfficientNetV2S", 0.9, Preprocessing(mean=(128.0, 128.0, 128.0), scale=1 / 128)
    ),
    "convnext_tiny": _convnext("ConvNeXtTiny", "tiny"),
    "convnext_small": _convnext("ConvNeXtSmall", "small"),
}
