"""The history of a run: one row per epoch, and which of them are the best and the last that were evaluated.

Everything that looks at a run's figures reads them here: the log, the pictures, comparisons, ablations and reports.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ..reading import ReadingError, read_text
from ..tables import write_csv
from ..tasks import Task
from ..tasks.base import AVERAGED, TEST, TRAINING, Figure
from ..words import counted, shortened
from .run_files import damaged
from .settings import Settings

#: In bytes; 10,000 epochs have a tenth of it.
_LARGEST_FILE = 20_000_000

#: Columns that time the machine, and so differ between identical runs.
TIMINGS = ("images_per_second", "seconds")

#: The column that nothing reads.
_UNREAD = "images_per_second"


def columns(task: Task) -> Tuple[str, ...]:
    """The columns of metrics.csv of a run that averages no weights."""
    return (
        "epoch",
        *(figure.column(TRAINING) for figure in task.training),
        *(figure.column(TEST) for figure in task.evaluation),
        "learning_rate",
        *TIMINGS,
    )


@dataclass(frozen=True)
class History:
    """The finished epochs of a run.

    Attributes
    ----------
    task : Task
        Whose figures the rows hold.
    rows : sequence of dict
        One per finished epoch, by column of metrics.csv. The row of an epoch without an evaluation lacks the columns of
        one, or holds numbers that are not a number there.
    """

    task: Task
    rows: Sequence[Dict[str, float]]

    @classmethod
    def read(cls, task: Task, path: Path) -> History:
        """The history in a metrics.csv.

        Parameters
        ----------
        task : Task
            Of the run.
        path : Path
            The file. An empty cell, of an epoch without an evaluation, is read as not a number.

        Raises
        ------
        RunError
            If it is damaged, or of another task.
        """
        rows = read_metrics(path)
        lacking = [name for name in columns(task) if name not in rows[0] and name != _UNREAD]
        if lacking:
            raise damaged(path, f"it has no column {lacking[0]}")
        epochs = [row["epoch"] for row in rows]
        if not all(epoch >= 1 and epoch.is_integer() for epoch in epochs) or epochs != sorted(set(epochs)):
            raise damaged(path, "its epochs do not count up from 1")
        return cls(task, rows)

    def write(self, path: Path) -> None:
        """Write it as a metrics.csv."""
        averaged = [figure.column(AVERAGED) for figure in self.task.evaluation]
        names = [*columns(self.task), *(name for name in averaged if any(name in row for row in self.rows))]
        write_csv(path, names, self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def evaluated(self) -> List[Dict[str, float]]:
        """The rows of the epochs with an evaluation: with `train.evaluate_every` above 1 not all of them."""
        return self.having(self.task.headline)

    def having(self, figure: Figure, prefix: str = TEST) -> List[Dict[str, float]]:
        """The rows that have a figure."""
        name = figure.column(prefix)
        return [row for row in self.rows if not math.isnan(row.get(name, math.nan))]

    @property
    def best(self) -> Optional[Dict[str, float]]:
        """The row with the best headline figure, the first of equals; None before the first evaluation."""
        rows = self.evaluated
        return self.task.headline.best(rows) if rows else None

    @property
    def best_average(self) -> Optional[Dict[str, float]]:
        """The same of the averaged weights; None of a run without them."""
        rows = self.having(self.task.headline, AVERAGED)
        return self.task.headline.best(rows, AVERAGED) if rows else None

    @property
    def last(self) -> Optional[Dict[str, float]]:
        """The row of the last evaluation; None before the first."""
        rows = self.evaluated
        return rows[-1] if rows else None

    @property
    def headlines(self) -> Tuple[float, ...]:
        """The headline figure of each evaluation as it is shown, such as an error in percent."""
        return tuple(map(self.task.headline.shown, self.evaluated))

    @property
    def epochs(self) -> Tuple[int, ...]:
        """The epochs, from 1, of the evaluations."""
        return tuple(int(row["epoch"]) for row in self.evaluated)

    def is_finished(self, settings: Settings) -> bool:
        """Whether a run with these epochs is finished: see the function `is_finished`."""
        result = self.result({})
        return len(self) >= settings.train.epochs or (result is not None and is_finished(result, settings))

    def result(self, facts: Dict[str, Any]) -> Optional[Dict[str, Any]]:
        """What result.json says after the epochs so far; None before the first evaluation.

        Parameters
        ----------
        facts : dict
            About the run, without its epochs.
        """
        if self.last is None:
            return None
        found = {**facts, "epochs": len(self), "best": self.best, "last": self.last, "note": self.task.best_note}
        return found if self.best_average is None else {**found, "best_average": self.best_average}


def is_finished(result: Mapping[str, Any], settings: Settings) -> bool:
    """Whether a run has had all its epochs, or ended early by `train.patience`.

    It ends early where so many epochs lie between the best evaluation, of the network or of its averaged weights, and
    the last one.

    Parameters
    ----------
    result : mapping
        What its result.json says.
    settings : Settings
        Of the run.
    """
    patience = settings.train.patience
    best = max(result[which]["epoch"] for which in ("best", "best_average") if which in result)
    stalled = patience > 0 and result["last"]["epoch"] - best >= patience
    return bool(result["epochs"] >= settings.train.epochs or stalled)


def read_metrics(path: Path) -> List[Dict[str, float]]:
    """The rows of a metrics.csv as numbers, whatever the task; an empty cell is not a number.

    Raises
    ------
    RunError
        If it cannot be read, has no row, or a row that is cut off or holds no numbers.
    """
    try:
        text = read_text(path, _LARGEST_FILE)
        names, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    except (ReadingError, csv.Error, ValueError) as error:  # a ValueError where there is no line at all
        raise damaged(path, str(error) if isinstance(error, ReadingError) else "it is no table") from None
    if not rows or not text.endswith("\n"):
        raise damaged(path, "it is cut off")
    return [_numbers(path, names, row, line) for line, row in enumerate(rows, start=2)]


def _numbers(path: Path, names: Sequence[str], row: Sequence[str], line: int) -> Dict[str, float]:
    if len(row) != len(names):
        raise damaged(path, f"line {line} has {counted(len(row), 'cell')}, and the first {len(names)}")
    try:
        return {name: float(value or "nan") for name, value in zip(names, row)}
    except ValueError as error:
        raise damaged(path, f"line {line}: {shortened(str(error))}") from None
