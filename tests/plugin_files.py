"""Writes plugins, good and broken, and runs programs that see them."""

import subprocess
from pathlib import Path

from ssd_program import Completed, environment_with

TOY_BACKBONE = """
from ssdcore import Backbone, hookimpl

@hookimpl
def ssdcore_backbones():
    return [Backbone(name="{name}", base_net=print, arg_scope=print)]
"""

RAISES_AT_IMPORT = 'raise RuntimeError("no licence found")'

MISSPELT_HOOK = """
from ssdcore import hookimpl

@hookimpl
def ssdcore_backbone():
    return []
"""

TOY_PARAM_SET = """
from ssdcore import ParamSet, hookimpl
from ssdcore.params.presets import ssd300, two_stages

@hookimpl
def ssdcore_param_sets():
    return {{"{name}": ParamSet(backbone="vgg_16", model=ssd300(), train=two_stages(1, 1, 1))}}
"""

HEAVY = "import tensorflow\n" + TOY_BACKBONE.format(name="heavy_net")


def write_plugin(folder: Path, name: str, code: str, module: str | None = None) -> None:
    """What pip leaves behind for a plugin of one module: `fake_NAME.py` and a dist-info folder."""
    if module is None:
        module = f"fake_{name}"
        (folder / f"{module}.py").write_text(code, "utf-8")
    info = folder / f"fake_{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: fake-{name}\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text(f"[ssdcore]\n{name} = {module}\n", "utf-8")


def run_program(command: list[str], *path: Path) -> Completed:
    environment = environment_with(*path)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
