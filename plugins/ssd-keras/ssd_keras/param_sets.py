"""Param sets of some applications with several SSD models."""

from ssdcore import ParamSet
from ssdcore.params import (
    BlockNorm,
    Cosine,
    ModelParams,
    Sgd,
    Stage,
    TrainParams,
    ssd300,
    ssd512,
    ssdlite320,
    two_stages,
)


def _normed(model: ModelParams, weight_decay: float) -> ModelParams:
    """An SSD model with batch normalisation in its blocks and no L2 normalisation."""
    changes = {"block_norm": BlockNorm(), "l2_norm_scale": None, "weight_decay": weight_decay}
    return model.model_copy(update=changes)


def _ssdlite(backbone: str, title: str) -> ParamSet:
    return ParamSet(
        description=f"{title}, SSDLite at 320 px; small and fast",
        backbone=backbone,
        model=ssdlite320(),
        train=TrainParams(
            stages=(
                Stage(
                    name="everything",
                    epochs=200,
                    batch_size=32,
                    optimizer=Sgd(),
                    learning_rate=Cosine(learning_rate=1e-2, warmup_steps=1000),
                ),
            ),
            log_every=100,
        ),
    )


PARAM_SETS = {
    "resnet50-ssd300": ParamSet(
        description="ResNet-50, SSD300; SSD layers first, then everything",
        backbone="resnet50",
        model=_normed(ssd300("coco"), weight_decay=1e-4),
        train=two_stages(30_000, 90_000, batch_size=32),
    ),
    "resnet50-ssd512": ParamSet(
        description="ResNet-50, SSD512; SSD layers first, then everything",
        backbone="resnet50",
        model=_normed(ssd512("coco"), weight_decay=1e-4),
        train=two_stages(30_000, 90_000, batch_size=16),
    ),
    "efficientnet-b0-ssd300": ParamSet(
        description="EfficientNet-B0, SSD300; SSD layers first, then everything",
        backbone="efficientnet_b0",
        model=_normed(ssd300("coco"), weight_decay=4e-5),
        train=two_stages(30_000, 90_000, batch_size=32),
    ),
    "mobilenetv2-ssdlite320": _ssdlite("mobilenet_v2", "MobileNetV2"),
    "mobilenetv3-large-ssdlite320": _ssdlite("mobilenet_v3_large", "MobileNetV3-Large"),
    "mobilenetv3-small-ssdlite320": _ssdlite("mobilenet_v3_small", "MobileNetV3-Small"),
}
