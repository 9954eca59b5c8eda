"""What the attentional fusion blocks have in common: what they look at, their passes, and the weights that they show.

`fusion.fuse` states each block by three attributes of `AttentionalFusion`. `fusion.several` has the same blocks for
three inputs and more.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable, ClassVar, Dict, Iterator, List, Optional, Sequence, Tuple, Type

from .branches import Branch, Pass, choose_contexts, sigmoid_weight
from .combination import Combination, Combining, twice_x, twice_y
from .compat import mx
from .features import FeatureBlock, as_features
from .operators import in_convolution_layout, in_equations, total

#: Sees the weights of a block: it is called with the number of the weight and the weight.
WeightWatcher = Callable[[int, Any], None]


# --- What the attention looks at ------------------------------------------------------------------------------------


def x_alone(x: Any, y: Any) -> Any:
    """X."""
    return x


def x_plus_y(x: Any, y: Any) -> Any:
    """X + y."""
    return x + y


# --- The blocks -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WeightKind:
    """What one of a block's weights is.

    Attributes
    ----------
    title : str
        Which of them, such as "pass 2"; empty where there is one.
    role : str
        What it does: see `fusion.combination.Combination.role`.
    combination : Combination, optional
        That applies it, where it says what it does.
    """

    title: str
    role: str
    combination: Optional[Combination] = None


class WeightedFusion(FeatureBlock):
    """A fusion block whose weights can be seen."""

    def __init__(self, channels: int, **kwargs: Any) -> None:
        super().__init__(channels, **kwargs)
        self._watchers: Dict[int, WeightWatcher] = {}

    def weight_kinds(self) -> List[WeightKind]:
        """What each weight is that the watchers of `watched` see, in order."""
        raise NotImplementedError

    @contextmanager
    def watched(self, watcher: WeightWatcher) -> Iterator[None]:
        """Show each weight to a function, for as long as a `with` block lasts.

        Parameters
        ----------
        watcher : callable
            Called with the number of the weight, from 0, and the weight, laid out as a map (B, C, H, W), each time that
            the block computes one. In a compiled network that is a symbol: see `fusion.places.imperative`.
        """
        self._watchers[id(watcher)] = watcher
        try:
            yield
        finally:
            del self._watchers[id(watcher)]

    def _show(self, number: int, weight: Any) -> None:
        for watch in tuple(self._watchers.values()):
            watch(number, weight)

    def weights(self, *features: Any) -> List[Any]:
        """The weights of the block on features: what `python -m fusion maps` draws.

        Parameters
        ----------
        *features : NDArray
            The block's inputs.

        Returns
        -------
        list of NDArray
            One (B, C, ...) per weight, between 0 and 1, of the shape of the output; `weight_kinds` says what each one
            is: AFF has one, the w of equation 4, iAFF two. Within `autograd.record()` they have gradients.
        """
        found: List[Any] = []
        active = bool(self.__dict__["_active"])
        self._active = False
        try:
            with self.watched(lambda number, weight: found.append(weight)):
                output = self(*features)
        finally:
            self._active = active
        return [as_features(mx.nd, weight, output, self._ndim) for weight in found]

    def _quick(self, F: Any, combine: Any, x: Any, y: Any) -> Any:
        """A combination of two maps in cheap operators, unless the equations are wanted as they are written."""
        if not isinstance(combine, Combination) or in_equations():
            return combine
        layout = partial(in_convolution_layout, F, channels=self._channels, dtype=self.dtype)
        return Combining(F, layout, x, y, combine)


class AttentionalFusion(WeightedFusion):
    """What the attentional blocks have in common; a new one states its three attributes (see `fusion.fuse`).

    Parameters
    ----------
    channels : int
        C, of the output, and of both inputs unless `in_channels` says otherwise.
    r : int, default 4
        Reduction of the bottleneck branches (L2, G2); of no effect on a block without them.
    norm : {'batch', 'group', 'layer', 'none'}
        What normalises the vectors of a global branch. 'batch' is the paper's and needs two images or more per device:
        see `fusion.attention.GlobalContext`.
    contexts : sequence of str, optional
        Other contexts than the block's own, such as ("local",): see `choose_contexts`.
    integrate : {'sum', 'concat'}, optional
        What the attention looks at first, where that is both inputs: their sum, or both of them one after the other
        along the channels. The block's own unless given, which is the sum for all but `ConcatAFF`.
    **kwargs
        `ndim`, `in_channels` and `resize` of `fusion.features.FeatureBlock`; Gluon's `prefix` and `params`.

    Inputs
        - **x**: transformed features (B, C, H, W).
        - **residual**: shortcut features (B, C, H, W).
    Outputs
        - fused features (B, C, H, W).

    Raises
    ------
    ValueError
        If `channels` is not divisible by r, r leaves no channel, or another parameter is impossible.

    Examples
    --------
    >>> import fusion, mxnet as mx
    >>> x, shortcut = mx.nd.ones((2, 64, 8, 8)), mx.nd.zeros((2, 64, 8, 8))
    >>> fuse = fusion.AFF(channels=64, r=4)
    >>> fuse.initialize()
    >>> fuse(x, shortcut).shape
    (2, 64, 8, 8)
    >>> twice = fusion.iAFF(channels=64)
    >>> twice.initialize()
    >>> [weight.shape for weight in twice.weights(x, shortcut)]
    [(2, 64, 8, 8), (2, 64, 8, 8)]
    """

    attends_to: ClassVar[Any] = staticmethod(x_plus_y)
    passes: ClassVar[Tuple[Pass, ...]] = ()
    combine: ClassVar[Any]

    #: Unless it is given: see above.
    integrate: ClassVar[str] = "sum"

    def __init__(
        self,
        channels: int,
        r: int = 4,
        norm: str = "batch",
        contexts: Optional[Sequence[str]] = None,
        integrate: Optional[str] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(channels, **kwargs)
        self._passes = choose_contexts(self.passes, contexts, type(self).__name__)
        self._concatenates = checked_integration(integrate, type(self)) == "concat"
        with self.name_scope():
            for index, branches in enumerate(self._passes):
                features = channels * (2 if self._concatenates and index == 0 else 1)
                for name, branch in branches.items():
                    setattr(self, name, branch.build(channels, r, norm, features))

    def combine_maps(self, F: Any, *maps: Any) -> Any:
        x, y = maps
        combine = self._quick(F, self.combine, x, y)
        fused = self._first_looked_at(F, x, y)
        for index in range(len(self._passes)):
            weight = self.weight(F, fused, index, x if self._concatenates else None)
            self._show(index, weight)
            fused = combine(x, y, weight)
        return fused

    def _first_looked_at(self, F: Any, x: Any, y: Any) -> Any:
        if self._concatenates:
            return F.concat(x, y, dim=1)
        return total(F, [x, y]) if self.attends_to is x_plus_y else self.attends_to(x, y)

    def weight(self, F: Any, features: Any, index: int, like: Optional[Any] = None) -> Any:
        """The weight w of pass `index` on the features it looks at.

        Parameters
        ----------
        F : module
            `mxnet.nd` or `mxnet.sym`.
        features : NDArray or Symbol
            (B, C, H, W).
        index : int
            Which of `passes`, from 0.
        like : NDArray or Symbol, optional
            (B, C, H, W), whose shape the weight has, where the features have other channels.

        Returns
        -------
        NDArray or Symbol
            (B, C, H, W), between 0 and 1.
        """
        return sigmoid_weight(F, [getattr(self, name) for name in self._passes[index]], features, like)

    def weight_kinds(self) -> List[WeightKind]:
        combination = self.combine if isinstance(self.combine, Combination) else None
        role = combination.role if combination else "none"
        titles = [f"pass {number}" for number in range(1, len(self._passes) + 1)]
        return [WeightKind(title if len(titles) > 1 else "", role, combination) for title in titles]


#: How x and y become what the attention looks at first.
INTEGRATIONS = ("sum", "concat")


def checked_integration(integrate: Optional[str], block: Type[AttentionalFusion]) -> str:
    """`integrate`, or the block's own where it is None, if that is possible for the block.

    Raises
    ------
    ValueError
        If it is unknown, or is not 'sum' for a block whose attention does not look at both inputs.
    """
    if integrate is None:
        return block.integrate
    if integrate not in INTEGRATIONS:
        raise ValueError(f"integrate={integrate!r}: expected one of {', '.join(INTEGRATIONS)}")
    if integrate == "concat" and block.attends_to is not x_plus_y:
        raise ValueError(
            f"integrate='concat': the attention of {block.__name__} does not look at the sum of both inputs, which "
            "concatenation would replace; expected 'sum'"
        )
    return integrate


class CrossedFusion(WeightedFusion):
    """2·y⊗w(x) + 2·x⊗v(y): each input is weighed by what the other one shows.

    Parameters, inputs, outputs and errors are those of `AttentionalFusion` without `contexts` and `integrate`. Of its
    two branches, `topdown` looks at x and `bottomup` at y. Source: "Asymmetric Contextual Modulation
    for Infrared Small Target Detection", arXiv 2009.14530, where x is the high-level and y the low-level features.
    """

    topdown_context: ClassVar[Branch]
    bottomup_context: ClassVar[Branch]

    def __init__(self, channels: int, r: int = 4, norm: str = "batch", **kwargs: Any) -> None:
        super().__init__(channels, **kwargs)
        with self.name_scope():
            self.topdown = self.topdown_context.build(channels, r, norm, channels)
            self.bottomup = self.bottomup_context.build(channels, r, norm, channels)

    def combine_maps(self, F: Any, *maps: Any) -> Any:
        x, y = maps
        of_y, of_x = sigmoid_weight(F, [self.topdown], x), sigmoid_weight(F, [self.bottomup], y)
        self._show(0, of_y)
        self._show(1, of_x)
        parts = [self._quick(F, twice_y, x, y)(x, y, of_y), self._quick(F, twice_x, x, y)(x, y, of_x)]
        return total(F, parts)

    def weight_kinds(self) -> List[WeightKind]:
        return [WeightKind("of y", twice_y.role, twice_y), WeightKind("of x", twice_x.role, twice_x)]
