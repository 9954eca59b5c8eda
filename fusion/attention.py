"""Channel attention at two scales: the local and global context branches, and MS-CAM, which is both.

Source: Y. Dai, F. Gieseke, S. Oehmcke, Y. Wu, K. Barnard, "Attentional Feature Fusion", WACV 2021, section 3.1,
https://arxiv.org/abs/2009.14082.

A branch turns features (B, C, H, W) into *logits*, the attention before its sigmoid: one per pixel and channel from a
`LocalContext`, one per channel from a `GlobalContext`. Both are Gluon containers, so their parameters keep the
numbered names of the published checkpoints (`local_att.0.weight`). `fusion.operators` has what they are computed by.
"""

from __future__ import annotations

from typing import Any, Optional

from .compat import nn
from .features import FeatureBlock
from .norms import NORMS
from .operators import GlobalAveragePool, GroupNorm, repeat_over_pixels


def _normalisation(norm: str, channels: int) -> Any:
    if norm == "batch":
        return nn.BatchNorm(in_channels=channels)
    if norm == "group":
        return GroupNorm(channels)
    if norm == "layer":
        return GroupNorm(channels, groups=1)
    if norm == "none":
        return nn.HybridLambda("identity")
    raise ValueError(f"norm={norm!r}: expected one of {', '.join(NORMS)}")


def bottleneck_width(channels: int, r: int) -> int:
    """C' = C / r, the width between the two convolutions of a branch.

    Raises
    ------
    ValueError
        If either is not a positive integer, r leaves no channel, or does not divide the channels.
    """
    for name, value in (("channels", channels), ("r", r)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name}={value!r}: expected a positive integer")
    if r > channels:
        raise ValueError(f"r={r} leaves no channel of {channels}: choose r of at most {channels}")
    if channels % r:
        divisors = [d for d in range(1, channels + 1) if channels % d == 0]
        raise ValueError(
            f"channels={channels} is not divisible by r={r}: choose r among {', '.join(map(str, divisors))}"
        )
    return channels // r


class _ContextBranch(nn.HybridSequential):
    """The convolutions that both branches share, added as numbered children."""

    def _add_convolutions(self, channels: int, r: Optional[int], norm: str, features: int, logits: int) -> None:
        width = features if r is None else bottleneck_width(channels, r)
        if r is not None:
            self.add(
                nn.Conv2D(width, kernel_size=1, in_channels=features),
                _normalisation(norm, width),
                nn.Activation("relu"),
            )
        self.add(nn.Conv2D(logits, kernel_size=1, in_channels=width), _normalisation(norm, logits))


class LocalContext(_ContextBranch):
    """Context of each pixel: a point-wise convolution with batch norm, or two with a bottleneck between them.

    Parameters
    ----------
    channels : int
        C, of the features and of the logits.
    r : int, optional
        The reduction. None gives one convolution (SPEC branch L1: children 0, 1); a number gives the bottleneck of
        C / r channels (L2: children 0, 1, 3, 4).
    in_channels, out_channels : int, optional
        Of the features and of the logits, where they are not C.

    Inputs
        - **x**: features (B, in_channels, H, W).
    Outputs
        - logits (B, out_channels, H, W).
    """

    def __init__(
        self,
        channels: int,
        r: Optional[int] = None,
        in_channels: Optional[int] = None,
        out_channels: Optional[int] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self._add_convolutions(channels, r, "batch", in_channels or channels, out_channels or channels)


class GlobalContext(_ContextBranch):
    """Context of each channel: the same convolutions on the mean over all pixels, as in squeeze-and-excitation.

    Parameters
    ----------
    channels : int
        C, of the features.
    r : int, optional
        As for `LocalContext` (G1: children 1, 2; G2: children 1, 2, 4, 5).
    norm : {'batch', 'group', 'layer', 'none'}
        What normalises the pooled vectors. Batch norm is the paper's, and needs at least two images per device: over
        one image it normalises a single value, and its output is the constant beta. The others do not mix images:
        group norm over groups of channels, layer norm over all channels of an image.
    out_channels, in_channels : int, optional
        Of the logits and of the features, where they are not C.

    Inputs
        - **x**: features (B, in_channels, H, W).
    Outputs
        - logits (B, out_channels, 1, 1).
    """

    def __init__(
        self,
        channels: int,
        r: Optional[int] = None,
        norm: str = "batch",
        out_channels: Optional[int] = None,
        in_channels: Optional[int] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.norm = norm
        with self.name_scope():
            self.add(GlobalAveragePool())
            self._add_convolutions(channels, r, norm, in_channels or channels, out_channels or channels)


class MSCAM(FeatureBlock):
    """Multi-scale channel attention: features weighted by their own local and global context (equation 2).

    Parameters
    ----------
    channels : int
        C, of the features.
    r : int, default 4
        Reduction of both branches.
    norm : {'batch', 'group', 'layer', 'none'}
        Of the global branch: see `GlobalContext`.
    ndim : {2, 0, 1, 3}
        Dimensions of the features after batch and channels: see `fusion.features`.

    Inputs
        - **x**: features (B, C, H, W).
    Outputs
        - x ⊗ σ(L2(x) + G2(x)), (B, C, H, W).

    Examples
    --------
    >>> import fusion, mxnet as mx
    >>> attention = fusion.MSCAM(channels=64)
    >>> attention.initialize()
    >>> attention(mx.nd.ones((2, 64, 8, 8))).shape
    (2, 64, 8, 8)
    """

    def __init__(self, channels: int, r: int = 4, norm: str = "batch", ndim: int = 2, **kwargs: Any) -> None:
        super().__init__(channels, inputs=1, ndim=ndim, **kwargs)
        with self.name_scope():
            self.local_att = LocalContext(channels, r)
            self.global_att = GlobalContext(channels, r, norm)

    def combine_maps(self, F: Any, *maps: Any) -> Any:
        (x,) = maps
        logits = self.local_att(x) + repeat_over_pixels(F, self.global_att(x), x)
        return x * F.Activation(logits, act_type="sigmoid")


def normalises_over_images(block: Any) -> bool:
    """Whether a network has a global branch whose batch norm needs two images or more per device.

    Parameters
    ----------
    block : Block
        A fusion block, a network, or anything that holds them.
    """
    if isinstance(block, GlobalContext):
        return block.norm == "batch"
    return any(normalises_over_images(child) for child in block._children.values())
