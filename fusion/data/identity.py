"""Whether the classes of a data set are those of a network: names decide, and not how many there are.

The outputs of a network have an order, which is that of the classes that it was trained on. A data set with the same
names in another order, or with some of them only, is used by name: its labels become the numbers of these outputs. A
data set with any other name is refused. Two things have no names: records without a list of classes, and binary masks
without one. Then only the number of classes is known, which is said in the log.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Sequence, Tuple

from ..errors import DataError
from ..words import counted
from .listing import SHOWN

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Classes:
    """The classes of a data set or of a network.

    Attributes
    ----------
    names : tuple of str
        In the order of the labels or outputs.
    owner : str
        What has them, for messages, such as "the network of runs/quickstart".
    named : bool
        Whether these are names; otherwise they are numbers or a stand-in that this package has given.
    """

    names: Tuple[str, ...]
    owner: str
    named: bool = True


def match_classes(data: Classes, network: Classes) -> Tuple[int, ...]:
    """The output of a network that stands for each class of a data set.

    Parameters
    ----------
    data : Classes
        Of the data set.
    network : Classes
        Of the network.

    Returns
    -------
    tuple of int
        For each label of the data set, the number of the output with the same name. 0, 1, 2, ... where nothing has to
        be mapped. What is mapped, and what is only known by number, is logged.

    Raises
    ------
    DataError
        If the data set has a class that is none of the network's; the message lists the differences.
    """
    if data.names == network.names:
        return tuple(range(len(data.names)))
    if not (data.named and network.named):
        return _by_number(data, network)
    _refuse_strange(data, network)
    number = {name: place for place, name in enumerate(network.names)}
    if len(data.names) == len(network.names):
        logger.warning("%s: the classes have another order than those of %s; mapped by name", data.owner, network.owner)
    else:
        logger.warning(
            "%s: %d of the %d classes of %s; mapped by name, and the network may still give any of its answers",
            *(data.owner, len(data.names), len(network.names), network.owner),
        )
    return tuple(number[name] for name in data.names)


def is_mapped(places: Sequence[int]) -> bool:
    """Whether labels change under a mapping of `match_classes`."""
    return list(places) != list(range(len(places)))


def _by_number(data: Classes, network: Classes) -> Tuple[int, ...]:
    """Where one of the two has no names: the numbers themselves, if there are as many."""
    without = network if data.named else data
    if len(data.names) != len(network.names):
        raise DataError(
            f"{data.owner} has {counted(len(data.names), 'class', 'classes')}, and {network.owner} "
            f"{len(network.names)}; {without.owner} does not name them, so that they cannot be mapped: name the "
            "classes in a classes.txt beside the data, one per line in the order of the labels"
        )
    logger.warning(
        "%s does not name its classes: class number N of %s is taken for output number N of %s, and nothing shows "
        "whether that is right",
        *(without.owner, data.owner, network.owner),
    )
    return tuple(range(len(data.names)))


def _refuse_strange(data: Classes, network: Classes) -> None:
    strange = [name for name in data.names if name not in set(network.names)]
    if not strange:
        return
    lacking = [name for name in network.names if name not in set(data.names)]
    also = f"; it lacks {len(lacking)} of them: {_first_few(lacking)}" if lacking else ""
    raise DataError(
        f"{data.owner} has other classes than {network.owner}: {len(strange)} of its "
        f"{counted(len(data.names), 'class', 'classes')} {'is' if len(strange) == 1 else 'are'} none of the network's "
        f"{len(network.names)}: {_first_few(strange)}{also}. Classes in another order or some of them are mapped by "
        "name; for others use a network that was trained on them, or give the classes the names that the network has"
    )


def _first_few(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:SHOWN])) + (", ..." if len(names) > SHOWN else "")
