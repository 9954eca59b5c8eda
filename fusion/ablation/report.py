"""The table and the picture of an ablation: mean and standard deviation over seeds."""

from __future__ import annotations

import csv
import dataclasses
import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ..drawing import BLUE, FAINT, GREY, ORANGE, new_figure, plain, save_page
from ..files import whole_file
from ..tables import markdown_table, text_table
from ..tasks.base import Figure
from ..words import counted

_NOTE = (
    "{title}{unit}, mean ± standard deviation over seeds (n - 1). last is the last epoch, best is the epoch with the "
    "{direction} {title} on the test set, which is what the published tables have."
)


@dataclass(frozen=True)
class CellResult:
    """One run of the grid.

    Attributes
    ----------
    fusion : str
        The block's short name.
    blocks : int or None
        Residual blocks per stage; None where the family has no such choice.
    seed : int
        Of the run.
    data : str
        The data set's title.
    parameters : int
        Of the network.
    epochs, epochs_planned : int
        Finished so far, and in all.
    best, last : float
        The headline figure of the best and of the last epoch, as it is shown.
    run : str
        The run's folder.
    figure : Figure
        The headline figure.
    beside : tuple of (Figure, float)
        Other figures of the last epoch, as they are shown.
    """

    fusion: str
    blocks: Optional[int]
    seed: int
    data: str
    parameters: int
    epochs: int
    epochs_planned: int
    best: float
    last: float
    run: str
    figure: Figure
    beside: Tuple[Tuple[Figure, float], ...] = ()

    @property
    def finished(self) -> bool:
        """Whether all its epochs are finished."""
        return self.epochs >= self.epochs_planned

    def cells(self) -> Dict[str, Any]:
        """What it says in plain types, by name."""
        own = {key.name: getattr(self, key.name) for key in dataclasses.fields(self)[:-2]}
        return {**own, **{figure.name: value for figure, value in self.beside}, "finished": self.finished}


@dataclass(frozen=True)
class Line:
    """A fusion at a number of blocks, over its seeds.

    Attributes
    ----------
    fusion, blocks, parameters
        As in `CellResult`.
    seeds : int
        Finished runs.
    last_mean, last_sd, best_mean, best_sd : float or None
        Mean and standard deviation (n - 1) over them; a single run has no deviation (None).
    figure : Figure
        The headline figure, of which these are.
    beside : tuple of (Figure, float, float or None)
        Other figures of the last epoch, with mean and deviation.
    """

    fusion: str
    blocks: Optional[int]
    parameters: int
    seeds: int
    last_mean: float
    last_sd: Optional[float]
    best_mean: float
    best_sd: Optional[float]
    figure: Figure
    beside: Tuple[Tuple[Figure, float, Optional[float]], ...] = ()

    def cells(self) -> Dict[str, Any]:
        """What it says in plain types, by name."""
        own = {key.name: getattr(self, key.name) for key in dataclasses.fields(self)[:-2]}
        for figure, mean, deviation in self.beside:
            own.update({f"{figure.name}_mean": mean, f"{figure.name}_sd": deviation})
        return own


def mean_over_seeds(results: Sequence[CellResult]) -> List[Line]:
    """One line per fusion and number of blocks, sorted by blocks and then by the last epoch's mean.

    Runs that are not finished are left out.
    """
    groups: Dict[Tuple[Optional[int], str], List[CellResult]] = {}
    for result in results:
        if result.finished:
            groups.setdefault((result.blocks, result.fusion), []).append(result)
    lines = []
    for (blocks, fusion), group in groups.items():
        last, best = [result.last for result in group], [result.best for result in group]
        lines.append(
            Line(
                *(fusion, blocks, group[0].parameters, len(group)),
                *(statistics.fmean(last), _deviation(last), statistics.fmean(best), _deviation(best)),
                figure=group[0].figure,
                beside=_beside(group),
            )
        )
    return sorted(lines, key=lambda line: (line.blocks or 0, _worse(line.figure, line.last_mean)))


def _beside(group: Sequence[CellResult]) -> Tuple[Tuple[Figure, float, Optional[float]], ...]:
    found = []
    for place, (figure, _) in enumerate(group[0].beside):
        values = [result.beside[place][1] for result in group]
        found.append((figure, statistics.fmean(values), _deviation(values)))
    return tuple(found)


def _worse(figure: Figure, value: float) -> float:
    """A number that is higher the worse a value is."""
    return value if figure.lower_is_better else -value


def _deviation(values: Sequence[float]) -> Optional[float]:
    return statistics.stdev(values) if len(values) > 1 else None


def plus_minus(mean: float, deviation: Optional[float], decimals: int = 2) -> str:
    """Such as `12.34 ± 0.56`, or only the mean where there is no deviation."""
    shown = f"{mean:.{decimals}f}"
    return shown if deviation is None else f"{shown} ± {deviation:.{decimals}f}"


def _unit(figure: Figure) -> str:
    return f" ({figure.unit})" if figure.unit else ""


def _titles(lines: Sequence[Line]) -> Tuple[str, ...]:
    known = ("fusion", "blocks", "parameters", "seeds")
    if not lines:
        return known
    name = f"{lines[0].figure.title}{_unit(lines[0].figure)}"
    others = (f"last {figure.title}{_unit(figure)}" for figure, _, _ in lines[0].beside)
    return (*known, f"last {name}", f"best {name}", *others)


