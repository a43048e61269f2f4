"""SSD models and default boxes of the paper and of well-known implementations, as functions.

Sizes are pixels of the network input. Each set of sizes is named after the data it was made for
(paper, section 2.2 and 3.1; the Caffe code's `ssd_pascal.py` and `ssd_coco.py`).
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

from ssdcore.params.model import Block, BlockNorm, Conv, DefaultBoxes, ModelParams
from ssdcore.params.schedules import Multistep
from ssdcore.params.train import Stage, TrainParams

Dataset = Literal["voc", "coco"]

_SIZES_300 = {"voc": (30, 60, 111, 162, 213, 264, 315), "coco": (21, 45, 99, 153, 207, 261, 315)}
_SIZES_512 = {
    "voc": (35.84, 76.8, 153.6, 230.4, 307.2, 384, 460.8, 537.6),
    "coco": (20.48, 51.2, 133.12, 215.04, 296.96, 378.88, 460.8, 542.72),
}

_BLOCK7 = Block(name="block7", convs=(Conv(filters=1024, kernel=3, dilation=6, padding=6), Conv(filters=1024)))
"""VGG's fc6 and fc7 as convolutions: atrous 3x3, then 1x1."""


def _block(name: str, squeeze: int, filters: int, **options: Any) -> Block:
    """Any further block: narrow with a 1x1, then predict from a wider, coarser map; `options` as in `Conv`."""
    second = {"kernel": 3, "stride": 2, "padding": 1} | options
    return Block(name=name, convs=(Conv(filters=squeeze), Conv(filters=filters, **second)))


def ssd300(dataset: Dataset = "voc") -> ModelParams:
    """SSD300: six prediction layers, 8,732 default boxes."""
    sizes = _SIZES_300[dataset]
    return ModelParams(
        name="ssd300",
        image_size=(300, 300),
        feature_maps=(38, 19, 10, 5, 3, 1),
        blocks=(
            _BLOCK7,
            _block("block8", 256, 512),
            _block("block9", 128, 256),
            _block("block10", 128, 256, stride=1, padding=0),
            _block("block11", 128, 256, stride=1, padding=0),
        ),
        l2_norm_scale=20,
        default_boxes=DefaultBoxes(
            min_sizes=sizes[:-1],
            max_sizes=sizes[1:],
            aspect_ratios=((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
            steps=(8, 16, 32, 64, 100, 300),
        ),
    )


def ssd512(dataset: Dataset = "voc", truncate_sizes: bool = True) -> ModelParams:
    """SSD512: seven prediction layers, 24,564 default boxes.

    Args:
        dataset: whose default-box sizes.
        truncate_sizes: round them down to whole pixels, as Caffe did for the published models; the
            TensorFlow projects did not.
    """
    sizes = _SIZES_512[dataset]
    return ModelParams(
        name="ssd512",
        image_size=(512, 512),
        feature_maps=(64, 32, 16, 8, 4, 2, 1),
        blocks=(
            _BLOCK7,
            _block("block8", 256, 512),
            _block("block9", 128, 256),
            _block("block10", 128, 256),
            _block("block11", 128, 256),
            _block("block12", 128, 256, kernel=4, stride=1),
        ),
        l2_norm_scale=20,
        default_boxes=DefaultBoxes(
            min_sizes=sizes[:-1],
            max_sizes=sizes[1:],
            aspect_ratios=((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,)),
            steps=(8, 16, 32, 64, 128, 256, 512),
            truncate_sizes=truncate_sizes,
        ),
    )


def _mobilenet_blocks(**options: Any) -> tuple[Block, ...]:
    filters = (512, 256, 256, 128)
    return tuple(_block(f"block{number}", wide // 2, wide, **options) for number, wide in enumerate(filters, start=14))


def mobilenet_ssd300() -> ModelParams:
    """The widely used MobileNet-SSD: prediction layers from strides 16 and 32 on, 1,917 default boxes."""
    return ModelParams(
        name="mobilenet_ssd300",
        image_size=(300, 300),
        feature_maps=(19, 10, 5, 3, 2, 1),
        blocks=_mobilenet_blocks(),
        block_norm=BlockNorm(),
        head="conv1x1",
        default_boxes=DefaultBoxes(
            min_sizes=(60, 105, 150, 195, 240, 285),
            max_sizes=(None, 150, 195, 240, 285, 300),
            aspect_ratios=((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2, 3)),
        ),
        weight_decay=5e-5,
    )


def ssdlite320() -> ModelParams:
    """SSDLite at 320 px: depthwise-separable blocks and heads, 3,234 default boxes.

    Separable heads are of the MobileNetV2 paper (arXiv:1801.04381, section 6.2); separable blocks, their
    channels and the default boxes (scales of 0.2 to 0.95 of the image, six at each cell) are torchvision's,
    whose convolutions have ReLU6 where these have ReLU.
    """
    sizes = (64, 112, 160, 208, 256, 304, 320)
    return ModelParams(
        name="ssdlite320",
        image_size=(320, 320),
        feature_maps=(20, 10, 5, 3, 2, 1),
        blocks=_mobilenet_blocks(separable=True),
        block_norm=BlockNorm(),
        norm_momentum=0.97,
        head="separable",
        default_boxes=DefaultBoxes(min_sizes=sizes[:-1], max_sizes=sizes[1:], aspect_ratios=((2, 3),) * 6),
        weight_decay=4e-5,
    )


def modular_ssd(model: ModelParams) -> ModelParams:
    """The variant of a model in modular_SSD_tensorflow and LevinJ's SSD_tensorflow_VOC.

    Their blocks have batch normalisation without scale, and the L2 normalisation starts at a scale of 1. Their
    channel dropout in training is left out.
    """
    return model.model_copy(update={"block_norm": BlockNorm(scale=False), "l2_norm_scale": 1})


def two_stages(ssd_steps: int, all_steps: int, batch_size: int) -> TrainParams:
    """The TF1 projects' recipe: the SSD layers with a frozen backbone first, then everything, with multistep rates."""
    rates = Multistep(learning_rate=1e-3, warmup_steps=1000)
    first = Stage(
        name="ssd-layers",
        trainable="ssd",
        steps=ssd_steps,
        batch_size=batch_size,
        learning_rate=rates.model_copy(update={"milestones": (0.8,)}),
    )
    second = Stage(name="everything", steps=all_steps, batch_size=batch_size, learning_rate=rates)
    return TrainParams(stages=(first, second), log_every=100)


MODELS: Mapping[str, Callable[[], ModelParams]] = MappingProxyType(
    {"ssd300": ssd300, "ssd512": ssd512, "mobilenet_ssd300": mobilenet_ssd300, "ssdlite320": ssdlite320}
)
"""The SSD models of this module by name."""
