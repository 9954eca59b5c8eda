"""What the attention of a network's fusion blocks decides: the weight w, for an image and over a data set.

A fusion block takes the transformed features x and the shortcut y (see `fusion.fuse`). In AFF and iAFF, w multiplies x
and 1 − w multiplies y. Where w is below ½, the block prefers the shortcut, which is the identity. If w is ½ everywhere,
the block averages its inputs, as the addition of a plain ResNet does up to a factor. Other blocks multiply only x or
only y by w. Each block's `combine` states what w does to which input, and `fusion.fuse.AttentionalFusion.watched` gives
w while the block computes it.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Dict, Iterable, Iterator, List, Tuple

import numpy as np

from ..attentional import WeightWatcher
from ..combination import Combination
from ..compat import mx
from ..errors import ConfigError
from .layers import Place, fusion_places, imperative, walk

#: Number of bins from 0 to 1 in a distribution of w; one of their edges is at ½.
BINS = 1000


@dataclass(frozen=True)
class WeightMap:
    """The weight of one pass of one fusion block on a batch of images.

    Attributes
    ----------
    place : Place
        Which block.
    number, passes : int
        The number of the pass, from 1, and how many passes there are.
    role : str
        What w does: see `role_of`.
    mean : ndarray
        (B, h, w): the weight, averaged over channels.
    identity : ndarray
        (B, h, w): the share of channels in which the shortcut has more weight than the transformed features.
    """

    place: Place
    number: int
    passes: int
    role: str
    mean: np.ndarray
    identity: np.ndarray

    @property
    def title(self) -> str:
        """Stage, block and pass, as the title of a panel."""
        return _title(self.place, self.number, self.passes)


@dataclass(frozen=True)
class WeightDistribution:
    """How the weight of one pass is distributed over all images, blocks, pixels and channels of a stage.

    Attributes
    ----------
    stage, number, passes : int
        The number of the stage and of the pass, both from 1, and how many passes there are.
    role : str
        What w does: see `role_of`.
    counts : ndarray
        (BINS,): how many weights are in each bin; the bins divide the range from 0 to 1 equally.
    prefers_identity : int
        How many weights give the shortcut more than the transformed features.
    """

    stage: int
    number: int
    passes: int
    role: str
    counts: np.ndarray
    prefers_identity: int

    @property
    def total(self) -> int:
        """How many weights there are."""
        return int(self.counts.sum())

    @property
    def identity_share(self) -> float:
        """The share of weights that prefer the shortcut."""
        return self.prefers_identity / self.total

    @property
    def mean(self) -> float:
        """The mean of w, exact to half a bin."""
        return float(self.counts @ _CENTRES / self.total)

    def quantile(self, share: float) -> float:
        """The value below which this share of the weights lies, exact to one bin."""
        return _quantile(self.counts, _EDGES[1:], share)

    def distance(self, share: float) -> float:
        """The value of |w − ½| below which this share of the weights lies, exact to one bin; 0.5 gives the median."""
        half = BINS // 2
        folded = self.counts[half:] + self.counts[:half][::-1]
        return _quantile(folded, _EDGES[half + 1 :] - 0.5, share)


_EDGES = np.linspace(0, 1, BINS + 1)
_CENTRES = (_EDGES[1:] + _EDGES[:-1]) / 2


def _quantile(counts: np.ndarray, edges: np.ndarray, share: float) -> float:
    return float(edges[np.searchsorted(counts.cumsum(), share * counts.sum())])


def _title(place: Place, number: int, passes: int) -> str:
    where = f"stage {place.stage}, block {place.position}" if place.stage else place.name
    return where if passes == 1 else f"{where}, pass {number}"


# --- What a block does with its weight ------------------------------------------------------------------------------


def role_of(block: Any) -> str:
    """What the weight of a fusion block does.

    Returns
    -------
    str
        'selects' if more weight of x is less weight of y (AFF, iAFF, SK); 'gates x', 'gates y' or 'gates both' if w
        multiplies these; 'none' for a block without a weight (addition, concatenation) or with a `combine` that does
        not state its role.
    """
    combine = getattr(block, "combine", None)
    return combine.role if isinstance(combine, Combination) else "none"


def _prefers_identity(block: Any, w: np.ndarray) -> np.ndarray:
    of_x, of_y = block.combine.shares(w)
    return of_y > of_x


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


def _weights(net: Any, places: List[Place], images: Any) -> Iterator[Tuple[Place, int, int, np.ndarray]]:
    """For a batch of images: (place, number of the pass from 1, number of passes, weight as (B, C, h, w) float32)."""
    with _caught(net, places) as caught, mx.autograd.pause():
        net(images)
    for place in places:
        passes = caught.get(place.name, [])
        for number, w in enumerate(passes, start=1):
            yield place, number, len(passes), w.asnumpy().astype(np.float32)


def fusion_maps(net: Any, images: Any) -> List[WeightMap]:
    """The weight of every fusion block on a batch of images.

    Parameters
    ----------
    net : Block
        A network with fusion blocks of `fusion.fuse`, its weights initialised; compiled or not.
    images : NDArray
        (B, 3, H, W), normalised as for the network, on the network's device.

    Returns
    -------
    list of WeightMap
        In the network's order, the passes of a block one after the other. Blocks without a weight are left out.

    Raises
    ------
    ConfigError
        If no fusion block has a weight.
    """
    return [
        WeightMap(
            place=place,
            number=number,
            passes=passes,
            role=role_of(place.block),
            mean=w.mean(axis=1),
            identity=_prefers_identity(place.block, w).mean(axis=1),
        )
        for place, number, passes, w in _weights(net, weighted_places(net), images)
    ]


def weight_distribution(net: Any, batches: Iterable[Any]) -> List[WeightDistribution]:
    """How the weights of a network are distributed over a data set, for each stage and pass.

    Parameters
    ----------
    net : Block
        As for `fusion_maps`.
    batches : iterable of NDArray
        Each (B, 3, H, W), normalised as for the network, on the network's device.

    Returns
    -------
    list of WeightDistribution
        Sorted by stage, then by pass. Stages without a weight are left out.

    Raises
    ------
    ConfigError
        If no fusion block has a weight, or there is no image.
    """
    places = weighted_places(net)
    counts: Dict[Tuple[int, int, int, str], np.ndarray] = {}
    preferring: Dict[Tuple[int, int, int, str], int] = {}
    for images in batches:
        for place, number, passes, w in _weights(net, places, images):
            key = (place.stage, number, passes, role_of(place.block))
            counts[key] = counts.get(key, 0) + _histogram(w)
            preferring[key] = preferring.get(key, 0) + int(_prefers_identity(place.block, w).sum())
    if not counts:
        raise ConfigError("there is no image to find the weights of")
    return [WeightDistribution(*key, counts=counts[key], prefers_identity=preferring[key]) for key in sorted(counts)]


def _histogram(w: np.ndarray) -> np.ndarray:
    return np.bincount(np.minimum((w.ravel() * BINS).astype(np.int64), BINS - 1), minlength=BINS)


def format_distributions(distributions: List[WeightDistribution]) -> str:
    """The distributions as a table of text: quantiles of the weights, and of their distance from ½."""
    lines = ["stage  pass  median w   10 % to 90 %    median |w-1/2|   90 % within  prefers the identity"]
    for found in distributions:
        share = f"{100 * found.identity_share:.1f} %" if found.role == "selects" else f"- ({found.role})"
        lines.append(
            f"{found.stage:5}  {found.number:4}  {found.quantile(0.5):8.3f}   "
            f"{found.quantile(0.1):.3f} to {found.quantile(0.9):.3f}   "
            f"{found.distance(0.5):14.3f}   {found.distance(0.9):11.3f}  {share:>20}"
        )
    return "\n".join(lines)


def describe_distribution(found: WeightDistribution) -> Dict[str, Any]:
    """The figures of a distribution in plain types, for JSON."""
    return {
        "stage": found.stage,
        "pass": found.number,
        "role": found.role,
        "weights": found.total,
        "mean": found.mean,
        "median": found.quantile(0.5),
        "percentile_10": found.quantile(0.1),
        "percentile_90": found.quantile(0.9),
        "median_distance_from_half": found.distance(0.5),
        "percentile_90_distance_from_half": found.distance(0.9),
        "prefers_identity": found.identity_share if found.role == "selects" else None,
    }
