"""Weights files as they are, damaged and hostile: the same arrays, or one clear error and no memory taken."""

import io
import json
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import caffe_files
import cv2
import h5py
import keras
import numpy as np
import pytest
import tf1_files

from ssdcore.contract.plugins import Plugins
from ssdcore.errors import CheckpointError
from ssdcore.model import build_ssd
from ssdcore.params import Weights
from ssdcore.runs.checkpoint import load_checkpoint, save_checkpoint
from ssdcore.weights import import_weights, load_weights, open_weights

KERNEL = np.arange(24, dtype=np.float32).reshape(4, 3, 2, 1)  # out, in, height, width
BIAS = np.arange(4, dtype=np.float32) - 1.5
LAYERS = [("conv1_1", "Convolution", [KERNEL, BIAS])]
FEW_BYTES = 100_000_000


def caffe_file(folder: Path, content: bytes) -> Path:
    path = folder / "model.caffemodel"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("v1", [False, True], ids=["new", "V1"])
@pytest.mark.parametrize("double", [False, True], ids=["float", "double"])
@pytest.mark.parametrize("legacy_shape", [False, True], ids=["shape", "num-channels-height-width"])
def test_every_way_of_writing_a_caffe_layer(v1: bool, double: bool, legacy_shape: bool, tmp_path: Path) -> None:
    content = caffe_files.caffemodel_bytes(LAYERS, v1=v1, double=double, legacy_shape=legacy_shape)
    file = open_weights(caffe_file(tmp_path, content))
    assert (file.format, list(file.arrays)) == ("caffe", ["conv1_1/kernel", "conv1_1/bias"])
    kernel = file.finite_values("conv1_1/kernel")
    assert (kernel.shape, kernel.dtype) == ((2, 1, 3, 4), np.float64 if double else np.float32)
    # Value of output 2, input 1, row 1: 2 * 6 + 1 * 2 + 1.
    assert kernel[1, 0, 1, 2] == 15
    np.testing.assert_array_equal(file.finite_values("conv1_1/bias"), [-1.5, -0.5, 0.5, 1.5])


def test_caffes_batch_normalisation_is_divided_by_its_factor(tmp_path: Path) -> None:
    """Sums 6 and 9 over a factor of 3; an epsilon of 1e-3 makes up for ours of 1e-5. Factor 0 means 0."""
    sums = [np.full(2, 6.0, np.float32), np.full(2, 9.0, np.float32)]
    layers = [
        caffe_files.Layer("a", "BatchNorm", params={"batch_norm_param": {"eps": 1e-3}}, blobs=[*sums, np.array([3.0])]),
        caffe_files.Layer("b", "BatchNorm", blobs=[*sums, np.array([0.0])]),
        caffe_files.Layer("c", "Scale", blobs=[np.array([2.0, 3.0]), np.array([4.0, 5.0])]),
    ]
    file = open_weights(caffe_file(tmp_path, caffe_files.caffemodel_bytes(layers)))
    assert file.finite_values("a/moving_mean").tolist() == [2, 2]
    np.testing.assert_allclose(file.finite_values("a/moving_variance"), 3 + 1e-3 - 1e-5, rtol=1e-6)
    assert file.finite_values("b/moving_mean").tolist() == [0, 0]
    assert (file.finite_values("c/gamma").tolist(), file.finite_values("c/beta").tolist()) == ([2, 3], [4, 5])


@pytest.mark.parametrize("cut", [1, 7, 30, 100])
def test_truncated_caffe_model(cut: int, tmp_path: Path) -> None:
    content = caffe_files.caffemodel_bytes(LAYERS)
    with pytest.raises(CheckpointError, match="no Caffe model, or a truncated one"):
        open_weights(caffe_file(tmp_path, content[:-cut]))


def a_image() -> bytes:
    return cv2.imencode(".jpg", np.zeros((32, 32, 3), np.uint8))[1].tobytes()


