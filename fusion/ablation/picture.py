"""The picture of an ablation: the last figure of every run, with mean and deviation of each choice of the grid."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any, Dict, List, Sequence

from ..drawing import BLUE, FAINT, GREY, ORANGE, new_figure, plain, save_page
from ..files import whole_file
from ..words import counted
from .report import CellResult, Line, heading, mean_over_seeds, unit_of, worse, write_tables

_PANEL_WIDTH, _NAMES_WIDTH = 2.7, 1.6
_WIDEST = 14.0
_LINE_HEIGHT, _REST_HEIGHT = 0.34, 1.5


#: The longest name of a row, in characters.
_LONGEST_NAME = 60


def write_report(folder: Path, results: Sequence[CellResult]) -> None:
    """Write ablation.json, .csv, .md and .png of the cells so far, each whole or not at all.

    Parameters
    ----------
    folder : Path
        Where they go.
    results : sequence of CellResult
        Cells with a finished epoch; table and picture have only the cells that are finished.
    """
    write_tables(folder, results)
    if any(result.finished for result in results):
        with whole_file(folder / "ablation.png") as aside:
            draw_ablation(results, aside)


def draw_ablation(results: Sequence[CellResult], path: Path) -> None:
    """Draw one panel per number of blocks: of each choice the last figure of every seed, with mean and deviation.

    Parameters
    ----------
    results : sequence of CellResult
        Only finished cells are drawn.
    path : Path
        Written in the format that its name ends in.
    """
    lines, finished = mean_over_seeds(results), [result for result in results if result.finished]
    panels = sorted({line.blocks or 0 for line in lines})
    names = _worst_first(lines)
    width = min(_WIDEST, max(_NAMES_WIDTH + _PANEL_WIDTH * len(panels), 7))
    meaning = "grey: seeds; blue: mean ± standard deviation"
    if "add" in names:
        meaning += "; dotted: add"
    height = _REST_HEIGHT + _LINE_HEIGHT * len(names)
    figure = new_figure(height, f"{heading(finished)}\n{meaning}", width)
    for axes, blocks in zip(figure.subplots(1, len(panels), squeeze=False, sharey=True)[0], panels):
        _draw_panel(axes, names, [line for line in lines if (line.blocks or 0) == blocks], finished)
        if blocks:
            axes.set_title(f"{counted(blocks, 'block')} per stage", fontsize=10)
    save_page(figure, path)


def _worst_first(lines: Sequence[Line]) -> List[str]:
    """Every row, the worst first, because the axis starts at the bottom."""
    found: Dict[str, List[float]] = {}
    for line in lines:
        found.setdefault(line.choice.title, []).append(worse(line.figure, line.last_mean))
    return sorted(found, key=lambda title: -statistics.fmean(found[title]))


def _draw_panel(axes: Any, names: Sequence[str], lines: Sequence[Line], results: Sequence[CellResult]) -> None:
    for line in lines:
        height = names.index(line.choice.title)
        seeds = [result.last for result in results if result.choice == line.choice]
        axes.plot(seeds, [height] * len(seeds), "o", color=GREY, markersize=4, alpha=0.7)
        axes.errorbar(
            [line.last_mean], [height], xerr=[line.last_sd or 0.0], fmt="D", color=BLUE, ecolor=BLUE, capsize=3
        )
    for mean in (line.last_mean for line in lines if line.choice.title == "add"):
        axes.axvline(mean, color=ORANGE, linewidth=1, linestyle=":")
    axes.set_yticks(range(len(names)))
    axes.set_yticklabels([plain(name[:_LONGEST_NAME]) for name in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlabel(f"last epoch's {lines[0].figure.title}{unit_of(lines[0].figure)}")
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
