"""The training loop, for any task.

A run is a function of its settings: every random draw comes from the seed, the epoch and the batch, so a run that was
stopped goes on as if it had not been. On one CPU context the result is the same to the last bit, as long as the number
of threads is: see docs/threads.md.
"""

from __future__ import annotations

import logging
import os
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ContextManager, Dict, Sequence

from ..compat import mx
from ..devices import contexts
from ..errors import ConfigError
from ..machine import usable
from ..models.network import count_parameters
from ..native_log import without_native_log
from ..processors import Company, chosen, processes_of_job
from ..progress import EpochProgress, duration
from ..signals import Interruption
from ..tasks import Task, task_of
from ..words import counted
from . import checkpoint, distributed
from .averaging import build_average
from .breakdown import Supply, broken_off
from .data_record import data_record, fingerprint_numbers, refuse_other_data, start_record
from .distributed.workers import Workers
from .divergence import DivergedError, refuse_diverged, with_advice
from .evaluation import Evaluator
from .history import History
from .loading import classes_of_data, load_data, model_title
from .logbook import RunDirectory
from .parts import build_parts
from .schedule import learning_rate
from .settings import Settings
from .start import load_initial_parameters
from .step import seed_network, take_step
from .sums import RunningSums
from .tensorboard import Board, refuse_missing
from .watch import Watch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How `train` ended.

    Attributes
    ----------
    finished : bool
        False if it was interrupted and can be resumed.
    epoch, batch : int
        The next step to take, from 0.
    rank : int
        The number of this worker among several, from 0. Only the first one has written files.
    """

    finished: bool
    epoch: int
    batch: int
    rank: int = 0


def train(settings: Settings, run: RunDirectory, resume: bool = False) -> Outcome:
    """Train a network, and leave everything in the run's folder.

    Parameters
    ----------
    settings : Settings
        The experiment.
    run : RunDirectory
        Its folder is made, or with `resume` holds the run already.
    resume : bool
        Go on from the last checkpoint.

    Returns
    -------
    Outcome
        Whether it finished or was interrupted.

    Raises
    ------
    FusionError
        For anything impossible, before the first step where that can be known.
    """
    with distributed.start(settings) as workers:
        directory = workers.directory(run)
        try:
            if resume:
                directory.hold()
            return _train(settings, directory, resume, workers)
        except DivergedError as error:
            raise with_advice(error, run.last) from None
        except Exception as error:
            known = broken_off(error, run)
            if known is error:
                raise
            raise known from None
        finally:
            directory.let_go()


def _train(settings: Settings, run: RunDirectory, resume: bool, workers: Workers) -> Outcome:
    devices = contexts(settings.runtime.device)
    refuse_missing(settings)
    train_set, test_set = load_data(settings)
    record = data_record(settings, train_set, test_set)
    if resume:
        refuse_other_data(run, record, train_set)
    workers.check_alike("files of the data set", *fingerprint_numbers(record))
    task = task_of(settings, train_set.classes)
    watch = Watch(task, settings, train_set, test_set)
    net, batches, loss, trainer = build_parts(settings, task, train_set, devices, workers)
    evaluator = Evaluator(task, net, test_set, batches.part_size, devices, settings, run, workers)
    average = build_average(net, settings)
    board = Board(settings, run, task, net, test_set, devices, workers.rank)

    state = checkpoint.TrainingState()
    if not (resume and run.last.exists()):
        load_initial_parameters(net, settings, classes_of_data(train_set))
    if resume:
        if run.last.exists():
            state = checkpoint.restore(run.last, net, trainer, average, task)
            state.batch = first_batch(state, batches.batch_size)
            refuse_shorter(settings, state)
        run.keep_length(settings)
    else:
        run.create(settings)
    if workers.rank == 0:
        start_record(run, record, train_set)
    workers.check_alike("step to go on at", state.epoch, state.batch)
    supply = Supply(batches, alone=workers.size == 1)
    epochs, length = settings.train.epochs, len(batches)
    clip, accumulate = settings.optimizer.clip_gradient_norm, settings.optimizer.accumulate
    company = Company(usable())
    compiling: ContextManager[None] = without_native_log()  # of the first step
    with run.log(), Interruption() as interruption:
        facts = describe(settings, net, train_set.title, len(train_set), len(test_set))
        title = f"{facts['model']} on {train_set.title}"
        logger.info(introduction(facts, batches, devices))
        logger.info("run folder: %s", run.path)
        if resume:
            run.write_environment(settings)
            logger.info("resuming at epoch %d, batch %d", state.epoch + 1, state.batch + 1)
        watch.begin(net, loss, length, state.epoch * length + state.batch)
        board.begin(state.history)
        if state.history:
            run.write_epoch(History(task, state.history), title, facts)  # it may have ended before it wrote these
        while not is_over(settings, task, state) and not workers.any(interruption.requested):
            sums = RunningSums(task.training_meter(), state.sums, workers)
            company.begin()
            label = f"{train_set.title}: epoch {state.epoch + 1}/{epochs}"
            with EpochProgress(label, state.batch, length, batches.batch_size, settings.runtime.log_every) as progress:
                for batch in supply.epoch(state.epoch, state.batch):
                    step = state.epoch * length + state.batch
                    trainer.set_learning_rate(learning_rate(settings.schedule, epochs, length, step))
                    seed_network(settings.train.seed, state.epoch, workers.key(state.batch))
                    with compiling:
                        output = take_step(net, trainer, loss, batch, devices, clip, accumulate)
                    compiling = nullcontext()
                    sums.later(output)
                    if average is not None:
                        average.update(step)
                    state.batch += 1
                    watch.step(batch, step + 1, trainer.learning_rate)
                    progress.advance(sums.mean_loss)
                    if workers.any(interruption.requested):
                        break
            state.sums = {**sums.finish(), "images": state.batch * batches.batch_size}
            # A backward pass updates batch norm's running statistics behind the engine's back: a read would not wait.
            mx.nd.waitall()
            refuse_diverged(net, state.epoch, state.batch)
            workers.average_statistics(net)
            if state.batch < length:
                break
            figures, is_best = evaluator(average, state.epoch, state.history)
            row = epoch_row(task, state, figures, trainer.learning_rate, sums.seconds)
            state = checkpoint.TrainingState(epoch=state.epoch + 1, history=[*state.history, row])
            board.epoch(row)  # before the checkpoint: what it has of later epochs, a resumed run takes back
            if workers.rank == 0:
                checkpoint.save(run.last, net, trainer, state, average)
            if settings.runtime.keep_every and state.epoch % settings.runtime.keep_every == 0:
                run.keep(state.epoch)
            history = History(task, state.history)
            run.write_epoch(history, title, facts)
            log_epoch(history, train_set.title, epochs, is_best)
            log_company(company, run, devices)
            watch.epoch(state.history)
        if state.batch and workers.rank == 0:
            checkpoint.save(run.last, net, trainer, state, average)
        finished = is_over(settings, task, state)
        if finished and state.epoch < epochs:
            logger.info(
                "%s: ended at epoch %d of %d: no better test figure for train.patience=%d epochs; to go on, --resume "
                "with a larger train.patience, or with 0",
                *(train_set.title, state.epoch, epochs, settings.train.patience),
            )
        workers.barrier()  # all may read what the first worker has written
    supply.raise_error(run)
    return Outcome(finished, state.epoch, state.batch, workers.rank)


def first_batch(state: checkpoint.TrainingState, batch_size: int) -> int:
    """The batch at which the epoch of a checkpoint goes on, from 0.

    Parameters
    ----------
    state : TrainingState
        As restored.
    batch_size : int
        Images per step from now on. With another number of devices or workers than before it is another one: what
        counts is how many images were seen. If they end within a batch, the whole of it is used, some images again.
    """
    seen = state.sums.get("images")
    return state.batch if seen is None else int(seen) // batch_size


def refuse_shorter(settings: Settings, state: checkpoint.TrainingState) -> None:
    """Refuse to go on with a run that has already trained for longer than it is to.

    Raises
    ------
    ConfigError
        If its checkpoint is past `train.epochs`.
    """
    begun = state.epoch + (1 if state.batch else 0)
    if settings.train.epochs < begun:
        raise ConfigError(
            f"train.epochs={settings.train.epochs}: the run is in its epoch {begun}; give a larger number, or leave it "
            "out"
        )


def is_over(settings: Settings, task: Task, state: checkpoint.TrainingState) -> bool:
    """Whether a run has had all its epochs, or ended early by `train.patience`."""
    return state.epoch >= settings.train.epochs or History(task, state.history).is_finished(settings)


def epoch_row(
    task: Task, state: checkpoint.TrainingState, figures: Dict[str, float], rate: float, seconds: float
) -> Dict[str, float]:
    """The row of metrics.csv of an epoch whose last batch is done, with the figures of its evaluation if it had one."""
    return {
        "epoch": state.epoch + 1,
        **task.training_columns(state.sums),
        **figures,
        "learning_rate": rate,
        "images_per_second": state.sums["images"] / state.sums["seconds"],
        "seconds": seconds,
    }


def log_epoch(history: History, title: str, epochs: int, is_best: bool) -> None:
    """Log one line per epoch, with the time that the epochs left will take if they are like those done."""
    row = history.rows[-1]
    mean = sum(done["seconds"] for done in history.rows) / len(history)
    left = f", {duration(mean * (epochs - len(history)))} left of the run" if len(history) < epochs else ""
    logger.info(
        "%s: epoch %d/%d: %slr %.5g, %.0f images/s, %.1f s%s%s",
        *(title, row["epoch"], epochs, history.task.epoch_words(row)),
        *(row["learning_rate"], row["images_per_second"], row["seconds"], left, " (best so far)" if is_best else ""),
    )


def log_company(company: Company, run: RunDirectory, devices: Sequence[Any]) -> None:
    """Log one line per run, where other programs take processors that its threads need."""
    # The other processes of a job would be taken for other programs.
    if devices[0].device_type == "cpu" and processes_of_job(os.environ) == 1:
        advice = company.advice(chosen().count, f"--resume {run.path}")
        if advice:
            logger.info(advice)


def describe(settings: Settings, net: Any, data_title: str, train_images: int, test_images: int) -> Dict[str, Any]:
    """What result.json says of a run besides its epochs."""
    return {
        "model": model_title(settings),
        "data": data_title,
        "classes": net.classes,
        "parameters": count_parameters(net),
        "train_images": train_images,
        "test_images": test_images,
        "seed": settings.train.seed,
    }


def introduction(facts: Dict[str, Any], batches: Any, devices: Sequence[Any]) -> str:
    """The first line of a run: its network and data by what `describe` says, its batches, and where it computes."""
    names = ", ".join([*map(str, devices), str(chosen())])
    images, count = counted(len(batches.data), "training image"), counted(len(batches), "batch", "batches")
    network = f"{facts['model']} on {facts['data']}: {facts['parameters']:,} parameters"
    return f"{network}, {images} in {count} of {batches.batch_size} on {names}"