@pytest.mark.parametrize(
    "content",
    [a_image(), b"name: 'VGG'\nlayer { name: 'conv1_1' }\n", b"", bytes(range(256)) * 20, b"\x89PNG\r\n\x1a\n" * 9],
    ids=["JPEG", "prototxt", "empty", "bytes", "PNG"],
)
def test_files_that_are_no_weights(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model\.caffemodel.*(give|get) (a|the)"):
        open_weights(caffe_file(tmp_path, content))


def wrong_blob(shape: tuple[int, ...], values: int) -> bytes:
    """A convolution whose kernel declares a shape that its values do not have."""
    dims = caffe_files.chunk(7, caffe_files.chunk(1, b"".join(map(caffe_files.varint, shape))))
    blob = dims + caffe_files.chunk(5, np.zeros(values, "<f4").tobytes())
    layer = caffe_files.chunk(1, "conv1_1") + caffe_files.chunk(2, "Convolution") + caffe_files.chunk(7, blob)
    return caffe_files.chunk(100, layer)


def sparse_h5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("conv1/conv1/kernel:0", (10**6, 10**6), np.float32, chunks=(1000, 1000))


def npz_of_a_lying_header(path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**12,)})
    write_zip(path, header.getvalue(), zipfile.ZIP_STORED)


def packed_npz(path: Path) -> None:
    array = io.BytesIO()
    np.save(array, np.zeros(50_000_000, np.float32))
    write_zip(path, array.getvalue(), zipfile.ZIP_DEFLATED)


def write_zip(path: Path, member: bytes, compression: int) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("model/conv1/kernel.npy", member)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(wrong_blob((10**6, 10**6), 4)),
        lambda path: path.write_bytes(wrong_blob((2**62, 2**62), 4)),
        lambda path: path.write_bytes(wrong_blob((2**64 - 1, 4), 4)),
        lambda path: path.write_bytes(wrong_blob((3, 3, 3, 3), 80)),
        sparse_h5,
        npz_of_a_lying_header,
        packed_npz,
    ],
    ids=["caffe", "caffe overflow", "caffe negative", "caffe too few", "HDF5", "npz header", "npz packed"],
)
def test_files_that_declare_more_than_they_hold(write: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "bomb"
    write(path)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match="damaged"):
            open_weights(path)
        assert tracemalloc.get_traced_memory()[1] < FEW_BYTES
    finally:
        tracemalloc.stop()


def test_deeply_nested_messages_are_no_model(tmp_path: Path) -> None:
    content = b""
    for _ in range(5000):
        content = caffe_files.chunk(100, content)
    with pytest.raises(CheckpointError, match=r"no Caffe model|no layers"):
        open_weights(caffe_file(tmp_path, content))


def test_links_out_of_an_hdf5_file_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["kernel:0"] = np.ones(3, np.float32)
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["conv1/kernel:0"] = h5py.ExternalLink(str(secret), "kernel:0")
        layout = h5py.VirtualLayout((3,), np.float32)
        layout[:] = h5py.VirtualSource(str(secret), "kernel:0", (3,))
        file.create_virtual_dataset("conv2/kernel:0", layout)
        file.create_dataset("conv3/kernel:0", (3,), np.float32, external=[(str(secret), 0, 12)])
    assert dict(open_weights(tmp_path / "weights.h5").arrays) == {}


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_truncated_hdf5(keep: float, tmp_path: Path) -> None:
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        file["conv1/conv1/kernel:0"] = np.ones((100, 100), np.float32)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(CheckpointError, match="no readable HDF5 file"):
        open_weights(path)


@pytest.mark.parametrize("part", [".index", ".data-00000-of-00001"])
def test_truncated_tensorflow_checkpoint(part: str, plugins: Plugins, tmp_path: Path) -> None:
    prefix = tf1_files.save_checkpoint(tmp_path, tf1_files.mobilenet_v1_variables(0.25))
    file = Path(f"{prefix}{part}")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    ssd = build_ssd(plugins.param_sets["mobilenet025-ssd300"], ["a"], plugins)
    with pytest.raises(CheckpointError, match=r"get (the file|all of its files) again"):
        load_weights(ssd, plugins, Weights(file=str(prefix)))


def test_missing_data_of_a_tensorflow_checkpoint(tmp_path: Path) -> None:
    prefix = tf1_files.save_checkpoint(tmp_path, tf1_files.mobilenet_v1_variables(0.25))
    Path(f"{prefix}.data-00000-of-00001").unlink()
    with pytest.raises(CheckpointError, match=r"get (the file|all of its files) again"):
        open_weights(prefix)


