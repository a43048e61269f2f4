"""Caffe's `.caffemodel` and `.prototxt` files written by hand, and OpenCV's Caffe importer as their oracle."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

Array = np.ndarray
Item = tuple[str, str, Sequence[Array]]

# caffe.proto, V1LayerParameter.LayerType: the kinds of layers that a V1 file can hold.
V1_TYPES = {
    "Concat": 3, "Convolution": 4, "Data": 5, "Dropout": 6, "Flatten": 8, "InnerProduct": 14, "LRN": 15, "Pooling": 17,
    "ReLU": 18, "Sigmoid": 19, "Softmax": 20, "SoftmaxWithLoss": 21, "Split": 22, "TanH": 23, "Eltwise": 25,
    "Power": 26, "Slice": 33, "Deconvolution": 39,
}  # fmt: skip

# caffe.proto with the SSD fork's additions: the settings that go into the binary, too, with their field numbers.
PARAM_FIELDS: dict[str, tuple[int, dict[str, int]]] = {
    "convolution_param": (
        106,
        {"num_output": 1, "bias_term": 2, "pad": 3, "kernel_size": 4, "group": 5, "stride": 6, "dilation": 18},
    ),
    "batch_norm_param": (139, {"use_global_stats": 1, "eps": 3}),
    "scale_param": (142, {"bias_term": 4}),
    "norm_param": (149, {"across_spatial": 1, "channel_shared": 3, "eps": 4}),
}


@dataclass(frozen=True)
class Layer:
    """One layer of a network; `params` are the settings of its prototxt, `blobs` its weights in Caffe's layout."""

    name: str
    type: str
    bottoms: tuple[str, ...] = ()
    tops: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    blobs: Sequence[Array] = ()


@dataclass(frozen=True)
class Model:
    """A network with its weights, and how images become its input."""

    name: str
    size: int
    layers: list[Layer]
    mean_bgr: tuple[float, float, float]
    scale: float

    @property
    def prototxt(self) -> str:
        """The deploy prototxt."""
        return prototxt_text(self.layers, (1, 3, self.size, self.size), self.name)

    @property
    def blobs(self) -> dict[str, Sequence[Array]]:
        """The weights of each layer that has some."""
        return {layer.name: layer.blobs for layer in self.layers if layer.blobs}

    def blob(self, images: Array) -> Array:
        """The network's input for RGB images (N, H, W, 3) of its size, 0..255."""
        return caffe_blob(images, self.mean_bgr, self.scale)


@dataclass(frozen=True)
class Encoding:
    """In which of Caffe's ways a binary file is written."""

    v1: bool = False
    double: bool = False
    legacy_shape: bool = False
    packed: bool = True


