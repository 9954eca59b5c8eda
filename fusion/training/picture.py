"""The picture of a run under way: error, loss and learning rate of its epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List

from ..drawing import BLUE, GREEN, GREY, ORANGE, SKY, epoch_marker, label_epochs, new_figure, save_page
from ..tasks.base import AVERAGED, TEST, TRAINING, Figure
from .history import History


def draw_training_curves(history: History, title: str, path: Path) -> None:
    """Draw the figures, losses and learning rate of a run, epoch by epoch.

    Parameters
    ----------
    history : History
        The epochs so far.
    title : str
        Model and data set.
    path : Path
        Written in the format that its name ends in.
    """
    page = new_figure(3.6, title)
    left, right = page.subplots(1, 2)
    _draw_panel(left, history)
    _draw_losses(right, history)
    for axes in (left, right):
        label_epochs(axes)
    save_page(page, path)


def _draw_panel(axes: Any, history: History) -> None:
    task = history.task
    for figure, colour in zip(task.panel, (BLUE, GREEN)):
        _draw_figure(axes, history, figure, TEST, colour, figure.short)
    headline = task.headline
    _draw_figure(axes, history, headline, AVERAGED, SKY, f"{headline.short}, averaged weights")
    best = history.best
    if best is not None:
        value = best[headline.column()]
        label = f"best: {headline.text(value)} at epoch {best['epoch']:.0f}"
        axes.plot([best["epoch"]], [headline.scale * value], "o", color=ORANGE, label=label)
        axes.legend(frameon=False)
    unit = f" ({headline.unit})" if headline.unit else ""
    axes.set_ylabel(f"{task.panel_title} on the test set{unit}")
    axes.set_ylim(bottom=0)


def _draw_losses(axes: Any, history: History) -> None:
    trained, tested = history.task.training[0], history.task.evaluation[0]
    lines = _draw_figure(axes, history, trained, TRAINING, ORANGE, "training loss")
    lines += _draw_figure(axes, history, tested, TEST, BLUE, "test loss")
    axes.set_ylabel(tested.title)
    axes.set_ylim(bottom=0)
    rate_axes = axes.twinx()
    epochs, rates = ([row[key] for row in history.rows] for key in ("epoch", "learning_rate"))
    lines += rate_axes.plot(epochs, rates, color=GREY, linestyle=":", label="learning rate")
    rate_axes.set_ylabel("learning rate")
    rate_axes.set_ylim(bottom=0)
    axes.legend(handles=lines, frameon=False)


def _draw_figure(axes: Any, history: History, figure: Figure, prefix: str, colour: str, label: str) -> List[Any]:
    """A line through the epochs that have this figure, if any do."""
    rows = history.having(figure, prefix)
    if not rows:
        return []
    epochs = [row["epoch"] for row in rows]
    values = [figure.scale * row[figure.column(prefix)] for row in rows]
    return axes.plot(epochs, values, color=colour, marker=epoch_marker(epochs), label=label)
