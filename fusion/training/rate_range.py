"""The learning-rate range test: how the loss of a run's first batches goes while the rate grows exponentially.

Source: L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017, https://arxiv.org/abs/1506.01186,
section 3.3, with rates that grow exponentially in place of linearly, so that several powers of ten are seen.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, Iterator, List, Optional

import numpy as np

from ..data.loader import Batch
from ..devices import contexts
from ..errors import ConfigError
from ..native_log import without_native_log
from ..progress import progress
from ..tasks import task_of
from .loading import classes_of_data, load_data, model_title
from .parts import build_parts
from .settings import LEAST_RATE, Settings
from .start import load_initial_parameters
from .step import seed_network, take_step

#: The test ends where the smoothed loss is more than so many times the lowest one before.
TIMES_BEST = 4.0

#: How many steps a test may have: fewer say nothing, and more are no longer a short test.
FEWEST_STEPS, MOST_STEPS = 20, 2000

#: The standard deviation of the smoothing: this share of all steps, and at least so many steps.
_SHARE, _LEAST_WIDTH = 1 / 50, 3.0

#: A smoothed loss has changed if it has by so many of its standard errors: noise alone goes over about five of them.
_ERRORS = 7.0

#: Within so many of its standard errors, a smoothed loss is as low as at its lowest.
_CHANCE = 2.0

#: Of the difference between two numbers of a normal distribution, in its standard deviations: the median without sign.
_MEDIAN_DIFFERENCE = 0.954


@dataclass(frozen=True)
class RateRange:
    """What a range test has found.

    Attributes
    ----------
    title : str
        Model and data set.
    rates, losses, smoothed : ndarray
        (N,), of each step whose loss is a number.
    width : float
        Of the smoothing: see `smooth`.
    steps : int
        How many were planned.
    blown_up : bool
        Whether it ended before, because the loss was too high, or no number.
    """

    title: str
    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    width: float
    steps: int
    blown_up: bool

    @property
    def lowest(self) -> int:
        """The step at which the smoothed loss is lowest, from 0."""
        return int(self.smoothed.argmin())

    @property
    def has_fallen(self) -> bool:
        """Whether the smoothed loss fell by more than chance."""
        before = self.smoothed[: self.lowest + 1]
        return bool(before.max() - before[-1] > _ERRORS * self._error)

    @property
    def _error(self) -> float:
        """The standard error of the smoothed loss, by how much the loss differs from one batch to the next.

        The median of the differences hardly changes where the loss falls, or explodes at the end.
        """
        if len(self.losses) < 2:
            return 0.0
        noise = np.median(np.abs(np.diff(self.losses))) / _MEDIAN_DIFFERENCE
        return float(noise / np.sqrt(2 * np.sqrt(np.pi) * self.width))  # the sum of the squares of a Gaussian's weights

    @property
    def steepest(self) -> Optional[float]:
        """The rate at which the smoothed loss falls fastest, per power of ten of the rate; None if it did not fall."""
        if not self.has_fallen:
            return None
        slopes = np.gradient(smooth(self.losses, 2 * self.width), np.log10(self.rates))  # slopes are noisier
        return float(self.rates[slopes[: self.lowest + 1].argmin()])

    @property
    def growing_from(self) -> Optional[float]:
        """The rate up to which the smoothed loss is as low as it gets, but for chance, and beyond which it grows.

        None if it falls to the end or nowhere.
        """
        after = self.smoothed[self.lowest :] - self.smoothed[self.lowest]
        if not self.has_fallen or not (self.blown_up or after.max() > _ERRORS * self._error):
            return None
        above = np.flatnonzero(after > _CHANCE * self._error)
        return float(self.rates[self.lowest + max(0, int(above[0]) - 1)] if len(above) else self.rates[-1])


def smooth(losses: np.ndarray, width: float) -> np.ndarray:
    """Means (N,) of losses (N,) by a Gaussian around each, which unlike a running mean is not late.

    Parameters
    ----------
    losses : ndarray
        (N,), of each step.
    width : float
        The Gaussian's standard deviation in steps.
    """
    places = np.arange(len(losses))
    weights = np.exp(-0.5 * ((places[:, None] - places) / width) ** 2)
    return weights @ losses / weights.sum(axis=1)


def find_range(settings: Settings, lowest: float, highest: float, steps: int) -> RateRange:
    """Train on the first batches of a run with a rate that grows from step to step; nothing is written.

    Parameters
    ----------
    settings : Settings
        The experiment: network, data, augmentation, optimizer, loss and initial weights are its own. Its schedule is
        not used, nor is the average of weights.
    lowest, highest : float
        The rates of the first and the last step.
    steps : int
        How many steps there are at most. It ends before if the smoothed loss exceeds `TIMES_BEST` times its lowest
        value so far, or the loss is no longer a number.

    Raises
    ------
    ConfigError
        If a number is impossible, or the settings are.
    """
    _check(settings, lowest, highest, steps)
    devices = contexts(settings.runtime.device)
    train_set, _ = load_data(settings)
    task = task_of(settings, train_set.classes)
    net, batches, loss, trainer = build_parts(settings, task, train_set, devices)
    load_initial_parameters(net, settings, classes_of_data(train_set))
    title = f"{model_title(settings)} on {train_set.title}"
    rates, meter = np.geomspace(lowest, highest, steps), task.training_meter()
    width = max(_LEAST_WIDTH, _SHARE * steps)
    clip, accumulate = settings.optimizer.clip_gradient_norm, settings.optimizer.accumulate
    losses: List[float] = []
    with progress(f"{title}: rates", steps, unit="batches") as shown:
        for number, batch in enumerate(islice(_batches(batches, settings.train.epochs), steps)):
            trainer.set_learning_rate(float(rates[number]))
            seed_network(settings.train.seed, *divmod(number, len(batches)))
            with without_native_log() if number == 0 else nullcontext():
                output = take_step(net, trainer, loss, batch, devices, clip, accumulate)
            with np.errstate(all="ignore"):  # a loss that is no number ends the test
                found = meter.figures(meter.of_step(output))["loss"]
            shown.update(1)
            if not np.isfinite(found):
                break
            losses.append(found)
            smoothed = smooth(np.array(losses), width)
            if smoothed[-1] > TIMES_BEST * smoothed.min():
                break
    if not losses:
        raise ConfigError(f"the loss is {found} on the first batch, before any step: there is nothing to test")
    done = len(losses)
    blown_up = done < steps or bool(smoothed[-1] > TIMES_BEST * smoothed.min())
    return RateRange(title, rates[:done], np.array(losses), smoothed, width, steps, blown_up)


def _batches(batches: Any, epochs: int) -> Iterator[Batch]:
    """The batches of one epoch after the other."""
    for epoch in count():
        yield from batches.epoch(epoch % epochs)


def _check(settings: Settings, lowest: float, highest: float, steps: int) -> None:
    if not LEAST_RATE <= lowest < highest < float("inf"):
        raise ConfigError(
            f"--from {lowest:g} --to {highest:g}: expected two rates, the first at least {LEAST_RATE:g} and less than "
            "the second"
        )
    if not FEWEST_STEPS <= steps <= MOST_STEPS:
        raise ConfigError(f"--steps {steps}: expected from {FEWEST_STEPS} to {MOST_STEPS:,}")
    if settings.runtime.distributed != "none":
        raise ConfigError(
            f"runtime.distributed is {settings.runtime.distributed}: the range test runs in one process; add "
            "runtime.distributed=none"
        )
