"""What the attentional fusion blocks have in common: what they look at, their branches, and how a weight is made.

`fusion.fuse` states each block by three attributes of `AttentionalFusion`.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import Any, Callable, ClassVar, Dict, Iterable, Iterator, Mapping, Tuple

from .attention import GlobalContext, LocalContext, Typed, in_convolution_layout, in_equations, repeat_over_pixels
from .combination import Combination, Combining

#: Sees the weights of a block: it is called with the number of the pass and the weight.
WeightWatcher = Callable[[int, Any], None]


# --- What the attention looks at ------------------------------------------------------------------------------------


def x_alone(x: Any, y: Any) -> Any:
    """X."""
    return x


def x_plus_y(x: Any, y: Any) -> Any:
    """X + y."""
    return x + y


# --- Which branches make the logits ---------------------------------------------------------------------------------

#: Attribute name of each branch, with what builds it from (channels, r, norm).
Pass = Mapping[str, Callable[[int, int, str], Any]]


def L1(channels: int, r: int, norm: str) -> Any:
    """Local context, one convolution."""
    return LocalContext(channels)


def L2(channels: int, r: int, norm: str) -> Any:
    """Local context, a bottleneck of C / r channels."""
    return LocalContext(channels, r)


def G1(channels: int, r: int, norm: str) -> Any:
    """Global context, one convolution."""
    return GlobalContext(channels, norm=norm)


def G2(channels: int, r: int, norm: str) -> Any:
    """Global context, a bottleneck of C / r channels."""
    return GlobalContext(channels, r, norm)


def L2_full(channels: int, r: int, norm: str) -> Any:
    """Local context, two convolutions of all C channels."""
    return LocalContext(channels, 1)


def G2_full(channels: int, r: int, norm: str) -> Any:
    """Global context, two convolutions of all C channels."""
    return GlobalContext(channels, 1, norm)


# --- The block ------------------------------------------------------------------------------------------------------


class AttentionalFusion(Typed):
    """What the attentional blocks have in common; a new one states its three attributes (see the module).

    Parameters
    ----------
    channels : int
        C, of both inputs and of the output.
    r : int, default 4
        Reduction of the bottleneck branches (L2, G2); of no effect on a block without them.
    norm : {'batch', 'group', 'none'}
        What normalises the vectors of a global branch. 'batch' is the paper's and needs two images a device or more:
        see `fusion.attention.GlobalContext`.

    Inputs
        - **x**: transformed features (B, C, H, W).
        - **residual**: shortcut features (B, C, H, W).
    Outputs
        - fused features (B, C, H, W).

    Raises
    ------
    ValueError
        If `channels` is not divisible by r, r leaves no channel, or norm is unknown.
    """

    attends_to: ClassVar[Any] = staticmethod(x_plus_y)
    passes: ClassVar[Tuple[Pass, ...]] = ()
    combine: ClassVar[Any]

    def __init__(self, channels: int, r: int = 4, norm: str = "batch", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._channels = channels
        self._watchers: Dict[int, WeightWatcher] = {}
        with self.name_scope():
            for branches in self.passes:
                for name, build in branches.items():
                    setattr(self, name, build(channels, r, norm))

    def hybrid_forward(self, F: Any, x: Any, residual: Any) -> Any:
        combine = self.combine
        if isinstance(combine, Combination) and not in_equations():
            layout = partial(in_convolution_layout, F, channels=self._channels, dtype=self.dtype)
            combine = Combining(layout, x, residual, combine)
        fused = self.attends_to(x, residual)
        for index in range(len(self.passes)):
            weight = self.weight(F, fused, index)
            for watch in self._watchers.values():
                watch(index, weight)
            fused = combine(x, residual, weight)
        return fused

    @contextmanager
    def watched(self, watcher: WeightWatcher) -> Iterator[None]:
        """Show the weight of each pass to a function, for as long as a `with` block lasts.

        Parameters
        ----------
        watcher : callable
            Called with the number of the pass, from 0, and its weight (B, C, H, W), each time that the block computes
            one. In a compiled network that is a symbol: see `fusion.explain.layers.imperative`.
        """
        self._watchers[id(watcher)] = watcher
        try:
            yield
        finally:
            del self._watchers[id(watcher)]

    def weight(self, F: Any, features: Any, index: int) -> Any:
        """The weight w of pass `index` on the features it looks at.

        Parameters
        ----------
        F : module
            `mxnet.nd` or `mxnet.sym`.
        features : NDArray or Symbol
            (B, C, H, W).
        index : int
            Which of `passes`, from 0.

        Returns
        -------
        NDArray or Symbol
            (B, C, H, W), between 0 and 1.
        """
        return weight_of(F, [getattr(self, name) for name in self.passes[index]], features)


def weight_of(F: Any, branches: Iterable[Any], features: Any) -> Any:
    """The sigmoid of the sum of the logits of branches, all of which look at the same features (B, C, H, W)."""
    local, pooled = None, None
    for branch in branches:
        logits = branch(features)
        if isinstance(branch, GlobalContext):
            pooled = logits if pooled is None else pooled + logits
        else:
            local = logits if local is None else local + logits
    if local is None:  # One weight per channel: the sigmoid of a vector is cheaper than that of a map.
        return repeat_over_pixels(F, F.Activation(pooled, act_type="sigmoid"), features)
    if pooled is not None:
        local = local + repeat_over_pixels(F, pooled, features)
    return F.Activation(local, act_type="sigmoid")


class CrossedFusion(AttentionalFusion):
    """2·y⊗w(x) + 2·x⊗v(y): each input is weighed by what the other one shows.

    Parameters, inputs, outputs and errors as `AttentionalFusion`. The one pass has a branch `topdown`, which looks at
    x, and a branch `bottomup`, which looks at y. Source: "Asymmetric Contextual Modulation for Infrared Small Target
    Detection", arXiv 2009.14530, where x is the high-level and y the low-level features.
    """

    def hybrid_forward(self, F: Any, x: Any, residual: Any) -> Any:
        of_y = weight_of(F, [self.topdown], x)
        of_x = weight_of(F, [self.bottomup], residual)
        return F.broadcast_mul(residual, 2 * of_y) + F.broadcast_mul(x, 2 * of_x)
