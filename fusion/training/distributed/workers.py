"""What every worker of a run can do, whichever library adds up for them, and the worker that is the only one."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional, Tuple

import numpy as np

from ...compat import mx
from ...errors import ConfigError
from ..logbook import RunDirectory
from ..settings import Settings

#: Keys of the store above every parameter's index, for what is not a gradient.
_FIRST_OWN_KEY = 1_000_000


class Workers:
    """What a worker can do, in the form that it has where there is one worker only.

    Such a worker adds up nothing: the sum over all workers is its own value.

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
        """The key of the random draws of batch `number`, of which each worker has its own; the number for one alone."""
        return number * self.size + self.rank

    def directory(self, run: RunDirectory) -> RunDirectory:
        """The run's folder as this worker may use it: only the first worker writes to it."""
        return run

    def trainer(self, parameters: Any, optimizer: str, arguments: Dict[str, Any]) -> Any:
        """A Trainer whose step adds up the gradients of all workers. All workers get the first worker's weights.

        Parameters
        ----------
        parameters : ParameterDict
            Initialised.
        optimizer : str
            Its MXNet name.
        arguments : dict
            Of the optimizer.
        """
        return ready(mx.gluon.Trainer(parameters, optimizer, arguments, update_on_kvstore=False))

    def sum(self, values: np.ndarray) -> np.ndarray:
        """The sum over all workers of a float64 array of the same shape; every worker must call it."""
        return values

    def any(self, flag: bool) -> bool:
        """Whether the flag of any worker is set: all workers get the same answer, and each must call it.

        With several workers the answer is about the flags of the call before: their exchange went on during the batch
        in between, so that nobody waits for it.
        """
        return flag

    def barrier(self) -> None:
        """Wait until every worker is here."""
        self.sum(np.zeros(1))

    def check_alike(self, what: str, *values: float) -> None:
        """Refuse to go on where the workers have different values.

        Parameters
        ----------
        what : str
            What the values are, for the message.
        *values : float
            Of this worker.

        Raises
        ------
        ConfigError
            On every worker, with the values of each.
        """

    def average_statistics(self, net: Any) -> None:
        """Give every worker the mean of all workers' running statistics, and of whatever else is not trained."""


def ready(trainer: Any) -> Any:
    """A trainer that has already copied the first device's parameters to the others.

    Gluon does so in the first step, unless it was done before. There it would overwrite running statistics, which the
    backward pass writes at the same time.
    """
    trainer._init_kvstore()
    trainer._init_params()
    mx.nd.waitall()
    return trainer


#: The worker of a run of one process.
ALONE = Workers()


class Several(Workers):
    """One of several workers: all that follows from a sum over them.

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

    def _share(self, parameters: List[Any]) -> None:
        """Give all workers the first one's parameters: the others add zeros, which is exact."""
        for parameter in parameters:
            own = parameter._reduce().astype("float64")
            total = self._sum(own if self.rank == 0 else mx.nd.zeros_like(own))
            parameter.set_data(total.astype(parameter.dtype))
        mx.nd.waitall()

    def _sum(self, values: Any) -> Any:
        """The sum over all workers of a float64 NDArray, which may still be on its way."""
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
        """Replace an array by its sum over all workers, without waiting for it."""
        raise NotImplementedError


class _ReadOnly(RunDirectory):
    """The folder of a run as the workers have it that write nothing to it."""

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
