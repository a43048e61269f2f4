"""Plots a run's learning curve: `python docs/recipes/plot.py RUN/metrics.csv curve.png`."""

import csv
import sys
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

Points = tuple[list[float], list[float]]


def column(rows: list[dict[str, str]], name: str) -> Points:
    """Steps and values of a column, where it is not empty."""
    found = [(float(row["step"]), float(row[name])) for row in rows if row[name]]
    return [step for step, _ in found], [value for _, value in found]


def plot(source: Path, target: Path) -> None:
    """Draws losses above, mean average precision below."""
    with source.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    figure, (upper, lower) = plt.subplots(2, 1, sharex=True, figsize=(7, 6), layout="constrained")
    for name in ("loss", "class_loss", "box_loss"):
        upper.plot(*column(rows, name), label=name.replace("_", " "))
    upper.set(ylabel="loss", yscale="log")
    upper.legend()
    lower.plot(*column(rows, "map"), marker="o")
    lower.set(ylabel="VOC07 mAP", xlabel="step", ylim=(0, 1))
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    plot(Path(sys.argv[1]), Path(sys.argv[2]))