def test_weights_that_are_not_finite_are_refused_and_nothing_changes(plugins: Plugins, tmp_path: Path) -> None:
    variables = tf1_files.mobilenet_v1_variables(0.25)
    variables["MobilenetV1/Conv2d_7_pointwise/weights"][0, 0, 3, 4] = np.nan
    prefix = tf1_files.save_checkpoint(tmp_path, variables)
    ssd = build_ssd(plugins.param_sets["mobilenet025-ssd300"], ["a"], plugins)
    before = ssd.network.get_layer("Conv2d_11_pointwise_logits").kernel.numpy(), ssd.backbone.get_weights()
    with pytest.raises(CheckpointError, match=r"Conv2d_7_pointwise/weights holds 1 values that are NaN or infinite"):
        load_weights(ssd, plugins, Weights(file=str(prefix)))
    np.testing.assert_array_equal(ssd.network.get_layer("Conv2d_11_pointwise_logits").kernel, before[0])
    for now, then in zip(ssd.backbone.get_weights(), before[1], strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_file_of_another_format_than_said(tmp_path: Path) -> None:
    path = caffe_file(tmp_path, caffe_files.caffemodel_bytes(LAYERS))
    with pytest.raises(CheckpointError, match="is a caffe file, not tf-slim"):
        open_weights(path, "tf-slim")


def test_a_missing_file_is_named_in_full() -> None:
    with pytest.raises(CheckpointError, match=r"there is no weights file /.*nowhere\.caffemodel"):
        open_weights(Path("nowhere.caffemodel"))


def test_our_own_checkpoint_is_read_with_its_classes(plugins: Plugins, tmp_path: Path) -> None:
    params = plugins.param_sets["mobilenet025-ssd300"]
    ssd = build_ssd(params, ["a", "b"], plugins)
    save_checkpoint(tmp_path / "own.npz", ssd, params)
    file = open_weights(tmp_path / "own.npz")
    assert (file.format, file.classes) == ("ssdcore", ("a", "b"))
    kernel = "mobilenet_v1_025/Conv2d_0/kernel"
    np.testing.assert_array_equal(file.finite_values(kernel), ssd.backbone.get_layer("Conv2d_0").kernel)


def test_an_own_checkpoint_with_a_lying_member_is_refused(plugins: Plugins, tmp_path: Path) -> None:
    """Also where it is not weights that are wanted, but a run to go on with."""
    path = tmp_path / "last.npz"
    npz_of_a_lying_header(path)
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)


@pytest.mark.parametrize("top", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["without top", "with top"])
@pytest.mark.parametrize("old_names", [False, True], ids=["kernel:0", "W_1:0"])
def test_keras_vgg_16(top: bool, old_names: bool, plugins: Plugins, tmp_path: Path) -> None:
    """The base net gives Keras' own activations; its BGR becomes our RGB; fc1 and fc2 become block7."""
    network = keras.applications.VGG16(weights=None, include_top=False, input_shape=(224, 224, 3))
    arrays = {weight.path: weight.numpy() for weight in network.weights} | (top_of_vgg_16() if top else {})
    path = tmp_path / "vgg16.h5"
    write_keras_h5(path, arrays, old_names)
    params = plugins.param_sets["vgg16-ssd300"]
    ssd = build_ssd(params, ["a"], plugins)
    report = load_weights(ssd, plugins, Weights(file=str(path)))
    assert len(report.matched) == 26 + (4 if top else 0)
    inside = keras.Model(network.inputs, network.get_layer("block4_conv3").output)
    bgr = np.random.default_rng(0).normal(0, 50, (1, 224, 224, 3)).astype(np.float32)
    ours = keras.Model(ssd.backbone.inputs, ssd.backbone.get_layer("conv4_3_relu").output)
    rgb = np.zeros((1, 300, 300, 3), np.float32)
    rgb[:, :224, :224] = bgr[..., ::-1]
    same = 28 - 8  # cells whose receptive field (92 px, 12 cells) does not reach the edge of the smaller image
    np.testing.assert_allclose(ours([rgb])[0, :same, :same], inside([bgr])[0, :same, :same], rtol=1e-4, atol=1e-4)
    if top:
        fc1, fc2 = arrays["fc1/kernel"], arrays["fc2/kernel"]
        # Row 3, column 6, channel 5 of the 7 x 7 x 512 inputs; output 4 * 9.
        taken = ssd.network.get_layer("block7_conv1").kernel
        assert taken[1, 2, 5, 9] == fc1[(3 * 7 + 6) * 512 + 5, 36]
        assert ssd.network.get_layer("block7_conv2").kernel[0, 0, 2, 3] == fc2[8, 12]


