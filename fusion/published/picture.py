"""The picture of a run and a published one: their errors over the epochs, on the same axes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..drawing import BLUE, ORANGE, epoch_marker, label_epochs, new_figure, save_page
from ..words import counted
from .compare import Comparison
from .curves import Curve
from .verdict import REACH, error_range

#: A run with less than this share of the published epochs gets a second panel, which shows only its own epochs.
_SHORT = 0.5

#: The factor by which the axes of a panel are longer than what is drawn.
_MARGIN = 1.05

#: Ticks of the axis of errors, in percent.
_TICKS = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 40, 60, 80, 100)


def draw_comparison(comparison: Comparison, path: Path) -> None:
    """Draw both curves; if the run has few of the published epochs, a second panel shows those epochs only.

    Of a row without a curve its figure is drawn, as a level line.

    Parameters
    ----------
    comparison : Comparison
        The run and the row.
    path : Path
        The file to write, in the format that its name ends in.
    """
    row, own, published = comparison.row, comparison.run.curve, comparison.published
    short = published is not None and own.epochs < _SHORT * published.epochs
    facts = comparison.run.facts
    about = f"this run: {facts['model']}, {facts['parameters'] / 1e6:.2f} M parameters, {comparison.run.progress}"
    verdict = (
        f"{row.title} on {row.test_set.title}: {comparison.verdict.word} the published {comparison.verdict.beside}"
    )
    figure = new_figure(4.2, f"{verdict}\n{about} (published: {row.parameters / 1e6:.2f} M)")
    panels = figure.subplots(1, 2) if short else [figure.subplots()]
    for axes in panels:
        _draw(axes, comparison)
    panels[-1].legend(frameon=False, loc="upper right")
    if short and published is not None:
        last = min(published.epochs, max(own.epochs, 2))
        visible = [error for curve in (own, published) for error in curve.errors_until(last)]
        panels[0].set_xlim(0, last * _MARGIN)
        panels[0].set_ylim(min(visible) / _MARGIN, max(visible) * _MARGIN)
        panels[0].set_title(f"the run's {counted(own.epochs, 'epoch')}", fontsize=10)
        panels[1].set_title(f"all {published.epochs} published epochs", fontsize=10)
    save_page(figure, path)


def _draw(axes: Any, comparison: Comparison) -> None:
    own, published = comparison.run.curve, comparison.published
    if published is None:
        _draw_figure(axes, comparison)
    else:
        _draw_curve(axes, published)
    label = f"this run: best {own.best:.2f} % at epoch {own.best_epoch}"
    marker = epoch_marker(own.evaluated, "o")
    axes.plot(own.evaluated, own.errors, color=BLUE, linewidth=1.3, marker=marker, markersize=4, label=label)
    label_epochs(axes)
    axes.set_ylabel("top-1 error on the test set (%)")
    # With a linear axis the last half of both curves would be two indistinguishable lines at the bottom.
    axes.set_yscale("log")
    lowest = min(*own.errors, comparison.row.error if published is None else published.best)
    axes.set_yticks([mark for mark in _TICKS if lowest / 1.5 < mark])
    axes.set_yticklabels([f"{mark}" for mark in axes.get_yticks().astype(int)])
    axes.minorticks_off()
    axes.set_xlim(left=0)


def _draw_curve(axes: Any, published: Curve) -> None:
    epochs = range(1, published.epochs + 1)
    low, high = zip(*(error_range(published, epoch) for epoch in epochs))
    label = f"published: best {published.best:.2f} % at epoch {published.best_epoch}"
    axes.plot(epochs, published.errors, color=ORANGE, linewidth=1.7, label=label)
    band = axes.fill_between(epochs, low, high, color=ORANGE, alpha=0.2, linewidth=0)
    band.set_label(f"its range within {REACH} epochs on either side")


def _draw_figure(axes: Any, comparison: Comparison) -> None:
    """A level line, since nothing else was published."""
    axes.axhline(comparison.row.error, color=ORANGE, linewidth=1.7, label=f"published: {comparison.row.error:.2f} %")
    band = axes.axhspan(comparison.verdict.low, comparison.verdict.high, color=ORANGE, alpha=0.2, linewidth=0)
    band.set_label("one standard error on either side")
