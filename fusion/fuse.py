"""Fusion blocks: eighteen ways to make one feature map of two, from addition to iAFF, and their registry.

Source: "Attentional Feature Fusion", WACV 2021, https://arxiv.org/abs/2009.14082; section 4 compares these blocks.

A fusion block is called as `block(x, residual)`: x is the transformed features, residual (y below) the shortcut or
identity features, both (B, C, H, W), as is the result. Fifteen of the eighteen differ in three things only, which
their classes state as attributes:

- **attends_to**: what the attention looks at, x or x + y;
- **passes**: which context branches make its logits; a second pass looks at the result of the first;
- **combine**: how the weight w = σ(logits) is applied to x and y: a `Combination`, or any function of x, y and w.

Which is which: **AFF** is `ASKCFuse`, **iAFF** is `ResGlobLocaforGlobLocaCha`, and MS-CAM is the pair of bottleneck
branches L2 and G2 in both. Some articles on the paper show `AXYforXplusY` as AFF, `AXYforXY` as iAFF and
`ResGlobLocaCha` as MS-CAM: these three are variants of the paper's ablation, here under their own names.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Callable, ClassVar, Dict, List, Mapping, Optional, Tuple, Type

from .attention import MSCAM, NORMS, GlobalContext, LocalContext, Typed, in_convolution_layout, in_equations, spread
from .compat import HybridBlock, nn
from .errors import nearest

#: Every name that `get_fusion` knows, aliases too, with its class.
_REGISTRY: Dict[str, Type[Any]] = {}

BlockClass = Type[HybridBlock]


def register(*aliases: str) -> Callable[[BlockClass], BlockClass]:
    """Make a block known to `get_fusion` under its class name and aliases."""

    def add(block: BlockClass) -> BlockClass:
        for name in (block.__name__, *aliases):
            _REGISTRY[name] = block
        return block

    return add


# --- What the attention looks at ------------------------------------------------------------------------------------


def x_alone(x: Any, y: Any) -> Any:
    """X."""
    return x


def x_plus_y(x: Any, y: Any) -> Any:
    """X + y."""
    return x + y


# --- How the weight is applied --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Combination:
    """How a weight w makes one map of x and y: base + factor·(w − shift)⊗gated.

    Called with x, y and w it computes its equation as it is written.

    Attributes
    ----------
    equation : callable
        From x, y and w to the result.
    base : tuple of two int
        What the weight does not touch: so many x and so many y.
    gated : tuple of two int
        What the weight multiplies, likewise.
    factor, shift : float
        See above.
    """

    equation: Callable[[Any, Any, Any], Any]
    base: Tuple[int, int]
    gated: Tuple[int, int]
    factor: float = 1.0
    shift: float = 0.0

    def __call__(self, x: Any, y: Any, w: Any) -> Any:
        return self.equation(x, y, w)


def _soft_selection(x: Any, y: Any, w: Any) -> Any:
    double = 2 * w
    return x * double + y * (2 - double)


#: 2·x⊗w + 2·y⊗(1−w), which is x + y + 2·(w − ½)⊗(x − y): what one side gains the other loses, and w = ½ is addition.
soft_selection = Combination(_soft_selection, base=(1, 1), gated=(1, -1), factor=2.0, shift=0.5)

#: x⊗w + y⊗(1−w): soft selection without its factor 2.
average = Combination(lambda x, y, w: x * w + y * (1 - w), base=(0, 1), gated=(1, -1))

#: w⊗y + x.
gated_y_plus_x = Combination(lambda x, y, w: w * y + x, base=(1, 0), gated=(0, 1))

#: w⊗x + y.
gated_x_plus_y = Combination(lambda x, y, w: w * x + y, base=(0, 1), gated=(1, 0))

#: w⊗(x + y).
gated_sum = Combination(lambda x, y, w: w * (x + y), base=(0, 0), gated=(1, 1))


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


# --- Applied fast ---------------------------------------------------------------------------------------------------


class _Combining:
    """A combination of two maps in operators whose forward and backward passes are cheap: see `fusion.attention`.

    Only the product is MXNet's own operator. What goes into it and what comes out of it passes through a convolution,
    so that values and gradients around it stay in oneDNN's layout, in which their sums are cheap.
    """

    def __init__(self, layout: Callable[..., Any], x: Any, y: Any, combination: Combination) -> None:
        self._layout = layout
        self._combination = combination
        self._base = self._sum(x, y, combination.base)
        same = combination.gated == combination.base
        self._gated = layout(self._base if same else self._sum(x, y, combination.gated))

    def _sum(self, x: Any, y: Any, counts: Tuple[int, int]) -> Optional[Any]:
        of_x, of_y = counts
        if of_x and of_y:
            return x + (y if of_y == 1 else self._layout(y, factor=of_y))
        return x if of_x else y if of_y else None

    def __call__(self, x: Any, y: Any, w: Any) -> Any:
        about = self._combination
        centred = w - about.shift if about.shift else w
        share = self._layout(centred * self._gated, factor=about.factor)
        return share if self._base is None else self._base + share


# --- The blocks -----------------------------------------------------------------------------------------------------


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
        with self.name_scope():
            for branches in self.passes:
                for name, build in branches.items():
                    setattr(self, name, build(channels, r, norm))

    def hybrid_forward(self, F: Any, x: Any, residual: Any) -> Any:
        combine = self.combine
        if isinstance(combine, Combination) and not in_equations():
            layout = partial(in_convolution_layout, F, channels=self._channels, dtype=self.dtype)
            combine = _Combining(layout, x, residual, combine)
        fused = self.attends_to(x, residual)
        for index in range(len(self.passes)):
            fused = combine(x, residual, self.weight(F, fused, index))
        return fused

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
        local, pooled = None, None
        for name in self.passes[index]:
            branch = getattr(self, name)
            logits = branch(features)
            if isinstance(branch, GlobalContext):
                pooled = logits if pooled is None else pooled + logits
            else:
                local = logits if local is None else local + logits
        if local is None:  # One weight a channel: the sigmoid of a vector is cheaper than that of a map.
            return spread(F, F.Activation(pooled, act_type="sigmoid"), features)
        if pooled is not None:
            local = local + spread(F, pooled, features)
        return F.Activation(local, act_type="sigmoid")


@register("add")
class DirectAdd(HybridBlock):
    """x + y: what a plain ResNet does. Has no parameters; takes and ignores `channels`, `r` and `norm`."""

    def __init__(self, channels: int = 0, r: int = 4, norm: str = "batch", **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def hybrid_forward(self, F: Any, x: Any, residual: Any) -> Any:
        return x + residual


@register("concat")
class Concat(HybridBlock):
    """Concatenation, batch norm and a convolution back to C channels. Takes and ignores `r` and `norm`."""

    def __init__(self, channels: int, r: int = 4, norm: str = "batch", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.fuse = nn.HybridSequential()
            with self.fuse.name_scope():
                self.fuse.add(nn.BatchNorm(in_channels=2 * channels))
                self.fuse.add(nn.Conv2D(channels, kernel_size=1, in_channels=2 * channels))

    def hybrid_forward(self, F: Any, x: Any, residual: Any) -> Any:
        return self.fuse(F.concat(x, residual, dim=1))


@register()
class ResGlobCha(AttentionalFusion):
    """Soft selection by one full-width global branch."""

    passes = ({"attention": G2_full},)
    combine = soft_selection


@register()
class ResLocaCha(AttentionalFusion):
    """Soft selection by one full-width local branch."""

    passes = ({"attention": L2_full},)
    combine = soft_selection


@register()
class ResGlobLocaCha(AttentionalFusion):
    """Soft selection by both contexts, one convolution each."""

    passes = ({"local_att": L1, "global_att": G1},)
    combine = soft_selection


@register()
class ResLocaLocaCha(AttentionalFusion):
    """The ablation's local + local: AFF with a second local branch in place of the global one."""

    passes = ({"local_att": L2, "global_att": L2},)
    combine = soft_selection


