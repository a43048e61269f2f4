"""`ssd eval --all`: a score for each checkpoint that a run has kept, and their curve."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ssdcli.evaluate.scoring import EvalRequest, load, make_evaluator, within_memory
from ssdcli.options import Program
from ssdcli.output import csv_text, print_json, print_scores, progress_bar
from ssdcore.errors import CheckpointError
from ssdcore.files import explain_writing, require_unused, write_atomic

if TYPE_CHECKING:
    from ssdcore.evaluation import Evaluation

Scores = Sequence[tuple[int, "Evaluation"]]


def score_steps(program: Program, request: EvalRequest) -> Scores:
    """The scores of the kept checkpoints of a run that are `request.every` steps or more apart, by step."""
    from ssdcore.runs.run_folder import RunFolder, spaced, step_of

    if request.out:
        require_unused(request.out)
    run = RunFolder(request.source)
    steps = spaced(map(step_of, run.numbered()), request.every or 1)
    if not steps:
        raise CheckpointError(f"{request.source.absolute()} holds no checkpoints step-*.npz; give a run folder")
    checkpoints = (load(run.at_step(step), request.assignments) for step in steps)
    first = next(checkpoints)
    evaluator, assign = make_evaluator(program, first, request)
    scores = []
    with progress_bar("evaluating") as bar:
        for step, checkpoint in zip(steps, (first, *checkpoints), strict=True):
            assign(checkpoint)
            scores.append((step, evaluator.run(within_memory(partial(bar.update, note=checkpoint.path.stem), request))))
    return scores


def show_steps(scores: Scores, request: EvalRequest) -> None:
    """Prints the scores; leaves a table and an image of them in the folder `request.out`, if there is one."""
    if out := request.out:
        with explain_writing(out):
            out.mkdir(parents=True, exist_ok=True)
        rows = [(step, one.mean_average_precision, *one.average_precisions.values()) for step, one in scores]
        table = csv_text([("step", "map", *scores[0][1].average_precisions), *rows])
        write_atomic(out / "steps.csv", table.encode())
        draw_curve(scores, out / "steps.png")
    if request.as_json:
        print_json([{"step": step, **result.as_dict()} for step, result in scores])
    else:
        print_scores(scores)


def draw_curve(scores: Scores, path: Path) -> None:
    """An image of the mean average precision and of each class's, over steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=110, layout="constrained")
    axes = figure.subplots()
    steps, first = [step for step, _ in scores], scores[0][1]
    # As float arrays, in which None is NaN.
    by_class = np.array([list(one.average_precisions.values()) for _, one in scores], float)
    means = np.array([one.mean_average_precision for _, one in scores], float)
    axes.plot(steps, by_class, lw=1, marker=".", label=list(first.average_precisions))
    axes.plot(steps, means, "k", lw=2, marker="o", label="mAP")
    axes.set(xlabel="step", ylabel=f"average precision ({first.metric})", ylim=(0, 1))
    axes.grid(alpha=0.3)
    columns = 1 + len(first.average_precisions) // 25
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small", ncols=columns)
    figure.savefig(path)
