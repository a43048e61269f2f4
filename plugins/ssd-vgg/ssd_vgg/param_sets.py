"""VGG-16 under SSD300 and SSD512, with the paper's boxes for VOC and for COCO."""

from ssdcore import ParamSet
from ssdcore.params.presets import ssd300, ssd512, two_stages

PARAM_SETS = {
    "vgg16-ssd300": ParamSet(
        description="VGG-16 SSD300, default boxes for VOC; SSD layers first, then everything",
        backbone="vgg_16",
        model=ssd300("voc"),
        train=two_stages(30_000, 90_000, batch_size=32),
    ),
    "vgg16-ssd300-coco": ParamSet(
        description="VGG-16 SSD300, default boxes for COCO (smaller objects)",
        backbone="vgg_16",
        model=ssd300("coco"),
        train=two_stages(30_000, 370_000, batch_size=32),
    ),
    "vgg16-ssd512": ParamSet(
        description="VGG-16 SSD512, default boxes for VOC; SSD layers first, then everything",
        backbone="vgg_16",
        model=ssd512("voc"),
        train=two_stages(30_000, 90_000, batch_size=16),
    ),
    "vgg16-ssd512-coco": ParamSet(
        description="VGG-16 SSD512, default boxes for COCO (smaller objects)",
        backbone="vgg_16",
        model=ssd512("coco"),
        train=two_stages(30_000, 370_000, batch_size=16),
    ),
}
