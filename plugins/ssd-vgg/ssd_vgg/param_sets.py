"""VGG-16 under SSD300 and SSD512: the paper's models and those of the TensorFlow 1 projects."""

from ssdcore import ParamSet
from ssdcore.params import ModelParams, modular_ssd, ssd300, ssd512, two_stages


def _param_set(description: str, model: ModelParams, all_steps: int, batch_size: int) -> ParamSet:
    return ParamSet(
        description=description,
        backbone="vgg_16",
        model=model,
        train=two_stages(30_000, all_steps, batch_size=batch_size),
    )


def _ssd_tensorflow(model: ModelParams) -> ModelParams:
    """SSD-Tensorflow's models: no normalisation in the blocks, the L2 norm's factor starts at 1."""
    return model.model_copy(update={"l2_norm_scale": 1})


PARAM_SETS = {
    "vgg16-ssd300": _param_set("Caffe's VGG-16 SSD300, default boxes for VOC", ssd300("voc"), 90_000, 32),
    "vgg16-ssd300-coco": _param_set(
        "Caffe's VGG-16 SSD300, default boxes for COCO (smaller objects)", ssd300("coco"), 370_000, 32
    ),
    "vgg16-ssd512": _param_set("Caffe's VGG-16 SSD512, default boxes for VOC", ssd512("voc"), 90_000, 16),
    "vgg16-ssd512-coco": _param_set(
        "Caffe's VGG-16 SSD512, default boxes for COCO (smaller objects)", ssd512("coco"), 370_000, 16
    ),
    "ssd-tensorflow-300": _param_set("SSD-Tensorflow's ssd_300_vgg", _ssd_tensorflow(ssd300("coco")), 90_000, 32),
    "ssd-tensorflow-512": _param_set(
        "SSD-Tensorflow's ssd_512_vgg", _ssd_tensorflow(ssd512("coco", truncate_sizes=False)), 90_000, 16
    ),
    "ssd-tensorflow-voc-300": _param_set(
        "SSD_tensorflow_VOC's SSD300, normalised blocks", modular_ssd(ssd300("coco")), 90_000, 32
    ),
    "modular-vgg16-ssd300": _param_set(
        "modular_SSD_tensorflow's VGG-16 SSD300, normalised blocks", modular_ssd(ssd300("coco")), 90_000, 32
    ),
    "modular-vgg16-ssd512": _param_set(
        "modular_SSD_tensorflow's VGG-16 SSD512, normalised blocks",
        modular_ssd(ssd512("coco", truncate_sizes=False)),
        154_000,
        20,
    ),
}