@register()
class ResGlobGlobCha(AttentionalFusion):
    """The ablation's global + global: AFF with a second global branch in place of the local one."""

    passes = ({"local_att": G2, "global_att": G2},)
    combine = soft_selection


@register()
class ResGlobforGlobCha(AttentionalFusion):
    """Soft selection by a global branch, twice."""

    passes = ({"global_att": G1}, {"global_att2": G1})
    combine = soft_selection


@register()
class ResLocaforLocaCha(AttentionalFusion):
    """Soft selection by a local branch, twice."""

    passes = ({"local_att": L1}, {"local_att2": L1})
    combine = soft_selection


@register("iaff")
class ResGlobLocaforGlobLocaCha(AttentionalFusion):
    """iAFF, iterative attentional feature fusion: averaging by MS-CAM on x + y, then by MS-CAM on that (equation 5)."""

    passes = ({"local_att": L2, "global_att": G2}, {"local_att2": L2, "global_att2": G2})
    combine = average


@register()
class AYforXplusY(AttentionalFusion):
    """x + w⊗y, the weight from x alone, both contexts."""

    attends_to = staticmethod(x_alone)
    passes = ({"local_att": L1, "global_att": G1},)
    combine = gated_y_plus_x


@register()
class XplusAYforY(AttentionalFusion):
    """y + w⊗x, the weight from x alone, both contexts."""

    attends_to = staticmethod(x_alone)
    passes = ({"local_att": L1, "global_att": G1},)
    combine = gated_x_plus_y


