"""Times of several ways to do the same thing, taken in turn so that a busy machine slows each of them."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Callable, Dict, List, Mapping, Tuple

#: Rounds before those that count: they compile, allocate, and choose layouts.
WARM_UP = 2


@dataclass(frozen=True)
class Times:
    """Seconds that something took, one of each round.

    Attributes
    ----------
    seconds : tuple of float
        In the order they were taken.
    """

    seconds: Tuple[float, ...]

    @property
    def median(self) -> float:
        """In seconds."""
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> Tuple[float, float]:
        """Between them lies the middle half, in seconds."""
        if len(self.seconds) < 2:
            return self.seconds[0], self.seconds[0]
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return low, high


def interleave(ways: Mapping[str, Callable[[], object]], rounds: int) -> Dict[str, Times]:
    """Time each of several calls once a round.

    Parameters
    ----------
    ways : mapping of str to callable
        Each returns when its work is done.
    rounds : int
        That count, after `WARM_UP` that do not.

    Returns
    -------
    dict of str to Times
        By the same names.
    """
    seconds: Dict[str, List[float]] = {name: [] for name in ways}
    for _ in range(rounds + WARM_UP):
        for name, call in ways.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: Times(tuple(taken[WARM_UP:])) for name, taken in seconds.items()}


def gain(before: Times, after: Times) -> float:
    """How many times as fast the second is: the median of the rounds' own ratios, so that a slow round counts once."""
    return statistics.median(slow / fast for slow, fast in zip(before.seconds, after.seconds))
