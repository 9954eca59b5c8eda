"""Several processes, on one machine or many: who they are, what they add up, and how they stop together.

Every worker trains on its own part of each batch and adds its gradients to the others'; all of them then take the
same step, so that their weights and optimizers stay alike and any checkpoint resumes under any number of workers.
Two engines do the adding: MXNet's key-value store (`python -m fusion.launch`, or DMLC_* variables on each host) and
Horovod (`horovodrun`). docs/scaling.md has the commands.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

import numpy as np

from ..command import BAD_INPUT, INTERRUPTED
from ..compat import mx
from ..errors import ConfigError, FusionError
from .logbook import RunDirectory
from .metrics import Evaluation
from .rollcall import RollCall
from .settings import Settings

logger = logging.getLogger("fusion")

#: What MXNet's key-value store reads from the environment, as `python -m fusion.launch` sets it.
DMLC_VARIABLES = ("DMLC_ROLE", "DMLC_PS_ROOT_URI", "DMLC_PS_ROOT_PORT", "DMLC_NUM_WORKER", "DMLC_NUM_SERVER")

#: Keys of the store above every parameter's index, for what is not a gradient.
_FIRST_OWN_KEY = 1_000_000


def start(settings: Settings) -> Workers:
    """Meet the other workers, as `runtime.distributed` says; a context manager that parts from them.

    Parameters
    ----------
    settings : Settings
        Of the run.

    Returns
    -------
    Workers
        This process among them. Those that are not the first log errors only.

    Raises
    ------
    ConfigError
        If this process was not started the way that the setting needs, or Horovod is missing.
    """
    workers = _START[settings.runtime.distributed]()
    if workers.rank:
        logger.setLevel(logging.ERROR)
    return workers


class Workers:
    """The interface of all engines, and the worker that is alone: what is its own is everybody's.

    Attributes
    ----------
    rank : int
        This worker's number, from 0.
    size : int
        How many there are.
    """

    rank = 0
    size = 1

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: Any, error: Optional[BaseException], trace: Any) -> None:
        return None

    @property
    def shard(self) -> Tuple[int, int]:
        """Rank and size, as `fusion.data.loader.TrainingBatches` takes them."""
        return self.rank, self.size

    def key(self, number: int) -> int:
        """What a draw of batch `number` is keyed by, different on each worker; the number itself for one alone."""
        return number * self.size + self.rank

    def directory(self, run: RunDirectory) -> RunDirectory:
        """The run's folder as this worker may use it: only the first writes."""
        return run

    def trainer(self, parameters: Any, optimizer: str, arguments: Dict[str, Any]) -> Any:
        """A Trainer whose step adds the gradients of all workers, who then have the first one's weights.

        Parameters
        ----------
        parameters : ParameterDict
            Initialised.
        optimizer : str
            Its MXNet name.
        arguments : dict
            Of the optimizer.
        """
        return _ready(mx.gluon.Trainer(parameters, optimizer, arguments, update_on_kvstore=False))

    def sum(self, values: np.ndarray) -> np.ndarray:
        """The sum over all workers of a float64 array of the same shape; every worker must call it."""
        return values

    def any(self, flag: bool) -> bool:
        """Whether any worker has raised its flag, with one answer for all; every worker must call it.

        With several workers the answer is of the call before, whose exchange the last batch has hidden.
        """
        return flag

    def barrier(self) -> None:
        """Wait until every worker is here."""
        self.sum(np.zeros(1))

    def check_alike(self, what: str, *values: float) -> None:
        """Refuse to go on where the workers differ.

        Raises
        ------
        ConfigError
            On every worker, with each one's values.
        """

    def average_statistics(self, net: Any) -> None:
        """Give every worker the mean of all workers' running statistics, and of whatever else is not trained."""

    def mean(self, sums: Dict[str, float]) -> Dict[str, float]:
        """The mean over workers of each of an epoch's sums."""
        return sums

    def combine(self, evaluation: Evaluation) -> Evaluation:
        """The evaluation of the whole test set from those of the workers' parts."""
        return evaluation


def _ready(trainer: Any) -> Any:
    """A trainer that has shared the first device's parameters with the others already.

    Left to the first step, that would overwrite running statistics while, or after, its backward pass writes them.
    """
    trainer._init_kvstore()
    trainer._init_params()
    mx.nd.waitall()
    return trainer


#: One process, which has nobody to meet.
ALONE = Workers()


