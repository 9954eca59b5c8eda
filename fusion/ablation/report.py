"""The table of an ablation: mean and standard deviation over seeds, of each choice that the grid has."""

from __future__ import annotations

import dataclasses
import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from ..files import whole_file
from ..tables import markdown_table, text_table, write_csv
from ..tasks.base import Figure
from ..words import capitalised, counted
from .axes import short_key

#: The first columns of a table without a line.
_COLUMNS = ("fusion", "blocks", "parameters", "seeds")

_NOTE = (
    "{title}{unit}, mean ± standard deviation over seeds (n - 1). last is the last epoch, best is the epoch with the "
    "{direction} {title} on the test set, which is what the published tables have."
)


class Choice(NamedTuple):
    """What a grid compares: a fusion, a depth and values of other settings, each of which it may leave to the config.

    Attributes
    ----------
    fusion : str or None
        The block's short name.
    blocks : int or None
        Residual blocks per stage.
    varied : tuple of (str, str)
        Other settings and their values.
    """

    fusion: Optional[str]
    blocks: Optional[int]
    varied: Tuple[Tuple[str, str], ...]

    @property
    def title(self) -> str:
        """All of it but the blocks, such as `aff, name adam, r 2`."""
        keys = [key for key, _ in self.varied]
        words = [f"{short_key(key, keys)} {value}" for key, value in self.varied]
        return ", ".join(words if self.fusion is None else [self.fusion, *words])

    def cells(self) -> Dict[str, Any]:
        """What the grid chose, by name, in the order of the table's columns."""
        fusion = {} if self.fusion is None else {"fusion": self.fusion}
        blocks = {} if self.fusion is None and self.blocks is None else {"blocks": self.blocks}
        return {**fusion, **blocks, **dict(self.varied)}


#: What the tables have in a form of their own, or not at all.
_NOT_A_COLUMN = ("fusion", "blocks", "varied", "figure", "beside")


def _own_cells(what: Any) -> Dict[str, Any]:
    """The fields of a result or of a line that are columns as they are."""
    names = [key.name for key in dataclasses.fields(what) if key.name not in _NOT_A_COLUMN]
    return {name: getattr(what, name) for name in names}


@dataclass(frozen=True)
class CellResult:
    """One run of the grid.

    Attributes
    ----------
    fusion : str or None
        The block's short name; None if the grid leaves it to the config.
    blocks : int or None
        Residual blocks per stage; None where the family has no such choice, or the grid has neither this nor fusions.
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
    varied : tuple of (str, str)
        The other settings that the grid varies, and their values in this run.
    """

    fusion: Optional[str]
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
    varied: Tuple[Tuple[str, str], ...] = ()

    @property
    def choice(self) -> Choice:
        """What is compared in it."""
        return Choice(self.fusion, self.blocks, self.varied)

    @property
    def finished(self) -> bool:
        """Whether all its epochs are finished."""
        return self.epochs >= self.epochs_planned

    def cells(self) -> Dict[str, Any]:
        """What it says in plain types, by name."""
        return {
            **self.choice.cells(),
            **_own_cells(self),
            **{figure.name: value for figure, value in self.beside},
            "finished": self.finished,
        }


