"""The per-epoch curves of the published runs."""

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
    """A run's top-1 error on its test set, epoch by epoch.

    Attributes
    ----------
    errors : tuple of float
        In percent.
    evaluated : tuple of int
        The epochs, from 1, after which they were measured; each epoch from the first one on unless given.
    """

    errors: Tuple[float, ...]
    evaluated: Tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Number the epochs where nobody has."""
        if not self.evaluated:
            object.__setattr__(self, "evaluated", tuple(range(1, len(self.errors) + 1)))

    @property
    def epochs(self) -> int:
        """The last epoch that was evaluated."""
        return self.evaluated[-1]

    @property
    def best_epoch(self) -> int:
        """The first epoch, from 1, with the lowest error."""
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
        """The error after an epoch that was evaluated, counted from 1, in percent."""
        return self.errors[self.evaluated.index(epoch)]

    def until(self, epoch: int) -> int:
        """The last epoch that was evaluated, no later than this one; 0 where there is none."""
        return max((number for number in self.evaluated if number <= epoch), default=0)

    def errors_until(self, epoch: int) -> Tuple[float, ...]:
        """The errors of the epochs that are no later than this one."""
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
        An `id` of runs.json.
    """
    with (FOLDER / f"{run}.csv").open(newline="", encoding="utf-8") as stream:
        return Curve(tuple(100 * float(row["val_top1_error"]) for row in csv.DictReader(stream)))


@lru_cache(maxsize=None)
def read_runs() -> Dict[str, Dict[str, Any]]:
    """What runs.json says of each run, by its id."""
    runs: List[Dict[str, Any]] = json.loads((FOLDER / "runs.json").read_text(encoding="utf-8"))
    return {run["id"]: run for run in runs}
