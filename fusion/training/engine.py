"""The training loop.

A run is a function of its settings: every random draw comes from the seed, the epoch and the batch, so a run that was
stopped goes on as if it had not been. On one CPU context the result is the same to the last bit, as long as the number
of threads is: see docs/threads.md.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ..compat import mx
from ..data.loader import Batch, generator
from ..devices import contexts
from ..errors import FusionError
from ..models.network import count_parameters
from ..models.normalisation import synchronise_batch_norm
from ..processors import Company, chosen, processes_of_job, usable
from . import checkpoint, distributed
from .averaging import WeightAverage, build_average
from .evaluation import evaluate, log_softmax
from .logbook import RunDirectory
from .loss import build_loss, part_losses
from .metrics import Evaluation, columns, evaluated_rows
from .precision import input_dtype
from .preparation import (
    build_batches,
    build_network,
    build_normalisation,
    build_trainer,
    build_twin,
    copy_parameters,
    load_data,
    load_initial_parameters,
    model_title,
    split_over,
    start_weights,
)
from .schedule import learning_rate
from .settings import Settings
from .teacher import load_teacher

logger = logging.getLogger(__name__)

#: What a random draw is for: see `fusion.data.loader`, which has 0 and 1.
_NETWORK = 2
_MXNET_SEEDS = 2**31
_DIVERGED = "the network has diverged; lower schedule.lr or add schedule.warmup_epochs. The last checkpoint is whole"


class DivergedError(FusionError):
    """The loss is no longer a number, so the run cannot go on."""


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
        Of this worker among several; the first alone has written.
    """

    finished: bool
    epoch: int
    batch: int
    rank: int = 0


