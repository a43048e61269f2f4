"""Discovers, loads and validates plugins. One that fails is recorded and does not affect the others."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pluggy

from ssdcore.contract import hookspecs
from ssdcore.contract.backbones import Backbone
from ssdcore.errors import ParamError, PluginError, did_you_mean
from ssdcore.params import ParamSet

DISABLE_VARIABLE = "SSDCORE_DISABLE_PLUGINS"


@dataclass(frozen=True)
class Plugin:
    """An installed plugin: its entry point's name and the distribution that brought it."""

    name: str
    distribution: str
    version: str


@dataclass(frozen=True)
class PluginFailure:
    """A plugin that could not be loaded, and why."""

    plugin: Plugin
    reason: str


@dataclass(frozen=True)
class Plugins:
    """Everything that the installed plugins provide.

    Attributes:
        manager: the pluggy manager, for calling hooks.
        failures: the plugins that could not be loaded.
        backbones: name -> backbone.
        param_sets: name -> param set.
        providers: backbone name -> the plugin that provides it.
        plugins: name -> loaded plugin.
    """

    manager: pluggy.PluginManager
    failures: Sequence[PluginFailure]
    backbones: Mapping[str, Backbone]
    param_sets: Mapping[str, ParamSet]
    providers: Mapping[str, Plugin]
    plugins: Mapping[str, Plugin]

    def backbone(self, name: str) -> Backbone:
        """The backbone called `name`.

        Raises:
            PluginError: no plugin provides it; names those installed, and plugins that failed.
        """
        if name in self.backbones:
            return self.backbones[name]
        failed = "; ".join(f"{failure.plugin.name}: {failure.reason}" for failure in self.failures)
        note = f"; plugins that failed to load: {failed}" if failed else ""
        raise PluginError(
            f"no installed plugin provides the backbone {name!r}; {did_you_mean(name, self.backbones)}{note}; "
            "backbones come in packages of their own, such as ssd-vgg, ssd-mobilenet and ssd-keras"
        )

    def feature_layers(self, backbone: str, model: str) -> tuple[str, ...]:
        """The end points that feed the first prediction layers of `model`; empty if no plugin names any.

        Raises:
            PluginError: a plugin's hook raised, or did not return a list of distinct names.
        """
        try:
            found = self.manager.hook.ssdcore_feature_layers(backbone=backbone, model=model)
        except Exception as error:
            raise PluginError(f"ssdcore_feature_layers({backbone!r}, {model!r}) of a plugin failed: {error}") from error
        names = () if found is None else found
        is_list = isinstance(names, Sequence) and not isinstance(names, str)
        if not (is_list and all(isinstance(one, str) for one in names) and len(set(names)) == len(names)):
            raise PluginError(
                f"ssdcore_feature_layers({backbone!r}, {model!r}) of a plugin returned {found!r}; it must return a "
                "list of names of end points, each once, finest map first, or None"
            )
        return tuple(names)

    def with_commands(self, cli: Any) -> "Plugins":
        """Lets each plugin add its commands to a `click.Group`; those that raise are added to `failures`."""
        failures = list(self.failures)
        for name, module in self.manager.list_name_plugin():
            try:
                _ask(self.manager, "ssdcore_commands", module, cli=cli)
            except Exception as error:
                failures.append(PluginFailure(self.plugins[name], f"ssdcore_commands: {_reason(error)}"))
        return replace(self, failures=tuple(failures))


def load_plugins() -> Plugins:
    """Loads every installed plugin that `SSDCORE_DISABLE_PLUGINS` does not name.

    The variable is a comma-separated list of entry points or distributions.

    Entry points are loaded one by one in the order of their names. A plugin that raises, misspells a hook, or
    repeats a name already taken is recorded in `failures`; the others load as if it were absent.
    """
    blocked = {name.strip() for name in os.environ.get(DISABLE_VARIABLE, "").split(",")}
    loader = _Loader()
    for entry_point in sorted(entry_points(group=hookspecs.PROJECT), key=lambda one: (one.name, one.value)):
        if not blocked & {entry_point.name, _describe(entry_point).distribution}:
            loader.load(entry_point)
    found: list[Mapping[str, Any]] = [loader.backbones, loader.param_sets, loader.providers, loader.plugins]
    return Plugins(loader.manager, tuple(loader.failures), *(MappingProxyType(part) for part in found))


def param_set(name: str | Path, *assignments: str, plugins: Plugins | None = None) -> ParamSet:
    """The param set of that name, or of a YAML file, with some values replaced.

    Args:
        name: of a set that a plugin ships, or path of a YAML file.
        assignments: `key.sub=value` with a YAML value, such as `train.stages.0.epochs=60`.
        plugins: that ship param sets; None: the installed ones.

    Raises:
        ParamError: there is no such set or file, or it or an assignment is invalid.
    """
    shipped = (plugins or load_plugins()).param_sets
    path = Path(name)
    if str(name) in shipped:
        found = shipped[str(name)]
    elif path.exists() or path.suffix in (".yaml", ".yml"):
        found = ParamSet.load(path)
    else:
        raise ParamError(f"no param set or YAML file is called {str(name)!r}; {did_you_mean(str(name), shipped)}")
    return found.override(assignments)