class _Several(Workers):
    """What all engines share, over `sum`."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self._asked: Any = None
        self._buffers: Dict[Tuple[int, ...], Tuple[int, Any]] = {}

    def directory(self, run: RunDirectory) -> RunDirectory:
        return run if self.rank == 0 else _ReadOnly(run.path)

    def sum(self, values: np.ndarray) -> np.ndarray:
        return self._sum(mx.nd.array(values, dtype="float64")).asnumpy()

    def any(self, flag: bool) -> bool:
        answer = self._asked is not None and self._asked.asscalar() > 0
        self._asked = self._sum(mx.nd.array([flag], dtype="float64"))
        return answer

    def check_alike(self, what: str, *values: float) -> None:
        rows = self.sum(np.eye(self.size)[self.rank][:, None] * np.array(values))
        if (rows != rows[0]).any():
            found = "; ".join(f"worker {rank} {row.tolist()}" for rank, row in enumerate(rows))
            raise ConfigError(
                f"the workers differ in the {what}: {found}; expected the same: all must see the same files, as a "
                "run's folder that the hosts share, and the same settings"
            )

    def average_statistics(self, net: Any) -> None:
        frozen = [p for _, p in sorted(net._collect_params_with_prefix().items()) if p.grad_req == "null"]
        if not frozen:
            return
        own = [parameter._reduce().asnumpy().astype(np.float64) for parameter in frozen]
        total = self.sum(np.concatenate([array.ravel() for array in own])) / self.size
        ends = np.cumsum([array.size for array in own])
        for parameter, array, part in zip(frozen, own, np.split(total, ends[:-1])):
            parameter.set_data(mx.nd.array(part.reshape(array.shape), dtype=parameter.dtype))

    def mean(self, sums: Dict[str, float]) -> Dict[str, float]:
        means = self.sum(np.array(list(sums.values()), dtype=np.float64)) / self.size
        return dict(zip(sums, map(float, means)))

    def combine(self, evaluation: Evaluation) -> Evaluation:
        images = evaluation.images
        wrong = [np.rint(error * images) for error in (evaluation.top1_error, evaluation.top5_error)]
        own = [*wrong, evaluation.loss * images, images, evaluation.images_per_second]
        top1, top5, loss, total, rate = map(float, self.sum(np.array(own)))
        return replace(
            evaluation,
            top1_error=top1 / total,
            top5_error=top5 / total,
            loss=loss / total,
            images=int(total),
            images_per_second=rate,
        )

    def _share(self, parameters: List[Any]) -> None:
        """Give all workers the first one's parameters: the others add zeros, which is exact."""
        for parameter in parameters:
            own = parameter._reduce().astype("float64")
            total = self._sum(own if self.rank == 0 else mx.nd.zeros_like(own))
            parameter.set_data(total.astype(parameter.dtype))
        mx.nd.waitall()

    def _sum(self, values: Any) -> Any:
        """The sum over all workers of a float64 NDArray, not waited for."""
        key, buffer = self._buffers.get(values.shape, (0, None))
        if buffer is None:
            key, buffer = _FIRST_OWN_KEY + len(self._buffers), mx.nd.zeros_like(values)
            self._buffers[values.shape] = key, buffer
            self._prepare(key, buffer)
        # One array in and out for each shape, as for gradients, so that one sum ends before the next begins. With
        # others a push into the key-value store may overtake an earlier pull, and Horovod refuses a name in use.
        buffer[:] = values
        self._add_up(key, buffer)
        return buffer.copy()

    def _prepare(self, key: int, buffer: Any) -> None:
        """Announce an array that will be added up."""

    def _add_up(self, key: int, buffer: Any) -> None:
        """Replace an array by its sum over all workers, not waited for."""
        raise NotImplementedError


class _ReadOnly(RunDirectory):
    """The folder of a run in the eyes of the workers that write nothing."""

    def create(self, settings: Settings) -> None:
        pass

    def write_environment(self, settings: Settings) -> None:
        pass

    def write_classes(self, names: Any) -> None:
        pass

    @contextmanager
    def log(self) -> Iterator[None]:
        yield

    def write_epoch(self, history: Any, title: str, facts: Any) -> None:
        pass


# --- MXNet's key-value store ------------------------------------------------------------------------------------------

#: Stores of workers that failed. Freeing one waits for all the others, who may wait for this worker in turn.
_ABANDONED: List[Any] = []


