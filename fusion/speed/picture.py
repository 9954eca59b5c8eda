"""The picture of `python -m fusion benchmark`, which shows images per second as bars."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

from ..drawing import BLUE, FAINT, GREEN, GREY, ORANGE, SKY, new_figure, save_page
from ..words import counted
from .measuring import WAYS, Measurement


def draw(rows: Sequence[Measurement], path: Path) -> None:
    """Draw images per second as bars with the middle half of the rounds, in a panel per batch size and kind of work.

    The two kinds of work are training and inference.

    Parameters
    ----------
    rows : sequence of Measurement
        What was measured.
    path : Path
        Written in the format that its name ends in.
    """
    colours = dict(zip(WAYS, (GREY, BLUE, ORANGE, GREEN, SKY, "#E69F00")))
    panels = [
        (size, training)
        for size in dict.fromkeys(row.batch_size for row in rows)
        for training in (False, True)
        if any(row.batch_size == size and (row.way == "training") == training for row in rows)
    ]
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    most = max(sum(_in_panel(row, *panel) for row in rows) for panel in panels)
    title = "Speed on this machine: medians, with the middle half of the rounds"
    figure = new_figure(lines * (1.3 + 0.3 * most), title, 5.2 * columns + 1)
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes, panel in zip(grid, panels):
        inside = [row for row in rows if _in_panel(row, *panel)]
        rates = [row.images_per_second for row in inside]
        # At least 0: after a single round the quartiles equal the median, and rounding can give a negative difference.
        middle_half = [
            [max(0.0, rate - row.batch_size / row.high * 1000) for rate, row in zip(rates, inside)],
            [max(0.0, row.batch_size / row.low * 1000 - rate) for rate, row in zip(rates, inside)],
        ]
        names = [row.model if panel[1] else f"{row.model}, {row.way}" for row in inside]
        axes.barh(range(len(inside)), rates, color=[colours[row.way] for row in inside], height=0.7)
        axes.errorbar(rates, range(len(inside)), xerr=middle_half, fmt="none", ecolor="black", elinewidth=1, capsize=2)
        axes.set_yticks(range(len(inside)), names, fontsize=8)
        axes.invert_yaxis()
        axes.set_xlabel("images per second")
        work = "a training step on" if panel[1] else "inference on"
        axes.set_title(f"{work} {counted(panel[0], 'image')}", fontsize=10)
        axes.grid(axis="x", color=FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    save_page(figure, path)


def _in_panel(row: Measurement, size: int, training: bool) -> bool:
    return row.batch_size == size and (row.way == "training") == training
