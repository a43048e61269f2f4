"""Checkpoints as TF1 programs left them, and what their networks compute: the independent side of the importer's tests.

Variables bear the names that slim, SSD-Tensorflow, SSD_tensorflow_VOC and modular_SSD_tensorflow gave them; the
networks are written in plain `tf.nn` operations from the same dictionaries. Nothing here may import `ssdcore`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

Variables = dict[str, np.ndarray]
Activations = dict[str, np.ndarray]

GLOBAL_STEP = 120_000
PIXEL_STD = 74.0  # of uniform pixels 0..255 after subtraction of their mean
SCALED_PIXEL_STD = 0.58  # of uniform pixels in [-1, 1], the input of slim's MobileNet
VGG_CONVS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
MOBILENET_DEPTHS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
MOBILENET_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)


@dataclass(frozen=True)
class Block:
    """One extra block: a 1x1 convolution, then a larger one after `pad` explicit rows and columns of zeros."""

    number: int
    middle: int
    depth: int
    kernel: int = 3
    stride: int = 2
    pad: int = 1

    @property
    def large(self) -> str:
        """The name of the larger convolution."""
        return f"conv{self.kernel}x{self.kernel}"


BLOCKS = {
    300: (Block(8, 256, 512), Block(9, 128, 256), *(Block(i, 128, 256, stride=1, pad=0) for i in (10, 11))),
    512: (
        Block(8, 256, 512),
        *(Block(i, 128, 256) for i in (9, 10, 11)),
        Block(12, 128, 256, kernel=4, stride=1),
    ),
}
BOXES = {300: (4, 6, 6, 6, 4, 4), 512: (4, 6, 6, 6, 6, 4, 4)}


@dataclass(frozen=True)
class SsdLayout:
    """Where one program keeps the variables of a detector of `size` pixels, and how it builds the extra blocks."""

    size: int
    trunk: str
    extra: str
    block: str
    heads: tuple[str, ...]
    batch_norm: bool

    @property
    def mobilenet(self) -> bool:
        """Whether the trunk is MobileNet, with a first convolution of stride 1, and not VGG."""
        return self.trunk == "MobilenetV1"

    @property
    def source_depths(self) -> tuple[int, ...]:
        """Channels of the feature maps that the heads read."""
        return (512, 1024, *(block.depth for block in BLOCKS[self.size]))

    def block_scope(self, block: Block) -> str:
        """The scope of an extra block."""
        return f"{self.extra}/{self.block}{block.number}"


def ssd_tensorflow(size: int) -> SsdLayout:
    """SSD-Tensorflow (balancap): all in one scope, no batch normalisation."""
    scope = f"ssd_{size}_vgg"
    return SsdLayout(size, scope, scope, "block", _block_heads(scope, size), batch_norm=False)


def ssd_tensorflow_voc() -> SsdLayout:
    """SSD_tensorflow_VOC (LevinJ): slim's trunk, the rest of 300 pixels as SSD-Tensorflow but batch-normalised."""
    scope = "ssd_300_vgg"
    return SsdLayout(300, "vgg_16", scope, "block", _block_heads(scope, 300), batch_norm=True)


def modular_ssd(backbone: str, size: int) -> SsdLayout:
    """modular_SSD_tensorflow; `backbone` is "vgg_16" or "mobilenet_v1"."""
    trunk, first = {
        "vgg_16": ("vgg_16", "vgg_16/conv4/conv4_3"),
        "mobilenet_v1": ("MobilenetV1", "Conv2d_11_pointwise"),
    }[backbone]
    features = (first, "ssd_block7", *(f"ssd_block{block.number}" for block in BLOCKS[size]))
    heads = tuple(f"bbox_layers/{feature}_box" for feature in features)
    return SsdLayout(size, trunk, f"ssd{size}", "ssd_block", heads, batch_norm=True)


def _block_heads(scope: str, size: int) -> tuple[str, ...]:
    return tuple(f"{scope}/block{number}_box" for number in (4, 7, *(block.number for block in BLOCKS[size])))


