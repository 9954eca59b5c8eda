"""Channel attention at two scales: the local and global context branches, and MS-CAM, which is both.

Source: Y. Dai, F. Gieseke, S. Oehmcke, Y. Wu, K. Barnard, "Attentional Feature Fusion", WACV 2021, section 3.1,
https://arxiv.org/abs/2009.14082.

A branch turns features (B, C, H, W) into *logits*, the attention before its sigmoid: one per pixel and channel from a
`LocalContext`, one per channel from a `GlobalContext`. Both are Gluon containers, so their parameters keep the
numbered names of the published checkpoints (`local_att.0.weight`).

The operators are chosen for MXNet's CPU kernels, where the obvious ones are slow (benchmarks/fusion_step.py measures
both). Three things count there:

- MXNet's own reductions are not vectorised, and neither are the gradients of broadcasting: means are taken by a fully
  connected layer whose weights are ones, and vectors are repeated by a matrix product with a row of ones;
- oneDNN's convolutions write maps in a layout of their own, in blocks of 16 channels, which MXNet's own operators
  cannot read, so that each of them copies its inputs first; what they write is in MXNet's layout, on which oneDNN's
  batch norm takes five times as long. `in_convolution_layout` brings a map back;
- what reads only the shape of a map must not touch the map: `_ones_row`.

Where a graph is exported or optimised for inference, none of that is wanted. Within `as_equations` the blocks use the
operators of their equations.
"""

from __future__ import annotations

import math
import threading
from contextlib import contextmanager
from typing import Any, Iterator, Optional

import numpy as np

from .compat import HybridBlock, nn

#: How a global branch may normalise its vectors: see `GlobalContext`.
NORMS = ("batch", "group", "none")

#: Channels that share their statistics in a group norm, the fixed size of Wu & He, arXiv 1803.08494, table 3.
_GROUP_SIZE = 16
_SMALLEST_GROUP = 4


_formulation = threading.local()


@contextmanager
def as_equations() -> Iterator[None]:
    """Let blocks that are called within this context use the operators of their equations: for graphs to be exported.

    Both formulations compute the same function to rounding. The other one is faster where there are gradients.
    """
    before = in_equations()
    _formulation.equations = True
    try:
        yield
    finally:
        _formulation.equations = before


def in_equations() -> bool:
    """Whether this thread is within `as_equations`."""
    return getattr(_formulation, "equations", False)


def _first_image(F: Any, features: Any) -> Any:
    """(1, C, H, W), which costs no copy of the whole map."""
    return F.slice(features, begin=(0,), end=(1,))  # MXNet crashes if it is to slice channels of oneDNN's layout


def _ones_row(F: Any, image: Any) -> Any:
    """(1, H·W) ones for a map of one image. What uses them as they are spares itself their gradient."""
    return F.ones_like(F.Flatten(F.slice_axis(image, axis=1, begin=0, end=1)))


def repeat_over_pixels(F: Any, vector: Any, like: Any) -> Any:
    """Repeat a vector per image over every pixel.

    Parameters
    ----------
    F : module
        `mxnet.nd` or `mxnet.sym`.
    vector : NDArray or Symbol
        (B, C, 1, 1).
    like : NDArray or Symbol
        (B, C, H, W); only its shape is used.

    Returns
    -------
    NDArray or Symbol
        (B, C, H, W), with a fast gradient.
    """
    if in_equations():
        # Merge before slicing: see `_first_image`.
        pixels = F.reshape(F.BlockGrad(like), shape=(-3, -3))
        ones = F.ones_like(F.slice_axis(pixels, axis=0, begin=0, end=1))
        return F.reshape_like(F.dot(F.reshape(vector, shape=(-3, -3)), ones), like)
    image = _first_image(F, like)
    repeated = F.dot(F.reshape(vector, shape=(0, 0, -1)), _ones_row(F, image))
    return F.reshape_like(repeated, image, lhs_begin=2, lhs_end=3, rhs_begin=2, rhs_end=4)


def in_convolution_layout(F: Any, x: Any, channels: int, factor: float = 1.0, dtype: Any = "float32") -> Any:
    """A map times a number, in the layout of memory that oneDNN's convolutions and batch norms are fast on.

    It is a depth-wise convolution by 1×1 kernels that all hold the number, whose forward and backward passes cost one
    copy of the map each. In the layout of MXNet's own operators the batch norm that follows would cost five copies.

    Parameters
    ----------
    F : module
        `mxnet.nd` or `mxnet.sym`.
    x : NDArray or Symbol
        (B, C, H, W).
    channels : int
        C.
    factor : float
        The number.
    dtype : str or numpy.dtype
        Of x.

    Returns
    -------
    NDArray or Symbol
        (B, C, H, W).
    """
    if in_equations():
        return x if factor == 1 else x * factor
    kernels = F.full(shape=(channels, 1, 1, 1), val=factor, dtype=dtype)
    return F.Convolution(x, kernels, kernel=(1, 1), num_filter=channels, num_group=channels, no_bias=True)


