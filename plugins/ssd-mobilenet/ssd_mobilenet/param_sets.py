"""MobileNet v1 under several SSD models."""

from ssdcore import CAFFE_EPSILON, ParamSet, Preprocessing
from ssdcore.params import (
    AdamW,
    AugmentParams,
    BlockNorm,
    Cosine,
    Expand,
    ModelParams,
    Stage,
    TrainParams,
    mobilenet_ssd300,
    modular_ssd,
    ssd300,
    ssd512,
    two_stages,
)


def _normed(model: ModelParams, **changes: object) -> ModelParams:
    """An SSD model with batch normalisation in its blocks, as in MobileNet."""
    return model.model_copy(update={"block_norm": BlockNorm(), **changes})


def _modular(model: ModelParams) -> ModelParams:
    """modular_SSD_tensorflow's models, with VGG's preprocessing for every backbone."""
    return modular_ssd(model).model_copy(update={"preprocessing": Preprocessing(mean=(123.0, 117.0, 104.0))})


PARAM_SETS = {
    "mobilenet-ssd300": ParamSet(
        description="MobileNet v1 with first stride 1, SSD300; SSD layers first, then everything",
        backbone="mobilenet_v1_stride1",
        model=_normed(ssd300("coco")),
        train=two_stages(30_000, 160_000, batch_size=32),
    ),
    "mobilenet-ssd512": ParamSet(
        description="MobileNet v1 with first stride 1, SSD512; SSD layers first, then everything",
        backbone="mobilenet_v1_stride1",
        model=_normed(ssd512("coco")),
        train=two_stages(30_000, 160_000, batch_size=16),
    ),
    "mobilenet-ssd300-1917": ParamSet(
        description="MobileNet-SSD300 with 1,917 default boxes, for speed on larger objects",
        backbone="mobilenet_v1",
        model=mobilenet_ssd300(),
        train=two_stages(30_000, 90_000, batch_size=32),
    ),
    "caffe-mobilenet-ssd300": ParamSet(
        description="chuanqi305's Caffe MobileNet-SSD, 1,917 default boxes",
        backbone="mobilenet_v1_caffe",
        model=mobilenet_ssd300().model_copy(update={"block_norm": BlockNorm(epsilon=CAFFE_EPSILON)}),
        train=two_stages(30_000, 90_000, batch_size=24),
    ),
    "modular-mobilenet-ssd300": ParamSet(
        description="modular_SSD_tensorflow's MobileNet SSD300, normalised blocks",
        backbone="mobilenet_v1_stride1",
        model=_modular(ssd300("coco")),
        train=two_stages(30_000, 130_000, batch_size=16),
    ),
    "modular-mobilenet-ssd512": ParamSet(
        description="modular_SSD_tensorflow's MobileNet SSD512, normalised blocks",
        backbone="mobilenet_v1_stride1",
        model=_modular(ssd512("coco", truncate_sizes=False)),
        train=two_stages(30_000, 60_000, batch_size=16),
    ),
    "mobilenet025-ssd300": ParamSet(
        description="small and fast: quarter-width MobileNet v1, SSD300; trains on a CPU in minutes",
        backbone="mobilenet_v1_025",
        model=_normed(ssd300("coco"), norm_momentum=0.97, l2_norm_scale=None, weight_decay=0.0),
        augment=AugmentParams(expand=Expand(max_ratio=2), interpolations=("bilinear",)),
        train=TrainParams(
            stages=(
                Stage(
                    name="everything",
                    epochs=60,
                    batch_size=16,
                    optimizer=AdamW(weight_decay=5e-4),
                    learning_rate=Cosine(learning_rate=2e-3, warmup_steps=100),
                ),
            ),
        ),
    ),
}