def top_of_vgg_16() -> dict[str, np.ndarray]:
    """Its fully connected layers, nearly all zeros, which take no memory."""
    arrays = {"fc1/kernel": np.zeros((25088, 4096), np.float32), "fc2/kernel": np.zeros((4096, 4096), np.float32)}
    for kernel in arrays.values():
        kernel[:, 36] = np.random.default_rng(1).normal(0, 1, len(kernel))
        kernel[8] = np.random.default_rng(2).normal(0, 1, kernel.shape[1])
    return arrays | {"fc1/bias": np.ones(4096, np.float32), "fc2/bias": np.ones(4096, np.float32)}


def write_keras_h5(path: Path, arrays: dict[str, np.ndarray], old_names: bool) -> None:
    """As Keras Applications publishes them: a group for each layer, names in today's or in Keras 1's way."""
    old = {"kernel": "W_1", "bias": "b_1"}
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            layer, variable = name.split("/")
            file[f"{layer}/{layer}_{old[variable]}:0" if old_names else f"{layer}/{layer}/{variable}:0"] = values


def test_caffe_vgg_ssd_of_double_v1_blobs_fills_its_backbone(plugins: Plugins, tmp_path: Path) -> None:
    """The reduced VGG ImageNet file: V1 layers, legacy shapes; fc6 (1024, 512, 3, 3) is taken as it is."""
    rng = np.random.default_rng(1)
    ssd = build_ssd(plugins.param_sets["vgg16-ssd300"], ["a"], plugins)
    layers = []
    for layer, name in [*((layer, layer.name) for layer in ssd.backbone.layers if layer.weights), *fc_layers(ssd)]:
        kernel = rng.normal(0, 0.1, layer.kernel.shape[::-1]).astype(np.float32).transpose(0, 1, 3, 2)
        layers.append((name, "Convolution", [kernel, rng.normal(0, 1, len(kernel)).astype(np.float32)]))
    layers.append(("fc8", "InnerProduct", [np.ones((3, 2), np.float32), np.ones(3, np.float32)]))
    content = caffe_files.caffemodel_bytes(layers, v1=True, double=True, legacy_shape=True)
    report = load_weights(ssd, plugins, Weights(file=str(caffe_file(tmp_path, content))))
    assert (len(report.matched), report.unused) == (26 + 4, ("fc8/bias", "fc8/kernel"))
    blobs = {name: blobs for name, _, blobs in layers}
    first, fc6 = ssd.backbone.get_layer("conv1_1"), ssd.network.get_layer("block7_conv1")
    assert first.kernel[2, 1, 0, 7] == blobs["conv1_1"][0][7, 2, 2, 1]
    assert fc6.kernel[2, 0, 100, 7] == blobs["fc6"][0][7, 100, 2, 0]
    np.testing.assert_array_equal(fc6.bias, blobs["fc6"][1])


def fc_layers(ssd) -> list[tuple]:
    return [(ssd.network.get_layer("block7_conv1"), "fc6"), (ssd.network.get_layer("block7_conv2"), "fc7")]


def test_report_of_an_import_is_plain_json(plugins: Plugins, tmp_path: Path) -> None:
    prefix = tf1_files.save_checkpoint(tmp_path, tf1_files.mobilenet_v1_variables(0.25))
    ssd = build_ssd(plugins.param_sets["mobilenet025-ssd300"], ["a"], plugins)
    report = load_weights(ssd, plugins, Weights(file=str(prefix), exclude=("mobilenet_v1_025/Conv2d_13",)))
    values = json.loads(json.dumps(report.as_dict()))
    assert len(values["excluded"]) == 10
    assert len(values["matched"]) == 125
    assert "MobilenetV1/Conv2d_13_pointwise/weights" in values["unused"]
    assert values["classes"] is None


def test_the_file_that_is_named_is_read_and_not_one_of_the_same_stem(tmp_path: Path) -> None:
    tf1_files.save_checkpoint(tmp_path, tf1_files.mobilenet_v1_variables(0.25), "model")
    write_keras_h5(tmp_path / "model.h5", {"conv1/kernel": np.ones(3, np.float32)}, old_names=False)
    (tmp_path / "model.caffemodel").write_bytes(caffe_files.caffemodel_bytes(LAYERS))
    found = {path.name: open_weights(path).format for path in (tmp_path / "model.h5", tmp_path / "model.caffemodel")}
    assert found == {"model.h5": "keras-applications", "model.caffemodel": "caffe"}
    assert open_weights(tmp_path / "model").format == "tf-slim"


