"""Which classes a network was trained on, and data whose labels are the numbers of its outputs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

import numpy as np

from ..data import MASKS, describe
from ..data.identity import Classes, is_mapped, match_classes
from ..data.masks.labels import TARGET
from ..errors import ConfigError, DataError
from ..models.zoo import classifier_of
from ..tasks import task_of
from .data_record import read_record
from .loading import places_of
from .logbook import RunDirectory
from .settings import Settings

logger = logging.getLogger("fusion")


def classes_of_run(run: RunDirectory, settings: Optional[Settings] = None) -> Optional[Classes]:
    """The classes that a run's network was trained on; None for a run of an older version, which did not note them.

    Parameters
    ----------
    run : RunDirectory
        The run.
    settings : Settings, optional
        Of the run, if the caller has read them.
    """
    names = tuple(run.read_classes())
    if not names:
        return None
    named = read_record(run).get("named")
    if named is None:
        named = not _stand_in(names, settings or run.settings())
    return Classes(names, f"the network of {run.path}", bool(named))


def classes_of_file(path: Path) -> Optional[Classes]:
    """The classes that weights were trained on, if their file lies in the folder of a run; otherwise None."""
    run = run_of_file(path)
    return None if run is None else classes_of_run(run)


def run_of_file(path: Path) -> Optional[RunDirectory]:
    """The run whose folder, or whose folder of checkpoints, holds a file of weights; None if none does."""
    for folder in (path.parent, path.parent.parent):
        if (folder / "config.yaml").is_file() and (folder / "classes.txt").is_file():
            return RunDirectory(folder)
    return None


def teacher_places(data: Classes, teacher: Classes, setting: str) -> Tuple[int, ...]:
    """The teacher's output for each class of the student.

    Raises
    ------
    ConfigError
        If a class is none of the teacher's; the message names the setting and lists the differences.
    """
    try:
        return match_classes(data, teacher)
    except DataError as error:
        raise ConfigError(f"{setting}: {error}") from None


def arrays_by_name(
    arrays: Mapping[str, Any], settings: Settings, own: Classes, stored: Classes, outputs: int
) -> Mapping[str, Any]:
    """Parameters whose last layer has its rows in the order of this run's classes.

    Parameters
    ----------
    arrays : mapping of str to array
        Of a network that was trained on the classes `stored`, by structural name.
    settings : Settings
        Of the run that starts from them.
    own, stored : Classes
        Of this run's data and of the parameters.
    outputs : int
        How many this run's network has.

    Raises
    ------
    ConfigError
        If this run has a class that is none of the stored ones.
    """
    try:
        places = places_of(task_of(settings), own, stored)
    except DataError as error:
        raise ConfigError(f"train.initial_parameters: {error}") from None
    names = [f"{classifier_of(settings.model.name)}.{part}" for part in ("weight", "bias")]
    same = not is_mapped(places) and len(own.names) == len(stored.names)
    if same or any(name not in arrays or arrays[name].shape[0] < len(places) for name in names):
        return arrays
    found: Dict[str, Any] = dict(arrays)
    for name in names:
        rows = arrays[name]
        values = np.asarray(rows.asnumpy() if hasattr(rows, "asnumpy") else rows)
        unused = [number for number in range(len(values)) if number not in set(places)]
        found[name] = values[[*places, *unused][:outputs]]
    return found


def _stand_in(names: Sequence[str], settings: Settings) -> bool:
    """Whether a run of an older version has been given these names by this package, for want of any."""
    data = describe(settings.data.name)
    if data.kind == MASKS:
        return tuple(names) == (TARGET,)
    return not data.fixed_classes and list(names) == [str(number) for number in range(len(names))]
