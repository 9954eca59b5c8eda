"""The picture of a run under way. Colours are Okabe and Ito's, which colour-blind readers can tell apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Sequence

from ..tasks.base import AVERAGED, TEST, TRAINING, Figure
from .history import History

BLUE, ORANGE, GREEN, GREY, SKY = "#0072B2", "#D55E00", "#009E73", "#666666", "#56B4E9"


def draw_training_curves(history: History, title: str, path: Path) -> None:
    """Draw the figures, losses and learning rate of a run, epoch by epoch.

    Parameters
    ----------
    history : History
        The epochs so far.
    title : str
        Model and data set.
    path : Path
        Written as PNG.
    """
    # The object interface: pyplot would keep every figure alive and may want a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Picture

    picture = Picture(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(picture)
    left, right = picture.subplots(1, 2)
    picture.suptitle(title.replace("$", r"\$"), fontsize=11)  # a dollar sign starts a formula
    _draw_panel(left, history)
    _draw_losses(right, history)
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.xaxis.get_major_locator().set_params(integer=True)
    picture.savefig(path, dpi=110, format="png")


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
    return axes.plot(epochs, values, color=colour, marker=_marker(epochs), label=label)


def _marker(epochs: Sequence[float]) -> str:
    """Mark single epochs where there are few, so that a first one shows."""
    return "." if len(epochs) <= 40 else ""