def varint(value: int) -> bytes:
    """Protobuf's base-128 number, low bits first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def number(key: int, value: int) -> bytes:
    """A field with a varint (wire type 0)."""
    return varint(key << 3) + varint(value)


def chunk(key: int, data: bytes | str) -> bytes:
    """A length-delimited field (wire type 2): a string, a message or packed numbers."""
    raw = data.encode() if isinstance(data, str) else data
    return varint(key << 3 | 2) + varint(len(raw)) + raw


def floats(key: int, values: Array, packed: bool) -> bytes:
    """A repeated field of floats or doubles: in one chunk, or each behind its own tag (wire type 5 or 1)."""
    if packed:
        return chunk(key, values.tobytes())
    records = np.empty(values.size, [("tag", "u1"), ("value", values.dtype)])
    records["tag"] = key << 3 | (5 if values.itemsize == 4 else 1)
    records["value"] = values.ravel()
    return records.tobytes()


def blob_bytes(values: Array, encoding: Encoding) -> bytes:
    """A BlobProto; the legacy shape has always four numbers, leading ones included."""
    if encoding.legacy_shape:
        four = (1,) * (4 - values.ndim) + values.shape
        shape = b"".join(number(key, side) for key, side in enumerate(four, 1))
    else:
        shape = chunk(7, chunk(1, b"".join(map(varint, values.shape))))
    key, kind = (8, "<f8") if encoding.double else (5, "<f4")
    return shape + floats(key, np.ascontiguousarray(values, kind), encoding.packed)


def setting_bytes(key: int, value: bool | int | float) -> bytes:
    """One setting: a float as fixed32, all else as varint."""
    if isinstance(value, float):
        return floats(key, np.array([value], "<f4"), packed=False)
    return number(key, int(value))


def params_bytes(params: Mapping[str, Any]) -> bytes:
    """The settings of those layers whose field numbers are in `PARAM_FIELDS`."""
    out = b""
    for name in params.keys() & PARAM_FIELDS.keys():
        key, keys = PARAM_FIELDS[name]
        inside = [setting_bytes(keys[item], value) for item, value in params[name].items() if item in keys]
        out += chunk(key, b"".join(inside))
    return out


def layer_bytes(layer: Layer, encoding: Encoding) -> bytes:
    """A LayerParameter, or a V1LayerParameter (without settings), with its own tag."""
    v1 = encoding.v1
    title, bottom, top, blobs = (4, 2, 3, 6) if v1 else (1, 3, 4, 7)
    parts = [chunk(title, layer.name), number(5, V1_TYPES[layer.type]) if v1 else chunk(2, layer.type)]
    parts += [chunk(bottom, name) for name in layer.bottoms] + [chunk(top, name) for name in layer.tops]
    parts += [chunk(blobs, blob_bytes(values, encoding)) for values in layer.blobs]
    if not v1:
        parts.append(params_bytes(layer.params))
    return chunk(2 if v1 else 100, b"".join(parts))


def caffemodel_bytes(
    layers: Iterable[Layer | Item],
    *,
    v1: bool = False,
    double: bool = False,
    legacy_shape: bool = False,
    packed: bool = True,
    name: str = "net",
) -> bytes:
    """A NetParameter of layers, or of (name, type, blobs); V1 files take only the types in `V1_TYPES`."""
    encoding = Encoding(v1, double, legacy_shape, packed)
    whole = [item if isinstance(item, Layer) else Layer(item[0], item[1], blobs=item[2]) for item in layers]
    return chunk(1, name) + b"".join(layer_bytes(layer, encoding) for layer in whole)


def message_text(values: Mapping[str, Any], indent: str = "") -> str:
    """Protobuf's text format; a list is a repeated field, a string an enum's value."""
    lines = []
    for key, value in values.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, Mapping):
                lines.append(f"{indent}{key} {{\n{message_text(one, indent + '  ')}{indent}}}\n")
            else:
                lines.append(f"{indent}{key}: {str(one).lower() if isinstance(one, bool) else one}\n")
    return "".join(lines)


def prototxt_text(layers: Iterable[Layer], shape: Sequence[int], name: str = "net") -> str:
    """A deploy prototxt: the input `data` and the layers."""
    out = f'name: "{name}"\ninput: "data"\n' + message_text({"input_shape": {"dim": list(shape)}})
    for layer in layers:
        head = {"name": [layer.name], "type": [layer.type], "bottom": [*layer.bottoms], "top": [*layer.tops]}
        quoted = {key: [f'"{text}"' for text in texts] for key, texts in head.items()}
        out += message_text({"layer": {**quoted, **layer.params}})
    return out


def write_model(folder: Path, model: Model, **encoding: bool) -> tuple[Path, Path]:
    """Write a model's prototxt and caffemodel; `encoding` are options of `caffemodel_bytes`."""
    prototxt, caffemodel = folder / f"{model.name}.prototxt", folder / f"{model.name}.caffemodel"
    prototxt.write_text(model.prototxt)
    caffemodel.write_bytes(caffemodel_bytes(model.layers, name=model.name, **encoding))
    return prototxt, caffemodel


def caffe_blob(rgb: Array, mean_bgr: Sequence[float], scale: float = 1.0) -> Array:
    """Caffe's input (N, 3, H, W): BGR less its mean, times the scale."""
    bgr = rgb.astype(np.float32)[..., ::-1] - np.asarray(mean_bgr, np.float32)
    return np.ascontiguousarray((bgr * np.float32(scale)).transpose(0, 3, 1, 2))


def plain(net: "cv2.dnn.Net") -> "cv2.dnn.Net":
    """The network on the CPU, with convolutions that are summed as they are defined."""
    net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    net.setPreferableTarget(cv2.dnn.DNN_TARGET_CPU)
    net.enableWinograd(False)
    return net


def opencv_layers(prototxt: Path, caffemodel: Path, blob: Array, names: Sequence[str]) -> list[Array]:
    """What OpenCV computes in the layers of these names."""
    net = plain(cv2.dnn.readNetFromCaffe(str(prototxt), str(caffemodel)))
    net.setInput(blob)
    return [np.array(value) for value in net.forward(list(names))]


def opencv_outputs(prototxt: Path, caffemodel: Path, blob: Array) -> tuple[Array, Array, Array]:
    """Scores (N, A, 21) after softmax, offsets (N, A, 4) and default boxes (A, 4) as OpenCV computes them."""
    scores, offsets, priors = opencv_layers(
        prototxt, caffemodel, blob, ["mbox_conf_softmax", "mbox_loc", "mbox_priorbox"]
    )
    return scores, offsets.reshape(len(blob), -1, 4), priors[0, 0].reshape(-1, 4)


def opencv_detections(prototxt: Path, caffemodel: Path, blob: Array) -> list[Array]:
    """For each image OpenCV's rows (label, score, xmin, ymin, xmax, ymax), best first."""
    (found,) = opencv_layers(prototxt, caffemodel, blob, ["detection_out"])
    rows = found.reshape(-1, 7)
    rows = rows[rows[:, 1] > 0]  # the rest of the fixed number of rows is zero
    return [rows[rows[:, 0] == image, 1:] for image in range(len(blob))]
