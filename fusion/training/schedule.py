"""The learning rate as a function of the step, so that a resumed run goes on with the rate of an uninterrupted one.

In the warm-up and in the modes cosine and poly the rate changes at every step; in the mode step it changes at the start
of an epoch. GluonCV's `LRScheduler`, which the original used with `--cosine`, does the same, except that it counts from
the first update on, one step later than here.
"""

from __future__ import annotations

import math

from .settings import ScheduleSettings

#: The modes in which the rate of every step depends on the number of epochs.
FALLING = ("cosine", "poly")


def learning_rate(schedule: ScheduleSettings, epochs: int, steps_per_epoch: int, step: int) -> float:
    """The learning rate of a step.

    Parameters
    ----------
    schedule : ScheduleSettings
        How it rises and falls.
    epochs : int
        Of the whole run.
    steps_per_epoch : int
        Batches in an epoch.
    step : int
        Counted from 0 over all epochs.

    Returns
    -------
    float
        For the total batch of this step, over all devices and workers.

    Examples
    --------
    >>> from fusion.training.config import read_config
    >>> schedule = read_config(None, ["schedule.lr=0.1", "schedule.mode=cosine"]).schedule
    >>> [round(learning_rate(schedule, 2, 10, step), 3) for step in range(0, 20, 5)]
    [0.1, 0.085, 0.05, 0.015]
    """
    warmup = schedule.warmup_epochs * steps_per_epoch
    if step < warmup:
        return schedule.warmup_lr + (schedule.lr - schedule.warmup_lr) * step / warmup
    if schedule.mode == "constant":
        return schedule.lr
    if schedule.mode == "step":
        passed = sum(step // steps_per_epoch >= epoch for epoch in schedule.steps)
        return schedule.lr * schedule.factor**passed
    progress = (step - warmup) / (epochs * steps_per_epoch - warmup)
    if schedule.mode == "poly":
        left = (1 - progress) ** schedule.power
    else:
        left = (1 + math.cos(math.pi * progress)) / 2
    return schedule.final_lr + (schedule.lr - schedule.final_lr) * left
