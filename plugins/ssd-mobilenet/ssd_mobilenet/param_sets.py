"""MobileNet v1 under several SSD models."""

from ssdcore import ParamSet
from ssdcore.params import AugmentParams, Cosine, ModelParams, Sgd, Stage, TrainParams
from ssdcore.params.presets import mobilenet_ssd300, ssd300, ssd512, two_stages


def _normed(model: ModelParams, **changes: object) -> ModelParams:
    """An SSD model with batch normalisation in its blocks, as MobileNet has it."""
    return model.model_copy(update={"block_norm": "batch", **changes})


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
    "mobilenet025-ssd300": ParamSet(
        description="small and fast: quarter-width MobileNet v1, SSD300 boxes; trains on a CPU in minutes",
        backbone="mobilenet_v1_025",
        model=_normed(ssd300("voc"), norm_momentum=0.97, weight_decay=5e-5),
        augment=AugmentParams(interpolations=("bilinear",)),
        train=TrainParams(
            stages=(
                Stage(
                    name="everything",
                    epochs=100,
                    batch_size=16,
                    optimizer=Sgd(),
                    learning_rate=Cosine(learning_rate=0.01, warmup_steps=100),
                ),
            ),
        ),
    ),
}
