"""The figures of a run: what an evaluation finds, and the rows of metrics.csv."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Sequence

COLUMNS = (
    "epoch",
    "train_loss",
    "train_rmse",
    "val_loss",
    "val_top1_error",
    "val_top5_error",
    "learning_rate",
    "images_per_second",
    "seconds",
)

#: Columns of the averaged weights, for runs that have them.
AVERAGE_COLUMNS = ("ema_loss", "ema_top1_error", "ema_top5_error")

#: Columns that time the machine and so differ between identical runs.
TIMINGS = ("images_per_second", "seconds")


@dataclass(frozen=True)
class Evaluation:
    """What a network does on a test set.

    Attributes
    ----------
    top1_error, top5_error : float
        Fractions of 1. With fewer than five classes the second is over all of them, hence 0.
    loss : float
        Mean cross-entropy in nats.
    images : int
        How many.
    images_per_second : float
        Over all devices, batches included.
    """

    top1_error: float
    top5_error: float
    loss: float
    images: int
    images_per_second: float


def columns(prefix: str, evaluation: Evaluation) -> Dict[str, float]:
    """The cells of metrics.csv of an evaluation: of the network ("val") or of the averaged weights ("ema")."""
    return {
        f"{prefix}_loss": evaluation.loss,
        f"{prefix}_top1_error": evaluation.top1_error,
        f"{prefix}_top5_error": evaluation.top5_error,
    }


def evaluated_rows(history: Sequence[Dict[str, float]]) -> List[Dict[str, float]]:
    """The epochs that were evaluated: all of them but with `train.evaluate_every` above 1."""
    return [row for row in history if not math.isnan(row.get("val_top1_error", math.nan))]


def columns_of(history: Sequence[Dict[str, float]]) -> List[str]:
    """The columns of metrics.csv for these rows."""
    return [*COLUMNS, *(name for name in AVERAGE_COLUMNS if any(name in row for row in history))]


def read_metrics(path: Path) -> List[Dict[str, float]]:
    """The rows of a metrics.csv as numbers; an empty cell, of an epoch that was not evaluated, is not a number."""
    with path.open(newline="", encoding="utf-8") as stream:
        return [{key: float(value or "nan") for key, value in row.items()} for row in csv.DictReader(stream)]