class _Loader:
    """Collects what each plugin provides, all of it or nothing."""

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self.failures: list[PluginFailure] = []
        self.backbones: dict[str, Backbone] = {}
        self.param_sets: dict[str, ParamSet] = {}
        self.providers: dict[str, Plugin] = {}
        self.set_providers: dict[str, Plugin] = {}
        self.plugins: dict[str, Plugin] = {}

    def load(self, entry_point: EntryPoint) -> None:
        """Loads one plugin, or records why it cannot be loaded."""
        plugin, knew_tensorflow = _describe(entry_point), "tensorflow" in sys.modules
        try:
            module = entry_point.load()
            if not knew_tensorflow and "tensorflow" in sys.modules:
                raise PluginError(
                    f"importing {entry_point.value} imports TensorFlow, which makes every command slow to start; "
                    "import it inside the functions that use it"
                )
            self._register(module, plugin)
        except (Exception, SystemExit) as error:  # a plugin may raise anything, and must not stop the others
            self.failures.append(PluginFailure(plugin, _reason(error)))

    def _register(self, module: Any, plugin: Plugin) -> None:
        if plugin.name in self.plugins:
            raise PluginError(f"another installed plugin has the entry point name {plugin.name!r} already")
        if self.manager.is_registered(module):
            raise PluginError(f"the module {module.__name__} is loaded as another plugin already")
        try:
            self.manager.register(module, plugin.name)
            self.manager.check_pending()
            self._collect(module, plugin)
        except BaseException:
            if self.manager.is_registered(module):
                self.manager.unregister(module)
            raise
        self.plugins[plugin.name] = plugin

    def _collect(self, module: Any, plugin: Plugin) -> None:
        """Adds a plugin's backbones and param sets, all or none."""
        backbones: dict[str, Backbone] = {}
        for backbone in _ask(self.manager, "ssdcore_backbones", module) or ():
            if not isinstance(backbone, Backbone):
                raise PluginError(f"ssdcore_backbones must return ssdcore.Backbone objects, not {backbone!r}")
            if backbone.name in backbones:
                raise PluginError(f"ssdcore_backbones returns the backbone {backbone.name!r} twice")
            backbones[backbone.name] = backbone
        param_sets = dict(_ask(self.manager, "ssdcore_param_sets", module) or {})
        for name, params in param_sets.items():
            if not isinstance(params, ParamSet):
                raise PluginError(f"ssdcore_param_sets: {name!r} must be an ssdcore.ParamSet, not {params!r}")
        # A hook that raises for unknown backbones would break those of other plugins.
        _ask(self.manager, "ssdcore_feature_layers", module, backbone="", model="")
        _refuse_taken("backbone", backbones, self.providers, plugin)
        _refuse_taken("param set", param_sets, self.set_providers, plugin)
        self.backbones.update(backbones)
        self.param_sets.update(param_sets)
        self.providers.update(dict.fromkeys(backbones, plugin))
        self.set_providers.update(dict.fromkeys(param_sets, plugin))


def _ask(manager: pluggy.PluginManager, hook: str, module: Any, **arguments: Any) -> Any:
    """The result of a hook of one plugin alone; None if it does not implement it."""
    others = [other for other in manager.get_plugins() if other is not module]
    answer = manager.subset_hook_caller(hook, others)(**arguments)
    return answer[0] if isinstance(answer, list) and answer else answer or None


def _describe(entry_point: EntryPoint) -> Plugin:
    dist = entry_point.dist
    return Plugin(entry_point.name, dist.name if dist else "unknown", dist.version if dist else "unknown")


def _refuse_taken(kind: str, names: Iterable[str], providers: Mapping[str, Plugin], plugin: Plugin) -> None:
    for name in names:
        if name in providers:
            raise PluginError(
                f"the {kind} {name!r} of {plugin.distribution} is provided by "
                f"{providers[name].distribution} already; rename one, or leave a plugin out with "
                f"{DISABLE_VARIABLE}={plugin.name}"
            )


def _reason(error: BaseException) -> str:
    """Why a plugin failed, in one line."""
    text = " ".join(str(error).split())
    if isinstance(error, pluggy.PluginValidationError):
        hooks = sorted(name for name in vars(hookspecs) if name.startswith("ssdcore_"))
        return f"{text} (hooks: {', '.join(hooks)})"
    return text if isinstance(error, PluginError) else f"{type(error).__name__}: {text}"
