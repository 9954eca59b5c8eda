"""Watches a run for what is silently wrong. It changes no result, and says what it finds once, in the log."""

from __future__ import annotations

import logging
from typing import Any, Dict, List, Optional, Set

import numpy as np

from ..data.loader import Batch
from ..data.soundness import look_over
from ..tasks import Task
from ..tasks.base import Seen
from .inputs import FirstInputs
from .movement import STEPS, Movement
from .settings import Settings

logger = logging.getLogger(__name__)


class Watch:
    """Looks at the data before a run, at its first batches and steps, and at the figures of each epoch.

    Parameters
    ----------
    task : Task
        Of the run.
    settings : Settings
        Of the run.
    train_set, test_set : DataSet
        Which it trains and tests on.

    Raises
    ------
    DataError
        If there is nothing to learn from the training images.
    """

    def __init__(self, task: Task, settings: Settings, train_set: Any, test_set: Any) -> None:
        self._task = task
        self._settings = settings
        self._title, self._test_images = train_set.title, len(test_set)
        self._findings = look_over(train_set, test_set)
        self._inputs: Optional[FirstInputs] = FirstInputs()
        self._counts: Optional[np.ndarray] = None
        self._counted = 0
        self._movement: Optional[Movement] = None
        self._said: Set[str] = set()

    def begin(self, net: Any, loss: Any, length: int, step: int) -> None:
        """Say what was found in the data, and remember what the first steps should move.

        Parameters
        ----------
        net : Network
            With the weights that the run begins from.
        loss : callable
            Of the task: see `fusion.tasks.base.Task.loss`.
        length : int
            Steps per epoch.
        step : int
            The first that will be taken: from 0, or where a run goes on.
        """
        self._loss, self._length = loss, length
        schedule, epochs = self._settings.schedule, self._settings.train.epochs
        self._warmup = int(schedule.warmup_epochs * length)
        self._look_at = min(self._warmup + STEPS, epochs * length)
        self._movement = Movement(net) if step == 0 else None
        for finding in self._findings:
            self._say(finding)

    def step(self, batch: Batch, done: int, rate: float) -> None:
        """Look at a step, as long as there is something to be seen.

        Parameters
        ----------
        batch : Batch
            Which the network was shown.
        done : int
            Steps since the run began.
        rate : float
            The learning rate of this one.
        """
        if self._counted < self._length:
            counts = self._task.count_classes(batch.targets)
            self._counts = counts if self._counts is None else self._counts + counts
            self._counted += 1
        if self._inputs is not None:
            self._inputs.add(batch)
            if self._inputs.enough or done % self._length == 0:
                self._look_at_inputs()
        if self._movement is not None and done >= self._look_at:
            self._say(self._movement.doubt(done, rate))
            self._movement = None

    def epoch(self, rows: List[Dict[str, float]]) -> None:
        """Look at the figures of the epochs so far."""
        seen = Seen(len(rows) * self._length - self._warmup, self._test_images, self._counts)
        self._say(self._task.advice(rows))
        for kind, words in self._task.doubts(rows, seen).items():
            if kind not in self._said:
                self._said.add(kind)
                self._say(words)

    def _look_at_inputs(self) -> None:
        assert self._inputs is not None
        for doubt in self._inputs.doubts(self._settings.augment):
            self._say(doubt)
        self._inputs = None
        if self._counts is not None and np.count_nonzero(self._counts) == 1:
            self._say(
                f"all targets so far are of one class, number {int(self._counts.argmax())}: there is nothing to tell "
                "apart. Look at the labels with python -m fusion browse"
            )
        if hasattr(self._loss, "doubt"):
            self._say(self._loss.doubt())

    def _say(self, words: Optional[str]) -> None:
        if words:
            prefix = "" if words.startswith(self._title) else f"{self._title}: "
            logger.warning("%s%s", prefix, words)
