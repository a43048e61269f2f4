"""Caffe's SSD models give what OpenCV's importer of Caffe models makes of the same files."""

from functools import partial
from pathlib import Path

import caffe_files
import caffe_networks
import cv2
import numpy as np
import pytest
import tensorflow as tf

from ssdcore.contract.plugins import Plugins
from ssdcore.detection.predict import make_predict
from ssdcore.model import SSD
from ssdcore.params import Weights
from ssdcore.weights import ImportReport, import_weights

MODELS = {
    "VGG-SSD300": (partial(caffe_networks.vgg_ssd, 300), "vgg16-ssd300"),
    "VGG-SSD512": (partial(caffe_networks.vgg_ssd, 512), "vgg16-ssd512"),
    "MobileNet-SSD with BatchNorm and Scale": (partial(caffe_networks.mobilenet_ssd, False), "caffe-mobilenet-ssd300"),
    "MobileNet-SSD merged": (partial(caffe_networks.mobilenet_ssd, True), "caffe-mobilenet-ssd300"),
}
IMAGES = 8


class Pair:
    """A Caffe model, OpenCV's results on some images, and our detector with the same weights."""

    def __init__(self, model: caffe_files.Model, params: str, images: list[Path], plugins: Plugins, folder: Path):
        self.model = model
        self.prototxt, self.caffemodel = caffe_files.write_model(folder, model)
        self.images = np.stack([self._read(path) for path in images])
        self.blob = caffe_files.caffe_blob(self.images, model.mean_bgr, model.scale)
        self.eval = plugins.param_sets[params].eval
        self.ssd: SSD
        self.report: ImportReport
        weights = Weights(file=str(self.caffemodel))
        self.ssd, self.report = import_weights(plugins.param_sets[params], plugins, weights)

    def _read(self, path: Path) -> np.ndarray:
        image = cv2.imread(str(path))[..., ::-1]
        return cv2.resize(image, (self.model.size, self.model.size)).astype(np.float32)


FAST = "MobileNet-SSD merged"
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in MODELS if name != FAST]


@pytest.fixture(scope="module", params=[FAST, *SLOW])
def pair(
    request: pytest.FixtureRequest, bccd: Path, plugins: Plugins, tmp_path_factory: pytest.TempPathFactory
) -> Pair:
    make, params = MODELS[request.param]
    images = sorted((bccd / "JPEGImages").iterdir())[:IMAGES]
    return Pair(make(), params, images, plugins, tmp_path_factory.mktemp("caffe"))


@pytest.mark.realdata
def test_every_variable_is_matched_and_every_blob_used(pair: Pair) -> None:
    assert len(pair.report.matched) == len(pair.ssd.network.variables)
    assert (pair.report.format, pair.report.skipped, pair.report.missing, pair.report.unused) == ("caffe", (), (), ())
    assert (len(pair.ssd.classes), pair.ssd.classes[0], pair.ssd.classes[19]) == (20, "aeroplane", "tvmonitor")


@pytest.mark.realdata
def test_raw_outputs_and_priors_are_opencvs(pair: Pair) -> None:
    softmax, offsets, priors = caffe_files.opencv_outputs(pair.prototxt, pair.caffemodel, pair.blob)
    ours = tf.function(pair.ssd.network)(pair.images, training=False)  # eagerly, all maps would stay in memory
    exponentials = np.exp(ours["logits"] - np.max(ours["logits"], axis=-1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(probabilities, softmax, rtol=0, atol=1e-4)
    np.testing.assert_allclose(ours["offsets"], offsets, rtol=0, atol=1e-3)
    np.testing.assert_allclose(pair.ssd.default_boxes, priors, rtol=0, atol=1e-6)


@pytest.mark.realdata
def test_detections_are_opencvs(pair: Pair) -> None:
    """Same number, classes and order; where scores tie to 1e-4 the order is free."""
    theirs = caffe_files.opencv_detections(pair.prototxt, pair.caffemodel, pair.blob)
    found = make_predict(pair.ssd, pair.eval)(pair.images, np.tile(np.float32([0, 0, 1, 1]), (IMAGES, 1)))
    for index, rows in enumerate(theirs):
        count = int(found.counts[index])
        ours = np.column_stack([found.labels[index], found.scores[index], found.boxes[index]])[:count]
        assert len(ours) == len(rows) >= 5
        assert len(set(ours[:, 0])) >= 3
        assert_same_detections(ours, np.column_stack([rows[:, :2], rows[:, 2:].clip(0, 1)]))


def assert_same_detections(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Rows (label, score, box), best first; each of ours has the label and box of one of theirs that
    has its score, so that only equal scores may come in another order."""
    np.testing.assert_allclose(ours[:, 1], theirs[:, 1], rtol=0, atol=1e-4)
    left = list(theirs)
    for row in ours:
        same = [
            number
            for number, other in enumerate(left)
            if row[0] == other[0] and abs(row[1] - other[1]) <= 1e-4 and np.abs(row[2:] - other[2:]).max() <= 1e-3
        ]
        assert same, f"only we find {row}"
        left.pop(same[0])