@dataclass(frozen=True)
class Line:
    """A choice of the grid, such as a fusion at a number of blocks, over its seeds.

    Attributes
    ----------
    fusion, blocks, parameters, varied
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

    fusion: Optional[str]
    blocks: Optional[int]
    parameters: int
    seeds: int
    last_mean: float
    last_sd: Optional[float]
    best_mean: float
    best_sd: Optional[float]
    figure: Figure
    beside: Tuple[Tuple[Figure, float, Optional[float]], ...] = ()
    varied: Tuple[Tuple[str, str], ...] = ()

    @property
    def choice(self) -> Choice:
        """What it is a line of."""
        return Choice(self.fusion, self.blocks, self.varied)

    def cells(self) -> Dict[str, Any]:
        """What it says in plain types, by name."""
        own = {**self.choice.cells(), **_own_cells(self)}
        for figure, mean, deviation in self.beside:
            own.update({f"{figure.name}_mean": mean, f"{figure.name}_sd": deviation})
        return own


def mean_over_seeds(results: Sequence[CellResult]) -> List[Line]:
    """One line per choice of the grid, sorted by blocks and then by the last epoch's mean.

    Runs that are not finished are left out.
    """
    groups: Dict[Choice, List[CellResult]] = {}
    for result in results:
        if result.finished:
            groups.setdefault(result.choice, []).append(result)
    lines = []
    for choice, group in groups.items():
        last, best = [result.last for result in group], [result.best for result in group]
        lines.append(
            Line(
                *(choice.fusion, choice.blocks, group[0].parameters, len(group)),
                *(statistics.fmean(last), _deviation(last), statistics.fmean(best), _deviation(best)),
                figure=group[0].figure,
                beside=_beside(group),
                varied=choice.varied,
            )
        )
    return sorted(lines, key=lambda line: (line.blocks or 0, worse(line.figure, line.last_mean)))


def _beside(group: Sequence[CellResult]) -> Tuple[Tuple[Figure, float, Optional[float]], ...]:
    found = []
    for place, (figure, _) in enumerate(group[0].beside):
        values = [result.beside[place][1] for result in group]
        found.append((figure, statistics.fmean(values), _deviation(values)))
    return tuple(found)


def worse(figure: Figure, value: float) -> float:
    """A number that is higher the worse a value is."""
    return value if figure.lower_is_better else -value


def _deviation(values: Sequence[float]) -> Optional[float]:
    return statistics.stdev(values) if len(values) > 1 else None


def plus_minus(mean: float, deviation: Optional[float], decimals: int = 2) -> str:
    """Such as `12.34 ± 0.56`, or only the mean where there is no deviation."""
    shown = f"{mean:.{decimals}f}"
    return shown if deviation is None else f"{shown} ± {deviation:.{decimals}f}"


def unit_of(figure: Figure) -> str:
    """The unit of a figure behind its title, in brackets."""
    return f" ({figure.unit})" if figure.unit else ""


def _titles(lines: Sequence[Line]) -> Tuple[str, ...]:
    if not lines:
        return _COLUMNS
    name = f"{lines[0].figure.title}{unit_of(lines[0].figure)}"
    others = (f"last {figure.title}{unit_of(figure)}" for figure, _, _ in lines[0].beside)
    return (*lines[0].choice.cells(), "parameters", "seeds", f"last {name}", f"best {name}", *others)


def _left(lines: Sequence[Line]) -> int:
    """How many columns are aligned at the left: the fusion, and all choices where other settings vary."""
    return len(lines[0].choice.cells()) if lines and lines[0].varied else 1


def _words(line: Line) -> Tuple[str, ...]:
    return (
        *("-" if value is None else str(value) for value in line.choice.cells().values()),
        f"{line.parameters:,}",
        str(line.seeds),
        plus_minus(line.last_mean, line.last_sd, line.figure.decimals),
        plus_minus(line.best_mean, line.best_sd, line.figure.decimals),
        *(plus_minus(mean, deviation, figure.decimals) for figure, mean, deviation in line.beside),
    )


def format_table(results: Sequence[CellResult]) -> str:
    """The finished cells as text: above them the data set and the epochs, below them the runs that are not finished."""
    lines = mean_over_seeds(results)
    table = text_table(_titles(lines), list(map(_words, lines)), _left(lines))
    return "\n".join([heading(results), "", table, *_unfinished(results)])


def heading(results: Sequence[CellResult]) -> str:
    """The data sets and the numbers of epochs of some runs, above a table or a picture of them."""
    if not results:
        return "No cell has a finished epoch."
    data = ", ".join(dict.fromkeys(result.data for result in results))
    epochs = sorted({result.epochs_planned for result in results})
    *fewer, most = epochs
    return f"{data}, {''.join(f'{count:,} or ' for count in fewer)}{counted(most, 'epoch')}"


def _unfinished(results: Sequence[CellResult]) -> List[str]:
    left = [result.run for result in results if not result.finished]
    return ["", f"not finished, and so not counted: {', '.join(left)}"] if left else []


def _markdown(results: Sequence[CellResult]) -> str:
    lines = mean_over_seeds(results)
    table = markdown_table(_titles(lines), list(map(_words, lines)), _left(lines))
    return "\n".join([heading(results), "", table, "", note(results), *_unfinished(results)]) + "\n"


def note(results: Sequence[CellResult]) -> str:
    """What the figures of a table mean; empty where there is none yet."""
    if not results:
        return ""
    figure = results[0].figure
    unit = f" in {figure.unit}".replace("%", "percent") if figure.unit else ""
    words = _NOTE.format(title=figure.title, unit=unit, direction="lowest" if figure.lower_is_better else "highest")
    return capitalised(words)


def describe(results: Sequence[CellResult]) -> Dict[str, Any]:
    """The lines of the table and the cells behind them, in plain types."""
    return {
        "note": note(results),
        "lines": [line.cells() for line in mean_over_seeds(results)],
        "cells": [result.cells() for result in results],
    }


def write_tables(folder: Path, results: Sequence[CellResult]) -> None:
    """Write ablation.json, .csv and .md of the cells so far, each whole or not at all.

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
    with whole_file(folder / "ablation.csv") as aside:
        write_csv(aside, list(lines[0].cells()) if lines else _COLUMNS, [line.cells() for line in lines])
    with whole_file(folder / "ablation.md") as aside:
        aside.write_text(_markdown(results), encoding="utf-8")
