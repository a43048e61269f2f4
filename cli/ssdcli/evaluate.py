"""`ssd eval`: score a detector."""

from pathlib import Path

import click

from ssdcli.options import PathOption, Program, load_tensorflow, pass_program
from ssdcli.output import print_evaluation, print_json, progress_bar


@click.command("eval")
@click.argument("model", type=PathOption)
@click.option("--data", required=True, type=PathOption, help="Folder of records (ssd data convert).")
@click.option("--split", help="Split to score on. Default: that of the param set, else test or val.")
@click.option("--metric", type=click.Choice(["voc07", "voc12"]), help="11 recalls, or area under the curve.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_program
def evaluate(program: Program, model: Path, data: Path, split: str | None, metric: str | None, as_json: bool) -> None:
    """Score a detector: average precision of each class.

    MODEL is a run folder (its best checkpoint, else its last) or a checkpoint.
    """
    load_tensorflow()
    from ssdcore.checkpoint import load_checkpoint, restore_model
    from ssdcore.data.manifest import Manifest
    from ssdcore.evaluation import Evaluator
    from ssdcore.run_folder import find_checkpoint

    checkpoint = load_checkpoint(find_checkpoint(model))
    params = checkpoint.params.eval
    if metric:
        params = params.model_copy(update={"metric": metric})
    ssd = restore_model(checkpoint, program.plugins)
    manifest, wanted = Manifest.load(data), checkpoint.params.data
    chosen = split or manifest.eval_split(wanted.eval_split, wanted.train_split or "")
    evaluator = Evaluator(ssd, data, chosen, params)
    with progress_bar("evaluating") as bar:
        result = evaluator.run(bar.update)
    if as_json:
        print_json({"checkpoint": str(checkpoint.path), **result.as_dict()})
    else:
        print_evaluation(result)
        click.echo(f"checkpoint: {checkpoint.path}, step {checkpoint.progress.get('step', '?')}")
