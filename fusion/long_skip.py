"""Fusion of a long skip connection: coarse features of high level with finer ones of low level, in one block.

Source: "Attentional Feature Fusion", WACV 2021, https://arxiv.org/abs/2009.14082, section 4 (long skip connections),
and the same authors' released code of "Asymmetric Contextual Modulation", https://arxiv.org/abs/2009.14530, whose
pyramid is the host of that experiment. The names of the parameters are those of its published checkpoint.

Which input is which: the join is called as `join(high, low)`. Within it **x is the high level and y the low level**, so
that `AYforXplusY` here is "high + w⊗low, the weight from high".
"""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple, Type

from .attention import MSCAM
from .compat import HybridBlock, nn
from .features import projection
from .fuse import Concat, find_fusion, get_fusion

__all__ = ["Inlined", "LongSkip", "get_long_skip", "post_layers", "two_input_fusion"]

#: Options of a fusion block that a long skip settles itself.
_ITS_OWN = ("in_channels", "inputs", "ndim", "resize")


class Inlined(HybridBlock):
    """A block that leaves some of its children out of the names of the parameters, as released files have them.

    Attributes
    ----------
    inlined : tuple of str
        Children whose parameters are named as if they were this block's own. A name without such a child is ignored.
    """

    inlined: Tuple[str, ...] = ()

    def _collect_params_with_prefix(self, prefix: str = "") -> Dict[str, Any]:
        start = f"{prefix}." if prefix else ""
        named = super()._collect_params_with_prefix(prefix)
        for child in self.inlined:
            long = f"{start}{child}."
            named = {start + name[len(long) :] if name.startswith(long) else name: p for name, p in named.items()}
        return named


class _Concatenation(HybridBlock):
    """Two inputs of C channels as one of 2C. It has no parameters."""

    def hybrid_forward(self, F: Any, x: Any, residual: Any) -> Any:
        return F.concat(x, residual, dim=1)


class LongSkip(Inlined):
    """A fusion block between two convolutions: post(fusion(feature_high(high), low)).

    `feature_high` is a 1×1 convolution to C channels and `post` a 3×3 convolution, each with bias, batch norm and ReLU.
    The parameters of the fusion block are named as if they were this block's own (`global_att.1.weight`). For `concat`
    the fusion is the concatenation alone, since `post` brings 2C channels back to C.

    Parameters and errors as `get_long_skip`.

    Inputs
        - **high**: features of high level (B, high_channels, H, W), which the fusion takes as x.
        - **low**: features of low level (B, C, H, W), which it takes as y, its `residual`.
    Outputs
        - fused features (B, C, H, W).
    """

    inlined = ("fusion",)

    def __init__(
        self,
        fusion: str,
        channels: int,
        high_channels: Optional[int] = None,
        reduce: bool = True,
        r: int = 4,
        norm: str = "batch",
        prefix: Optional[str] = None,
        params: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(prefix=prefix, params=params)
        refused = sorted({*_ITS_OWN} & {*options})
        if refused:
            raise ValueError(
                f"{refused[0]}={options[refused[0]]!r}: a long skip joins two maps of one size, after feature_high"
            )
        concatenates = two_input_fusion(fusion) is Concat
        high_channels = channels if high_channels is None else high_channels
        if not isinstance(high_channels, int) or isinstance(high_channels, bool) or high_channels < 1:
            raise ValueError(f"high_channels={high_channels!r}: expected a positive integer")
        if not reduce and high_channels != channels:
            raise ValueError(
                f"high_channels={high_channels} and channels={channels}: with reduce=False the high level must have as "
                "many channels as the low one; use reduce=True, which brings it to them by a convolution"
            )
        with self.name_scope():
            block = get_fusion(fusion, channels, r=r, norm=norm, **options)
            self.fusion = _Concatenation() if concatenates else block
            self.feature_high = projection(high_channels, channels) if reduce else None
            self.post = post_layers(2 * channels if concatenates else channels, channels)

    def hybrid_forward(self, F: Any, high: Any, low: Any) -> Any:
        x = high if self.feature_high is None else self.feature_high(high)
        return self.post(self.fusion(x, low))


def post_layers(in_channels: int, channels: int) -> Any:
    """What follows a fusion of levels: a 3×3 convolution with bias that keeps the size, batch norm and ReLU.

    Parameters
    ----------
    in_channels, channels : int
        Before and after.
    """
    layers = nn.HybridSequential()
    with layers.name_scope():
        layers.add(
            nn.Conv2D(channels, kernel_size=3, padding=1, in_channels=in_channels),
            nn.BatchNorm(in_channels=channels),
            nn.Activation("relu"),
        )
    return layers


def two_input_fusion(fusion: str) -> Type[Any]:
    """The class of a fusion block that takes two inputs, by its name.

    Raises
    ------
    ValueError
        If there is none of that name, or it takes a single input.
    """
    found: Type[Any] = find_fusion(fusion)
    if found is MSCAM:
        raise ValueError("fusion='mscam': MS-CAM takes a single input; the fusion built of it is 'aff'")
    return found


def get_long_skip(
    fusion: str, channels: int, high_channels: Optional[int] = None, reduce: bool = True, **kwargs: Any
) -> LongSkip:
    """Make the join of a long skip connection by the name of its fusion block.

    Parameters
    ----------
    fusion : str
        A name that `fusion.get_fusion` knows.
    channels : int
        C, of the low level and of the output.
    high_channels : int, optional
        Of the high level; C unless told.
    reduce : bool, default True
        Begin with the convolution `feature_high` from the high level's channels to C. Without it the high level must
        have C channels.
    **kwargs
        What `fusion.get_fusion` takes for maps of one size: `r` (4), `norm`, `contexts`, `integrate`, `iterate`; and
        Gluon's `prefix` and `params`.

    Returns
    -------
    LongSkip
        Called as `join(high, low)` on (B, high_channels, H, W) and (B, C, H, W); the result is (B, C, H, W). Bring the
        high level to the size of the low one first, as the networks `fpn` and `unet` do.

    Raises
    ------
    ValueError
        If the name is unknown or a parameter is impossible, naming the value and what was expected.

    Examples
    --------
    >>> import fusion, mxnet as mx
    >>> join = fusion.get_long_skip("aff", channels=32, high_channels=64)
    >>> join.initialize()
    >>> join(mx.nd.ones((1, 64, 12, 12)), mx.nd.ones((1, 32, 12, 12))).shape
    (1, 32, 12, 12)
    """
    return LongSkip(fusion, channels, high_channels, reduce, **kwargs)
