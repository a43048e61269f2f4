"""`ssd info`: what a checkpoint is, and how it was made."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssdcli.options import PathOption, Program, pass_program
from ssdcli.output import print_json, print_table
from ssdcore.runs.run_folder import RunFolder, find_checkpoint
from ssdcore.system.tensorflow import load_tensorflow

if TYPE_CHECKING:
    from ssdcore.runs.checkpoint import Checkpoint


@click.command()
@click.argument("model", type=PathOption)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the whole param set.")
@pass_program
def info(program: Program, model: Path, as_json: bool) -> None:
    """Show what a model is: classes, parameters, data, versions, and how far it was trained.

    MODEL is a run folder (its best checkpoint, else its last) or a checkpoint.
    """
    load_tensorflow()
    from ssdcore.runs.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(find_checkpoint(model))
    facts = _facts(checkpoint)
    for name, points in RunFolder(model).scores().items():
        step, score = max(points, key=lambda point: (point[1], -point[0]))
        facts[f"best_{name.replace(' ', '_')}"] = {"map": score, "step": step}
    if as_json:
        params = checkpoint.params.model_dump(mode="json")
        print_json({**facts, "progress": dict(checkpoint.progress), "params": params})
    else:
        print_table(("what", "value"), [(name.replace("_", " "), _text(value)) for name, value in facts.items()])


def _facts(checkpoint: "Checkpoint") -> dict[str, Any]:
    params, progress, made = checkpoint.params, checkpoint.progress, checkpoint.made
    return {
        "checkpoint": str(checkpoint.path),
        "backbone": params.backbone,
        "model": f"{params.model.name}, {params.model.image_size[1]}x{params.model.image_size[0]} px",
        "classes": list(checkpoint.classes),
        "weights": sum(values.size for values in checkpoint.weights().values()),
        "averaged": bool(checkpoint.below("averages/")),
        "step": progress.get("step"),
        "stage": f"{params.train.stages[progress['stage']].name}, step {progress['stage_step']}" if progress else None,
        f"best_{params.train.monitor}": progress.get("best"),
        **{name: made.get(name) for name in ("data", "data_digest", "started", "python", "versions", "git_commit")},
    }


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {'-' if item is None else item}" for name, item in value.items())
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
