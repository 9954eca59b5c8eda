"""The interface of a worker, whichever library sums over the workers, and the worker of a run of one process."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, ContextManager, Dict, List, Optional, Tuple

import numpy as np

from ...compat import mx
from ...errors import ConfigError
from ..logbook import RunDirectory
from ..settings import Settings

#: The first key in the store for values other than gradients; it is larger than the index of any parameter.
_FIRST_OWN_KEY = 1_000_000


class Workers:
    """The interface of a worker; this class implements it for a run with one worker only.

    With one worker, the sum over all workers is the worker's own value.

    Attributes
    ----------
    rank : int
        This worker's number, from 0.
    size : int
        The number of workers.
    """

    rank = 0
    size = 1

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: Any, error: Optional[BaseException], trace: Any) -> None:
        return None

    @property
    def shard(self) -> Tuple[int, int]:
        """Rank and size, in the form that `fusion.data.loader.TrainingBatches` takes."""
        return self.rank, self.size

    def key(self, number: int) -> int:
        """The key of this worker's random draws in batch `number`; it is `number` if there is one worker."""
        return number * self.size + self.rank

    def directory(self, run: RunDirectory) -> RunDirectory:
        """The run's folder for this worker: only the first worker gets one that it can write to."""
        return run

    def trainer(self, parameters: Any, optimizer: str, arguments: Dict[str, Any]) -> Any:
        """Build a Trainer whose step sums the gradients of all workers. All workers get the first worker's weights.

        Parameters
        ----------
        parameters : ParameterDict
            Initialised parameters.
        optimizer : str
            The name that MXNet gives the optimizer.
        arguments : dict
            The arguments of the optimizer.
        """
        return ready(mx.gluon.Trainer(parameters, optimizer, arguments, update_on_kvstore=False))

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Sum a float64 array over all workers; every worker must call this with an array of the same shape."""
        return values

    def any(self, flag: bool) -> bool:
        """Whether the flag of any worker is set. Every worker must call this, and all get the same answer.

        With several workers, the answer is for the flags of the previous call: the workers exchange them during the
        batch between the two calls, so that no worker waits for the exchange.
        """
        return flag

    def barrier(self) -> None:
        """Wait until every worker has called this."""
        self.sum(np.zeros(1))

    def check_alike(self, what: str, *values: float) -> None:
        """Raise an error if the workers have different values.

        Parameters
        ----------
        what : str
            A name for the values, for the message.
        *values : float
            The values of this worker.

        Raises
        ------
        ConfigError
            On every worker; the message contains the values of each worker.
        """

    def average_statistics(self, net: Any) -> None:
        """Replace running statistics, and all else that is not trained, by the mean over all workers."""


def ready(trainer: Any) -> Any:
    """Copy the first device's parameters to the other devices now, and return the trainer.

    Gluon would otherwise do this in the first step, where it would overwrite the running statistics that the backward
    pass writes at the same time.
    """
    trainer._init_kvstore()
    trainer._init_params()
    mx.nd.waitall()
    return trainer


#: The worker of a run of one process.
ALONE = Workers()


class Several(Workers):
    """One of several workers: everything that can be computed from a sum over the workers.

    Parameters
    ----------
    rank, size : int
        The worker's number, from 0, and how many workers there are.
    """

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
                f"the workers differ in the {what}: {found}; expected the same on all: every worker must have the same "
                "settings and see the same files, for example a run's folder that the hosts share"
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

    def _share(self, parameters: List[Any]) -> None:
        """Give all workers the first worker's parameters, as a sum to which the others add zeros, which is exact."""
        for parameter in parameters:
            own = parameter._reduce().astype("float64")
            total = self._sum(own if self.rank == 0 else mx.nd.zeros_like(own))
            parameter.set_data(total.astype(parameter.dtype))
        mx.nd.waitall()

    def _sum(self, values: Any) -> Any:
        """Sum a float64 NDArray over all workers; the result may still be in transit when this returns."""
        key, buffer = self._buffers.get(values.shape, (0, None))
        if buffer is None:
            key, buffer = _FIRST_OWN_KEY + len(self._buffers), mx.nd.zeros_like(values)
            self._buffers[values.shape] = key, buffer
            self._prepare(key, buffer)
        # Each shape has one array for input and output, as gradients do, so that one sum ends before the next begins.
        # With separate arrays, a push into the key-value store might overtake an earlier pull, and Horovod raises an
        # error for a name that is in use.
        buffer[:] = values
        self._add_up(key, buffer)
        return buffer.copy()

    def _prepare(self, key: int, buffer: Any) -> None:
        """Tell the library about an array before it is summed for the first time."""

    def _add_up(self, key: int, buffer: Any) -> None:
        """Replace an array by its sum over all workers, without waiting for the sum."""
        raise NotImplementedError


class _ReadOnly(RunDirectory):
    """The folder of a run for the workers other than the first, which write nothing to it."""

    def create(self, settings: Settings) -> None:
        pass

    def hold(self) -> None:
        pass

    def write_environment(self, settings: Settings) -> None:
        pass

    def keep(self, epoch: int) -> None:
        pass

    def keep_length(self, settings: Settings) -> None:
        pass

    def write_classes(self, names: Any) -> None:
        pass

    def log(self) -> ContextManager[None]:
        return nullcontext()

    def write_epoch(self, history: Any, title: str, facts: Any) -> None:
        pass