class Typed(HybridBlock):
    """A block that knows the type of its features, which a symbol does not say: float32 until it is cast."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dtype: Any = "float32"

    def cast(self, dtype: Any) -> None:
        """Change the type of the parameters, and of the features that the block takes from then on."""
        self.dtype = dtype
        super().cast(dtype)


def _has_products(*dtypes: Any) -> bool:
    """Whether MXNet multiplies matrices of all these types in a fully connected layer: on CPUs not in float16."""
    return all(np.dtype(dtype) != np.float16 for dtype in dtypes)


def _sums(F: Any, rows: Any, ones: Any) -> Any:
    """(..., 1) sums of the rows of (..., M), by (1, M) ones."""
    return F.FullyConnected(rows, ones, num_hidden=1, no_bias=True, flatten=False)


class GlobalAveragePool(Typed):
    """The mean over all pixels: (B, C, H, W) to (B, C, 1, 1)."""

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        if in_equations() or not _has_products(self.dtype, getattr(x, "dtype", self.dtype)):  # only an array has one
            return F.contrib.AdaptiveAvgPooling2D(x, output_size=1)
        ones = _ones_row(F, _first_image(F, x))
        total = _sums(F, F.reshape(x, shape=(0, 0, -1)), ones)
        pixels = F.expand_dims(F.sum(ones, axis=1, keepdims=True), axis=0)
        return F.expand_dims(F.broadcast_div(total, pixels), axis=3)


class GroupNorm(HybridBlock):
    """Group normalisation with a scale and shift a channel, as in Wu & He, arXiv 1803.08494.

    Gluon's own `GroupNorm` learns one scale and shift a *group* in MXNet 1.9.1.

    Parameters
    ----------
    channels : int
        C, the size of axis 1. The groups have 16 channels where that divides, at least 4 otherwise, all C at worst.

    Inputs
        - **x**: (B, C, ...).
    Outputs
        - the same shape.
    """

    def __init__(self, channels: int, epsilon: float = 1e-5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if channels < 2:
            raise ValueError(
                f"group norm over {channels} channel normalises a single value, which is always 0: "
                "use more channels, a smaller r, or norm='none'"
            )
        size = math.gcd(channels, _GROUP_SIZE)
        self._groups = channels // size if size >= _SMALLEST_GROUP else 1
        self._epsilon = epsilon
        with self.name_scope():
            self.gamma = self.params.get("gamma", shape=(channels,), init="ones")
            self.beta = self.params.get("beta", shape=(channels,), init="zeros")

    def hybrid_forward(self, F: Any, x: Any, gamma: Any, beta: Any) -> Any:
        equations = in_equations() or not _has_products(self.gamma.dtype)
        formulation = self._in_equations if equations else self._in_products
        return formulation(F, x, gamma, beta)

    def _in_equations(self, F: Any, x: Any, gamma: Any, beta: Any) -> Any:
        groups = F.reshape(x, shape=(0, -4, self._groups, -1, -2))
        flat = F.reshape(groups, shape=(0, 0, -1))
        centred = F.broadcast_sub(flat, F.mean(flat, axis=2, keepdims=True))
        variance = F.mean(F.square(centred), axis=2, keepdims=True)
        normal = F.reshape_like(F.broadcast_mul(centred, F.rsqrt(variance + self._epsilon)), x)
        normal = F.reshape(normal, shape=(0, 0, -1))
        gamma, beta = (F.reshape(p, shape=(1, -1, 1)) for p in (gamma, beta))
        return F.reshape_like(F.broadcast_add(F.broadcast_mul(normal, gamma), beta), x)

    def _in_products(self, F: Any, x: Any, gamma: Any, beta: Any) -> Any:
        """The same with matrix products for sums and repetitions, and with one scale and shift per image and channel.

        The mean that is subtracted has no gradient: the variance has none by it, and that of the output goes through
        the shift, to which the mean's difference from itself is added.
        """
        maps = F.reshape(F.reshape(x, shape=(0, 0, -1)), shape=(0, -4, self._groups, -1, 0))  # (B, G, C / G, pixels)
        rows = F.reshape(maps, shape=(-3, -3))
        ones = F.ones_like(F.slice(rows, begin=(0,), end=(1,)))
        size = F.BlockGrad(_sums(F, ones, ones))
        mean = F.broadcast_div(_sums(F, rows, ones), size)
        constant = F.BlockGrad(mean)
        centred = rows - F.broadcast_like(constant, rows)
        variance = F.broadcast_div(_sums(F, F.square(centred), ones), size)
        inverse = F.rsqrt(variance + self._epsilon)
        inverse, zero = (F.reshape(p, shape=(-1, self._groups, 1)) for p in (inverse, mean - constant))
        gamma, beta = (F.reshape(p, shape=(1, self._groups, -1)) for p in (gamma, beta))
        scale = F.broadcast_mul(inverse, gamma)
        shift = F.broadcast_sub(beta, F.broadcast_mul(zero, scale))
        pixels = F.ones_like(F.reshape(F.slice(maps, begin=(0, 0, 0), end=(1, 1, 1)), shape=(1, -1)))
        scale, shift = (F.dot(F.reshape(p, shape=(-1, 1)), pixels) for p in (scale, shift))  # (B·C, pixels)
        return F.reshape_like(F.reshape_like(centred, scale) * scale + shift, x)


def _normalisation(norm: str, channels: int) -> Any:
    if norm == "batch":
        return nn.BatchNorm(in_channels=channels)
    if norm == "group":
        return GroupNorm(channels)
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

    def _add_convolutions(self, channels: int, r: Optional[int], norm: str, out: int) -> None:
        width = bottleneck_width(channels, 1 if r is None else r)
        if r is not None:
            self.add(
                nn.Conv2D(width, kernel_size=1, in_channels=channels),
                _normalisation(norm, width),
                nn.Activation("relu"),
            )
        self.add(nn.Conv2D(out, kernel_size=1, in_channels=width), _normalisation(norm, out))


class LocalContext(_ContextBranch):
    """Context a pixel: a point-wise convolution with batch norm, or two with a bottleneck between them.

    Parameters
    ----------
    channels : int
        C, of the features and of the logits.
    r : int, optional
        The reduction. None gives one convolution (SPEC branch L1: children 0, 1); a number gives the bottleneck of
        C / r channels (L2: children 0, 1, 3, 4).

    Inputs
        - **x**: features (B, C, H, W).
    Outputs
        - logits (B, C, H, W).
    """

    def __init__(self, channels: int, r: Optional[int] = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self._add_convolutions(channels, r, "batch", channels)


class GlobalContext(_ContextBranch):
    """Context a channel: the same convolutions on the mean over all pixels, as in squeeze-and-excitation.

    Parameters
    ----------
    channels : int
        C, of the features.
    r : int, optional
        As for `LocalContext` (G1: children 1, 2; G2: children 1, 2, 4, 5).
    norm : {'batch', 'group', 'none'}
        What normalises the pooled vectors. Batch norm is the paper's, and needs at least two images a device: over
        one it normalises a single value, and its output is the constant beta. Group norm and none do not mix images.
    out_channels : int, optional
        Of the logits; C unless told.

    Inputs
        - **x**: features (B, C, H, W).
    Outputs
        - logits (B, out_channels, 1, 1).
    """

    def __init__(
        self,
        channels: int,
        r: Optional[int] = None,
        norm: str = "batch",
        out_channels: Optional[int] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.norm = norm
        with self.name_scope():
            self.add(GlobalAveragePool())
            self._add_convolutions(channels, r, norm, out_channels or channels)


class MSCAM(HybridBlock):
    """Multi-scale channel attention: features weighted by their own local and global context (equation 2).

    Parameters
    ----------
    channels : int
        C, of the features.
    r : int, default 4
        Reduction of both branches.
    norm : {'batch', 'group', 'none'}
        Of the global branch: see `GlobalContext`.

    Inputs
        - **x**: features (B, C, H, W).
    Outputs
        - x ⊗ σ(L2(x) + G2(x)), (B, C, H, W).
    """

    def __init__(self, channels: int, r: int = 4, norm: str = "batch", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with self.name_scope():
            self.local_att = LocalContext(channels, r)
            self.global_att = GlobalContext(channels, r, norm)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        logits = self.local_att(x) + repeat_over_pixels(F, self.global_att(x), x)
        return x * F.Activation(logits, act_type="sigmoid")


def normalises_over_images(block: Any) -> bool:
    """Whether a network has a global branch whose batch norm needs two images a device or more.

    Parameters
    ----------
    block : Block
        A fusion block, a network, or anything that holds them.
    """
    if isinstance(block, GlobalContext):
        return block.norm == "batch"
    return any(normalises_over_images(child) for child in block._children.values())
