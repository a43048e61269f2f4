"""VGG-16 keeps the plugin contract and is the network of the paper."""

from ssdcore.model import build_ssd
from ssdcore.plugins import load_plugins
from ssdcore.testing import check_backbone

PLUGINS = load_plugins()
VOC_CLASSES = [str(number) for number in range(20)]


def test_keeps_the_contract() -> None:
    check_backbone(PLUGINS.backbones["vgg_16"], PLUGINS)


def test_trunk_has_the_published_number_of_parameters() -> None:
    ssd = build_ssd(PLUGINS.param_sets["vgg16-ssd300"], VOC_CLASSES, PLUGINS)
    assert ssd.backbone.count_params() == 14_714_688


def test_ssd300_and_ssd512_for_voc_have_the_published_numbers_of_parameters() -> None:
    counts = [
        build_ssd(PLUGINS.param_sets[name], VOC_CLASSES, PLUGINS).network.count_params()
        for name in ("vgg16-ssd300", "vgg16-ssd512")
    ]
    assert counts == [26_285_486, 27_188_676]


def test_last_pooling_keeps_the_map_size() -> None:
    ssd = build_ssd(PLUGINS.param_sets["vgg16-ssd300"], VOC_CLASSES, PLUGINS)
    pool5 = ssd.backbone.get_layer("pool5")
    assert (pool5.pool_size, pool5.strides, pool5.output.shape[1:3]) == ((3, 3), (1, 1), (19, 19))
