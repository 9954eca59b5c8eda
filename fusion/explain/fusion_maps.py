"""What the attention of a network's fusion blocks decides: the weight w, for an image and over a data set.

A fusion block takes the transformed features x and the shortcut y (see `fusion.fuse`), or what the layer that holds it
states, such as two branches of an Inception module (`fusion.places.Place`). In AFF and iAFF, w multiplies x and
1 − w multiplies y. Where w is below ½, the block prefers the shortcut, which is the identity. If w is ½ everywhere, the
block averages its inputs, as the addition of a plain ResNet does up to a factor. Other blocks multiply only x or only y
by w. `fusion.weights` catches them while the blocks compute them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Tuple

import numpy as np

from ..attentional import WeightKind
from ..errors import ConfigError
from ..places import INPUTS, Place, on_device
from ..weights import caught_weights, weighted_places

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
        Which weight of the block, from 1, of how many: that of each pass, where it has several.
    kind : WeightKind
        What it is.
    mean : ndarray
        (B, h, w): the weight, averaged over channels.
    identity : ndarray
        (B, h, w): the share of channels in which y, the shortcut, has more weight than x.
    """

    place: Place
    number: int
    passes: int
    kind: WeightKind
    mean: np.ndarray
    identity: np.ndarray

    @property
    def role(self) -> str:
        """What w does: see `fusion.weights.role_of`."""
        return self.kind.role

    @property
    def title(self) -> str:
        """Stage, block, unit and weight for a panel."""
        return f"{self.place.title}, {self.kind.title}" if self.kind.title else self.place.title


@dataclass(frozen=True)
class WeightDistribution:
    """How the weight of one pass is distributed over all images, blocks, pixels and channels of a stage.

    Attributes
    ----------
    stage, number, passes : int
        Which stage, from 1, and which weight of its blocks, from 1, of how many.
    kind : WeightKind
        What it is.
    counts : ndarray
        (BINS,): how many weights are in each bin; the bins divide the range from 0 to 1 equally.
    prefers_identity : int
        How many leave y, the shortcut, more weight than x.
    inputs : tuple of two str
        What x and y are: see `fusion.places.Place`.
    """

    stage: int
    number: int
    passes: int
    kind: WeightKind
    counts: np.ndarray
    prefers_identity: int
    inputs: Tuple[str, str] = INPUTS

    @property
    def role(self) -> str:
        """What w does: see `fusion.weights.role_of`."""
        return self.kind.role

    @property
    def total(self) -> int:
        """How many weights there are."""
        return int(self.counts.sum())

    @property
    def identity_share(self) -> float:
        """The share of weights that prefer y."""
        return self.prefers_identity / self.total

    @property
    def mean(self) -> float:
        """The mean of w, exact to half a bin."""
        return float(self.counts @ _CENTRES / self.total)

    def quantile(self, share: float) -> float:
        """The value below which this share of the weights lies, exact to one bin."""
        return _quantile(self.counts, _EDGES[1:], share)

    def distance(self, share: float) -> float:
        """The value of `|w − ½|` below which this share of the weights lies, exact to one bin; 0.5 gives the median."""
        half = BINS // 2
        folded = self.counts[half:] + self.counts[:half][::-1]
        return _quantile(folded, _EDGES[half + 1 :] - 0.5, share)


#: What is counted together: stage, weight, how many weights, and inputs.
_Key = Tuple[int, int, int, Tuple[str, str]]

_EDGES = np.linspace(0, 1, BINS + 1)
_CENTRES = (_EDGES[1:] + _EDGES[:-1]) / 2


def _quantile(counts: np.ndarray, edges: np.ndarray, share: float) -> float:
    return float(edges[np.searchsorted(counts.cumsum(), share * counts.sum())])


# --- Of images and of a data set --------------------------------------------------------------------------------------


def _prefers_identity(kind: WeightKind, w: np.ndarray) -> np.ndarray:
    if kind.combination is None:
        return np.zeros(w.shape, dtype=bool)
    of_x, of_y = kind.combination.shares(w)
    return of_y > of_x


