"""Our training step against torchvision's, per GFLOP, in turns in one run.

    python benchmarks/training_peers.py [--python PYTHON] [--threads 2] [--batch 8] [--rounds 5] [--seconds 6]

PYTHON is an interpreter that can import torch and torchvision; without it the one that runs this. Its
process holds torchvision's model and waits while ours takes its turn. Batches are in memory; images are
noise, with four objects each. Both sides do forward, loss, gradient and SGD with momentum; ours also
clips and measures, and torchvision's also scales its images and matches its boxes, which our data
pipeline does. A FLOP is half a multiply-add of a convolution's forward pass, counted for both by
`multiply_adds`. Rates go by the clock and by the time that a process had a core, for machines with other work.

On a machine with other work give `--threads 1` and look at the core time: torch's threads wait for each other
busily, and where one of them has no core the other burns its own (measured: 10 core seconds for a step that
takes 0.9 with one thread).

Torchvision's compiled operators are not needed for a training step: where they do not load, as a build
for CUDA beside torch for the CPU, the two that its import asks for are declared without a body.
"""

import argparse
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import numpy as np

PAIRS = (("mobilenet-ssd300-1917", "ssdlite320_mobilenet_v3_large"), ("vgg16-ssd300", "ssd300_vgg16"))
CLASSES = 20
OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def multiply_adds(output: Sequence[int], window: Sequence[int], inputs: int) -> int:
    """Of a convolution for one image: its output (all axes but the batch), kernel and input channels per group."""
    return math.prod(output) * math.prod(window) * inputs


def objects(rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Four boxes (4, 4) float32 xyxy, px, of a third of the side, and their classes from 1."""
    corners = rng.uniform(0, side * 2 / 3, (4, 2)).astype(np.float32)
    return np.concatenate([corners, corners + side / 3], 1), rng.integers(1, CLASSES + 1, 4)


def our_step(name: str, batch: int) -> tuple[Callable[[], object], float]:
    """A training step of a param set, and the GFLOP of its network."""
    import tensorflow as tf

    from ssdcore.contract.plugins import load_plugins
    from ssdcore.model import build_ssd
    from ssdcore.model.targets import encode_targets
    from ssdcore.model.variables import set_trainable
    from ssdcore.params import Fixed, Sgd
    from ssdcore.training.step import make_step
    from ssdcore.training.update import Update

    plugins = load_plugins()
    params = plugins.param_sets[name]
    change = {"optimizer": Sgd(), "learning_rate": Fixed(learning_rate=1e-6)}
    stage = params.train.stages[-1].model_copy(update=change)
    ssd = build_ssd(params, [str(number) for number in range(CLASSES)], plugins)
    set_trainable(ssd, "all")
    variables = {variable.path: variable for variable in ssd.network.trainable_variables}
    strategy = tf.distribute.get_strategy()
    step = make_step(ssd, params.train, Update(stage, variables, 1000, 100.0), None, None, 1, strategy)
    rng, side = np.random.default_rng(0), params.model.image_size[0]
    targets = []
    for _ in range(batch):
        boxes, labels = objects(rng, side)
        found = tf.constant(boxes / side, tf.float32), tf.constant(labels, tf.int32)
        targets.append(encode_targets(*found, tf.constant(ssd.default_boxes), 0.5, params.model.variances))
    images = tf.constant(rng.uniform(0, 255, (batch, side, side, 3)), tf.float32)
    whole = images, *(tf.stack(parts) for parts in zip(*targets, strict=True))
    return lambda: step(whole, tf.zeros(3)).numpy(), our_gflop(ssd.network)


def our_gflop(network) -> float:
    """Of a Keras model's convolutions, for one image; the model inside it included."""
    import keras

    total = 0
    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            total += multiply_adds(layer.output.shape[1:], layer.kernel_size, 1)
        elif isinstance(layer, keras.layers.Conv2D):
            total += multiply_adds(layer.output.shape[1:], layer.kernel_size, layer.kernel.shape[2])
    return 2e-9 * total


def import_torchvision():
    """torchvision, with or without its compiled operators."""
    import torch

    try:
        import torchvision.models.detection
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        import_torchvision.library = torch.library.Library("torchvision", "DEF")
        for operator in OPERATORS:
            import_torchvision.library.define(operator)
        import torchvision.models.detection
    return torch, torchvision


def their_step(name: str, batch: int) -> tuple[Callable[[], object], float]:
    """A training step of torchvision's model, and the GFLOP of its network."""
    torch, torchvision = import_torchvision()
    make = getattr(torchvision.models.detection, name)
    model = make(weights=None, weights_backbone=None, num_classes=CLASSES + 1).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9, weight_decay=5e-4)
    rng, side = np.random.default_rng(0), 320 if "320" in name else 300
    images = [torch.from_numpy(rng.random((3, side, side), np.float32)) for _ in range(batch)]
    targets = []
    for _ in range(batch):
        boxes, labels = objects(rng, side)
        targets.append({"boxes": torch.from_numpy(boxes), "labels": torch.from_numpy(labels)})

    def step() -> float:
        optimizer.zero_grad()
        loss = sum(model(images, targets).values())
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step, their_gflop(torch, model, step, batch)


