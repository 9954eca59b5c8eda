"""A run that is only tried: everything is checked, a few batches are trained and evaluated, and nothing is written."""

from __future__ import annotations

import logging
import math
import resource
import time
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any, Iterator, Sequence, Tuple

from ..compat import mx
from ..devices import contexts
from ..native_log import without_native_log
from ..progress import duration, progress
from ..tasks import Task, task_of
from ..tasks.base import TRAINING
from ..words import counted
from . import distributed
from .averaging import build_average
from .data_record import data_record, fingerprint_numbers
from .distributed.workers import Workers
from .divergence import LOWER, DivergedError, refuse_diverged
from .engine import describe, introduction
from .evaluation import Evaluator
from .loading import classes_of_data, load_data
from .logbook import RunDirectory
from .parts import Parts, build_parts
from .schedule import learning_rate
from .settings import Settings
from .start import load_initial_parameters
from .step import seed_network, take_step
from .sums import RunningSums
from .tensorboard import refuse_missing
from .watch import Watch

logger = logging.getLogger("fusion")

#: So many batches are timed after the first, which compiles: more while they take less than so many seconds in all.
_FEWEST, _MOST, _SECONDS = 5, 50, 5.0

#: Batches that are evaluated after the first, at most.
_EVALUATED = 3


@dataclass(frozen=True)
class Trial:
    """What a few batches showed.

    Attributes
    ----------
    first : float
        Seconds of the first batch, in which the network is compiled.
    step : float
        Seconds of each batch after it, their mean; those of the first one where there is no other.
    timed : int
        How many batches that is the mean of; 0 where there is no other than the first.
    loss : float
        The mean over all of them.
    """

    first: float
    step: float
    timed: int
    loss: float


def dry_run(settings: Settings, run: RunDirectory) -> None:
    """Try a run, and log what it will take.

    Parameters
    ----------
    settings : Settings
        The experiment.
    run : RunDirectory
        Where it would be; nothing is made there.

    Raises
    ------
    FusionError
        For everything that would end the run before or in its first batches.
    """
    with distributed.start(settings) as workers:
        try:
            _dry_run(settings, workers.directory(run), workers)
        except DivergedError as error:
            raise DivergedError(f"{error}: {LOWER}") from None


def _dry_run(settings: Settings, run: RunDirectory, workers: Workers) -> None:
    devices = contexts(settings.runtime.device)
    refuse_missing(settings)
    train_set, test_set = load_data(settings)
    workers.check_alike("files of the data set", *fingerprint_numbers(data_record(settings, train_set, test_set)))
    task = task_of(settings, train_set.classes)
    watch = Watch(task, settings, train_set, test_set)
    parts = build_parts(settings, task, train_set, devices, workers)
    evaluator = Evaluator(task, parts.net, test_set, parts.batches.part_size, devices, settings, run, workers)
    load_initial_parameters(parts.net, settings, classes_of_data(train_set))
    facts = describe(settings, parts.net, train_set.title, len(train_set), len(test_set))
    logger.info(introduction(facts, parts.batches, devices))
    watch.begin(parts.net, parts.loss, len(parts.batches), 0)
    trial = _take_steps(settings, task, parts, devices, workers, watch)
    workers.average_statistics(parts.net)
    first, others = evaluator.few(_EVALUATED)
    if not math.isfinite(first.figures["loss"]):
        raise DivergedError(f"the loss on the first test images is {first.figures['loss']}")
    measured = others if others.images else first
    rate = measured.images_per_second * workers.size  # each of them evaluates its part
    for line in _report(settings, parts, trial, (rate, measured.images, len(test_set)), devices):
        logger.info(line)
    logger.info("all is well. Nothing was written; without --dry-run the run goes to %s", run.path)


def _take_steps(
    settings: Settings,
    task: Task,
    parts: Parts,
    devices: Sequence[Any],
    workers: Workers,
    watch: Watch,
) -> Trial:
    """Train on the first batches, as a run does."""
    net, batches, loss, trainer = parts
    length = len(batches)
    clip, accumulate = settings.optimizer.clip_gradient_norm, settings.optimizer.accumulate
    average, sums = build_average(net, settings), RunningSums(task.training_meter(), {}, workers)
    compiled = began = time.perf_counter()
    done = 0
    epoch = batches.epoch(0)
    with progress("first batches", min(length, 1 + _MOST), unit="batches") as shown:
        for done, batch in enumerate(islice(epoch, 1 + _MOST), start=1):
            trainer.set_learning_rate(learning_rate(settings.schedule, settings.train.epochs, length, done - 1))
            seed_network(settings.train.seed, 0, workers.key(done - 1))
            with without_native_log() if done == 1 else nullcontext():
                sums.later(take_step(net, trainer, loss, batch, devices, clip, accumulate))
            if done == 1:
                compiled = time.perf_counter()
            if average is not None:
                average.update(done - 1)
            watch.step(batch, done, trainer.learning_rate)
            shown.update(1)
            if workers.any(done > _FEWEST and time.perf_counter() - compiled > _SECONDS):
                break
    found = task.training_columns({**sums.finish(), "images": done * batches.batch_size})
    mx.nd.waitall()
    ended = time.perf_counter()
    epoch.close()  # its threads prepare further batches
    refuse_diverged(net, 0, done)
    timed = done - 1
    step = (ended - compiled) / timed if timed else compiled - began
    return Trial(compiled - began, step, timed, found[task.training[0].column(TRAINING)])


def _report(
    settings: Settings,
    parts: Parts,
    trial: Trial,
    evaluation: Tuple[float, int, int],
    devices: Sequence[Any],
) -> Iterator[str]:
    """The lines of a trial; the evaluation has images per second, by how many images, and how many there are."""
    images_per_second, evaluated, test_images = evaluation
    length, epochs, every = len(parts.batches), settings.train.epochs, settings.train.evaluate_every
    logged = counted(1 + trial.timed, "batch", "batches")
    yield f"  trained     {logged}, mean loss {trial.loss:.4f}; the first took {duration(trial.first)}, as it compiles"
    seconds = test_images / images_per_second * (2 if settings.train.ema_decay else 1)
    evaluations = -(-epochs // every)
    whole = epochs * length * trial.step + evaluations * seconds
    measured = (
        f"from {counted(trial.timed, 'batch', 'batches')} after the first" if trial.timed else "from the first alone"
    )
    yield (
        f"  one epoch   about {duration(length * trial.step)} for {counted(length, 'batch', 'batches')} of "
        f"{1000 * trial.step:.0f} ms ({measured}), and {duration(seconds)} to evaluate "
        f"{counted(test_images, 'test image')} (from {evaluated:,})"
    )
    yield f"  all epochs  about {duration(whole)} for {counted(epochs, 'epoch')}, if the machine stays as busy as now"
    yield f"  memory      {', '.join(_memory(devices))}"


def _memory(devices: Sequence[Any]) -> Iterator[str]:
    """The peak of this process, and what MXNet has taken of each GPU, which it keeps."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
    yield f"{peak / 1e6:,.0f} MB at the peak, with the program and its data"
    for device in devices:
        if device.device_type == "gpu":
            free, total = mx.context.gpu_memory_info(device.device_id)
            yield f"{(total - free) / 1e6:,.0f} of {total / 1e6:,.0f} MB of {device} in use"