def test_vgg_19_is_not_taken_for_vgg_16(plugins: Plugins, tmp_path: Path) -> None:
    network = keras.applications.VGG19(weights=None, include_top=False, input_shape=(64, 64, 3))
    write_keras_h5(tmp_path / "vgg19.h5", {one.path: one.numpy() for one in network.weights}, old_names=False)
    ssd = build_ssd(plugins.param_sets["vgg16-ssd300"], ["a"], plugins)
    with pytest.raises(CheckpointError, match="belongs to VGG-19: it holds block3_conv4/kernel"):
        load_weights(ssd, plugins, Weights(file=str(tmp_path / "vgg19.h5")))


def test_todays_keras_names_of_mobilenet(plugins: Plugins, tmp_path: Path) -> None:
    network = keras.applications.MobileNet((64, 64, 3), alpha=0.25, weights=None, include_top=False)
    arrays = {one.path: one.numpy() for one in network.weights}
    assert "conv_dw_1/kernel" in arrays
    with h5py.File(tmp_path / "mobilenet.h5", "w") as file:
        for name, values in arrays.items():
            file[f"{name.split('/')[0]}/{name}"] = values
    ssd = build_ssd(plugins.param_sets["mobilenet025-ssd300"], ["a"], plugins)
    assert len(load_weights(ssd, plugins, Weights(file=str(tmp_path / "mobilenet.h5"))).matched) == 135
    np.testing.assert_array_equal(ssd.backbone.get_layer("Conv2d_1_depthwise").kernel, arrays["conv_dw_1/kernel"])


@pytest.mark.parametrize("names", [("a/conv1/kernel", "b/conv1/kernel"), ("layers/conv2d/vars/0", "layers/bn/vars/1")])
def test_hdf5_files_without_names_of_layers_are_refused(names: tuple[str, str], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        for name in names:
            file[name] = np.ones(3, np.float32)
    with pytest.raises(CheckpointError, match="does not name its layers"):
        open_weights(tmp_path / "weights.h5")


def test_arrays_of_another_rank_are_skipped(plugins: Plugins, tmp_path: Path) -> None:
    layers = [("conv1_1", "InnerProduct", [np.ones((64, 27), np.float32), np.ones(64, np.float32)])]
    layers.append(("fc6", "Convolution", [np.ones((4, 4, 3, 3), np.float32), np.ones(1, np.float32)]))
    path = caffe_file(tmp_path, caffe_files.caffemodel_bytes(layers))
    ssd = build_ssd(plugins.param_sets["vgg16-ssd300"], ["a"], plugins)
    report = load_weights(ssd, plugins, Weights(file=str(path), partial=True))
    assert (report.matched, len(report.skipped)) == (("vgg_16/conv1_1/bias",), 3)


@pytest.mark.slow
def test_another_set_of_a_detector_is_noted(plugins: Plugins, tmp_path: Path) -> None:
    """All shapes fit, but images are prepared otherwise, or boxes differ: a person must know."""
    layout = tf1_files.LAYOUTS["modular_mobilenet_v1_300"]
    prefix = tf1_files.save_checkpoint(tmp_path, tf1_files.ssd_variables(layout))
    classes = [str(number) for number in range(20)]
    notes = {}
    for name in ("modular-mobilenet-ssd300", "mobilenet-ssd300"):
        weights = Weights(file=str(prefix), classes=tuple(classes))
        ssd, report = import_weights(plugins.param_sets[name], plugins, weights)
        notes[name] = report.notes
    assert notes["modular-mobilenet-ssd300"] == ()
    assert "use another model.preprocessing" in notes["mobilenet-ssd300"][0]
    params = plugins.param_sets["mobilenet-ssd300"]
    save_checkpoint(tmp_path / "own.npz", ssd, params)
    other = params.override(["model.default_boxes.min_sizes.0=22"])
    _, report = import_weights(other, plugins, Weights(file=str(tmp_path / "own.npz")))
    assert report.notes == ("the file's detector was made with another model.default_boxes",)
