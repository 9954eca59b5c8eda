"""Precision, recall and F1 of each class, from how many images or pixels of each class got each answer."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from ..tables import text_table, write_csv

#: Classes that are printed; all of them are in by_class.csv.
MOST_PRINTED = 20


class ClassFigures(NamedTuple):
    """How well a class is told from the others.

    Attributes
    ----------
    name : str
        Of the class.
    total, answers : int
        How many images or pixels are of it, and how many got it as their answer.
    precision : float
        The share of these answers that are right; not a number without answers.
    recall : float
        The share of the images or pixels of the class that got it; not a number without any.
    f1 : float
        Their harmonic mean, 2 TP / (2 TP + FP + FN); not a number for a class that has neither.
    confidence : float or None
        The mean probability that the network gave these answers, which for a calibrated network is the precision; None
        where it was not measured.
    """

    name: str
    total: int
    answers: int
    precision: float
    recall: float
    f1: float
    confidence: Optional[float] = None

    def plain(self) -> Dict[str, Any]:
        """Its values by name, for JSON; what is not a number is null."""
        values = self._asdict()
        values["class"] = values.pop("name")
        return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in values.items()}


def figures_by_class(
    matrix: np.ndarray, names: Sequence[str], confidence: Optional[Sequence[float]] = None
) -> List[ClassFigures]:
    """The figures of every class, in label order.

    Parameters
    ----------
    matrix : ndarray
        (K, K) integers: a row per class, a column per answer.
    names : sequence of str
        Of the K classes.
    confidence : sequence of float, optional
        Of each class: the mean confidence of its answers.
    """
    right, totals, answers = np.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    found = []
    for place, name in enumerate(names):
        own = (int(totals[place]), int(answers[place]))
        figures = (_share(right[place], own[1]), _share(right[place], own[0]), _share(2 * right[place], sum(own)))
        found.append(ClassFigures(name, *own, *figures, None if confidence is None else float(confidence[place])))
    return found


def _share(part: Any, whole: int) -> float:
    return float(part) / whole if whole else math.nan


def worst_first(figures: Sequence[ClassFigures]) -> List[ClassFigures]:
    """Those with the lowest F1 first; classes without images or answers last."""
    return sorted(figures, key=lambda each: (math.isnan(each.f1), each.f1))


def format_classes(figures: Sequence[ClassFigures], unit: str, most: int = MOST_PRINTED) -> str:
    """A table of the classes with the lowest F1, those first, and how many others there are.

    Parameters
    ----------
    figures : sequence of ClassFigures
        Of all classes.
    unit : str
        What is counted: images or pixels.
    most : int
        Lines.
    """
    shown = worst_first(figures)[:most]
    heading = ["class", unit, "precision (%)", "recall (%)", "F1 (%)"]
    rows = [[each.name, f"{each.total:,}", *map(_percent, (each.precision, each.recall, each.f1))] for each in shown]
    if shown and shown[0].confidence is not None:
        heading.append("sure (%)")
        rows = [[*row, _percent(each.confidence or 0.0)] for row, each in zip(rows, shown)]
    table = text_table(heading, rows)
    left = len(figures) - len(shown)
    return f"{table}\n{left:,} more classes, which are better, are in by_class.csv" if left else table


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.2f}"


def write_classes(figures: Sequence[ClassFigures], path: Path) -> None:
    """Write the figures of all classes as CSV, the worst first; what is not a number is empty."""
    rows = [each.plain() for each in worst_first(figures)]
    names = ["class", "total", "answers", "precision", "recall", "f1"]
    names += ["confidence"] if any(each.confidence is not None for each in figures) else []
    write_csv(path, names, [{name: row[name] for name in names} for row in rows])