def _words(line: Line) -> Tuple[str, ...]:
    return (
        line.fusion,
        "-" if line.blocks is None else str(line.blocks),
        f"{line.parameters:,}",
        str(line.seeds),
        plus_minus(line.last_mean, line.last_sd, line.figure.decimals),
        plus_minus(line.best_mean, line.best_sd, line.figure.decimals),
        *(plus_minus(mean, deviation, figure.decimals) for figure, mean, deviation in line.beside),
    )


def format_table(results: Sequence[CellResult]) -> str:
    """The finished cells as text: above them the data set and the epochs, below them the runs that are not finished."""
    lines = mean_over_seeds(results)
    table = text_table(_titles(lines), list(map(_words, lines)))
    return "\n".join([_heading(results), "", table, *_unfinished(results)])


def _heading(results: Sequence[CellResult]) -> str:
    if not results:
        return "No cell has a finished epoch."
    return f"{results[0].data}, {counted(results[0].epochs_planned, 'epoch')}"


def _unfinished(results: Sequence[CellResult]) -> List[str]:
    left = [result.run for result in results if not result.finished]
    return ["", f"not finished, and so not counted: {', '.join(left)}"] if left else []


def _markdown(results: Sequence[CellResult]) -> str:
    lines = mean_over_seeds(results)
    table = markdown_table(_titles(lines), list(map(_words, lines)))
    return "\n".join([_heading(results), "", table, "", note(results), *_unfinished(results)]) + "\n"


def note(results: Sequence[CellResult]) -> str:
    """What the figures of a table mean; empty where there is none yet."""
    if not results:
        return ""
    figure = results[0].figure
    unit = f" in {figure.unit}".replace("%", "percent") if figure.unit else ""
    words = _NOTE.format(title=figure.title, unit=unit, direction="lowest" if figure.lower_is_better else "highest")
    return words[0].upper() + words[1:]


def describe(results: Sequence[CellResult]) -> Dict[str, Any]:
    """The lines of the table and the cells behind them, in plain types."""
    return {
        "note": note(results),
        "lines": [line.cells() for line in mean_over_seeds(results)],
        "cells": [result.cells() for result in results],
    }


def write_report(folder: Path, results: Sequence[CellResult]) -> None:
    """Write ablation.json, .csv, .md and .png of the cells so far, each whole or not at all.

    Parameters
    ----------
    folder : Path
        Where they go.
    results : sequence of CellResult
        Cells with a finished epoch; the tables have only the cells that are finished.
    """
    lines = mean_over_seeds(results)
    with whole_file(folder / "ablation.json") as aside:
        aside.write_text(json.dumps(describe(results), indent=2) + "\n", encoding="utf-8")
    with whole_file(folder / "ablation.csv") as aside, aside.open("w", newline="", encoding="utf-8") as stream:
        names = list(lines[0].cells()) if lines else [key.name for key in dataclasses.fields(Line)[:-2]]
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(line.cells() for line in lines)
    with whole_file(folder / "ablation.md") as aside:
        aside.write_text(_markdown(results), encoding="utf-8")
    if lines:
        with whole_file(folder / "ablation.png") as aside:
            draw_ablation(results, aside)


# --- The picture -----------------------------------------------------------------------------------------------------

_PANEL_WIDTH, _NAMES_WIDTH = 2.7, 1.6
_WIDEST = 14.0
_LINE_HEIGHT, _REST_HEIGHT = 0.34, 1.5


def draw_ablation(results: Sequence[CellResult], path: Path) -> None:
    """Draw one panel per number of blocks: of each fusion the last figure of every seed, with mean and deviation.

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
    figure = new_figure(height, f"{_heading(finished)}\n{meaning}", width)
    for axes, blocks in zip(figure.subplots(1, len(panels), squeeze=False, sharey=True)[0], panels):
        _draw_panel(axes, names, [line for line in lines if (line.blocks or 0) == blocks], finished)
        if blocks:
            axes.set_title(f"{counted(blocks, 'block')} per stage", fontsize=10)
    save_page(figure, path)


def _worst_first(lines: Sequence[Line]) -> List[str]:
    """Every fusion, the worst first, because the axis starts at the bottom."""
    found: Dict[str, List[float]] = {}
    for line in lines:
        found.setdefault(line.fusion, []).append(_worse(line.figure, line.last_mean))
    return sorted(found, key=lambda fusion: -statistics.fmean(found[fusion]))


def _draw_panel(axes: Any, names: Sequence[str], lines: Sequence[Line], results: Sequence[CellResult]) -> None:
    for line in lines:
        height = names.index(line.fusion)
        seeds = [r.last for r in results if r.fusion == line.fusion and r.blocks == line.blocks]
        axes.plot(seeds, [height] * len(seeds), "o", color=GREY, markersize=4, alpha=0.7)
        axes.errorbar(
            [line.last_mean], [height], xerr=[line.last_sd or 0.0], fmt="D", color=BLUE, ecolor=BLUE, capsize=3
        )
    for mean in (line.last_mean for line in lines if line.fusion == "add"):
        axes.axvline(mean, color=ORANGE, linewidth=1, linestyle=":")
    axes.set_yticks(range(len(names)))
    axes.set_yticklabels(list(map(plain, names)))
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlabel(f"last epoch's {lines[0].figure.title}{_unit(lines[0].figure)}")
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
