"""The verdict on a run beside what was published: within, above or below.

It is about the last epoch that both have. A run is **within** the published curve if its error lies in the
range of the published errors of that epoch and of the five epochs before and after it. The highest and the lowest fifth
of these are left out, because single epochs are outliers; the range is then widened on both sides by one standard error
of an error rate measured on that many test images, sqrt(p(1-p)/n). Of a row without a curve only the figure is known:
the lowest error of the run is compared with it, and is within if it is at most one standard error away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Tuple

from .curves import Curve

#: The range of the published errors is taken over this many epochs before and after the one compared.
REACH = 5

#: One in this many of the errors in that range is left out as an outlier, at the top and at the bottom.
_LEAPS = 5


@dataclass(frozen=True)
class Verdict:
    """Where a run lies relative to a published curve, at the last epoch that both have; errors in percent.

    Attributes
    ----------
    word : {'within', 'above', 'below'}
        Where its error lies; below is better.
    epoch : int
        The epoch, counted from 1.
    own, published : float
        The two errors after that epoch.
    low, high : float
        An error from `low` to `high` is within.
    beside : {'curve', 'figure'}
        What the run is compared with.
    """

    word: str
    epoch: int
    own: float
    published: float
    low: float
    high: float
    beside: str = "curve"

    @property
    def difference(self) -> float:
        """The run's error minus the published one, in percentage points."""
        return self.own - self.published

    @property
    def figures(self) -> str:
        """The errors, in words."""
        side = "more" if self.difference > 0 else "less"
        return (
            f"At epoch {self.epoch} the error is {self.own:.2f} % against {self.published:.2f} %, "
            f"{abs(self.difference):.2f} points {side}; within is from {self.low:.2f} to {self.high:.2f} %"
        )

    def __str__(self) -> str:
        judgement = {"above": ": worse", "below": ": better"}.get(self.word, "")
        return f"{self.word} the published {self.beside}{judgement}. {self.figures}"


def judge(own: Curve, published: Curve, test_images: int) -> Verdict:
    """Compare a run's errors with a published curve, at the last epoch that both have.

    Parameters
    ----------
    own : Curve
        Errors of the run; at least one of its epochs is no later than the last published one.
    published : Curve
        Errors of the published run.
    test_images : int
        The number of test images that each error was measured on.
    """
    epoch = own.until(published.epochs)
    error, reference = own.at(epoch), published.at(epoch)
    low, high = error_range(published, epoch)
    margin = standard_error(reference, test_images)
    return _verdict(epoch, error, reference, (low - margin, high + margin), "curve")


def judge_best(own: Curve, figure: float, test_images: int) -> Verdict:
    """Compare a run's lowest error with a published one of which no curve is known; the other arguments as `judge`."""
    margin = standard_error(figure, test_images)
    return _verdict(own.best_epoch, own.best, figure, (figure - margin, figure + margin), "figure")


def _verdict(epoch: int, error: float, reference: float, within: Tuple[float, float], beside: str) -> Verdict:
    low, high = within
    word = "below" if error < low else "above" if error > high else "within"
    return Verdict(word, epoch, error, reference, max(0.0, low), min(100.0, high), beside)


def error_range(curve: Curve, epoch: int) -> Tuple[float, float]:
    """The lowest and highest error around an epoch without outliers; the epoch's own error is always between them."""
    near = sorted(curve.around(epoch, REACH))
    left_out = len(near) // _LEAPS
    return min(curve.at(epoch), near[left_out]), max(curve.at(epoch), near[-1 - left_out])


def standard_error(error: float, images: int) -> float:
    """The standard error of an error rate in percent, measured on a number of images: sqrt(p (1 - p) / n)."""
    share = error / 100
    return 100 * math.sqrt(share * (1 - share) / images)
