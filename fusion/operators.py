"""The operators that the blocks are made of, chosen for MXNet's CPU kernels, where the obvious ones are slow.

benchmarks/fusion_step.py measures both. Three things count there:

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
from functools import reduce
from operator import add
from typing import Any, Iterator, Optional, Sequence

import numpy as np

from .compat import HybridBlock

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


def total(F: Any, maps: Sequence[Any]) -> Any:
    """The sum of several maps of one shape.

    MXNet's `x + y` must not be used between inputs of a block: in a network that is compiled with `static_alloc=True`
    it gives y a wrong gradient, without a word, where x wants none (a frozen backbone).

    Parameters
    ----------
    F : module
        `mxnet.nd` or `mxnet.sym`.
    maps : sequence of NDArray or Symbol
        At least one.
    """
    if len(maps) == 1:
        return maps[0]
    return reduce(add, maps) if in_equations() else F.add_n(*maps)


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
        C, the size of axis 1.
    groups : int, optional
        How many groups. Unless given, the groups have 16 channels where that divides C, at least 4 otherwise, and all C
        at worst.

    Inputs
        - **x**: (B, C, ...).
    Outputs
        - the same shape.
    """

    def __init__(self, channels: int, epsilon: float = 1e-5, groups: Optional[int] = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if channels < 2:
            kind = "group" if groups is None else "layer"
            raise ValueError(
                f"{kind} norm over {channels} channel normalises a single value, which is always 0: "
                "use more channels, a smaller r, or norm='none'"
            )
        size = math.gcd(channels, _GROUP_SIZE)
        self._groups = groups or (channels // size if size >= _SMALLEST_GROUP else 1)
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