class KeyValueStore(_Several):
    """Workers that add up in MXNet's parameter servers (`dist_sync`).

    Gradients are summed there and the optimizer runs on every worker, so that a checkpoint holds its state.
    """

    def __init__(self) -> None:
        self._store = mx.kv.create("dist_sync")
        super().__init__(_task_number(self._store.rank), self._store.num_workers)
        present = self.sum(np.eye(self.size)[self.rank])
        if not (present == 1).all():
            raise ConfigError(
                f"DMLC_TASK_ID is {self.rank} here, and the {self.size} workers counted by it are {present.astype(int)}"
                "; expected each number once: give each worker its own from 0, or set it nowhere"
            )
        self._roll_call = RollCall(self.rank, self.size, self.sum, os.environ["DMLC_PS_ROOT_URI"])

    def __exit__(self, kind: Any, error: Optional[BaseException], trace: Any) -> None:
        self._asked = None
        if error is None:
            self._roll_call.close()
        else:
            _ABANDONED.append(self._store)
            atexit.register(_end_at_once, _status(error))
        del self._store  # with the Trainer's own reference gone too, waits for the others and parts from them

    def trainer(self, parameters: Any, optimizer: str, arguments: Dict[str, Any]) -> Any:
        scaled = {**arguments, "rescale_grad": 1 / self.size}
        trainer = mx.gluon.Trainer(parameters, optimizer, scaled, kvstore=self._store, update_on_kvstore=False)
        self._share(trainer._params)
        return _ready(trainer)

    def _prepare(self, key: int, buffer: Any) -> None:
        self._store.init(key, buffer)

    def _add_up(self, key: int, buffer: Any) -> None:
        self._store.pushpull(key, buffer, out=buffer)


def _task_number(rank: int) -> int:
    """The number that the launcher gave this worker, so that it knows the one that prints; the store's otherwise."""
    word = os.environ.get("DMLC_TASK_ID", "")
    if not word:
        return rank
    count = os.environ["DMLC_NUM_WORKER"]
    if not word.isdecimal() or int(word) >= int(count):
        raise ConfigError(f"DMLC_TASK_ID is {word!r}; expected a number from 0 to {int(count) - 1}, or none")
    return int(word)


def _status(error: BaseException) -> int:
    return BAD_INPUT if isinstance(error, FusionError) else INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1


def _end_at_once(status: int) -> None:
    """End without the farewell that a key-value store waits for."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _start_store() -> Workers:
    missing = [name for name in DMLC_VARIABLES if not os.environ.get(name)]
    if missing:
        raise ConfigError(
            f"runtime.distributed is dist_sync, and {', '.join(missing)} is not set: start the workers with "
            "python -m fusion.launch -n 2 train_cifar.py ..., or as docs/scaling.md shows for several hosts; "
            "to go on in one process, add runtime.distributed=none"
        )
    return KeyValueStore()


# --- Horovod ----------------------------------------------------------------------------------------------------------


class Horovod(_Several):
    """Workers that add up among themselves, in a ring."""

    def __init__(self, horovod: Any) -> None:
        horovod.init()
        self._horovod = horovod
        super().__init__(horovod.rank(), horovod.size())

    def trainer(self, parameters: Any, optimizer: str, arguments: Dict[str, Any]) -> Any:
        scaled = {**arguments, "rescale_grad": 1 / self.size}
        trainer = _HorovodTrainer(self._horovod, parameters, optimizer, scaled)
        self._share(trainer._params)
        return _ready(trainer)

    def _add_up(self, key: int, buffer: Any) -> None:
        self._horovod.allreduce_(buffer, average=False, name=f"sum.{key}")


class _HorovodTrainer(mx.gluon.Trainer):
    """Adds gradients over this worker's devices, then over workers."""

    def __init__(self, horovod: Any, parameters: Any, optimizer: str, arguments: Dict[str, Any]) -> None:
        super().__init__(parameters, optimizer, arguments, update_on_kvstore=False)
        self._horovod = horovod

    def _allreduce_grads(self) -> None:
        super()._allreduce_grads()
        for index, parameter in enumerate(self._params):
            if parameter.grad_req == "null":
                continue
            first, *others = parameter.list_grad()
            self._horovod.allreduce_(first, average=False, name=f"gradient.{index}", priority=-index)
            for other in others:
                first.copyto(other)


def _start_horovod() -> Workers:
    try:
        import horovod.mxnet as horovod
    except ImportError as error:
        raise ConfigError(
            f"runtime.distributed is horovod, and it cannot be imported ({error}): build it for MXNet as "
            "docs/scaling.md shows, or use runtime.distributed=dist_sync"
        ) from None
    return Horovod(horovod)


def _start_alone() -> Workers:
    for variable, engine in (("DMLC_NUM_WORKER", "dist_sync"), ("HOROVOD_SIZE", "horovod")):
        count = os.environ.get(variable, "1")
        if count != "1":
            raise ConfigError(
                f"this process was started as one of {count} workers ({variable}), and runtime.distributed is none: "
                f"add runtime.distributed={engine}, without which each would train by itself into the same folder"
            )
    return ALONE


_START: Mapping[str, Any] = {"none": _start_alone, "dist_sync": _start_store, "horovod": _start_horovod}
