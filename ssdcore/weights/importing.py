"""Copies a weights file into a detector, by the names of its variables."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
from numpy.typing import NDArray

from ssdcore.contract.backbones import Backbone
from ssdcore.contract.plugins import Plugins, load_plugins
from ssdcore.errors import CheckpointError, ParamError
from ssdcore.model import SSD, build_ssd
from ssdcore.model.variables import check_scopes, named_weights
from ssdcore.params import ParamSet, Weights
from ssdcore.weights.classes import ClassTransfer, move_channels, name_classes, transfer_classes
from ssdcore.weights.files import open_weights
from ssdcore.weights.layouts import find_sources
from ssdcore.weights.report import ImportReport, find_notes
from ssdcore.weights.stored import WeightsFile

Array = NDArray[Any]


def import_weights(
    params: ParamSet, plugins: Plugins | None, weights: Weights, classes: Sequence[str] | None = None
) -> tuple[SSD, ImportReport]:
    """Builds a detector with the weights of a file.

    Args:
        params: the detector to build.
        plugins: that provide its backbone; None: the installed ones.
        weights: the file, and which variables to load.
        classes: names of the detector's classes; None: those of the file.

    Raises:
        CheckpointError: see `load_weights`; or the file's classes are unknown.
    """
    plugins, file = plugins or load_plugins(), open_weights(_path(weights), weights.format)
    if classes is None:
        classes = _Matching(build_ssd(params, ("object",), plugins), plugins, weights, file).file_classes()
    keras.utils.set_random_seed(params.train.seed + 1)
    ssd = build_ssd(params, classes, plugins)
    return ssd, _load(ssd, plugins, weights, file)


def load_weights(ssd: SSD, plugins: Plugins | None, weights: Weights) -> ImportReport:
    """Copies weights of a file into a detector, or raises and changes nothing.

    Variables that the file lacks, or has in another shape, keep their values and are listed in the report. Class
    heads take the channels of the classes that both have, by name.

    Args:
        ssd: the detector.
        plugins: that provide its backbone; None: the installed ones.
        weights: the file, and which variables to load.

    Raises:
        CheckpointError: the file is unreadable or damaged, holds non-finite values, matches no variable (reason
            `weights_of_another_network`), or lacks variables of the backbone and `weights.partial` is not set
            (`weights_incomplete`).
        ParamError: `include` or `exclude` match no name.
    """
    return _load(ssd, plugins or load_plugins(), weights, open_weights(_path(weights), weights.format))


def _path(weights: Weights) -> Path:
    if weights.file is None:
        raise ParamError("no weights file is given; set train.weights.file")
    return Path(weights.file)


def _load(ssd: SSD, plugins: Plugins, weights: Weights, file: WeightsFile) -> ImportReport:
    variables = named_weights(ssd)
    check_scopes(ssd, "train.weights", (*(weights.include or ()), *weights.exclude), list(variables))
    included = variables if weights.include is None else [one for one in variables if one.startswith(weights.include)]
    chosen = [name for name in included if not name.startswith(weights.exclude)]
    matching = _Matching(ssd, plugins, weights, file)
    for name in chosen:
        matching.take(name, variables[name])
    report = ImportReport(
        path=file.path,
        format=file.format,
        matched=tuple(sorted(matching.values)),
        skipped=tuple(sorted(matching.skipped.items())),
        missing=tuple(sorted(matching.missing)),
        excluded=tuple(sorted(variables.keys() - set(chosen))),
        unused=tuple(sorted(file.arrays.keys() - matching.used)),
        classes=matching.classes,
        notes=() if matching.classes is None else find_notes(file, ssd.model, matching.backbone),
    )
    _check(report, file, matching.backbone, ssd, weights)
    for name, values in matching.values.items():
        variables[name].assign(values)
    return report


class _Matching:
    """Values found for variables so far; nothing is assigned yet."""

    def __init__(self, ssd: SSD, plugins: Plugins, weights: Weights, file: WeightsFile) -> None:
        self.ssd, self.weights, self.file = ssd, weights, file
        self.backbone = plugins.backbone(ssd.backbone.name)
        boxes = zip(ssd.feature_maps, ssd.model.default_boxes.boxes_per_cell(), strict=True)
        # The variables of the class heads: name -> default boxes per cell.
        self.heads = {f"{name}_logits/{part}": count for (name, _), count in boxes for part in ("kernel", "bias")}
        self.values: dict[str, Array] = {}
        self.skipped: dict[str, str] = {}
        self.missing: list[str] = []
        self.used: set[str] = set()
        self.classes: ClassTransfer | None = None

    def take(self, name: str, variable: Any) -> None:
        """Finds the values of one variable."""
        sources = find_sources(name, self.ssd, self.backbone, self.file.format)
        source = next((one for one in sources if self.file.arrays.keys() >= set(one.names)), None)
        if source is None:
            self.missing.append(name)
            return
        self.used.update(source.names)
        given = [self.file.finite_values(there) for there in source.names]
        shape = tuple(variable.shape)
        try:
            values = source.convert(*given) if source.convert else given[0]
            if name in self.heads:
                values = self._for_our_classes(name, values, variable.numpy())
        except (ValueError, IndexError, TypeError):  # `convert` got shapes it is not made for
            values = given[0]
        if values.shape == shape:
            self.values[name] = values
        else:
            there = ", ".join(f"{one} {array.shape}" for one, array in zip(source.names, given, strict=True))
            self.skipped[name] = f"wanted {shape}, the file has {there}"

    def _for_our_classes(self, name: str, values: Array, initial: Array) -> Array:
        count = self._class_channels(name)
        if count is None:
            return values
        if self.classes is None or self.classes.count != count:
            names = name_classes(count - 1, self.weights.classes, self.file.classes, self.ssd.classes)
            self.classes = transfer_classes(names, self.ssd.classes)
        return move_channels(values, initial, self.classes)

    def _class_channels(self, name: str) -> int | None:
        """How many classes, with background, a head of the file has; None if its boxes per cell differ from ours.

        The boxes per cell follow from the offsets head of the same prediction layer.
        """
        channels = []
        for head in (name, name.replace("_logits/", "_offsets/")):
            sources = find_sources(head, self.ssd, self.backbone, self.file.format)
            arrays = (self.file.arrays.get(source.names[0]) for source in sources)
            shape = next((array.shape for array in arrays if array), ())
            if not shape:
                return None
            channels.append(shape[-1])
        count, rest = divmod(channels[0], self.heads[name])
        return None if rest or count < 2 or channels[1] != 4 * self.heads[name] else count

    def file_classes(self) -> Sequence[str]:
        """The class names of the file's detector.

        Raises:
            CheckpointError: they are unknown (reason `weights_without_classes` if it has no class heads).
        """
        count = next(filter(None, map(self._class_channels, self.heads)), None)
        if count is None:
            raise CheckpointError(
                f"{self.file.path.absolute()} holds no class heads of this model's boxes ({self.file.format}), so the "
                "classes of the detector must be given",
                "weights_without_classes",
            )
        return name_classes(count - 1, self.weights.classes, self.file.classes, ())


def _check(report: ImportReport, file: WeightsFile, backbone: Backbone, ssd: SSD, weights: Weights) -> None:
    """Rejects a file of a larger network, one that matches nothing, and one that lacks a part of the backbone."""
    names = backbone.checkpoints.get(file.format)
    for array, network in names.others.items() if names else ():
        if array in file.arrays:
            raise CheckpointError(
                f"{file.path.absolute()} belongs to {network}: it holds {array}, which {backbone.name!r} lacks; "
                "use the weights of this network"
            )
    where = f"{report.path.absolute()} ({report.format})"
    misfits = report.misfits()
    if not report.matched and not misfits:
        raise CheckpointError(f"{where}: include and exclude leave no variable to load")
    if not report.matched:
        others = f"; its own names are {', '.join(report.unused[:3])}, …" if report.unused else ""
        raise CheckpointError(
            f"{where} fits none of the {len(misfits)} variables of {ssd.backbone.name} + {ssd.model.name}: "
            f"{misfits[0]}{others}; use the param set of that network",
            "weights_of_another_network",
        )
    prefix = f"{ssd.backbone.name}/"
    own = [misfit for misfit in misfits if misfit.startswith(prefix)]
    if own and not weights.partial:
        fitting = sum(name.startswith(prefix) for name in report.matched)
        raise CheckpointError(
            f"{where} fits {fitting} of the {fitting + len(own)} variables of {ssd.backbone.name!r}; first misfit: "
            f"{own[0]}; use the weights of this architecture and width, or accept a partial file "
            "(train.weights.partial)",
            "weights_incomplete",
        )
