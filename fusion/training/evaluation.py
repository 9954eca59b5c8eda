"""The figures of a network on a test set: every image once, as it is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, Optional, Sequence, Tuple

import numpy as np

from ..compat import mx
from ..data.loader import Batch
from ..devices import contexts
from ..files import whole_file, whole_file_by_ending
from ..models.parameter_file import save_network
from ..tasks import Task, task_of
from ..tasks.base import AVERAGED, TEST, Meter
from . import checkpoint
from .averaging import WeightAverage
from .distributed.workers import ALONE, Workers
from .divergence import DivergedError
from .history import History
from .loading import build_normalisation, load_split_for, model_title
from .logbook import RunDirectory
from .matching import classes_of_file, classes_of_run
from .preparation import build_network, build_twin, copy_parameters
from .settings import Settings


@dataclass(frozen=True)
class Evaluation:
    """What a network does on a test set.

    Attributes
    ----------
    figures : dict of str to float
        By the names of the task's `evaluation`.
    images : int
        How many.
    images_per_second : float
        Over all devices of this worker, with the time for the batches.
    """

    figures: Dict[str, float]
    images: int
    images_per_second: float


def evaluate(
    net: Any, batches: Iterable[Batch], meter: Meter, devices: Sequence[Any], workers: Workers = ALONE
) -> Evaluation:
    """Run a network over a test set, adding up batch by batch.

    Parameters
    ----------
    net : callable
        From (B, 3, H, W) to outputs (B, ...), on all the devices: see `fusion.tasks.base.Task.answering`.
    batches : iterable of Batch
        Of this worker; see `fusion.tasks.base.Task.evaluation_batches`.
    meter : Meter
        Of the task's evaluation.
    devices : sequence of Context
        Where the network is.
    workers : Workers
        Who each have a part of the batches; the figures are those of the whole test set.

    Examples
    --------
    >>> from fusion.data import load_dataset
    >>> from fusion.inference.trained import load_pretrained
    >>> trained = load_pretrained("aff_resnet8_digits")
    >>> task = task_of(trained.settings)
    >>> test = load_dataset("digits", "test")
    >>> batches = task.evaluation_batches(test, trained.preparation.normalisation, 64, (0, 1))
    >>> found = evaluate(task.answering(trained.net), batches, task.evaluation_meter(), [trained.context])
    >>> found.images, round(found.figures[task.headline.name], 4)
    (360, 0.0167)
    """
    start = time.perf_counter()
    sums, images = np.zeros(len(meter.names)), meter.names.index("images")
    for batch in batches:
        parts = mx.gluon.utils.split_and_load(mx.nd.array(_shared(batch.images, len(devices))), list(devices))
        outputs = np.concatenate([output.asnumpy() for output in [net(part) for part in parts]])
        sums = sums + meter.of_batch(outputs[: len(batch.targets)], batch.targets)
    rate = sums[images] / (time.perf_counter() - start)
    total = workers.sum(sums)
    return Evaluation(meter.figures(total), int(total[images]), float(rate))


def _shared(images: np.ndarray, devices: int) -> np.ndarray:
    """Images (B, ...) with the first of them repeated until each device gets as many."""
    missing = -len(images) % devices
    return np.concatenate([images, np.repeat(images[:1], missing, axis=0)]) if missing else images


class Evaluator:
    """Evaluates a network at the end of an epoch, and keeps the best weights in the run's folder.

    Parameters
    ----------
    task : Task
        Of the run.
    net : Network
        That is being trained, its weights initialised.
    test_set : DataSet
        What it is evaluated on.
    batch_size : int
        Images per batch of this worker.
    devices : sequence of Context
        Where it runs.
    settings : Settings
        Of the run.
    run : RunDirectory
        Whose best weights the first worker writes.
    workers : Workers
        Who each evaluate a part of the test set.
    """

    def __init__(
        self,
        task: Task,
        net: Any,
        test_set: Any,
        batch_size: int,
        devices: Sequence[Any],
        settings: Settings,
        run: RunDirectory,
        workers: Workers,
    ) -> None:
        self._task = task
        self._net = net
        self._twin = build_twin(net, settings, devices)
        self._test_set = test_set
        self._normalise = build_normalisation(settings)
        self._batch_size = batch_size
        self._devices = devices
        self._settings, self._train = settings, settings.train
        self._run = run
        self._workers = workers

    def __call__(
        self, average: Optional[WeightAverage], epoch: int, rows: Sequence[Dict[str, float]]
    ) -> Tuple[Dict[str, float], bool]:
        """The evaluation's cells of metrics.csv, none in an epoch without one, and whether the network is the best.

        Parameters
        ----------
        average : WeightAverage, optional
            Evaluated besides.
        epoch : int
            That has ended, from 0.
        rows : sequence of dict
            Of the epochs before it.

        Raises
        ------
        DivergedError
            If the loss is not a finite number.
        """
        done, history = epoch + 1, History(self._task, rows)
        if done % self._train.evaluate_every and done != self._train.epochs:
            return {}, False
        copy_parameters(self._net, self._twin)
        found = self._evaluate()
        if not np.isfinite(found["loss"]):
            raise DivergedError(f"the loss on the test set is {found['loss']} after epoch {done}")
        is_best = self._keep_best(self._run.best, TEST, found, history)
        self._draw(done, found)
        figures = self._task.columns(TEST, found)
        if average is not None:
            average.copy_to(self._twin)
            found = self._evaluate()
            figures.update(self._task.columns(AVERAGED, found))
            self._keep_best(self._run.best_average, AVERAGED, found, history)
        return figures, is_best

    def few(self, more: int) -> Tuple[Evaluation, Evaluation]:
        """Evaluate the first batch, in which the network is compiled, then so many more; nothing is written."""
        copy_parameters(self._net, self._twin)
        batches = iter(self._batches())
        return self._of(islice(batches, 1)), self._of(islice(batches, more))

    def _evaluate(self) -> Dict[str, float]:
        return self._of(self._batches()).figures

    def _batches(self) -> Iterator[Batch]:
        return self._task.evaluation_batches(self._test_set, self._normalise, self._batch_size, self._workers.shard)

    def _of(self, batches: Iterable[Batch]) -> Evaluation:
        answering, meter = self._task.answering(self._twin), self._task.evaluation_meter()
        return evaluate(answering, batches, meter, self._devices, self._workers)

    def _draw(self, done: int, found: Dict[str, float]) -> None:
        """Draw some answers, if the settings ask for it after this epoch."""
        every = self._settings.runtime.pictures_every
        if not every or self._workers.rank or (done % every and done != self._train.epochs):
            return
        headline = self._task.headline
        about = f"epoch {done}, {headline.title} {headline.text(found[headline.name])}"
        title = f"{model_title(self._settings)} on {self._test_set.title}, {about}"
        self._run.pictures.mkdir(exist_ok=True)
        with whole_file_by_ending(self._run.picture_of(done)) as path:
            self._task.draw(self._twin, self._test_set, self._normalise, self._devices[0], title, path)

    def _keep_best(self, path: Path, prefix: str, found: Dict[str, float], history: History) -> bool:
        headline = self._task.headline
        earlier = [row[headline.column(prefix)] for row in history.having(headline, prefix)]
        is_best = all(headline.is_better(found[headline.name], value) for value in earlier)
        if is_best and self._workers.rank == 0:
            with whole_file(path) as aside:
                save_network(self._twin, aside)
        return is_best


def evaluate_run(run_path: Path, which: str, device: str, overrides: Sequence[str] = ()) -> Dict[str, Any]:
    """The figures of a run's network on the run's test set.

    Parameters
    ----------
    run_path : Path
        The folder of a run.
    which : str
        `best`, `last`, `average` (the best averaged weights), or the path of a `.params` file or checkpoint.
    device : str
        As on the command line of training.
    overrides : sequence of str
        Words such as `data.dir=PATH`, where the data has moved.

    Returns
    -------
    dict
        The figures by name, with `images`, `images_per_second`, `model`, `data`, `checkpoint` and `classes`.

    Raises
    ------
    FusionError
        If the run, its checkpoint or its data is missing or does not fit.
    """
    run = RunDirectory.existing(run_path)
    return evaluate_weights(run.settings(overrides), run.weights(which), device, run)


def evaluate_weights(settings: Settings, path: Path, device: str, run: Optional[RunDirectory] = None) -> Dict[str, Any]:
    """The same of any file of weights, with the settings of a run or of a config, which say what the network is.

    Classes go by their names: a test set that has those of the network in another order, or some of them only, is
    evaluated as if its labels were the network's. The network may give any of its answers, so that its error on some of
    its classes is that of the images of these classes in a test set of all.
    """
    devices = contexts(device)
    network = classes_of_file(path) or (None if run is None else classes_of_run(run, settings))
    test_set = load_split_for(settings, "test", network, str(path))
    task = task_of(settings, test_set.classes)
    net = build_network(settings, len(test_set.classes))
    checkpoint.load_network(path, net, devices)
    net.hybridize(static_alloc=True, static_shape=True)
    batch_size = min(settings.data.batch_size * len(devices), len(test_set))  # a batch is filled up to its size
    batches = task.evaluation_batches(test_set, build_normalisation(settings), batch_size, ALONE.shard)
    found = evaluate(task.answering(net), batches, task.evaluation_meter(), devices)
    about = {"model": model_title(settings), "data": test_set.title, "checkpoint": str(path), "classes": net.classes}
    figures = {figure.name: found.figures[figure.name] for figure in (*task.evaluation[1:], task.evaluation[0])}
    return {**about, **figures, "images": found.images, "images_per_second": found.images_per_second}
