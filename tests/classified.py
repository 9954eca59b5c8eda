"""Classification as tests ask of it: columns and histories of its runs, and an evaluation of a network."""

from __future__ import annotations

from types import SimpleNamespace

from fusion.tasks import find_task
from fusion.tasks.base import AVERAGED
from fusion.training.evaluation import evaluate
from fusion.training.history import History, columns

TASK = find_task("classification")
COLUMNS = columns(TASK)
AVERAGE_COLUMNS = tuple(figure.column(AVERAGED) for figure in TASK.evaluation)


def history(rows):
    return History(TASK, rows)


def evaluated(net, data, normalise, batch_size, devices, shard=(0, 1)):
    """The figures of a network on a data set, or on the part of it that one of several processes has."""
    batches = TASK.evaluation_batches(data, normalise, batch_size, shard)
    found = evaluate(net, batches, TASK.evaluation_meter(), devices)
    return SimpleNamespace(**found.figures, images=found.images, images_per_second=found.images_per_second)