def fusion_maps(net: Any, images: Any) -> List[WeightMap]:
    """The weight of every fusion block on a batch of images.

    Parameters
    ----------
    net : Block
        A network with fusion blocks of `fusion.fuse`, of this package or of one's own, its weights initialised;
        compiled or not.
    images : NDArray or ndarray
        (B, C, H, W), normalised as for the network.

    Returns
    -------
    list of WeightMap
        In the network's order, the passes of a block one after the other. Blocks without a weight are left out.

    Raises
    ------
    ConfigError
        If no fusion block has a weight.

    Examples
    --------
    >>> import mxnet as mx
    >>> from fusion.data import load_dataset
    >>> from fusion.inference.trained import load_pretrained
    >>> trained = load_pretrained("aff_resnet8_digits")
    >>> images = trained.preparation.normalise(load_dataset("digits", "test").images[:2])
    >>> maps = fusion_maps(trained.net, mx.nd.array(images))
    >>> [(weights.place.name, weights.mean.shape) for weights in maps][:2]
    [('features.2.0.attention', (2, 32, 32)), ('features.3.0.attention', (2, 16, 16))]
    """
    return [
        WeightMap(
            place=place,
            number=number,
            passes=passes,
            kind=kind,
            mean=w.mean(axis=1),
            identity=_prefers_identity(kind, w).mean(axis=1),
        )
        for place, (number, passes), kind, w in caught_weights(net, weighted_places(net), on_device(net, images))
    ]


def weight_distribution(net: Any, batches: Iterable[Any]) -> List[WeightDistribution]:
    """How the weights of a network are distributed over a data set, for each stage and pass.

    Parameters
    ----------
    net : Block
        As for `fusion_maps`.
    batches : iterable of NDArray or ndarray
        Each (B, C, H, W), normalised as for the network.

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
    counts: Dict[_Key, np.ndarray] = {}
    preferring: Dict[_Key, int] = {}
    kind_of: Dict[_Key, WeightKind] = {}
    for images in batches:
        for place, (number, passes), kind, w in caught_weights(net, places, on_device(net, images)):
            key = (place.stage, number, passes, place.inputs)
            kind_of[key] = kind
            counts[key] = counts.get(key, 0) + _histogram(w)
            preferring[key] = preferring.get(key, 0) + int(_prefers_identity(kind_of[key], w).sum())
    if not counts:
        raise ConfigError("there is no image to find the weights of")
    return [WeightDistribution(*key[:3], kind_of[key], counts[key], preferring[key], key[3]) for key in sorted(counts)]


def _histogram(w: np.ndarray) -> np.ndarray:
    return np.bincount(np.minimum((w.ravel() * BINS).astype(np.int64), BINS - 1), minlength=BINS)


def format_distributions(distributions: List[WeightDistribution]) -> str:
    """The distributions as a table of text: where the weights are, and how far from ½."""
    preferred = {"the identity" if found.inputs == INPUTS else f"the {found.inputs[1]}" for found in distributions}
    heading = f"prefers {preferred.pop() if len(preferred) == 1 else 'y'}"
    width = max(20, len(heading))
    lines = [f"stage  pass  median w   10 % to 90 %     median |w-1/2|   90 % within  {heading:>{width}}"]
    for found in distributions:
        share = f"{100 * found.identity_share:.1f} %" if found.role == "selects" else f"- ({found.role})"
        lines.append(
            f"{found.stage:5}  {found.number:4}  {found.quantile(0.5):8.3f}   "
            f"{found.quantile(0.1):.3f} to {found.quantile(0.9):.3f}   "
            f"{found.distance(0.5):14.3f}   {found.distance(0.9):11.3f}  {share:>{width}}"
        )
    return "\n".join(lines)


def describe_distribution(found: WeightDistribution) -> Dict[str, Any]:
    """The figures of a distribution in plain types, for JSON."""
    return {
        "stage": found.stage,
        "pass": found.number,
        "role": found.role,
        "inputs": list(found.inputs),
        "weights": found.total,
        "mean": found.mean,
        "median": found.quantile(0.5),
        "percentile_10": found.quantile(0.1),
        "percentile_90": found.quantile(0.9),
        "median_distance_from_half": found.distance(0.5),
        "percentile_90_distance_from_half": found.distance(0.9),
        "prefers_identity": found.identity_share if found.role == "selects" else None,
    }
