"""The picture of a run under way: error, loss and learning rate of its epochs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Dict, List, Sequence

from ..drawing import BLUE, GREEN, GREY, ORANGE, SKY, epoch_marker, label_epochs, new_figure, save_page
from .metrics import evaluated_rows


def draw_training_curves(history: Sequence[Dict[str, float]], title: str, path: Path) -> None:
    """Draw error, loss and learning rate of a run against its epochs.

    Parameters
    ----------
    history : sequence of dict
        Rows of metrics.csv.
    title : str
        Model and data set.
    path : Path
        Written in the format that its name ends in.
    """
    figure = new_figure(3.6, title)
    error_axes, loss_axes = figure.subplots(1, 2)
    _draw_errors(error_axes, history)
    _draw_losses(loss_axes, history)
    for axes in (error_axes, loss_axes):
        label_epochs(axes)
    save_page(figure, path)


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
    """Draw a line through the epochs that have this figure; no line if none has."""
    rows = [row for row in history if not math.isnan(row.get(key, math.nan))]
    if not rows:
        return []
    epochs = [row["epoch"] for row in rows]
    return axes.plot(epochs, [scale * row[key] for row in rows], color=colour, marker=epoch_marker(epochs), label=label)
