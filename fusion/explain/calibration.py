"""How far a network's confidence is from its share of right answers: expected calibration error and its diagram.

Source: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, arXiv 1706.04599: the
answers are put into bins of equal width by their confidence; the error is the mean over all answers of the difference
between the confidence and the share of right answers of their bin (equation 3), with 15 bins as in the paper's tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List

import numpy as np

from ..drawing import FAINT, GREY, ORANGE, SKY, new_figure, save_page
from ..tables import write_csv
from .answers import Answers

#: Bins of the paper's tables.
BINS = 15


@dataclass(frozen=True, eq=False)  # no field-wise ==: it has no truth value for arrays
class Calibration:
    """The answers of a test set in bins of their confidence.

    Attributes
    ----------
    counts : ndarray
        (bins,) int64: how many answers are in each. Bin m holds the confidences above m / bins up to (m + 1) / bins.
    confidence, accuracy : ndarray
        (bins,): their mean confidence, and the share of them that is right; not a number for an empty bin.
    """

    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error, from 0 to 1."""
        full = self.counts > 0
        gaps = np.abs(self.accuracy[full] - self.confidence[full])
        return float((gaps * self.counts[full]).sum() / self.counts.sum())

    @property
    def edges(self) -> np.ndarray:
        """(bins + 1,): where the bins begin and end."""
        return np.linspace(0, 1, len(self.counts) + 1)

    def bins(self) -> List[Dict[str, Any]]:
        """Each bin in plain types; an empty one has no means."""
        edges = self.edges
        return [
            {
                "above": round(float(edges[place]), 6),
                "up_to": round(float(edges[place + 1]), 6),
                "images": int(count),
                "confidence": float(self.confidence[place]) if count else None,
                "accuracy": float(self.accuracy[place]) if count else None,
            }
            for place, count in enumerate(self.counts)
        ]


def calibrate(answers: Answers, bins: int = BINS) -> Calibration:
    """Put the answers of a test set into bins.

    Parameters
    ----------
    answers : Answers
        On the whole test set.
    bins : int
        How many, of equal width.
    """
    place = np.clip(np.ceil(answers.confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    right = (answers.labels == answers.answers).astype(np.float64)
    with np.errstate(invalid="ignore"):
        confidence, accuracy = (
            np.bincount(place, weights=values, minlength=bins) / counts for values in (answers.confidence, right)
        )
    return Calibration(counts, confidence, accuracy)


def calibration_in_words(answers: Answers, found: Calibration) -> str:
    """The figures on one line."""
    sure = 100 * float(answers.confidence.mean())
    loss = "" if answers.mean_loss is None else f", mean negative log-likelihood {answers.mean_loss:.4f}"
    return (
        f"calibration: expected error {100 * found.error:.2f} % ({len(found.counts)} bins); on average the network is "
        f"{sure:.2f} % sure and {100 * (1 - answers.error):.2f} % right{loss}"
    )


def write_calibration(found: Calibration, path: Path) -> None:
    """Write the bins as CSV."""
    rows = found.bins()
    write_csv(path, list(rows[0]), rows)


def draw_reliability(answers: Answers, found: Calibration, title: str, path: Path) -> None:
    """Draw the reliability diagram: the share of right answers over the confidence, and how many answers each bin has.

    Parameters
    ----------
    answers : Answers
        On the whole test set.
    found : Calibration
        The same in bins.
    title : str
        Model and data set.
    path : Path
        Written in the format that its name ends in.
    """
    loss = "" if answers.mean_loss is None else f", mean negative log-likelihood {answers.mean_loss:.3f}"
    about = f"{title}\nexpected calibration error {100 * found.error:.2f} %{loss}"
    page = new_figure(6.6, about, 6.4)
    upper, lower = page.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    full = found.counts > 0
    left, width = 100 * found.edges[:-1][full], 100 / len(found.counts)
    accuracy, confidence = 100 * found.accuracy[full], 100 * found.confidence[full]
    options = {"width": width, "align": "edge", "edgecolor": "white"}
    upper.bar(left, accuracy, color=SKY, label="right answers", **options)
    upper.hlines(confidence, left, left + width, color=ORANGE, linewidth=2.5, label="mean confidence")
    upper.plot([0, 100], [0, 100], color=GREY, linestyle="--", linewidth=1, label="as sure as right")
    upper.set_ylabel("share of right answers (%)")
    upper.set_ylim(0, 100)
    upper.legend(loc="upper left", framealpha=0.9)
    lower.bar(left, 100 * found.counts[full] / found.counts.sum(), color=GREY, **options)
    lower.set_ylabel("share of images (%)")
    lower.set_xlabel("how sure the network is of its answer (%)")
    lower.set_xlim(0, 100)
    for axes in (upper, lower):
        axes.set_axisbelow(True)
        axes.grid(color=FAINT, linewidth=0.6)
    save_page(page, path)
