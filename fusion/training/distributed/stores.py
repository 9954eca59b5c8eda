"""The two libraries that sum values over several workers: MXNet's key-value store and Horovod."""

from __future__ import annotations

import atexit
import os
import sys
from typing import Any, Dict, List, Optional

import numpy as np

from ...command import BAD_INPUT, INTERRUPTED
from ...compat import mx
from ...errors import ConfigError, FusionError
from .rollcall import RollCall
from .workers import Several, Workers, ready

#: The environment variables that MXNet's key-value store reads; `python -m fusion.launch` sets them.
DMLC_VARIABLES = ("DMLC_ROLE", "DMLC_PS_ROOT_URI", "DMLC_PS_ROOT_PORT", "DMLC_NUM_WORKER", "DMLC_NUM_SERVER")

# --- MXNet's key-value store ------------------------------------------------------------------------------------------

#: Stores of workers that failed. They are kept, because freeing a store waits for the other workers, and these may be
#: waiting for this one.
_ABANDONED: List[Any] = []


class KeyValueStore(Several):
    """Workers whose values are summed by MXNet's parameter servers (`dist_sync`).

    The servers sum the gradients; the optimizer runs on every worker, so that a checkpoint can contain its state.
    """

    def __init__(self) -> None:
        self._store = mx.kv.create("dist_sync")
        super().__init__(_task_number(self._store.rank), self._store.num_workers)
        present = self.sum(np.eye(self.size)[self.rank])
        if not (present == 1).all():
            raise ConfigError(
                f"DMLC_TASK_ID is {self.rank} here, and {present.astype(int)} workers have the numbers 0 to "
                f"{self.size - 1}; expected each number once: give each worker its own number, or unset DMLC_TASK_ID"
            )
        self._roll_call = RollCall(self.rank, self.size, self.sum, os.environ["DMLC_PS_ROOT_URI"])

    def __exit__(self, kind: Any, error: Optional[BaseException], trace: Any) -> None:
        self._asked = None
        if error is None:
            self._roll_call.close()
        else:
            _ABANDONED.append(self._store)
            atexit.register(_end_at_once, _status(error))
        del self._store  # once the Trainer's reference is gone too, this waits for the other workers and disconnects

    def trainer(self, parameters: Any, optimizer: str, arguments: Dict[str, Any]) -> Any:
        scaled = {**arguments, "rescale_grad": 1 / self.size}
        trainer = mx.gluon.Trainer(parameters, optimizer, scaled, kvstore=self._store, update_on_kvstore=False)
        self._share(trainer._params)
        return ready(trainer)

    def _prepare(self, key: int, buffer: Any) -> None:
        self._store.init(key, buffer)

    def _add_up(self, key: int, buffer: Any) -> None:
        self._store.pushpull(key, buffer, out=buffer)


def _task_number(rank: int) -> int:
    """The number that the launcher gave this worker (worker 0 is the one that prints), or else the store's number."""
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
    """End the process without the final exchange with the other workers, for which a key-value store would wait."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def start_store() -> Workers:
    """Connect to the other workers through MXNet's key-value store.

    Raises
    ------
    ConfigError
        If this process was not started as a worker of the store.
    """
    missing = [name for name in DMLC_VARIABLES if not os.environ.get(name)]
    if missing:
        raise ConfigError(
            f"runtime.distributed is dist_sync, and {', '.join(missing)} is not set: start the workers with "
            "python -m fusion.launch -n 2 train_cifar.py ..., or as docs/scaling.md shows for several hosts; "
            "to train in one process, add runtime.distributed=none"
        )
    return KeyValueStore()


# --- Horovod ----------------------------------------------------------------------------------------------------------


class Horovod(Several):
    """Workers that sum values among themselves, by Horovod's ring algorithm."""

    def __init__(self, horovod: Any) -> None:
        horovod.init()
        self._horovod = horovod
        super().__init__(horovod.rank(), horovod.size())

    def trainer(self, parameters: Any, optimizer: str, arguments: Dict[str, Any]) -> Any:
        scaled = {**arguments, "rescale_grad": 1 / self.size}
        trainer = _HorovodTrainer(self._horovod, parameters, optimizer, scaled)
        self._share(trainer._params)
        return ready(trainer)

    def _add_up(self, key: int, buffer: Any) -> None:
        self._horovod.allreduce_(buffer, average=False, name=f"sum.{key}")


class _HorovodTrainer(mx.gluon.Trainer):
    """A Trainer that sums gradients over this worker's devices, and then over all workers."""

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


def start_horovod() -> Workers:
    """Connect to the other workers through Horovod.

    Raises
    ------
    ConfigError
        If Horovod cannot be imported.
    """
    try:
        import horovod.mxnet as horovod
    except ImportError as error:
        raise ConfigError(
            f"runtime.distributed is horovod, and it cannot be imported ({error}): build it for MXNet as "
            "docs/scaling.md shows, or use runtime.distributed=dist_sync"
        ) from None
    return Horovod(horovod)
