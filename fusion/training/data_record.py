"""Which data a run was started on, in data.json of its folder: a resumed run must find the same.

The file has the data set's name, its number of classes, whether these have names, and for each split the number of
images and a fingerprint of the files (`fusion.data.fingerprint`). It says nothing of where the data is, which may move.
"""

from __future__ import annotations

import logging
from typing import Any, Dict, List

from ..data import DataSet
from ..errors import ConfigError
from ..files import write_json
from ..reading import ReadingError, read_json
from ..words import counted
from .logbook import RunDirectory, read_result
from .run_files import LARGEST_FACTS
from .settings import Settings

logger = logging.getLogger("fusion")

FILE = "data.json"

#: How fingerprints are computed, in this version.
_METHOD = 1

_SPLITS = {"train": "training", "test": "test"}


def data_record(settings: Settings, train: DataSet, test: DataSet) -> Dict[str, Any]:
    """What data.json says of the two splits of a run."""
    splits = {"train": train, "test": test}
    return {
        "name": settings.data.name,
        "classes": len(train.classes),
        "named": train.named,
        "method": _METHOD,
        **{name: {"images": len(data), "fingerprint": data.fingerprint()} for name, data in splits.items()},
    }


def fingerprint_numbers(record: Dict[str, Any]) -> List[float]:
    """The fingerprints as whole numbers that float64 holds, for workers that compare theirs."""
    return [float(int(record[split]["fingerprint"][:12], 16)) for split in _SPLITS]


def read_record(run: RunDirectory) -> Dict[str, Any]:
    """The record of a run; empty for one of an older version, or if the file is damaged."""
    try:
        found = read_json(run.path / FILE, LARGEST_FACTS)
    except ReadingError:
        return {}
    return found if isinstance(found, dict) else {}


def start_record(run: RunDirectory, record: Dict[str, Any], train: DataSet) -> None:
    """Write the record and the class names of a run where they are missing; what is there is never replaced."""
    if not run.classes.is_file():
        run.write_classes(train.classes)
    if not (run.path / FILE).is_file():
        write_json(run.path / FILE, record)


def refuse_other_data(run: RunDirectory, record: Dict[str, Any], train: DataSet) -> None:
    """Refuse to resume a run on other data than it was started on.

    Parameters
    ----------
    run : RunDirectory
        Of the run.
    record : dict
        Of the data that was found now: see `data_record`.
    train : DataSet
        Its training images.

    Raises
    ------
    ConfigError
        The message lists what differs.
    """
    earlier = read_record(run)
    differences = _of_classes(run, train)
    if not differences:
        differences = _of_files(earlier or _old_record(run), record)
    if differences:
        raise ConfigError(
            f"{run.path}: was started on other data than {train.title}, which data.dir names now: "
            f"{'; '.join(differences)}. Say with data.dir=PATH where the run's own data is. To train on this data "
            f"instead, start a new run; train.initial_parameters={run.last} begins with the weights of this one"
        )
    if earlier.get("method") != _METHOD and run.last.is_file():
        logger.warning(
            "%s: %s; nothing shows whether %s is the data that it was started on. From now on that is checked",
            *(run.path, "has no fingerprint of its data, as older versions wrote none", train.title),
        )


def _of_classes(run: RunDirectory, train: DataSet) -> List[str]:
    """How the class names, and their order, differ from those of the run."""
    then, now = run.read_classes(), list(train.classes)
    if not then or then == now:
        return []
    if sorted(then) == sorted(now):
        return ["its classes are in another order"]
    lacking = [name for name in then if name not in set(now)]
    strange = [name for name in now if name not in set(then)]
    found = [f"{counted(len(then), 'class', 'classes')} then, {len(now)} now"]
    for words, names in (("missing", lacking), ("new", strange)):
        if names:
            found.append(f"{words} {', '.join(map(repr, names[:5]))}{', ...' if len(names) > 5 else ''}")
    return [", ".join(found)]


def _of_files(then: Dict[str, Any], now: Dict[str, Any]) -> List[str]:
    """How the images differ from those that a record tells of."""
    if then.get("name", now["name"]) != now["name"]:
        return [f"data.name is {now['name']}, and was {then['name']}"]
    found = []
    for split, words in _SPLITS.items():
        part = then.get(split)
        if not isinstance(part, dict):
            continue
        images, same_method = now[split]["images"], then.get("method") == _METHOD
        if part.get("images", images) != images:
            found.append(f"{part['images']:,} {words} images then, {images:,} now")
        elif same_method and part.get("fingerprint") != now[split]["fingerprint"]:
            found.append(f"the {counted(images, f'{words} image')} have other file names, sizes or labels")
    return found


def _old_record(run: RunDirectory) -> Dict[str, Any]:
    """What result.json of an older version tells of the data."""
    try:
        result = read_result(run)
        return {split: {"images": int(result[f"{split}_images"])} for split in _SPLITS}
    except (ConfigError, KeyError, TypeError, ValueError):
        return {}
