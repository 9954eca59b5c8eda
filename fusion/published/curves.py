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
        In percent; the first is after one epoch.
    """

    errors: Tuple[float, ...]

    @property
    def epochs(self) -> int:
        """How many there are."""
        return len(self.errors)

    @property
    def best_epoch(self) -> int:
        """The first epoch, from 1, with the lowest error."""
        return self.errors.index(min(self.errors)) + 1

    @property
    def best(self) -> float:
        """The lowest error in percent."""
        return min(self.errors)

    @property
    def last(self) -> float:
        """The last epoch's error in percent."""
        return self.errors[-1]

    def at(self, epoch: int) -> float:
        """The error after an epoch, counted from 1, in percent."""
        return self.errors[epoch - 1]

    def around(self, epoch: int, reach: int) -> Tuple[float, ...]:
        """The errors of an epoch and of as many as `reach` before and after it."""
        return self.errors[max(0, epoch - 1 - reach) : epoch + reach]


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
