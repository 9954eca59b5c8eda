"""What a run trains with, built from its settings: before a run, for one that is only tried, and to look for a rate."""

from __future__ import annotations

from typing import Any, List, NamedTuple

from ..models.normalisation import synchronise_batch_norm
from ..tasks import Task
from .distributed.workers import ALONE, Workers
from .gradients import add_up
from .loading import classes_of_data
from .preparation import build_batches, build_network, build_trainer, refuse_single_values, start_weights
from .settings import Settings
from .start import hold_layers
from .teacher import load_teacher


class Parts(NamedTuple):
    """A network whose weights are initialised, and what a step on it needs.

    Attributes
    ----------
    net : Network
        On all devices.
    batches : Batches
        Of every epoch, or this worker's part of each.
    loss : callable
        Of the task: see `fusion.tasks.base.Task.loss`.
    trainer : gluon.Trainer
        Of the network's parameters.
    """

    net: Any
    batches: Any
    loss: Any
    trainer: Any


def build_parts(settings: Settings, task: Task, train_set: Any, devices: List[Any], workers: Workers = ALONE) -> Parts:
    """Build what a run trains with.

    Parameters
    ----------
    settings : Settings
        Of the run.
    task : Task
        Of the run.
    train_set : DataSet
        What it trains on.
    devices : list of Context
        Where it trains.
    workers : Workers
        This process among several.

    Raises
    ------
    FusionError
        For settings that are impossible with this data, and a teacher that is missing or does not fit.
    """
    net = build_network(settings, len(train_set.classes))
    refuse_single_values(net, settings)
    if settings.model.sync_batch_norm:
        synchronise_batch_norm(net, devices)
    batches = build_batches(settings, train_set, devices, workers.shard)
    teacher = load_teacher(settings, classes_of_data(train_set), devices)
    start_weights(net, settings, devices)
    hold_layers(net, settings)
    if settings.optimizer.accumulate > 1:
        add_up(net)
    return Parts(net, batches, task.loss(settings, teacher), build_trainer(net, settings, workers))
