"""`ssd demo`: the whole way from pictures to detections, on drawn shapes."""

from pathlib import Path

import click

from ssdcli.detect import detect_pictures
from ssdcli.options import PathOption, load_tensorflow
from ssdcli.output import print_evaluation, progress_bar
from ssdcli.train import run_training
from ssdcore.errors import DataError
from ssdcore.plugins import load_plugins

PARAMS = "mobilenet025-ssd300"
TRAINVAL, TEST = 400, 100
SETTINGS = ("train.stages.0.epochs=20",)


@click.command()
@click.option("--out", default="demo-run", show_default=True, type=PathOption, help="Folder to make.")
def demo(out: Path) -> None:
    """Draw shapes, learn to find them, and show what was found; takes minutes on a CPU."""
    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out.absolute()} is in use; remove it, or choose another folder with --out")
    load_tensorflow()
    from ssdcore import load_detector
    from ssdcore.checkpoint import load_checkpoint, restore_model
    from ssdcore.data.convert import convert_voc
    from ssdcore.data.synth import synthesize
    from ssdcore.evaluation import evaluate

    plugins = load_plugins()
    pictures, records, run, found = (out / name for name in ("shapes", "records", "run", "detections"))
    with progress_bar("drawing pictures") as bar:
        synthesize(pictures, TRAINVAL, TEST, 0, bar.update)
    with progress_bar("converting") as bar:
        convert_voc(pictures, records, on_picture=lambda split, done, total: bar.update(done, total, split))
    params = plugins.param_sets[PARAMS].override(SETTINGS)
    run_training(params, records, run, plugins)
    ssd = restore_model(load_checkpoint(run / "checkpoints/last.npz"), plugins)
    with progress_bar("evaluating") as bar:
        result = evaluate(ssd, records, "test", params.eval, bar.update)
    test = (pictures / "ImageSets/Main/test.txt").read_text("utf-8").split()
    detect_pictures(load_detector(run, 0.5), [pictures / f"JPEGImages/{name}.jpg" for name in test[:20]], found)
    print_evaluation(result)
    click.echo(f"pictures to look at: {found}/*.jpg")
    click.echo(f"the run: {run}   TensorBoard: tensorboard --logdir {run}/events")
