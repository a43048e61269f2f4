"""`ssd demo`: from images to detections, on drawn shapes."""

from pathlib import Path

import click

from ssdcli.options import PathOption, Program, pass_program
from ssdcli.output import print_evaluation, progress_bar
from ssdcli.train import run_training
from ssdcore.contract.plugins import param_set
from ssdcore.runs.run_folder import find_checkpoint
from ssdcore.system.tensorflow import load_tensorflow

PARAMS = "mobilenet025-ssd300"
TRAINVAL, TEST, SHOWN = 600, 100, 20
# Drawn shapes are much alike: they need neither long training nor much augmentation.
SETTINGS = (
    "train.stages.0.epochs=8",
    "train.stages.0.batch_size=8",
    "train.stages.0.learning_rate.learning_rate=0.003",
    "train.eval_every=4",
    "augment.expand=null",
    "augment.crop=null",
    "augment.photometric=null",
)


@click.command()
@click.option("--out", default="demo-run", show_default=True, type=PathOption, help="Folder to create.")
@pass_program
def demo(program: Program, out: Path) -> None:
    """Draw shapes, train a detector on them, and show its detections; takes minutes on a CPU."""
    params = param_set(PARAMS, *SETTINGS, plugins=program.plugins)
    load_tensorflow()
    from ssdcli.detect.command import DetectRequest
    from ssdcli.detect.loop import detect_sources
    from ssdcli.detect.sources import find_sources
    from ssdcore import load_detector
    from ssdcore.data.convert import convert
    from ssdcore.data.formats import read_labelled
    from ssdcore.data.synth import synthesize
    from ssdcore.evaluation.evaluate import Evaluator
    from ssdcore.files import require_unused
    from ssdcore.runs.checkpoint import load_checkpoint, restore_model

    plugins = program.plugins
    images, records, run, detections = (out / name for name in ("shapes", "records", "run", "detections"))
    require_unused(out)
    with progress_bar("drawing images") as bar:
        synthesize(images, TRAINVAL, TEST, 0, bar.update)
    with progress_bar("converting") as bar:
        convert(read_labelled(images), records, on_progress=bar.update)
    run_training(params, records, run, plugins)
    ssd = restore_model(load_checkpoint(find_checkpoint(run)), plugins)
    with progress_bar("evaluating") as bar:
        result = Evaluator(ssd, records, "test", params.eval).run(bar.update)
    test = (images / "ImageSets/Main/test.txt").read_text("utf-8").split()
    shown = find_sources([str(images / f"JPEGImages/{name}.jpg") for name in test[:SHOWN]], ())
    detect_sources(load_detector(run, 0.5, plugins), shown, DetectRequest(detections))
    print_evaluation(result)
    click.echo(f"images with detections: {detections}/*.jpg")
    click.echo(f"the run: {run}   TensorBoard: tensorboard --logdir {run}/events")
