"""Features as users have them: of any number of dimensions, and of channels and sizes that may differ between inputs.

The blocks compute on maps (B, C, H, W). Everything in them is per pixel or a mean over all pixels, so that features of
other dimensions are laid out as maps before and brought back after, with the same weights: (B, C) as one pixel,
(B, C, T) as one column, (B, C, D, H, W) as D rows of H·W pixels.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import Any, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from .compat import mx, nn
from .operators import Typed

_resizing = threading.local()

#: Shape of features by the number of their dimensions after batch and channels.
LAYOUTS = {0: "(B, C)", 1: "(B, C, T)", 2: "(B, C, H, W)", 3: "(B, C, D, H, W)"}

#: How the size of an input may be changed.
RESIZES = ("bilinear", "nearest")

#: `F.reshape` codes that lay features out as maps, by number of dimensions.
_AS_MAPS = {0: (0, 0, 1, 1), 1: (0, 0, 0, 1), 3: (0, 0, 0, -3)}


def projection(in_channels: int, channels: int) -> Any:
    """A 1×1 convolution with bias to another number of channels, batch norm and ReLU, as `feature_high` of a long skip.

    Parameters
    ----------
    in_channels, channels : int
        Before and after.
    """
    layers = nn.HybridSequential()
    with layers.name_scope():
        layers.add(
            nn.Conv2D(channels, kernel_size=1, in_channels=in_channels),
            nn.BatchNorm(in_channels=channels),
            nn.Activation("relu"),
        )
    return layers


class FeatureBlock(Typed):
    """A block of one or more inputs, which checks them, and brings them to one shape where it was told to.

    A block of its own states `combine_maps`, which is given maps (B, C, H, W) of one shape.

    Parameters
    ----------
    channels : int
        C, of the output, and of every input unless `in_channels` says otherwise. 0 is any number.
    inputs : int
        How many.
    ndim : {0, 1, 2, 3}
        Dimensions of the features after batch and channels: see `LAYOUTS`.
    in_channels : sequence of int, optional
        Channels of each input. One that has not C channels is projected: see `projection`; the layers are the children
        `feature1`, `feature2`, ... by the number of the input.
    resize : {'bilinear', 'nearest'}, optional
        How inputs of another size are brought to the size of the first one. 'bilinear' aligns the corners; 'nearest'
        takes pixel ⌊i · from / to⌋ for pixel i. None expects equal sizes.

    Raises
    ------
    ValueError
        When it is made, if a parameter is impossible; when it is called, if features have other shapes than these. In a
        network that is compiled as a whole shapes are known to MXNet alone, whose error names the block's operator.
    """

    def __init__(
        self,
        channels: int,
        inputs: int = 2,
        ndim: int = 2,
        in_channels: Optional[Sequence[int]] = None,
        resize: Optional[str] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if ndim not in LAYOUTS or isinstance(ndim, bool):
            known = ", ".join(f"{number} for {layout}" for number, layout in LAYOUTS.items())
            raise ValueError(f"ndim={ndim!r}: expected {known}")
        if resize not in (None, *RESIZES):
            raise ValueError(f"resize={resize!r}: expected one of {', '.join(RESIZES)}, or None")
        if resize and ndim == 0:
            raise ValueError(f"resize={resize!r}: vectors (ndim=0) have no size that could be changed; expected None")
        self._channels = channels
        self._ndim = ndim
        self._resize = resize
        self._in_channels = _checked_channels(in_channels, channels, inputs)
        with self.name_scope():
            for number, own in enumerate(self._in_channels, start=1):
                if own != channels:
                    setattr(self, f"feature{number}", projection(own, channels))

    def combine_maps(self, F: Any, *maps: Any) -> Any:
        """What the block computes.

        Parameters
        ----------
        F : module
            `mxnet.nd` or `mxnet.sym`.
        *maps : NDArray or Symbol
            One (B, C, H, W) per input, all of one shape.

        Returns
        -------
        NDArray or Symbol
            (B, C, H, W).
        """
        raise NotImplementedError

    def forward(self, x: Any, *others: Any) -> Any:
        self._check((x, *others))
        return super().forward(x, *others)

    def hybrid_forward(self, F: Any, x: Any, *others: Any) -> Any:
        return as_features(F, self.combine_maps(F, *self._as_maps(F, (x, *others))), x, self._ndim)

    def _as_maps(self, F: Any, features: Sequence[Any]) -> List[Any]:
        maps = [self._projected(as_map(F, one, self._ndim), number) for number, one in enumerate(features, start=1)]
        if self._resize is None:
            return maps
        first, like = maps[0], features[0]
        return [
            first,
            *(resized(F, one, raw, like, self._ndim, self._resize) for one, raw in zip(maps[1:], features[1:])),
        ]

    def _projected(self, one: Any, number: int) -> Any:
        layers = getattr(self, f"feature{number}", None)
        return one if layers is None else layers(one)

    def _check(self, features: Sequence[Any]) -> None:
        """Refuse arrays of other shapes. A symbol, within a network that is being compiled, does not say its shape."""
        if not all(hasattr(one, "shape") for one in features):
            return
        shapes = [tuple(one.shape) for one in features]
        if len(shapes) != len(self._in_channels):
            raise ValueError(f"{self._title} takes {len(self._in_channels)} inputs; it was given {len(shapes)}")
        wanted = LAYOUTS[self._ndim]
        for number, (shape, channels) in enumerate(zip(shapes, self._in_channels), start=1):
            if len(shape) != self._ndim + 2:
                fitting = len(shape) - 2
                advice = f"make the block with ndim={fitting}" if fitting in LAYOUTS else "reshape it"
                raise ValueError(f"{self._title}: input {number} has the shape {shape}; expected {wanted}: {advice}")
            if channels and shape[1] != channels:
                raise ValueError(
                    f"{self._title}: input {number} has the shape {shape}, which is {shape[1]} channels; expected "
                    f"{channels}: make the block with in_channels=({', '.join(str(s[1]) for s in shapes)})"
                )
            self._check_against_first(number, shape, shapes[0])

    def _check_against_first(self, number: int, shape: Tuple[int, ...], first: Tuple[int, ...]) -> None:
        if shape[0] != first[0]:
            raise ValueError(
                f"{self._title}: input {number} is a batch of {shape[0]}, input 1 one of {first[0]}; "
                "expected the same number of images"
            )
        if shape[2:] != first[2:] and not self._resize:
            raise ValueError(
                f"{self._title}: input {number} has the shape {shape} and input 1 {first}; expected one size: make the "
                "block with resize='bilinear' or 'nearest', which brings the inputs to the size of the first"
            )
        if not self._channels and shape[1] != first[1]:
            raise ValueError(
                f"{self._title}: input {number} has the shape {shape} and input 1 {first}; expected equal channels"
            )

    @property
    def _title(self) -> str:
        return type(self).__name__


def _checked_channels(in_channels: Optional[Sequence[int]], channels: int, inputs: int) -> Tuple[int, ...]:
    if in_channels is None:
        return (channels,) * inputs
    if not isinstance(in_channels, (list, tuple)) or len(in_channels) != inputs:
        raise ValueError(f"in_channels={in_channels!r}: expected {inputs} numbers, one per input")
    for own in in_channels:
        if not isinstance(own, int) or isinstance(own, bool) or own < 1:
            raise ValueError(f"in_channels={in_channels!r}: expected positive integers")
    return tuple(in_channels)


def as_map(F: Any, features: Any, ndim: int) -> Any:
    """Features (B, C, ...) laid out as a map (B, C, H, W)."""
    return features if ndim == 2 else F.reshape(features, shape=_AS_MAPS[ndim])


def as_features(F: Any, found: Any, like: Any, ndim: int) -> Any:
    """A map brought back to the shape of the features `like`, whose channels may be others."""
    if ndim == 2:
        return found
    if ndim < 2:
        return F.reshape(found, shape=(0, 0) if ndim == 0 else (0, 0, -1))
    return F.reshape_like(found, like, lhs_begin=2, lhs_end=4, rhs_begin=2, rhs_end=5)


# --- Sizes ----------------------------------------------------------------------------------------------------------


def resized(F: Any, one: Any, raw: Any, like: Any, ndim: int, resize: str) -> Any:
    """A map of an input brought to the size of another input.

    Parameters
    ----------
    F : module
        `mxnet.nd` or `mxnet.sym`.
    one : NDArray or Symbol
        The map (B, C, H, W) of an input.
    raw, like : NDArray or Symbol
        That input and the other one, as features.
    ndim : int
        Of the features.
    resize : {'bilinear', 'nearest'}
        See `FeatureBlock`.

    Returns
    -------
    NDArray or Symbol
        A map (B, C, H, W) of the other input's size.
    """
    to_size = _RESIZE[resize]
    if ndim < 3:
        return to_size(F, one, as_map(F, like, ndim))
    # Depth and pixels one after the other: both ways of resizing are separable.
    depth_by_pixels = F.reshape_like(one, raw, lhs_begin=2, lhs_end=4, rhs_begin=2, rhs_end=5)
    planes = F.reshape(depth_by_pixels, shape=(0, -3, 0, 0))  # (B, C·D, H, W)
    planes = to_size(F, planes, F.reshape(like, shape=(0, -3, 0, 0)))
    rows = F.reshape_like(
        F.reshape(planes, shape=(0, 0, -1)),
        F.reshape(one, shape=(0, 0, 0, -1)),
        lhs_begin=1,
        lhs_end=2,
        rhs_begin=1,
        rhs_end=3,
    )  # (B, C, D, pixels)
    return to_size(F, rows, as_map(F, like, ndim))


def _bilinear(F: Any, one: Any, like: Any) -> Any:
    if getattr(_resizing, "exact", False):
        return _exact_bilinear(one, like)
    return F.contrib.BilinearResize2D(one, like, mode="like")


@contextmanager
def exact_resizing() -> Iterator[None]:
    """Let bilinear resizing of arrays have weights of their own type: MXNet's operator has float32 in float64, too.

    The original's figures are those of MXNet's operator. Exact weights are for a comparison with another library.
    """
    before = getattr(_resizing, "exact", False)
    _resizing.exact = True
    try:
        yield
    finally:
        _resizing.exact = before


def _exact_bilinear(one: Any, like: Any) -> Any:
    for axis in (2, 3):
        weights = mx.nd.array(_interpolation(one.shape[axis], like.shape[axis]), ctx=one.context, dtype=one.dtype)
        moved = mx.nd.swapaxes(one, axis, 3)
        one = mx.nd.swapaxes(mx.nd.dot(moved, weights), axis, 3)
    return one


def _interpolation(size: int, to: int) -> np.ndarray:
    """Weights (size, to) of linear interpolation along an axis, corners aligned."""
    places = np.arange(to) * ((size - 1) / (to - 1)) if to > 1 else np.zeros(1)
    return np.maximum(0, 1 - np.abs(np.arange(size)[:, None] - places))


def _nearest(F: Any, one: Any, like: Any) -> Any:
    for axis in (2, 3):
        one = F.take(one, _nearest_index(F, one, like, axis), axis=axis)
    return one


def _nearest_index(F: Any, one: Any, like: Any, axis: int) -> Any:
    """⌊i · from / to⌋ for each i below `to`."""
    count, own = (F.cast(F.contrib.arange_like(F.BlockGrad(each), axis=axis), dtype="float32") for each in (like, one))
    to, size = (F.max(each, axis=0, keepdims=True) + 1 for each in (count, own))
    return F.floor(F.broadcast_div(F.broadcast_mul(count, size), to))


_RESIZE = {"bilinear": _bilinear, "nearest": _nearest}
