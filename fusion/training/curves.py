"""The picture of a run under way. Colours are Okabe and Ito's, which colour-blind readers can tell apart."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Dict, List, Sequence

from .metrics import evaluated_rows

BLUE, ORANGE, GREEN, GREY, SKY = "#0072B2", "#D55E00", "#009E73", "#666666", "#56B4E9"


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
    _draw_errors(error_axes, history)
    _draw_losses(loss_axes, history)
    for axes in (error_axes, loss_axes):
        axes.set_xlabel("epoch")
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.savefig(path, dpi=110, format="png")


def _draw_errors(axes: Any, history: Sequence[Dict[str, float]]) -> None:
    _draw_column(axes, history, "val_top1_error", BLUE, "top-1", scale=100)
    _draw_column(axes, history, "val_top5_error", GREEN, "top-5", scale=100)
    _draw_column(axes, history, "ema_top1_error", SKY, "top-1, averaged weights", scale=100)
    evaluated = evaluated_rows(history)
    if evaluated:
        best = min(evaluated, key=lambda row: row["val_top1_error"])
        value = 100 * best["val_top1_error"]
        label = f"best: {value:.2f} % at epoch {best['epoch']:.0f}"
        axes.plot([best["epoch"]], [value], "o", color=ORANGE, label=label)
        axes.legend(frameon=False)
    axes.set_ylabel("error on the test set (%)")
    axes.set_ylim(bottom=0)


def _draw_losses(axes: Any, history: Sequence[Dict[str, float]]) -> None:
    lines = _draw_column(axes, history, "train_loss", ORANGE, "training loss")
    lines += _draw_column(axes, history, "val_loss", BLUE, "test loss")
    axes.set_ylabel("cross-entropy (nats)")
    axes.set_ylim(bottom=0)
    rate_axes = axes.twinx()
    epochs, rates = ([row[key] for row in history] for key in ("epoch", "learning_rate"))
    lines += rate_axes.plot(epochs, rates, color=GREY, linestyle=":", label="learning rate")
    rate_axes.set_ylabel("learning rate")
    rate_axes.set_ylim(bottom=0)
    axes.legend(handles=lines, frameon=False)


def _draw_column(
    axes: Any, history: Sequence[Dict[str, float]], key: str, colour: str, label: str, scale: float = 1
) -> List[Any]:
    """A line through the epochs that have this figure, if any do."""
    rows = [row for row in history if not math.isnan(row.get(key, math.nan))]
    if not rows:
        return []
    epochs = [row["epoch"] for row in rows]
    return axes.plot(epochs, [scale * row[key] for row in rows], color=colour, marker=_marker(epochs), label=label)


def _marker(epochs: Sequence[float]) -> str:
    """Mark single epochs where there are few, so that a first one shows."""
    return "." if len(epochs) <= 40 else ""
