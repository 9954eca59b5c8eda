"""The curves of the published runs: their errors after each epoch."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, List, Tuple

FOLDER = Path(__file__).parent / "curves"


@dataclass(frozen=True)
class Curve:
    """The top-1 errors of a run on its test set, after its epochs.

    Attributes
    ----------
    errors : tuple of float
        In percent.
    evaluated : tuple of int
        The epochs, counted from 1, after which the errors were measured; every epoch unless given.
    """

    errors: Tuple[float, ...]
    evaluated: Tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Number the epochs if they were not given."""
        if not self.evaluated:
            object.__setattr__(self, "evaluated", tuple(range(1, len(self.errors) + 1)))

    @property
    def epochs(self) -> int:
        """The last epoch that was evaluated."""
        return self.evaluated[-1]

    @property
    def best_epoch(self) -> int:
        """The first epoch, counted from 1, that has the lowest error."""
        return self.evaluated[self.errors.index(min(self.errors))]

    @property
    def best(self) -> float:
        """The lowest error in percent."""
        return min(self.errors)

    @property
    def last(self) -> float:
        """The last epoch's error in percent."""
        return self.errors[-1]

    def at(self, epoch: int) -> float:
        """The error in percent after an epoch, counted from 1, that was evaluated."""
        return self.errors[self.evaluated.index(epoch)]

    def until(self, epoch: int) -> int:
        """The last evaluated epoch that is no later than this one; 0 if there is none."""
        return max((number for number in self.evaluated if number <= epoch), default=0)

    def errors_until(self, epoch: int) -> Tuple[float, ...]:
        """The errors of all epochs up to this one."""
        return tuple(error for number, error in zip(self.evaluated, self.errors) if number <= epoch)

    def around(self, epoch: int, reach: int) -> Tuple[float, ...]:
        """The errors of an epoch and of those at most `reach` epochs before or after it."""
        return tuple(
            error for number, error in zip(self.evaluated, self.errors) if epoch - reach <= number <= epoch + reach
        )


@lru_cache(maxsize=None)
def read_curve(run: str) -> Curve:
    """The curve of a published run.

    Parameters
    ----------
    run : str
        The `id` of a run in runs.json.
    """
    with (FOLDER / f"{run}.csv").open(newline="", encoding="utf-8") as stream:
        return Curve(tuple(100 * float(row["val_top1_error"]) for row in csv.DictReader(stream)))


@lru_cache(maxsize=None)
def read_runs() -> Dict[str, Dict[str, Any]]:
    """What runs.json says about each run, by its id."""
    runs: List[Dict[str, Any]] = json.loads((FOLDER / "runs.json").read_text(encoding="utf-8"))
    return {run["id"]: run for run in runs}
