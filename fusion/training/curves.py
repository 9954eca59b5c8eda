"""The picture of a run under way. Colours are Okabe and Ito's, which colour-blind readers can tell apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Sequence

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"


def draw_training_curves(history: Sequence[Dict[str, float]], title: str, path: Path) -> None:
    """Error, loss and learning rate of a run against its epochs.

    Parameters
    ----------
    history : sequence of dict
        Rows of metrics.csv.
    title : str
        Model and data set.
    path : Path
        Written as PNG.
    """
    # The object interface: pyplot would keep every figure alive and may want a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    error_axes, loss_axes = figure.subplots(1, 2)
    figure.suptitle(title.replace("$", r"\$"), fontsize=11)  # a dollar sign starts a formula
    epochs = [row["epoch"] for row in history]
    _draw_errors(error_axes, epochs, history)
    _draw_losses(loss_axes, epochs, history)
    for axes in (error_axes, loss_axes):
        axes.set_xlabel("epoch")
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.savefig(path, dpi=110, format="png")


def _draw_errors(axes: Any, epochs: Sequence[float], history: Sequence[Dict[str, float]]) -> None:
    for key, colour, label in (("val_top1_error", BLUE, "top-1"), ("val_top5_error", GREEN, "top-5")):
        axes.plot(epochs, [100 * row[key] for row in history], color=colour, marker=_marker(epochs), label=label)
    best = min(history, key=lambda row: row["val_top1_error"])
    value = 100 * best["val_top1_error"]
    label = f"best: {value:.2f} % at epoch {best['epoch']:.0f}"
    axes.plot([best["epoch"]], [value], "o", color=ORANGE, label=label)
    axes.set_ylabel("error on the test set (%)")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)


def _draw_losses(axes: Any, epochs: Sequence[float], history: Sequence[Dict[str, float]]) -> None:
    lines = []
    for key, colour, label in (("train_loss", ORANGE, "training loss"), ("val_loss", BLUE, "test loss")):
        lines += axes.plot(epochs, [row[key] for row in history], color=colour, marker=_marker(epochs), label=label)
    axes.set_ylabel("cross-entropy (nats)")
    axes.set_ylim(bottom=0)
    rate_axes = axes.twinx()
    rates = [row["learning_rate"] for row in history]
    lines += rate_axes.plot(epochs, rates, color=GREY, linestyle=":", label="learning rate")
    rate_axes.set_ylabel("learning rate")
    rate_axes.set_ylim(bottom=0)
    axes.legend(handles=lines, frameon=False)


def _marker(epochs: Sequence[float]) -> str:
    """Mark single epochs where there are few, so that a first one shows."""
    return "." if len(epochs) <= 40 else ""
