"""Times of several ways to do the same thing. They take turns, so that other programs slow each of them alike."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Callable, Dict, List, Mapping, Tuple

#: Rounds before those that count. In them MXNet compiles, allocates memory and chooses layouts.
WARM_UP = 2


@dataclass(frozen=True)
class Times:
    """How long something took, in each round.

    Attributes
    ----------
    seconds : tuple of float
        One figure per round, in order.
    """

    seconds: Tuple[float, ...]

    @property
    def median(self) -> float:
        """The median, in seconds."""
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> Tuple[float, float]:
        """The first and the third quartile, in seconds: the middle half of the rounds lies between them."""
        if len(self.seconds) < 2:
            return self.seconds[0], self.seconds[0]
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return low, high


def interleave(ways: Mapping[str, Callable[[], object]], rounds: int) -> Dict[str, Times]:
    """Time each of several calls, once per round.

    Parameters
    ----------
    ways : mapping of str to callable
        The calls by name. Each returns when its work is done.
    rounds : int
        How many rounds count; `WARM_UP` rounds that do not count come before them.

    Returns
    -------
    dict of str to Times
        The times by the same names.
    """
    seconds: Dict[str, List[float]] = {name: [] for name in ways}
    for _ in range(rounds + WARM_UP):
        for name, call in ways.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: Times(tuple(taken[WARM_UP:])) for name, taken in seconds.items()}


def gain(before: Times, after: Times) -> float:
    """How many times as fast the second is.

    It is the median of the ratios of each round, so that a round in which both were slow changes it little.
    """
    return statistics.median(slow / fast for slow, fast in zip(before.seconds, after.seconds))