def train(settings: Settings, run: RunDirectory, resume: bool = False) -> Outcome:
    """Train a network, leaving everything in a run's folder.

    Parameters
    ----------
    settings : Settings
        The experiment.
    run : RunDirectory
        Made if it is new; with `resume`, where the run is.
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
        return _train(settings, workers.directory(run), resume, workers)


def _train(settings: Settings, run: RunDirectory, resume: bool, workers: distributed.Workers) -> Outcome:
    devices = contexts(settings.runtime.device)
    train_set, test_set = load_data(settings)
    net = build_network(settings, len(train_set.classes))
    if settings.model.sync_batch_norm:
        synchronise_batch_norm(net, devices)
    batches = build_batches(settings, train_set, devices, workers.shard)
    teacher = load_teacher(settings, len(train_set.classes), train_set.title, devices)
    start_weights(net, settings, devices)
    judge = Judge(net, test_set, batches.part_size, devices, settings, run, workers)
    trainer = build_trainer(net, settings, workers)
    average = build_average(net, settings)
    loss_function = build_loss(settings, teacher)

    state = checkpoint.TrainingState()
    if not (resume and run.last.exists()):
        load_initial_parameters(net, settings)
    if resume:
        if run.last.exists():
            state = checkpoint.restore(run.last, net, trainer, average)
            state.batch = first_batch(state, batches.batch_size)
    else:
        run.create(settings)
    run.write_classes(train_set.classes)
    workers.check_alike("step to go on at", state.epoch, state.batch)
    epochs, length = settings.train.epochs, len(batches)
    company = Company(usable())
    with run.log(), Interruption() as interruption:
        facts = describe(settings, net, train_set.title, len(train_set), len(test_set))
        title = f"{facts['model']} on {train_set.title}"
        logger.info("%s: %s parameters, %s", title, f"{facts['parameters']:,}", _shape_of_run(batches, devices))
        if resume:
            run.write_environment(settings)
            logger.info("resuming at epoch %d, batch %d", state.epoch + 1, state.batch + 1)
        if state.history:
            run.write_epoch(state.history, title, facts)  # in case it ended between the checkpoint and these
        while state.epoch < epochs and not workers.any(interruption.requested):
            sums = Sums(state.sums)
            company.begin()
            with Progress(train_set.title, state, epochs, length, batches.batch_size, settings) as progress:
                for batch in batches.epoch(state.epoch, state.batch):
                    step = state.epoch * length + state.batch
                    trainer.set_learning_rate(learning_rate(settings.schedule, epochs, length, step))
                    seed_network(settings.train.seed, state.epoch, workers.key(state.batch))
                    sums.later(take_step(net, trainer, loss_function, batch, devices))
                    if average is not None:
                        average.update(step)
                    state.batch += 1
                    progress.advance(sums)
                    if workers.any(interruption.requested):
                        break
            state.sums = workers.mean(sums.finish())
            state.sums["images"] = state.batch * batches.batch_size
            # A backward pass updates batch norm's running statistics behind the engine's back: a read would not wait.
            mx.nd.waitall()
            refuse_diverged(net, state)
            workers.average_statistics(net)
            if state.batch < length:
                break
            figures, is_best = judge(average, state)
            row = epoch_row(state, figures, trainer.learning_rate, batches, sums.seconds)
            state = checkpoint.TrainingState(epoch=state.epoch + 1, history=[*state.history, row])
            if workers.rank == 0:
                checkpoint.save(run.last, net, trainer, state, average)
            run.write_epoch(state.history, title, facts)
            log_epoch(train_set.title, row, epochs, is_best)
            log_company(company, run, devices)
        if state.batch and workers.rank == 0:
            checkpoint.save(run.last, net, trainer, state, average)
        workers.barrier()  # what the first has written is there for all
    return Outcome(state.epoch == epochs, state.epoch, state.batch, workers.rank)


class Judge:
    """Evaluates a network at the end of an epoch, and keeps the best in the run's folder.

    Parameters
    ----------
    net : Network
        In training, its weights started.
    test_set : DataSet
        What it is evaluated on.
    batch_size : int
        Images a batch of this worker.
    devices : sequence of Context
        Where it runs.
    settings : Settings
        Of the run.
    run : RunDirectory
        Whose best checkpoints the first worker writes.
    workers : Workers
        Who each evaluate a part of the test set.
    """

    def __init__(
        self,
        net: Any,
        test_set: Any,
        batch_size: int,
        devices: Sequence[Any],
        settings: Settings,
        run: RunDirectory,
        workers: distributed.Workers,
    ) -> None:
        self._net = net
        self._twin = build_twin(net, settings, devices)
        self._test_set = test_set
        self._normalise = build_normalisation(settings)
        self._batch_size = batch_size
        self._devices = devices
        self._train = settings.train
        self._run = run
        self._workers = workers

    def __call__(
        self, average: Optional[WeightAverage], state: checkpoint.TrainingState
    ) -> Tuple[Dict[str, float], bool]:
        """The evaluation's cells of metrics.csv, none in an epoch without one, and whether the network is the best.

        Parameters
        ----------
        average : WeightAverage, optional
            Evaluated besides.
        state : TrainingState
            Of the epoch that has ended.

        Raises
        ------
        DivergedError
            For a loss that is no number.
        """
        done = state.epoch + 1
        if done % self._train.evaluate_every and done != self._train.epochs:
            return {}, False
        copy_parameters(self._net, self._twin)
        figures = columns("val", self._evaluate())
        if not math.isfinite(figures["val_loss"]):
            raise DivergedError(f"the loss on the test set is {figures['val_loss']} after epoch {done}: {_DIVERGED}")
        is_best = self._keep_best(self._run.best, "val_top1_error", figures, state.history)
        if average is not None:
            average.copy_to(self._twin)
            figures.update(columns("ema", self._evaluate()))
            self._keep_best(self._run.best_average, "ema_top1_error", figures, state.history)
        return figures, is_best

    def _evaluate(self) -> Evaluation:
        own = (self._twin, self._test_set, self._normalise, self._batch_size, self._devices, self._workers.shard)
        return self._workers.combine(evaluate(*own))

    def _keep_best(
        self, path: Path, column: str, figures: Dict[str, float], history: Sequence[Dict[str, float]]
    ) -> bool:
        is_best = all(figures[column] < earlier[column] for earlier in evaluated_rows(history))
        if is_best and self._workers.rank == 0:
            with checkpoint.replacing(path) as aside:
                self._twin.save_parameters(str(aside))
        return is_best


def refuse_diverged(net: Any, state: checkpoint.TrainingState) -> None:
    """An error for weights that are not finite: a loss tells of all steps but the last, which none has followed.

    Parameters
    ----------
    net : Block
        Its parameters, of which the first device's are looked at.
    state : TrainingState
        Where the run is.

    Raises
    ------
    DivergedError
        Naming the first such parameter.
    """
    for name, parameter in net._collect_params_with_prefix().items():
        if not np.isfinite(parameter.list_data()[0].asnumpy()).all():
            raise DivergedError(
                f"{name} is not finite after batch {state.batch} of epoch {state.epoch + 1}: {_DIVERGED}"
            )


def first_batch(state: checkpoint.TrainingState, batch_size: int) -> int:
    """The batch at which a checkpoint's epoch goes on; another number of devices or workers has others.

    Parameters
    ----------
    state : TrainingState
        As restored.
    batch_size : int
        Images a step from now on. Those already seen count; of a batch begun, some are seen again.
    """
    seen = state.sums.get("images")
    return state.batch if seen is None else int(seen) // batch_size


def seed_network(seed: int, epoch: int, batch: int) -> None:
    """Seed what the network itself draws, such as dropout, for one step."""
    mx.random.seed(int(generator(seed, _NETWORK, epoch, batch).integers(_MXNET_SEEDS)))


@dataclass(frozen=True)
class StepOutput:
    """What a step leaves on the devices, not waited for."""

    losses: List[Any]
    logits: List[Any]
    targets: np.ndarray


def take_step(net: Any, trainer: Any, loss_function: Any, batch: Batch, devices: Sequence[Any]) -> StepOutput:
    """Forward, backward and update on one batch, split over the devices."""
    images = split_over(devices, batch.images, input_dtype(net))
    targets = split_over(devices, batch.targets)
    with mx.autograd.record():
        logits = [net(part) for part in images]
        losses = part_losses(loss_function, logits, targets, images)
    mx.autograd.backward(losses)
    trainer.step(len(batch.images))
    return StepOutput(losses, logits, batch.targets)


class Sums:
    """Running sums of an epoch, read one step late so that the devices are never waited for.

    Parameters
    ----------
    sums : dict of str to float
        Where an interrupted epoch was; empty for a new one.
    """

    def __init__(self, sums: Dict[str, float]) -> None:
        self._loss = sums.get("loss", 0.0)
        self._rmse = sums.get("rmse", 0.0)
        self._batches = int(sums.get("batches", 0))
        self._earlier_seconds = sums.get("seconds", 0.0)
        self._start = time.perf_counter()
        self._pending: Optional[StepOutput] = None

    @property
    def seconds(self) -> float:
        """Since the epoch began, pauses not counted."""
        return self._earlier_seconds + time.perf_counter() - self._start

    @property
    def mean_loss(self) -> float:
        """Of the steps that have been read; not a number before the first."""
        return self._loss / self._batches if self._batches else math.nan

    def later(self, output: StepOutput) -> None:
        """Take note of a step, and read the one before it."""
        previous, self._pending = self._pending, output
        if previous is not None:
            self._add(previous)

    def finish(self) -> Dict[str, float]:
        """Read the last step, and return all sums."""
        if self._pending is not None:
            self._add(self._pending)
            self._pending = None
        return {"loss": self._loss, "rmse": self._rmse, "batches": self._batches, "seconds": self.seconds}

    def _add(self, output: StepOutput) -> None:
        loss = float(np.concatenate([part.asnumpy() for part in output.losses]).mean(dtype=np.float64))
        if not math.isfinite(loss):
            raise DivergedError(f"the loss is {loss} at batch {self._batches + 1} of the epoch: {_DIVERGED}")
        logits = np.concatenate([part.asnumpy() for part in output.logits]).astype(np.float64)
        difference = np.exp(log_softmax(logits)) - output.targets
        self._loss += loss
        self._rmse += float(np.sqrt(np.mean(difference**2)))
        self._batches += 1


class Progress:
    """A bar on a terminal, a line every so many batches otherwise."""

    def __init__(self, title: str, state: Any, epochs: int, length: int, batch_size: int, settings: Settings) -> None:
        self._label = f"{title}: epoch {state.epoch + 1}/{epochs}"
        self._start, self._done, self._length = state.batch, state.batch, length
        self._batch_size = batch_size
        self._every = settings.runtime.log_every
        self._began = time.perf_counter()
        self._bar: Any = None
        self._exit = ExitStack()

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            from tqdm import tqdm
            from tqdm.contrib.logging import logging_redirect_tqdm

            self._exit.enter_context(logging_redirect_tqdm([logging.getLogger("fusion")]))
            self._bar = self._exit.enter_context(
                tqdm(desc=self._label, total=self._length, initial=self._done, unit="batch", leave=False)
            )
        return self

    def __exit__(self, *error: Any) -> None:
        self._exit.close()

    def advance(self, sums: Sums) -> None:
        """Count a batch."""
        self._done += 1
        rate = (self._done - self._start) * self._batch_size / (time.perf_counter() - self._began)
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {sums.mean_loss:.3f}, {rate:.0f} images/s", refresh=False)
            self._bar.update()
        elif self._done % self._every == 0 and self._done < self._length:
            left = (self._length - self._done) * self._batch_size / rate
            logger.info(
                "%s, batch %d/%d: loss %.4f, %.0f images/s, %.0f s left of the epoch",
                *(self._label, self._done, self._length, sums.mean_loss, rate, left),
            )


class Interruption:
    """Ctrl-C, or SIGTERM, once: the batch under way is finished and saved. A second one ends at once."""

    _SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.requested = False
        self._previous: Dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        for number in self._SIGNALS:
            try:
                self._previous[number] = signal.signal(number, self._request)
            except ValueError:  # not the main thread: a notebook's or service's own handling stays
                break
        return self

    def __exit__(self, *error: Any) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: Any) -> None:
        self.requested = True
        self._restore()


def epoch_row(
    state: checkpoint.TrainingState, figures: Dict[str, float], rate: float, batches: Any, seconds: float
) -> Dict[str, float]:
    """The row of metrics.csv of an epoch whose last batch is done, with the figures of its evaluation if it had one."""
    count = state.sums["batches"]
    return {
        "epoch": state.epoch + 1,
        "train_loss": state.sums["loss"] / count,
        "train_rmse": state.sums["rmse"] / count,
        **figures,
        "learning_rate": rate,
        "images_per_second": count * batches.batch_size / state.sums["seconds"],
        "seconds": seconds,
    }


def log_epoch(title: str, row: Dict[str, float], epochs: int, is_best: bool) -> None:
    """One line an epoch."""
    logger.info(
        "%s: epoch %d/%d: train loss %.4f, rmse %.4f; %slr %.5g, %.0f images/s, %.1f s%s",
        *(title, row["epoch"], epochs, row["train_loss"], row["train_rmse"], _evaluation_words(row)),
        *(row["learning_rate"], row["images_per_second"], row["seconds"], " (best so far)" if is_best else ""),
    )


def log_company(company: Company, run: RunDirectory, devices: Sequence[Any]) -> None:
    """One line per run, where other programs take processors that its threads need."""
    # Of a job of several processes each would take the others for other programs.
    if devices[0].device_type == "cpu" and processes_of_job(os.environ) == 1:
        advice = company.advice(chosen().count, f"--resume {run.path}")
        if advice:
            logger.info(advice)


def _evaluation_words(row: Dict[str, float]) -> str:
    if "val_loss" not in row:
        return ""
    average = f"averaged weights {100 * row['ema_top1_error']:.2f} %; " if "ema_top1_error" in row else ""
    errors = f"test top-1 error {100 * row['val_top1_error']:.2f} %, top-5 {100 * row['val_top5_error']:.2f} %"
    return f"{errors}, loss {row['val_loss']:.4f}; {average}"


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


def _shape_of_run(batches: Any, devices: Sequence[Any]) -> str:
    names = ", ".join([*map(str, devices), str(chosen())])
    return f"{len(batches.data):,} training images in {len(batches)} batches of {batches.batch_size} on {names}"
