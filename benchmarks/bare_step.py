"""Training beside its bare step: forward, backward and update on one batch that is already on the device."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from fusion.compat import mx
from fusion.devices import contexts
from fusion.tasks import task_of
from fusion.tasks.base import part_losses
from fusion.training.engine import train
from fusion.training.history import read_metrics
from fusion.training.loading import load_split
from fusion.training.logbook import RunDirectory
from fusion.training.parts import build_parts
from fusion.training.preparation import split_over
from fusion.training.settings import Settings

#: Steps before those that are timed, in which the network is compiled and its memory allocated.
WARM_UP = 3


class Beside(NamedTuple):
    """Medians over rounds: images per second of the bare step and of training, and the share of the second."""

    bare: float
    whole: float
    share: float


def training_beside(settings: Settings, steps: int, rounds: int) -> Beside:
    """Whole runs and bare steps, which take turns. A run's first epoch compiles its network, and does not count."""
    bare, whole = [], []
    for _ in range(rounds):
        bare.append(images_of_bare_step(settings, steps))
        with tempfile.TemporaryDirectory() as folder:
            run = RunDirectory(Path(folder) / "run")
            train(settings, run)
            rows = read_metrics(run.metrics)[1:]
        whole.append(statistics.median(row["images_per_second"] for row in rows))
    share = statistics.median(trained / step for trained, step in zip(whole, bare))
    return Beside(statistics.median(bare), statistics.median(whole), share)


def images_of_bare_step(settings: Settings, steps: int) -> float:
    """Images per second of forward, backward and update alone."""
    devices = contexts("cpu")
    train_set = load_split(settings, "train")
    net, batches, loss, trainer = build_parts(settings, task_of(settings, train_set.classes), train_set, devices)
    batch = next(batches.epoch(0))
    images, targets = split_over(devices, batch.images), split_over(devices, batch.targets)
    for step in range(steps + WARM_UP):
        if step == WARM_UP:
            mx.nd.waitall()
            start = time.perf_counter()
        with mx.autograd.record():
            losses = part_losses(loss, [net(part) for part in images], targets, images)
        mx.autograd.backward(losses)
        trainer.step(len(batch.images))
    mx.nd.waitall()
    return steps * len(batch.images) / (time.perf_counter() - start)
