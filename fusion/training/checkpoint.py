"""Checkpoints: one file with all that a run needs in order to resume.

The file has NumPy's format `.npz`: `param/NAME`, `optimizer/NAME/SLOT` and, if the run averages its weights,
`average/NAME` are arrays, where NAME is the structural name of a parameter; `updates` is how often the optimizer has
moved the weights, and `state` is JSON. The file contains no
pickle, so that it is safe to read one from somebody else: it runs no code. Random states are not stored, because
every random draw is derived from the seed, the epoch and the batch (`fusion.data.loader.generator`).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

import numpy as np

from ..compat import mx
from ..errors import CheckpointError
from ..files import whole_file
from ..models.network import describe_mismatches, mismatches
from ..models.parameter_file import read_parameters, refuse_not_finite
from ..tasks import Task
from ..tasks.base import AVERAGED, TEST, TRAINING
from .array_file import read_arrays
from .averaging import WeightAverage
from .history import TIMINGS

LAST = "last.npz"
BEST = "best.params"
BEST_AVERAGE = "best_average.params"

_FORMAT = 1

#: No run has more epochs, batches or steps.
_MOST_STEPS = 10**10

#: No sum of an epoch is larger, nor infinite, nor something that is not a number.
_LARGEST_SUM = 1e300

#: How often the optimizer has moved the weights, by which Adam corrects its running means.
_UPDATES = "updates"


@dataclass
class TrainingState:
    """The position of a run, and its metrics so far.

    Attributes
    ----------
    epoch, batch : int
        The next step: its epoch and its batch, both counted from 0.
    sums : dict of str to float
        Running sums of the current epoch.
    history : list of dict
        The rows of metrics.csv for the finished epochs.
    """

    epoch: int = 0
    batch: int = 0
    sums: Dict[str, float] = field(default_factory=dict)
    history: List[Dict[str, float]] = field(default_factory=list)


def save(path: Path, net: Any, trainer: Any, state: TrainingState, average: Optional[WeightAverage] = None) -> None:
    """Write a checkpoint; a reader sees either the old file or the complete new one.

    Parameters
    ----------
    path : Path
        The name of the file.
    net : Block
        The network whose parameters are saved; running statistics are averaged over devices.
    trainer : gluon.Trainer
        The trainer whose optimizer's state is saved.
    state : TrainingState
        The position of the run.
    average : WeightAverage, optional
        The moving average of the network's parameters.
    """
    arrays = {f"param/{name}": p._reduce().asnumpy() for name, p in net._collect_params_with_prefix().items()}
    arrays.update({f"optimizer/{key}": value.asnumpy() for key, value in _optimizer_arrays(net, trainer)})
    arrays[_UPDATES] = np.array(trainer._optimizer.num_update)
    if average is not None:
        arrays.update({f"average/{name}": value for name, value in average.arrays().items()})
    arrays["state"] = np.frombuffer(json.dumps({"format": _FORMAT, **asdict(state)}).encode(), dtype=np.uint8)
    with whole_file(path) as aside, aside.open("wb") as stream:
        np.savez(stream, **arrays)


def restore(
    path: Path, net: Any, trainer: Any, average: Optional[WeightAverage] = None, task: Optional[Task] = None
) -> TrainingState:
    """Load a checkpoint into a network and its trainer.

    Parameters
    ----------
    path : Path
        A file that `save` wrote.
    net : Block
        A network of the same structure; its weights are initialised.
    trainer : gluon.Trainer
        The trainer of the network's parameters, before its first step.
    average : WeightAverage, optional
        The moving average of the network's parameters; it takes the values of the saved one.
    task : Task, optional
        What the run learns: the history then has to have its columns.

    Returns
    -------
    TrainingState
        The position from which the run continues.

    Raises
    ------
    CheckpointError
        If the file is missing, is damaged, or belongs to another network or task.
    """
    arrays, state = _read(path)
    if task is not None:
        _check_columns(path, state, task)
    parameters = _below("param/", arrays)
    _check_fit(path, net, parameters)
    if average is not None:
        averages = _below("average/", arrays)
        _check_fit(path, net, averages)
    states = _optimizer_states(path, net, trainer, _below("optimizer/", arrays))
    load_arrays(path, net, parameters)
    if average is not None:
        average.load(averages)
    for updater, found in zip(trainer._updaters, states):
        updater.states.update(found)
        updater.states_synced.update(dict.fromkeys(found, True))
    optimizer = trainer._optimizer
    optimizer.begin_num_update = optimizer.num_update = int(arrays.get(_UPDATES, 0))
    return state


def load_network(path: Path, net: Any, ctx: Any = None) -> None:
    """Load the parameters of a `.params` file or of a checkpoint into a network.

    Raises
    ------
    CheckpointError
        If the file is missing, is damaged, or belongs to another network.
    """
    if path.suffix == ".npz":
        arrays = network_arrays(path)
        _check_fit(path, net, arrays)
        net.initialize(ctx=ctx)
        load_arrays(path, net, arrays)
    else:
        net.load_parameters(str(path), ctx=ctx)


def network_arrays(path: Path) -> Mapping[str, Any]:
    """Read the parameters in a `.params` file or a checkpoint, by structural name, in the network's order.

    Raises
    ------
    CheckpointError
        If the file is missing or damaged.
    """
    return _below("param/", _read(path)[0]) if path.suffix == ".npz" else read_parameters(str(path))


def load_arrays(path: Path, net: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Set a network's parameters by structural name; if any does not fit, none is set."""
    _check_fit(path, net, arrays)
    for name, parameter in net._collect_params_with_prefix().items():
        parameter.set_data(mx.nd.array(arrays[name], dtype=parameter.dtype))


