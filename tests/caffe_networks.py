"""SSD networks of the Caffe world with made-up weights, calibrated so that they find boxes of several classes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from caffe_files import Array, Layer, Model, caffe_blob, caffemodel_bytes, plain, prototxt_text

CLASSES = 21
VGG_MEAN = (104.0, 117.0, 123.0)
VGG_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
VGG_PRIORS = {
    300: ((30, 60, 111, 162, 213, 264, 315), (8, 16, 32, 64, 100, 300), (4, 6, 6, 6, 4, 4)),
    512: ((35, 76, 153, 230, 307, 384, 460, 537), (8, 16, 32, 64, 128, 256, 512), (4, 6, 6, 6, 6, 4, 4)),
}
MOBILENET_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
MOBILENET_DEPTHS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
MOBILENET_SOURCES = ("conv11", "conv13", "conv14_2", "conv15_2", "conv16_2", "conv17_2")
EPSILON = 1e-5

LOGITS = 5.0  # the spread of the class scores before softmax
THRESHOLD = 0.01
CENTRING = 0.3  # the share of a channel's mean that is taken off; more of it makes the networks chaotic


def vgg_ssd(size: int, seed: int = 0) -> Model:
    """SSD300 or SSD512 on VGG-16, 21 classes."""
    builder = Builder(seed, size, VGG_MEAN, 1.0, images=2, candidates=60 if size == 300 else 10)
    _vgg_trunk(builder)
    sources = ["conv4_3_norm", "fc7", *_vgg_extras(builder, size)]
    builder.normalize("conv4_3_norm", "conv4_3")
    edges, steps, counts = VGG_PRIORS[size]
    for index, source in enumerate(sources):
        prior = {"min_size": edges[index], "max_size": edges[index + 1], "step": steps[index]}
        builder.head(source, 3, {**prior, "aspect_ratio": [2] if counts[index] == 4 else [2, 3]})
    return Model(f"vgg_ssd{size}", size, builder.layers + output_layers(sources), VGG_MEAN, 1.0)


def mobilenet_ssd(merged: bool, seed: int = 0) -> Model:
    """MobileNet-SSD 300 of 21 classes with batch norms, or the same one with them folded into the convolutions."""
    mean, scale = (127.5, 127.5, 127.5), 0.007843
    builder = Builder(seed, 300, mean, scale, images=4, candidates=25)
    _mobilenet_trunk(builder)
    edges = (60, 105, 150, 195, 240, 285, 300)
    for index, source in enumerate(MOBILENET_SOURCES):
        prior: dict[str, Any] = {"min_size": edges[index], "aspect_ratio": [2, 3]}
        if index == 0:
            prior["aspect_ratio"] = [2]
        else:
            prior["max_size"] = edges[index + 1]
        builder.head(source, 1, prior)
    layers = builder.layers + output_layers(MOBILENET_SOURCES)
    if merged:
        return Model("mobilenet_ssd_merged", 300, fold(layers), mean, scale)
    return Model("mobilenet_ssd", 300, layers, mean, scale)


def _vgg_trunk(builder: "Builder") -> None:
    for block, (depth, count) in enumerate(VGG_BLOCKS, 1):
        for index in range(count):
            builder.conv(f"conv{block}_{index + 1}", depth, kernel_size=3, pad=1)
        window = {"kernel_size": 3, "stride": 1, "pad": 1} if block == 5 else {"kernel_size": 2, "stride": 2}
        builder.pool(f"pool{block}", **window)
    builder.conv("fc6", 1024, kernel_size=3, pad=6, dilation=6)
    builder.conv("fc7", 1024, kernel_size=1)


def _vgg_extras(builder: "Builder", size: int) -> list[str]:
    """The layers behind fc7; the result is the sources among them."""
    halve, shrink = {"kernel_size": 3, "stride": 2, "pad": 1}, {"kernel_size": 3}
    last = [shrink, shrink] if size == 300 else [halve, halve, {"kernel_size": 4, "pad": 1}]
    depths = [(256, 512)] + [(128, 256)] * (len(last) + 1)
    for number, (depths_of, window) in enumerate(zip(depths, [halve, halve, *last], strict=True), 6):
        builder.conv(f"conv{number}_1", depths_of[0], kernel_size=1)
        builder.conv(f"conv{number}_2", depths_of[1], **window)
    return [f"conv{number}_2" for number in range(6, 6 + len(depths))]


def _mobilenet_trunk(builder: "Builder") -> None:
    builder.conv_norm("conv0", 32, kernel_size=3, pad=1, stride=2)
    depth = 32
    for number, (stride, out) in enumerate(zip(MOBILENET_STRIDES, MOBILENET_DEPTHS, strict=True), 1):
        builder.conv_norm(f"conv{number}/dw", depth, kernel_size=3, pad=1, stride=stride, group=depth)
        builder.conv_norm(f"conv{number}", out, kernel_size=1)
        depth = out
    for number, (narrow, out) in enumerate(((256, 512), (128, 256), (128, 256), (64, 128)), 14):
        builder.conv_norm(f"conv{number}_1", narrow, kernel_size=1)
        builder.conv_norm(f"conv{number}_2", out, kernel_size=3, pad=1, stride=2)


class Builder:
    """Adds layer after layer, with the activations of made-up images to set each layer's weights by."""

    def __init__(
        self, seed: int, size: int, mean_bgr: Sequence[float], scale: float, *, images: int, candidates: int
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.layers: list[Layer] = []
        self.maps = {"data": caffe_blob(made_up_images(self.rng, size, images), mean_bgr, scale)}
        self.top = "data"
        self.candidates = candidates

    def conv(self, name: str, depth: int, **window: int) -> None:
        """Convolution with bias and ReLU; the layer's one gain keeps activations of order 1."""
        layer, raw = self._convolve(name, self.top, depth, **window)
        gain, bias = self._calibrate(layer, raw, 1.0, CENTRING)
        self._relu(layer, raw * gain + bias[:, None, None])

    def conv_norm(self, name: str, depth: int, **window: int) -> None:
        """Convolution without bias, BatchNorm, Scale and ReLU; the statistics are near those of the images."""
        layer, raw = self._convolve(name, self.top, depth, bias=False, **window)
        bn, scale = self._statistics(raw), self._gammas(depth)
        setting = {"batch_norm_param": {"use_global_stats": True}}
        layers = [
            layer,
            Layer(f"{name}/bn", "BatchNorm", (name,), (name,), setting, bn),
            Layer(f"{name}/scale", "Scale", (name,), (name,), {"scale_param": {"bias_term": True}}, scale),
        ]
        gain, bias = folded(bn, scale)
        self._relu(layers, raw * gain[:, None, None] + bias[:, None, None])

    def pool(self, name: str, **window: int) -> None:
        """Max pooling."""
        layer = Layer(name, "Pooling", (self.top,), (name,), {"pooling_param": {"pool": "MAX", **window}})
        self._add(layer)
        self.maps[name] = run_layer(layer, self.maps[self.top])
        self.top = name

    def normalize(self, name: str, bottom: str) -> None:
        """Normalize across channels, with a factor of about 20 for each channel."""
        filler = {"type": '"constant"', "value": 20}
        setting = {"across_spatial": False, "scale_filler": filler, "channel_shared": False}
        depth = self.maps[bottom].shape[1]
        factors = self.rng.uniform(15, 25, depth).astype(np.float32)
        layer = Layer(name, "Normalize", (bottom,), (name,), {"norm_param": setting}, [factors])
        self._add(layer)
        self.maps[name] = run_layer(layer, self.maps[bottom])

    def head(self, source: str, kernel_size: int, prior: dict[str, Any]) -> None:
        """Offsets, class scores and default boxes on one source."""
        count = 1 + ("max_size" in prior) + 2 * len(prior["aspect_ratio"])
        window = {"kernel_size": kernel_size, "pad": kernel_size // 2}
        loc, raw = self._convolve(f"{source}_mbox_loc", source, count * 4, **window)
        self._calibrate(loc, raw, 1.0)
        conf, raw = self._convolve(f"{source}_mbox_conf", source, count * CLASSES, **window)
        conf.blobs[0][:], raw = alike(conf.blobs[0]), alike(raw.swapaxes(0, 1)).swapaxes(0, 1)
        gain, bias = self._calibrate(conf, raw, LOGITS)
        lift_background(conf.blobs[1], raw * gain + bias[:, None, None], self.candidates)
        flat = [layer for name in ("loc", "conf") for layer in flat_layers(f"{source}_mbox_{name}")]
        common = {"flip": True, "clip": False, "variance": [0.1, 0.1, 0.2, 0.2], "offset": 0.5}
        box = f"{source}_mbox_priorbox"
        boxes = Layer(box, "PriorBox", (source, "data"), (box,), {"prior_box_param": {**prior, **common}})
        self._add(loc, conf, *flat, boxes)

    def _add(self, *layers: Layer) -> None:
        self.layers += layers

    def _convolve(self, name: str, bottom: str, depth: int, bias: bool = True, **window: int) -> tuple[Layer, Array]:
        """A convolution with He's kernel and no bias yet, and its result."""
        source = self.maps[bottom]
        shape = (depth, source.shape[1] // window.get("group", 1), *[window["kernel_size"]] * 2)
        kernel = self.rng.standard_normal(shape, np.float32)
        kernel *= np.float32(np.sqrt(2 / np.prod(shape[1:])))
        setting = {"num_output": depth, **({} if bias else {"bias_term": False}), **window}
        blobs = [kernel, np.zeros(depth, np.float32)] if bias else [kernel]
        layer = Layer(name, "Convolution", (bottom,), (name,), {"convolution_param": setting}, blobs)
        return layer, run_layer(layer, source)

    def _calibrate(self, layer: Layer, raw: Array, spread: float, share: float = 1.0) -> tuple[np.float32, Array]:
        """Give a convolution one gain for the wanted spread, and a bias that centres channels where places are many."""
        places = raw[:, 0].size
        centre = raw.mean(axis=(0, 2, 3)) * (share * places / (places + 10))
        gain = np.float32(round(spread / (raw - centre[:, None, None]).std(), 5))
        noise = self.rng.normal(0, 0.1 * spread, len(centre))
        layer.blobs[1][:] = np.round(noise - gain * centre, 4)
        layer.blobs[0][:] *= gain
        return gain, layer.blobs[1].copy()

    def _statistics(self, raw: Array) -> list[Array]:
        """BatchNorm's mean, variance and the factor that both are to be divided by."""
        centre = CENTRING * raw.mean(axis=(0, 2, 3))
        variance = np.square(raw - centre[:, None, None]).mean(axis=(0, 2, 3))
        centre += self.rng.normal(0, 0.1, len(centre)) * np.sqrt(variance)
        variance = np.maximum(variance, 0.5 * variance.mean())
        variance *= self.rng.uniform(0.8, 1.25, len(variance))
        factor = self.rng.choice([1.0, 0.9, 12.5, 999.982])
        values = (np.round(centre, 4) * factor, (np.round(variance, 4) + 1e-4) * factor, [factor])
        return [np.array(value, np.float32) for value in values]

    def _gammas(self, depth: int) -> list[Array]:
        """Scale's gamma and beta."""
        values = self.rng.uniform(0.6, 1.4, depth), self.rng.normal(1, 0.3, depth)
        return [value.astype(np.float32) for value in values]

    def _relu(self, layers: Layer | list[Layer], values: Array) -> None:
        """Add the layers with a ReLU in place; what comes next starts here."""
        several = layers if isinstance(layers, list) else [layers]
        name = several[0].name
        self._add(*several, Layer(f"{name}/relu", "ReLU", (name,), (name,)))
        self.maps[name] = np.maximum(values, np.float32(0))
        self.top = name


def run_layer(layer: Layer, source: Array) -> Array:
    """One layer by itself, by OpenCV."""
    alone = Layer(layer.name, layer.type, ("data",), (layer.name,), layer.params, layer.blobs)
    text, weights = prototxt_text([alone], source.shape).encode(), caffemodel_bytes([alone])
    net = plain(cv2.dnn.readNetFromCaffe(np.frombuffer(text, np.uint8), np.frombuffer(weights, np.uint8)))
    net.setInput(source)
    return np.array(net.forward())


def alike(values: Array) -> Array:
    """Class scores, first axis box by class, that the boxes of a place partly share: overlaps to be suppressed."""
    boxes = values.reshape(-1, CLASSES, *values.shape[1:])
    shared = boxes.sum(axis=0) / np.float32(np.sqrt(len(boxes)))
    return (np.float32(0.6) * boxes + np.float32(0.8) * shared).reshape(values.shape)


def lift_background(bias: Array, logits: Array, candidates: int) -> None:
    """Raise the background's bias until few boxes have a class above the threshold."""
    images, _, high, wide = logits.shape
    boxes = logits.reshape(images, -1, CLASSES, high, wide)
    margins = boxes[:, :, 1:].max(axis=2) - boxes[:, :, 0]
    share = min(0.1, candidates / margins[0].size)
    bias[::CLASSES] += np.round(np.quantile(margins, 1 - share) - np.log(THRESHOLD), 4)


def folded(bn: Sequence[Array], scale: Sequence[Array]) -> tuple[Array, Array]:
    """The gain and bias of each channel that stand for BatchNorm and Scale."""
    mean, variance, factor = (blob.astype(np.float64) for blob in bn)
    gamma, beta = (blob.astype(np.float64) for blob in scale)
    gain = gamma / np.sqrt(variance / factor + EPSILON)
    return gain.astype(np.float32), (beta - mean / factor * gain).astype(np.float32)


def fold(layers: Sequence[Layer]) -> list[Layer]:
    """The same network without BatchNorm and Scale layers."""
    blobs = {layer.name: layer.blobs for layer in layers}
    out: list[Layer] = []
    for layer in layers:
        if f"{layer.name}/bn" in blobs:
            gain, bias = folded(blobs[f"{layer.name}/bn"], blobs[f"{layer.name}/scale"])
            setting = {k: v for k, v in layer.params["convolution_param"].items() if k != "bias_term"}
            weights = [layer.blobs[0] * gain[:, None, None, None], bias]
            out.append(replace(layer, params={"convolution_param": setting}, blobs=weights))
        elif layer.type not in ("BatchNorm", "Scale"):
            out.append(layer)
    return out


def flat_layers(name: str) -> list[Layer]:
    """A head's numbers by place, then by box."""
    perm, flat = f"{name}_perm", f"{name}_flat"
    return [
        Layer(perm, "Permute", (name,), (perm,), {"permute_param": {"order": [0, 2, 3, 1]}}),
        Layer(flat, "Flatten", (perm,), (flat,), {"flatten_param": {"axis": 1}}),
    ]


def output_layers(sources: Sequence[str]) -> list[Layer]:
    """All sources together, softmax and DetectionOutput."""

    def concat(name: str, suffix: str, axis: int) -> Layer:
        bottoms = tuple(f"{source}_{name}{suffix}" for source in sources)
        return Layer(name, "Concat", bottoms, (name,), {"concat_param": {"axis": axis}})

    def step(name: str, kind: str, bottom: str, **params: dict[str, Any]) -> Layer:
        return Layer(name, kind, (bottom,), (name,), params)

    bottoms = ("mbox_loc", "mbox_conf_flatten", "mbox_priorbox")
    setting = {
        "num_classes": CLASSES, "share_location": True, "background_label_id": 0, "code_type": "CENTER_SIZE",
        "nms_param": {"nms_threshold": 0.45, "top_k": 400}, "keep_top_k": 200, "confidence_threshold": THRESHOLD,
    }  # fmt: skip
    return [
        concat("mbox_loc", "_flat", 1),
        concat("mbox_conf", "_flat", 1),
        concat("mbox_priorbox", "", 2),
        step("mbox_conf_reshape", "Reshape", "mbox_conf", reshape_param={"shape": {"dim": [0, -1, CLASSES]}}),
        step("mbox_conf_softmax", "Softmax", "mbox_conf_reshape", softmax_param={"axis": 2}),
        step("mbox_conf_flatten", "Flatten", "mbox_conf_softmax", flatten_param={"axis": 1}),
        Layer("detection_out", "DetectionOutput", bottoms, ("detection_out",), {"detection_output_param": setting}),
    ]


def made_up_images(rng: np.random.Generator, size: int, count: int) -> Array:
    """RGB images of discs of any colour, blurred, with noise; so different that real ones lie among them."""
    images = np.empty((count, size, size, 3), np.float32)
    for image in images:
        image[:] = rng.uniform(130, 230) + rng.normal(0, 30, 3)
        for _ in range(18):
            centre, radius = rng.integers(0, size, 2).tolist(), int(rng.uniform(0.06, 0.1) * size)
            cv2.circle(image, centre, radius, (rng.uniform(100, 220) + rng.normal(0, 30, 3)).tolist(), -1)
        cv2.circle(image, rng.integers(0, size, 2).tolist(), size // 7, (120, 80, 160), -1)
        image[:] = cv2.GaussianBlur(image, (0, 0), size / 150) + rng.normal(0, rng.uniform(1, 4), image.shape)
    return np.clip(images, 0, 255)