@register()
class AXYforXplusY(AttentionalFusion):
    """x + w⊗y, the weight from x + y, both contexts. Not AFF, though some articles name it so."""

    passes = ({"local_att": L1, "global_att": G1},)
    combine = gated_y_plus_x


@register()
class AXYforXY(AttentionalFusion):
    """w⊗(x + y), both contexts. Not iAFF, though some articles name it so."""

    passes = ({"local_att": L1, "global_att": G1},)
    combine = gated_sum


@register("se")
class SEFuse(AttentionalFusion):
    """y + w⊗x, the weight from the mean of x: squeeze-and-excitation (arXiv 1709.01507) on the residual function."""

    attends_to = staticmethod(x_alone)
    passes = ({"global_att": G2},)
    combine = gated_x_plus_y


@register("gau")
class GAUFuse(AttentionalFusion):
    """x + w⊗y, the weight from the mean of x: the global attention upsample of arXiv 1805.10180."""

    attends_to = staticmethod(x_alone)
    passes = ({"global_att": G1},)
    combine = gated_y_plus_x


@register("aff")
class ASKCFuse(AttentionalFusion):
    """AFF, attentional feature fusion: soft selection by MS-CAM on x + y (equation 4)."""

    passes = ({"local_att": L2, "global_att": G2},)
    combine = soft_selection


def _selective_kernel(channels: int, r: int, norm: str) -> Any:
    """Global context of two logits a channel, one for x and one for y; the reduction is 4 whatever r is."""
    return GlobalContext(channels, 4, norm, out_channels=2 * channels)


@register("sk")
class SKFuse(AttentionalFusion):
    """Soft selection by a softmax over two logits a channel: selective kernels, arXiv 1903.06586."""

    passes = ({"global_att": _selective_kernel},)
    combine = soft_selection

    def weight(self, F: Any, features: Any, index: int) -> Any:
        """Softmax over two logits, which is the sigmoid of their difference. As `AttentionalFusion.weight`."""
        for_x, for_y = F.split(self.global_att(features), num_outputs=2, axis=1)
        return spread(F, F.Activation(for_x - for_y, act_type="sigmoid"), features)


_REGISTRY["mscam"] = MSCAM

AFF = ASKCFuse
iAFF = ResGlobLocaforGlobLocaCha


def find_fusion(name: str) -> Type[HybridBlock]:
    """The class behind a registry name or alias, without regard to case.

    Raises
    ------
    ValueError
        If no block has that name; the closest ones are named.
    """
    by_lower_case = {known.lower(): block for known, block in _REGISTRY.items()}
    block = by_lower_case.get(name.lower()) if isinstance(name, str) else None
    if block is None:
        raise ValueError(f"no fusion block is named {name!r}: {nearest(str(name), _REGISTRY)}")
    return block


def get_fusion(name: str, channels: int, **kwargs: Any) -> HybridBlock:
    """Make a fusion block by name.

    Parameters
    ----------
    name : str
        A class name of this module or an alias (add, concat, aff, iaff, se, gau, sk), in any case; or `mscam`,
        which takes a single input.
    channels : int
        C, of the features.
    **kwargs
        `r` (reduction, default 4), `norm` ('batch', 'group' or 'none'), and Gluon's `prefix` and `params`.

    Returns
    -------
    HybridBlock
        Called as `block(x, residual)` on two (B, C, H, W) arrays; `mscam` as `block(x)`.

    Raises
    ------
    ValueError
        If the name is unknown or a parameter is impossible, naming the value and what was expected.

    Examples
    --------
    >>> block = get_fusion("aff", channels=64, r=4)
    """
    block = find_fusion(name)
    if not isinstance(channels, int) or isinstance(channels, bool) or channels < 1:
        raise ValueError(f"channels={channels!r}: expected a positive integer")
    unknown = sorted(set(kwargs) - {"r", "norm", "prefix", "params"})
    if unknown:
        raise ValueError(f"{block.__name__} has no parameter {unknown[0]!r}: {nearest(unknown[0], ('r', 'norm'))}")
    if kwargs.get("norm", "batch") not in NORMS:
        raise ValueError(f"norm={kwargs['norm']!r}: expected one of {', '.join(NORMS)}")
    return block(channels=channels, **kwargs)


def list_fusions() -> List[str]:
    """The two-input fusion blocks by class name, in the order of the specification's table."""
    return list(dict.fromkeys(block.__name__ for block in _REGISTRY.values() if block is not MSCAM))


def fusion_aliases() -> Dict[str, List[str]]:
    """The short names of each block, by class name."""
    aliases: Dict[str, List[str]] = {name: [] for name in list_fusions()}
    for name, block in _REGISTRY.items():
        if name != block.__name__ and block is not MSCAM:
            aliases[block.__name__].append(name)
    return aliases
