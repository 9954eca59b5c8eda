"""Fusion blocks: twenty-five ways to make one feature map of two, from addition to iAFF, and their registry.

Source: "Attentional Feature Fusion", WACV 2021, https://arxiv.org/abs/2009.14082; section 4 compares these blocks.

A fusion block is called as `block(x, residual)`: x is the transformed features, residual (y below) the shortcut or
identity features, both (B, C, H, W), as is the result. Twenty-two of the twenty-five differ in three things only, which
their classes state as attributes:

- **attends_to**: what the attention looks at, x or x + y;
- **passes**: which context branches make its logits; a second pass looks at the result of the first;
- **combine**: how the weight w = σ(logits) is applied to x and y: a `fusion.combination.Combination`, which says what
  the weight does to which input, or any function of x, y and w.

Which is which: **AFF** is `ASKCFuse`, **iAFF** is `ResGlobLocaforGlobLocaCha`, and MS-CAM is the pair of bottleneck
branches L2 and G2 in both. Some articles on the paper show `AXYforXplusY` as AFF, `AXYforXY` as iAFF and
`ResGlobLocaCha` as MS-CAM: these three are variants of the paper's ablation, here under their own names.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Tuple, Type

from .attention import MSCAM, NORMS, GlobalContext
from .attentional import AttentionalFusion, CrossedFusion, x_alone
from .branches import G1, G2, L1, L2, Branch, G2_full, L2_full
from .combination import gated_sum, gated_x_plus_y, gated_y_plus_x, soft_selection, swapped_mean, weighted_mean
from .compat import HybridBlock, nn
from .errors import nearest
from .features import FeatureBlock
from .operators import repeat_over_pixels, total
from .several import JOINT, PAIRWISE, PairwiseFusion, SoftmaxFusion

__all__ = [
    *("AFF", "ASKCFuse", "AttentionalFusion", "find_fusion", "fusion_aliases", "get_fusion", "iAFF", "list_fusions"),
    "register",
]

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


# --- The blocks -----------------------------------------------------------------------------------------------------


@register("add")
class DirectAdd(FeatureBlock):
    """x + y: what a plain ResNet does. Has no parameters of its own; takes and ignores `r` and `norm`."""

    def __init__(self, channels: int = 0, r: int = 4, norm: str = "batch", **kwargs: Any) -> None:
        super().__init__(channels, **kwargs)

    def combine_maps(self, F: Any, *maps: Any) -> Any:
        return total(F, maps)


@register("concat")
class Concat(FeatureBlock):
    """Concatenation, batch norm and a convolution back to C channels. Takes and ignores `r` and `norm`."""

    def __init__(self, channels: int, r: int = 4, norm: str = "batch", inputs: int = 2, **kwargs: Any) -> None:
        super().__init__(channels, inputs=inputs, **kwargs)
        with self.name_scope():
            self.fuse = nn.HybridSequential()
            with self.fuse.name_scope():
                self.fuse.add(nn.BatchNorm(in_channels=inputs * channels))
                self.fuse.add(nn.Conv2D(channels, kernel_size=1, in_channels=inputs * channels))

    def combine_maps(self, F: Any, *maps: Any) -> Any:
        return self.fuse(F.concat(*maps, dim=1))


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
    combine = weighted_mean


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


@register("concat_aff")
class ConcatAFF(ASKCFuse):
    """AFF whose attention looks at x and y one after the other, not at their sum: concat-AFF of table 6."""

    integrate = "concat"


@register()
class GlobLocaAverage(AttentionalFusion):
    """The mean as first released for the branches of an Inception module: y⊗w + x⊗(1−w), both contexts."""

    passes = ({"local_att": L1, "global_att": G1},)
    combine = swapped_mean


@register()
class GlobLocaforGlobLocaAverage(AttentionalFusion):
    """The same mean twice, the second weight from the result of the first."""

    passes = ({"local_att": L1, "global_att": G1}, {"local_att2": L1, "global_att2": G1})
    combine = swapped_mean


@register()
class TopDownLocal(AttentionalFusion):
    """x + w⊗y, the weight of each pixel from x alone: an ablation of the asymmetric fusion of arXiv 2009.14530."""

    attends_to = staticmethod(x_alone)
    passes = ({"global_att": L1},)  # the original's name for this branch, though it is local
    combine = gated_y_plus_x


@register()
class AsymBi(CrossedFusion):
    """2·y⊗w(x) + 2·x⊗v(y), asymmetric: w from the mean of x, v from each pixel of y (ACM, arXiv 2009.14530)."""

    topdown_context = G2
    bottomup_context = L2


@register()
class BiLocal(CrossedFusion):
    """AsymBi with both weights from each pixel."""

    topdown_context = L2
    bottomup_context = L2


@register()
class BiGlobal(CrossedFusion):
    """AsymBi with both weights from the mean."""

    topdown_context = G2
    bottomup_context = G2


@register("sk")
class SKFuse(AttentionalFusion):
    """Soft selection by a softmax over two logits per channel: selective kernels, arXiv 1903.06586. Ignores `r`."""

    passes = ({"global_att": Branch(GlobalContext, reduction=4, logits=2)},)
    combine = soft_selection

    def weight(self, F: Any, features: Any, index: int, like: Optional[Any] = None) -> Any:
        """Softmax over two logits, which is the sigmoid of their difference. As `AttentionalFusion.weight`."""
        for_x, for_y = F.split(self.global_att(features), num_outputs=2, axis=1)
        return repeat_over_pixels(
            F, F.Activation(for_x - for_y, act_type="sigmoid"), features if like is None else like
        )


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
        raise ValueError(f"no fusion block is named {name!r}: {nearest(name, _REGISTRY)}")
    return block


def get_fusion(name: str, channels: int, **kwargs: Any) -> HybridBlock:
    """Make a fusion block by name.

    Parameters
    ----------
    name : str
        A class name of this module or an alias (add, concat, aff, iaff, se, gau, sk), in any case; or `mscam`,
        which takes a single input.
    channels : int
        C, of the output, and of the inputs unless `in_channels` says otherwise.
    **kwargs
        - `r` (4), the reduction; `norm` ('batch', 'group', 'layer' or 'none'), of the global context.
        - `ndim` (2): 1 for features (B, C, T), 3 for (B, C, D, H, W), 0 for vectors (B, C). The weights are the same.
        - `in_channels`, one number per input: an input with another number than C is projected (convolution 1×1, batch
          norm, ReLU). `resize` ('bilinear', 'nearest' or None): inputs of another size are brought to the first's.
        - `inputs` (2), and `iterate`: None is the paper's block for two inputs and a softmax over more; "joint" is the
          softmax for two as well; "pairwise" fuses the first two, then the result with the next (`fusion.several`).
        - `contexts`, such as ("local",), and `integrate` ("sum" or "concat"), of attentional blocks: see
          `fusion.attentional.AttentionalFusion`.
        - Gluon's `prefix` and `params`.

    Returns
    -------
    HybridBlock
        Called as `block(x, residual)` on two (B, C, H, W) arrays; `mscam` as `block(x)`, a block of three inputs as
        `block(x, y, z)`.

    Raises
    ------
    ValueError
        If the name is unknown or a parameter is impossible, naming the value and what was expected; from the block, at
        its first call, if its inputs have other shapes than it was made for.

    Examples
    --------
    >>> import fusion, mxnet as mx
    >>> fusion.list_fusions()[:4]
    ['DirectAdd', 'Concat', 'ResGlobCha', 'ResLocaCha']
    >>> block = fusion.get_fusion("aff", channels=64, r=4)
    >>> block.initialize()
    >>> block(mx.nd.ones((2, 64, 8, 8)), mx.nd.zeros((2, 64, 8, 8))).shape
    (2, 64, 8, 8)
    >>> speech = fusion.get_fusion("iaff", channels=64, ndim=1, norm="layer")
    >>> levels = fusion.get_fusion("aff", channels=64, inputs=3, in_channels=(64, 128, 256), resize="bilinear")
    """
    block = find_fusion(name)
    if not isinstance(channels, int) or isinstance(channels, bool) or channels < 1:
        raise ValueError(f"channels={channels!r}: expected a positive integer")
    known = _options(block)
    unknown = sorted(set(kwargs) - {*known, "prefix", "params"})
    if unknown:
        raise ValueError(f"{block.__name__} has no parameter {unknown[0]!r}: {nearest(unknown[0], known)}")
    if kwargs.get("norm", "batch") not in NORMS:
        raise ValueError(f"norm={kwargs['norm']!r}: expected one of {', '.join(NORMS)}")
    if block is MSCAM:
        return block(channels=channels, **kwargs)
    return _of_inputs(block, channels, kwargs.pop("inputs", 2), kwargs.pop("iterate", None), kwargs)


#: What every block of two inputs takes.
_OPTIONS = ("r", "norm", "ndim", "in_channels", "resize", "inputs", "iterate")


def _options(block: BlockClass) -> Tuple[str, ...]:
    """The keyword arguments of a block."""
    if block is MSCAM:
        return ("r", "norm", "ndim")
    return (*_OPTIONS, "contexts", "integrate") if issubclass(block, AttentionalFusion) else _OPTIONS


def _of_inputs(block: BlockClass, channels: int, inputs: int, iterate: Any, options: Dict[str, Any]) -> HybridBlock:
    """A block of so many inputs."""
    if not isinstance(inputs, int) or isinstance(inputs, bool) or inputs < 2:
        raise ValueError(f"inputs={inputs!r}: expected an integer of at least 2")
    if iterate not in (None, JOINT, PAIRWISE):
        raise ValueError(f"iterate={iterate!r}: expected one of {JOINT}, {PAIRWISE}, or None")
    if inputs > 2 and iterate == PAIRWISE:
        return PairwiseFusion(block, channels, inputs=inputs, **options)
    if block in (DirectAdd, Concat):
        return block(channels=channels, inputs=inputs, **options)
    if iterate == JOINT or inputs > 2:
        return SoftmaxFusion(block, channels, inputs=inputs, **options)
    return block(channels=channels, **options)


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
