"""The running sums of an epoch of training."""

from __future__ import annotations

import math
import time
from typing import Dict, Optional

import numpy as np

from ..tasks.base import Meter, StepOutput
from .distributed.workers import ALONE, Workers
from .divergence import DivergedError


class RunningSums:
    """What a meter has added up since the epoch began. Each step is read one step late, so that nothing waits for it.

    Parameters
    ----------
    meter : Meter
        Of training; it has a figure `loss` and a sum `batches`.
    earlier : dict of str to float
        The sums of an epoch that was interrupted, over all workers; empty for a new epoch.
    workers : Workers
        Who each begin with an equal part of these.
    """

    def __init__(self, meter: Meter, earlier: Dict[str, float], workers: Workers = ALONE) -> None:
        self._meter = meter
        self._workers = workers
        self._sums = np.array([earlier.get(name, 0.0) for name in meter.names]) / workers.size
        self._earlier_seconds = earlier.get("seconds", 0.0)
        self._start = time.perf_counter()
        self._pending: Optional[StepOutput] = None

    @property
    def seconds(self) -> float:
        """Since the epoch began. The time between an interruption and the resumption is not counted."""
        return self._earlier_seconds + time.perf_counter() - self._start

    @property
    def mean_loss(self) -> float:
        """Over the steps of this worker that have been read; not a number before the first."""
        return self._meter.figures(self._sums)["loss"]

    def later(self, output: StepOutput) -> None:
        """Keep a step to be read later, and read the one before it."""
        previous, self._pending = self._pending, output
        if previous is not None:
            self._add(previous)

    def finish(self) -> Dict[str, float]:
        """Read the last step, and return the sums over all workers by name, and `seconds`."""
        if self._pending is not None:
            self._add(self._pending)
            self._pending = None
        total = self._workers.sum(self._sums)
        return {**dict(zip(self._meter.names, map(float, total))), "seconds": self.seconds}

    def _add(self, output: StepOutput) -> None:
        found = self._meter.of_step(output)
        loss = self._meter.figures(found)["loss"]
        if not math.isfinite(loss):
            batch = int(self._sums[self._meter.names.index("batches")]) + 1
            raise DivergedError(f"the loss is {loss} at batch {batch} of the epoch")
        self._sums = self._sums + found