LAYOUTS = {
    "ssd_tensorflow_300": ssd_tensorflow(300),
    "ssd_tensorflow_512": ssd_tensorflow(512),
    "ssd_tensorflow_voc": ssd_tensorflow_voc(),
    "modular_vgg_16_300": modular_ssd("vgg_16", 300),
    "modular_vgg_16_512": modular_ssd("vgg_16", 512),
    "modular_mobilenet_v1_300": modular_ssd("mobilenet_v1", 300),
    "modular_mobilenet_v1_512": modular_ssd("mobilenet_v1", 512),
}


class _Maker:
    """Draws variables in the order in which they are asked for."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.variables: Variables = {}

    def normal(self, name: str, shape: tuple[int, ...], std: float) -> None:
        """Values about zero, made in place: one kernel of VGG alone takes 411 MB."""
        value = self.rng.standard_normal(shape, dtype=np.float32)
        value *= np.float32(std)
        self.variables[name] = value

    def uniform(self, name: str, channels: int, low: float, high: float) -> None:
        """Positive values."""
        self.variables[name] = self.rng.uniform(low, high, channels).astype(np.float32)

    def conv(self, scope: str, shape: tuple[int, int, int, int], gain: float = 1.0) -> None:
        """A kernel after He, times `gain`, and biases."""
        self.normal(f"{scope}/weights", shape, gain * np.sqrt(2 / np.prod(shape[:3])))
        self.normal(f"{scope}/biases", shape[3:], 0.1)

    def batch_norm(self, scope: str, channels: int, gamma: bool, variance: float = 1.0) -> None:
        """Statistics of inputs whose variance is about `variance`, and an affine part that keeps the order of 1."""
        self.normal(f"{scope}/beta", (channels,), 0.3)
        if gamma:
            self.uniform(f"{scope}/gamma", channels, 0.5, 2.5)
        self.normal(f"{scope}/moving_mean", (channels,), 0.3 * np.sqrt(variance))
        self.uniform(f"{scope}/moving_variance", channels, 0.6 * variance, 1.6 * variance)

    def conv_norm(self, scope: str, shape: tuple[int, int, int, int], name: str = "weights", scale: float = 1) -> None:
        """A bias-free kernel after He and its normalisation with gamma; `scale` is that of the input."""
        fan_in, channels = (np.prod(shape[:2]), shape[2]) if shape[3] == 1 else (np.prod(shape[:3]), shape[3])
        self.normal(f"{scope}/{name}", shape, np.sqrt(2 / fan_in))
        self.batch_norm(f"{scope}/BatchNorm", channels, gamma=True, variance=2 * scale**2)


def vgg_16_variables(seed: int = 0, with_fc: bool = False) -> Variables:
    """Those of slim's vgg_16.ckpt; `with_fc` adds the three classifier layers, most of fc6 zeros."""
    maker = _Maker(seed)
    _make_vgg(maker, "vgg_16")
    if with_fc:
        kernel = np.zeros((7, 7, 512, 4096), np.float32)  # takes 411 MB only in the file
        kernel[..., [0, 20, 4092]] = maker.rng.standard_normal((7, 7, 512, 3), dtype=np.float32)
        maker.variables["vgg_16/fc6/weights"] = kernel
        maker.normal("vgg_16/fc6/biases", (4096,), 0.1)
        for name, shape in (("fc7", (1, 1, 4096, 4096)), ("fc8", (1, 1, 4096, 1000))):
            maker.conv(f"vgg_16/{name}", shape)
    return maker.variables


def mobilenet_v1_variables(depth: float = 1.0, seed: int = 0) -> Variables:
    """Those of slim's mobilenet_v1_*.ckpt of depth multiplier `depth`."""
    maker = _Maker(seed)
    channels = _make_mobilenet(maker, depth, SCALED_PIXEL_STD)
    maker.conv("MobilenetV1/Logits/Conv2d_1c_1x1", (1, 1, channels, 1001))
    return maker.variables


