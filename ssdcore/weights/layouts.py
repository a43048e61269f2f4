"""Names of the SSD layers (blocks, L2 norm, heads) in each format of weights files.

The names of the backbone's variables come from its plugin's checkpoint maps.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ssdcore.contract.backbones import Backbone
from ssdcore.contract.checkpoint_maps import CheckpointMap, Source, caffe_batch_norm
from ssdcore.errors import CheckpointError
from ssdcore.model import SSD

Sources = Sequence[Source]

_BLOCK = re.compile(r"(?P<block>\w+)_conv(?P<conv>\d+)(?P<norm>_bn)?/(?P<variable>\w+)")
_HEAD = re.compile(r"(?P<layer>\w+)_(?P<kind>logits|offsets)/(?P<variable>kernel|bias)")
_NORM = re.compile(r"(?P<layer>\w+)_norm/gamma")
TF1_DETECTORS = ("ssd-tensorflow", "ssd-tensorflow-voc", "modular-ssd-tensorflow")
_TF1_VARIABLES = {"kernel": "weights", "bias": "biases"}


def find_sources(name: str, ssd: SSD, backbone: Backbone, format: str) -> Sources:
    """Where a file of some format has the values of a detector's variable, preferred one first.

    Args:
        name: of the variable, as in `named_variables`.
        ssd: the detector.
        backbone: its backbone.
        format: of the file.

    Raises:
        CheckpointError: the backbone has no checkpoint map for such files (reason `no_checkpoint_map`).
    """
    if format == "ssdcore":
        return [Source((name,))]
    names = _names_of(backbone, format, ssd.model.name)
    own = f"{ssd.backbone.name}/"
    if name.startswith(own):
        return names.base_net(name.removeprefix(own))
    return [*names.blocks(name), *_in_layout(name, _layout(format, ssd, names))]


def _in_layout(name: str, layout: "_Caffe | _Tf1 | None") -> Sources:
    if layout is None:
        return ()
    if found := _HEAD.fullmatch(name):
        return layout.head(*found.group("layer", "kind", "variable"))
    if found := _NORM.fullmatch(name):
        return layout.norm(found["layer"])
    if found := _BLOCK.fullmatch(name):
        return layout.block(found["block"], int(found["conv"]), bool(found["norm"]), found["variable"])
    return ()


def _names_of(backbone: Backbone, format: str, model: str) -> CheckpointMap:
    """The backbone's own names; TF1 detectors have TF-slim's, SSD-Tensorflow under its own scope."""
    key = "tf-slim" if format in TF1_DETECTORS else format
    names = backbone.checkpoints.get(key)
    if names is None:
        known = ", ".join(sorted(backbone.checkpoints)) or "none"
        raise CheckpointError(
            f"backbone {backbone.name!r} has no checkpoint map for {key} files (it has: {known}); use another file or "
            "backbone",
            "no_checkpoint_map",
        )
    if format not in TF1_DETECTORS:
        return names

    def rescoped(name: str) -> Sources:
        sources, scope = names.base_net(name), _ssd_tensorflow_scope(model)
        return [replace(one, names=tuple(re.sub(r"^\w+/", scope, there) for there in one.names)) for one in sources]

    return CheckpointMap(rescoped if format == "ssd-tensorflow" else names.base_net)


def _ssd_tensorflow_scope(model: str) -> str:
    return f"ssd_{model.removeprefix('ssd')}_vgg/"


def _layout(format: str, ssd: SSD, names: CheckpointMap) -> "_Caffe | _Tf1 | None":
    """The layout of a format; None for formats that hold backbones only."""
    model, first = ssd.model, ssd.feature_maps[0][0]
    kernels = {block.name: block.convs[-1].kernel for block in model.blocks}
    if format == "caffe":
        return _Caffe(names, model.name, {block.name: len(block.convs) for block in model.blocks})
    if format in ("ssd-tensorflow", "ssd-tensorflow-voc"):
        scope = _ssd_tensorflow_scope(model.name)
        return _Tf1(scope, "block", f"{scope}{{}}_box", {first: "block4"}, kernels)
    if format == "modular-ssd-tensorflow":
        end_point = re.sub(r"^MobilenetV1/|/\w+$", "", names.base_net(f"{first}/kernel")[0].names[0])
        return _Tf1(f"{model.name}/", "ssd_block", "bbox_layers/{}_box", {first: end_point}, kernels)
    return None


@dataclass(frozen=True)
class _Caffe:
    """Names of the Caffe SSD models: heads are named after their prediction layer.

    A model whose batch normalisation was merged into its convolutions has biases in its place.
    """

    names: CheckpointMap
    model: str
    convs: dict[str, int]

    def block(self, block: str, conv: int, norm: bool, variable: str) -> Sources:
        """A variable of the `conv`-th convolution of a block, or of the normalisation after it."""
        layer = self._block_layer(block, conv)
        return caffe_batch_norm(layer, variable) if norm else [Source((f"{layer}/{variable}",))]

    def head(self, layer: str, kind: str, variable: str) -> Sources:
        """A variable of the head that predicts the `logits` or `offsets` of a prediction layer."""
        suffix, name = {"logits": "conf", "offsets": "loc"}[kind], self._caffe_name(layer)
        return [Source((f"{there}_mbox_{suffix}/{variable}",)) for there in (f"{name}_norm", name)]

    def norm(self, layer: str) -> Sources:
        """The scale of the L2 normalisation of a prediction layer."""
        return [Source((f"{self._caffe_name(layer)}_norm/gamma",))]

    def _caffe_name(self, layer: str) -> str:
        if layer in self.convs:
            return self._block_layer(layer, self.convs[layer])
        return _layer_of(self.names.base_net(f"{layer}/kernel"))

    def _block_layer(self, block: str, conv: int) -> str:
        """SSD300 and SSD512 call block8 conv6; MobileNet-SSD's blocks have the numbers of Caffe's."""
        own = _layer_of(self.names.blocks(f"{block}_conv{conv}/kernel"))
        number = int(re.sub(r"\D", "", block) or 0)
        return own or f"conv{number if self.model.startswith('mobilenet') else number - 2}_{conv}"


def _layer_of(sources: Sources) -> str:
    return sources[0].names[0].rpartition("/")[0] if sources else ""


@dataclass(frozen=True)
class _Tf1:
    """Names of the TF1 projects: conv6 and conv7 for block7, then blocks of conv1x1 and conv3x3.

    Where they normalise, the convolution also has a bias, which cancels out in the normalisation: it is
    subtracted from the moving mean here.
    """

    scope: str
    prefix: str
    box: str
    first: dict[str, str]
    kernels: dict[str, int]

    def block(self, block: str, conv: int, norm: bool, variable: str) -> Sources:
        """As `_Caffe.block`; the other methods likewise."""
        layer, normalisation = self._layers(block, conv)
        if not norm:
            return [Source((f"{layer}/{_TF1_VARIABLES[variable]}",))]
        if variable == "moving_mean":
            return [Source((f"{normalisation}/{variable}", f"{layer}/biases"), np.subtract)]
        without_scale = [Source((f"{normalisation}/beta",), np.ones_like)] if variable == "gamma" else []
        return [Source((f"{normalisation}/{variable}",)), *without_scale]

    def head(self, layer: str, kind: str, variable: str) -> Sources:
        conv = {"logits": "conv_cls", "offsets": "conv_loc"}[kind]
        return [Source((f"{self._box(layer)}/{conv}/{_TF1_VARIABLES[variable]}",))]

    def norm(self, layer: str) -> Sources:
        return [Source((f"{self._box(layer)}/L2Normalization/gamma",))]

    def _box(self, layer: str) -> str:
        return self.box.format(self.first.get(layer, layer.replace("block", self.prefix)))

    def _layers(self, block: str, conv: int) -> tuple[str, str]:
        """The convolution, and the normalisation after it."""
        norm = "BatchNorm" if conv == 1 else f"BatchNorm_{conv - 1}"
        if block == "block7":
            return f"{self.scope}conv{5 + conv}", f"{self.scope}{norm}"
        scope = f"{self.scope}{block.replace('block', self.prefix)}/"
        kernel = 1 if conv == 1 else self.kernels[block]
        return f"{scope}conv{kernel}x{kernel}", f"{scope}{norm}"
