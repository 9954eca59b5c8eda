"""The weights that a network's fusion blocks compute, caught while they compute them.

Each block's `weight_kinds` states what its weights do, and `watched` gives them while the block computes. A compiled
network computes with symbols, so that it is run block by block here.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import Any, Callable, Dict, Iterable, Iterator, List, Tuple

import numpy as np

from .attentional import WeightedFusion, WeightKind, WeightWatcher
from .compat import mx
from .errors import ConfigError
from .places import Place, fusion_places, imperative, walk


def weight_kinds(block: Any) -> List[WeightKind]:
    """What the weights of a fusion block are, in order; none for a block without weights, such as addition."""
    return block.weight_kinds() if isinstance(block, WeightedFusion) else []


def role_of(block: Any) -> str:
    """What the first weight of a fusion block does.

    Returns
    -------
    str
        'selects' (what x gains y loses: AFF, iAFF, SK), 'gates x', 'gates y', 'gates both', 'shares' (of one input
        among several), or 'none' for a block without a weight (addition, concatenation), or whose `combine` does not
        say.
    """
    return next((kind.role for kind in weight_kinds(block)), "none")


# --- Catching the weight --------------------------------------------------------------------------------------------


@contextmanager
def _caught(net: Any, places: Iterable[Place]) -> Iterator[Dict[str, List[Any]]]:
    """The weights that blocks compute inside the `with` statement: by the block's name, one weight per pass."""
    caught: Dict[str, List[Any]] = {}

    def catch(name: str) -> WeightWatcher:
        return lambda index, weight: caught.setdefault(name, []).append(weight)

    with ExitStack() as watching, imperative(block for _, block in walk(net)):
        for place in places:
            watching.enter_context(place.block.watched(catch(place.name)))
        yield caught


def weighted_places(net: Any) -> List[Place]:
    """The fusion blocks of a network that have a weight, in order.

    Raises
    ------
    ConfigError
        If no fusion block has a weight.
    """
    places = fusion_places(net)
    weighted = [place for place in places if role_of(place.block) != "none"]
    if not weighted:
        kinds = sorted({type(place.block).__name__ for place in places})
        raise ConfigError(
            f"the network fuses by {', '.join(kinds) or 'nothing'}, which has no weight to show: "
            "fusion maps are of networks with an attentional fusion, such as fusion=aff or fusion=iaff"
        )
    return weighted


def without_weight(net: Any) -> List[Place]:
    """The fusion blocks of a network that have no weight: addition and concatenation, in order."""
    return [place for place in fusion_places(net) if role_of(place.block) == "none"]


def caught_weights(
    net: Any, places: List[Place], *inputs: Any
) -> Iterator[Tuple[Place, Tuple[int, int], WeightKind, np.ndarray]]:
    """The weights of fusion blocks on a batch: (place, (number from 1, of how many), kind, (B, C, h, w) float32).

    Parameters
    ----------
    net : Block
        The network.
    places : list of Place
        Of `weighted_places`.
    *inputs : NDArray
        Of the network.
    """
    # Not a call: hooks on the network itself may be what asks for the weights.
    yield from _weights_while(net, places, lambda: net.forward(*inputs))


def mean_weights(net: Any, places: List[Place], answer: Callable[[], object]) -> Dict[str, float]:
    """The mean of each weight of fusion blocks while a network answers.

    Parameters
    ----------
    net : Block
        The network.
    places : list of Place
        Of `weighted_places`.
    answer : callable
        Has the network compute. Where it does so several times, the first one counts.

    Returns
    -------
    dict of str to float
        By the structural name of the block, with the weight's title where the block has several
        (`features.3.0.attention, pass 2`).
    """
    return {
        f"{place.name}, {kind.title}" if kind.title else place.name: float(weight.mean())
        for place, _, kind, weight in _weights_while(net, places, answer)
    }


def _weights_while(
    net: Any, places: List[Place], answer: Callable[[], object]
) -> Iterator[Tuple[Place, Tuple[int, int], WeightKind, np.ndarray]]:
    with _caught(net, places) as caught, mx.autograd.pause():
        answer()
    for place in places:
        kinds = weight_kinds(place.block)
        for number, (kind, w) in enumerate(zip(kinds, caught.get(place.name, [])), start=1):
            yield place, (number, len(kinds)), kind, w.asnumpy().astype(np.float32)