def their_gflop(torch, model, step: Callable[[], object], batch: int) -> float:
    """Of a torch model's convolutions in one step's forward pass, for one image."""
    counted = []

    def count(layer, inputs, output) -> None:
        counted.append(multiply_adds(output.shape[1:], layer.kernel_size, layer.in_channels // layer.groups))

    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.Conv2d)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    step()
    for hook in hooks:
        hook.remove()
    return 2e-9 * sum(counted)


def images_per_second(step: Callable[[], object], batch: int, seconds: float) -> tuple[float, float]:
    """Of a turn, by the clock and by the time that this process had a core: whole steps, at least two."""
    start, cores, steps = time.perf_counter(), time.process_time(), 0
    while steps < 2 or time.perf_counter() - start < seconds:
        step()
        steps += 1
    return batch * steps / (time.perf_counter() - start), batch * steps / (time.process_time() - cores)


def limit_threads(threads: int) -> None:
    """Of TensorFlow; call it before anything is computed."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def serve(name: str, batch: int, threads: int) -> None:
    """The process of torchvision's model: prints its GFLOP, then both rates for each line of seconds."""
    try:
        import_torchvision()[0].set_num_threads(threads)
        step, gflop = their_step(name, batch)
    except ImportError as error:
        print(f"skipped: {error}")
        return
    step()
    print(gflop, flush=True)
    for line in sys.stdin:
        print(*images_per_second(step, batch, float(line)), flush=True)


@contextmanager
def peer(python: str, name: str, batch: int, threads: int) -> Iterator[subprocess.Popen]:
    command = [python, __file__, "--serve", name, "--batch", str(batch), "--threads", str(threads)]
    with subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.stdin.close()


def answer(process: subprocess.Popen) -> str:
    line = process.stdout.readline().strip()
    if not line or line.startswith("skipped"):
        print(line or "skipped: the process of torchvision ended; see above")
        raise SystemExit
    return line


def compare(ours: str, theirs: str, arguments: argparse.Namespace) -> None:
    """Prints both models' speed, and ours per GFLOP by theirs: median, least and most of all rounds."""
    batch, seconds = arguments.batch, arguments.seconds
    with peer(arguments.python, theirs, batch, arguments.threads) as process:
        their_cost = float(answer(process))
        step, our_cost = our_step(ours, batch)
        step()
        our_rates, their_rates = [], []
        for _ in range(arguments.rounds):
            our_rates.append(images_per_second(step, batch, seconds))
            process.stdin.write(f"{seconds}\n")
            process.stdin.flush()
            their_rates.append(tuple(map(float, answer(process).split())))
    for name, cost, rates in ((ours, our_cost, our_rates), (theirs, their_cost, their_rates)):
        rate = median(by_clock for by_clock, _ in rates)
        print(f"{name:30} {cost:6.2f} GFLOP  {rate:7.2f} img/s  {rate * cost:7.2f} GFLOP/s")
    for title, our, their in zip(
        ("clock", "core time"), zip(*our_rates, strict=True), zip(*their_rates, strict=True), strict=True
    ):
        ratios = sorted(a * our_cost / (b * their_cost) for a, b in zip(our, their, strict=True))
        print(f"  ours per GFLOP, by {title}: {median(ratios):.2f} x torchvision's ({ratios[0]:.2f}-{ratios[-1]:.2f})")
    print(f"  load {os.getloadavg()[0]:.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="on either side")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--pairs", nargs="*", type=int, default=range(len(PAIRS)), help="which pairs, from 0")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.batch, arguments.threads)
        return
    limit_threads(arguments.threads)
    for number in arguments.pairs:
        compare(*PAIRS[number], arguments)


if __name__ == "__main__":
    main()