def _check_fit(path: Path, net: Any, arrays: Mapping[str, np.ndarray]) -> None:
    problems = mismatches(net, arrays)
    if problems:
        raise CheckpointError(describe_mismatches(str(path), problems))


def _read(path: Path) -> Tuple[Dict[str, np.ndarray], TrainingState]:
    """Read the arrays and the position in a checkpoint."""
    try:
        arrays = read_arrays(path)
        refuse_not_finite(str(path), arrays)
        fields = json.loads(arrays.pop("state").tobytes().decode())
        version = fields.pop("format")
        state = _typed(path, TrainingState(**fields)) if version == _FORMAT else None
        updates = arrays.get(_UPDATES, np.array(0))
        if updates.shape != () or updates.dtype.kind not in "iu" or not 0 <= updates <= _MOST_STEPS:
            raise CheckpointError(f"{path}: damaged: {_UPDATES} is no count of steps")
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception:  # zipfile and NumPy raise many kinds of errors for a file that is damaged or of another format
        raise CheckpointError(f"{path}: not a complete checkpoint of this package; it may have been cut off") from None
    if state is None:
        raise CheckpointError(
            f"{path}: written by another version of this package, whose checkpoints have another format"
        )
    return arrays, state


def _typed(path: Path, state: TrainingState) -> TrainingState:
    """The state, once each field is found to be of its type and in its range."""
    sound = {
        "epoch": type(state.epoch) is int and 0 <= state.epoch <= _MOST_STEPS,
        "batch": type(state.batch) is int and 0 <= state.batch <= _MOST_STEPS,
        "sums": _are_figures(state.sums) and all(abs(number) <= _LARGEST_SUM for number in state.sums.values()),
        "images": _are_figures(state.sums) and 0 <= state.sums.get("images", 0) <= _MOST_STEPS,
        "history": isinstance(state.history, list) and all(map(_are_figures, state.history)),
    }
    for name, right in sound.items():
        if not right:
            shown = repr(getattr(state, name, state.sums))[:80]
            raise CheckpointError(f"{path}: damaged: {name} is {shown}, which no run has saved; resume another one")
    return state


def _are_figures(value: Any) -> bool:
    return isinstance(value, dict) and all(
        type(number) is float or (type(number) is int and abs(number) <= _MOST_STEPS) for number in value.values()
    )


def _check_columns(path: Path, state: TrainingState, task: Task) -> None:
    """Check that each row of the history has the columns of metrics.csv, those of an evaluation all or not at all."""
    always = {"epoch", *(figure.column(TRAINING) for figure in task.training), "learning_rate", *TIMINGS}
    tested, averaged = ({figure.column(prefix) for figure in task.evaluation} for prefix in (TEST, AVERAGED))
    for number, row in enumerate(state.history, start=1):
        expected = always.union(*(part for part in (tested, averaged) if part & set(row)))
        wrong = sorted(expected ^ set(row))
        if wrong:
            raise CheckpointError(
                f"{path}: damaged, or of another task than this run: row {number} of its history "
                f"{'lacks' if wrong[0] in expected else 'has'} {wrong[0][:80]!r}; resume another one"
            )


def _below(prefix: str, arrays: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
    return {name[len(prefix) :]: value for name, value in arrays.items() if name.startswith(prefix)}


# --- The optimizer's arrays -------------------------------------------------------------------------------------------
# Gluon's own `Trainer.save_states` writes a pickle; here the same arrays are stored by parameter name.


def _slots(state: Any) -> List[Any]:
    """The optimizer's state for one parameter as a flat list; with multi-precision the state has nested tuples."""
    if state is None:
        return []
    if isinstance(state, (tuple, list)):
        return [array for part in state for array in _slots(part)]
    return [state]


def _trained(net: Any, trainer: Any) -> List[Tuple[int, str]]:
    """The index in the trainer and the structural name of each parameter that it trains."""
    names = {id(parameter): name for name, parameter in net._collect_params_with_prefix().items()}
    return [
        (index, names[id(parameter)])
        for index, parameter in enumerate(trainer._params)
        if parameter.grad_req != "null" and id(parameter) in names
    ]


def _optimizer_arrays(net: Any, trainer: Any) -> Iterator[Tuple[str, Any]]:
    states = trainer._updaters[0].states  # every device has the same states
    for index, name in _trained(net, trainer):
        for slot, array in enumerate(_slots(states.get(index))):
            yield f"{name}/{slot}", array


def _optimizer_states(path: Path, net: Any, trainer: Any, arrays: Mapping[str, np.ndarray]) -> List[Dict[int, Any]]:
    """The states of each device's updater, by the parameter's index; empty if they were saved before the first step."""
    found: List[Dict[int, Any]] = [{} for _ in trainer._updaters]
    for index, name in _trained(net, trainer) if arrays else ():
        parameter = trainer._params[index]
        for states, ctx in zip(found, parameter.list_ctx()):
            states[index] = trainer._optimizer.create_state_multi_precision(index, parameter.data(ctx))
            for slot, array in enumerate(_slots(states[index])):
                stored = arrays.get(f"{name}/{slot}")
                if stored is None or stored.shape != array.shape:
                    shape = "missing" if stored is None else stored.shape
                    raise CheckpointError(
                        f"{path}: the optimizer's state of {name} is {shape}; expected {array.shape}: "
                        "the file is damaged, or belongs to a run with another network or optimizer"
                    )
                array[:] = mx.nd.array(stored, dtype=stored.dtype, ctx=ctx)
    return found
