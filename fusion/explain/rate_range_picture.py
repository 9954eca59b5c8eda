"""The picture of a learning-rate range test: the loss by the rate, with the rates that it suggests."""

from __future__ import annotations

from pathlib import Path
from typing import Tuple

import numpy as np

from ..drawing import BLUE, FAINT, GREEN, GREY, ORANGE, new_page, save_page
from ..training.rate_range import RateRange

#: The axis of losses ends at the highest smoothed loss before the lowest one, and so much more of what is between them.
_ROOM = 0.6


def draw_rate_range(found: RateRange, own_rate: float, path: Path) -> None:
    """Draw a range test.

    Parameters
    ----------
    found : RateRange
        The test.
    own_rate : float
        The highest rate of the config's own schedule, for comparison.
    path : Path
        Written in the format that its name ends in.
    """
    figure, ((axes,),) = new_page(1, 1, 4.2, f"{found.title}: learning-rate range test")
    axes.plot(found.rates, found.losses, ".", color=GREY, alpha=0.45, markersize=4, label="loss of each batch")
    axes.plot(found.rates, found.smoothed, color=BLUE, linewidth=1.8, label="smoothed")
    for rate, colour, style, words in (
        (found.steepest, GREEN, "-", "falls fastest"),
        (found.growing_from, ORANGE, "-", "grows from here"),
        (own_rate, GREY, ":", "schedule.lr of the config"),
    ):
        if rate is not None and found.rates[0] <= rate <= found.rates[-1]:
            axes.axvline(rate, color=colour, linestyle=style, linewidth=1.4, label=f"{words}: {rate:.2g}")
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss on batches of training")
    axes.set_ylim(*_limits(found))
    axes.grid(color=FAINT, linewidth=0.6)
    # Beside the axes: where the lines leave room within them differs from test to test.
    figure.legend(loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    save_page(figure, path)


def _limits(found: RateRange) -> Tuple[float, float]:
    """Where the axis of losses begins and ends, so that the end of a test, where the loss explodes, hides nothing."""
    before = found.smoothed[: found.lowest + 1].max()
    seen = np.concatenate([found.losses[: found.lowest + 1], [before]])
    low, high = min(found.losses.min(), found.smoothed.min()), seen.max()
    room = (high - low) or 1.0
    return float(low - 0.05 * room), float(min(high + _ROOM * room, max(found.losses.max(), high) + 0.05 * room))