def ssd_variables(layout: SsdLayout, classes: int = 21, seed: int = 0) -> Variables:
    """Those of a trained detector; `classes` counts the background."""
    maker = _Maker(seed)
    channels = _make_mobilenet(maker, 1.0, PIXEL_STD) if layout.mobilenet else _make_vgg(maker, layout.trunk)
    _make_extra(maker, layout, channels)
    maker.uniform(f"{layout.heads[0]}/L2Normalization/gamma", 512, 15, 25)
    for scope, depth, boxes in zip(layout.heads, layout.source_depths, BOXES[layout.size], strict=True):
        maker.conv(f"{scope}/conv_loc", (3, 3, depth, boxes * 4))
        maker.conv(f"{scope}/conv_cls", (3, 3, depth, boxes * classes))
    return maker.variables


def _make_vgg(maker: _Maker, scope: str) -> int:
    """The trunk's variables; the gains undo the scale of pixels and the growth in max pooling."""
    channels, gain = 3, 1 / PIXEL_STD
    for block, (depth, count) in enumerate(VGG_CONVS, start=1):
        for index in range(1, count + 1):
            maker.conv(f"{scope}/conv{block}/conv{block}_{index}", (3, 3, channels, depth), gain)
            channels, gain = depth, 1.0
        gain = 0.7
    return channels


def _make_mobilenet(maker: _Maker, depth: float, pixel_std: float) -> int:
    channels = int(32 * depth)
    maker.conv_norm("MobilenetV1/Conv2d_0", (3, 3, 3, channels), scale=pixel_std)
    for index, full in enumerate(MOBILENET_DEPTHS, start=1):
        scope, wide = f"MobilenetV1/Conv2d_{index}", int(full * depth)
        maker.conv_norm(f"{scope}_depthwise", (3, 3, channels, 1), "depthwise_weights", scale=1.1)
        maker.conv_norm(f"{scope}_pointwise", (1, 1, channels, wide), scale=1.1)
        channels = wide
    return channels


def _make_extra(maker: _Maker, layout: SsdLayout, channels: int) -> None:
    _make_pair(maker, layout, layout.extra, (("conv6", (3, 3, channels, 1024)), ("conv7", (1, 1, 1024, 1024))))
    channels = 1024
    for block in BLOCKS[layout.size]:
        small = ("conv1x1", (1, 1, channels, block.middle))
        large = (block.large, (block.kernel, block.kernel, block.middle, block.depth))
        _make_pair(maker, layout, layout.block_scope(block), (small, large))
        channels = block.depth


def _make_pair(
    maker: _Maker, layout: SsdLayout, scope: str, convs: tuple[tuple[str, tuple[int, int, int, int]], ...]
) -> None:
    """Two convolutions of one scope, whose normalisations slim calls BatchNorm and BatchNorm_1."""
    for (name, shape), norm in zip(convs, ("BatchNorm", "BatchNorm_1"), strict=True):
        maker.conv(f"{scope}/{name}", shape)
        if layout.batch_norm:
            maker.batch_norm(f"{scope}/{norm}", shape[3], gamma=False)


def save_checkpoint(folder: Path, variables: Variables, name: str = "model.ckpt", v1: bool = False) -> Path:
    """The prefix of a new checkpoint of the variables, a step counter and one optimizer slot; `v1`: 2016's format."""
    version = tf.compat.v1.train.SaverDef.V1 if v1 else tf.compat.v1.train.SaverDef.V2
    values = with_extras(variables)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        feeds = {tf.compat.v1.placeholder(value.dtype, value.shape): value for value in values.values()}
        saved = [_variable(key, start) for key, start in zip(values, feeds, strict=True)]
        session.run([variable.initializer for variable in saved], feeds)
        saver = tf.compat.v1.train.Saver(saved, write_version=version)
        prefix = saver.save(session, str(folder / name), write_meta_graph=False, write_state=False)
    return Path(prefix)


def with_extras(variables: Variables) -> Variables:
    """The variables and what training leaves beside them, which an importer must ignore."""
    first = next(iter(variables))
    return {
        **variables,
        "global_step": np.array(GLOBAL_STEP, np.int64),
        f"{first}/Adam": np.full_like(variables[first], 1e-4),
    }


def _variable(name: str, start: tf.Tensor) -> tf.compat.v1.Variable:
    """A variable of TF1's kind; a placeholder as its start keeps large kernels out of the graph."""
    return tf.compat.v1.Variable(start, name=name, use_resource=False)
