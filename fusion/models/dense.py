"""What the networks with an answer per pixel have in common: a pyramid of features and a head.

Source: the released code of "Asymmetric Contextual Modulation", arXiv 2009.14530; the head is GluonCV's `_FCNHead`, of
Long et al., "Fully Convolutional Networks for Semantic Segmentation", arXiv 1411.4038.
"""

from __future__ import annotations

from typing import Any, ClassVar, Tuple

from ..compat import HybridBlock, mx, nn
from ..long_skip import Inlined, LongSkip, get_long_skip
from .encoder import Encoder
from .layers import convolution3x3, dropout, norm_relu, sequence
from .network import Network

#: The head's inner convolution has the channels of its input divided by this.
_HEAD_DIVISOR = 4


class Head(HybridBlock):
    """conv3×3 to a quarter of the channels, BN, ReLU, dropout, conv1×1 to the classes.

    Parameters
    ----------
    in_channels, classes : int
        Of the features and of the logits.
    drop : float
        Share that is set to 0 in training.

    Inputs
        - **x**: features (B, in_channels, H, W).
    Outputs
        - logits (B, classes, H, W).
    """

    def __init__(self, in_channels: int, classes: int, drop: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        width = max(1, in_channels // _HEAD_DIVISOR)
        with self.name_scope():
            self.block = sequence(
                lambda: [
                    convolution3x3(width, 1, in_channels),
                    *norm_relu(width),
                    dropout("head_drop", drop),
                    nn.Conv2D(classes, kernel_size=1, in_channels=width),
                ]
            )

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return self.block(x)


def resize_like(F: Any, x: Any, like: Any) -> Any:
    """(B, C, h, w) brought to the height and width of another map by bilinear interpolation, corners aligned."""
    return F.contrib.BilinearResize2D(x, like, mode="like")


def crop_like(F: Any, x: Any, like: Any) -> Any:
    """The upper left part of (B, C, h, w) that has the height and width of another map."""
    return F.slice_like(x, like, axes=(2, 3))


class Pyramid(Inlined):
    """An encoder and a decoder: from an image to a map of features per level, each fused with the levels above it.

    A subclass adds the layers between two levels in `add_step`, and says in `step` how they are used.

    Parameters
    ----------
    encoder : Encoder
        It makes the levels.
    fusion, r, norm
        What fuses two levels: see `fusion.get_long_skip`.
    blocks : int
        In each stage of a decoder that has stages.

    Attributes
    ----------
    channels, strides : tuple of int
        Of each map, the finest first: how many channels it has and how many pixels of the image a pixel of it spans.

    Inputs
        - **x**: images (B, 3, H, W), of any size.
    Outputs
        - a tuple of maps (B, channels[i], H / strides[i], W / strides[i]), rounded up, the finest first.
    """

    inlined = ("encoder",)

    def __init__(self, encoder: Encoder, fusion: str, blocks: int, r: int, norm: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channels, self.strides = encoder.channels, encoder.strides
        self._blocks, self._fusion, self._options = blocks, fusion, {"r": r, "norm": norm}
        with self.name_scope():
            self.encoder = encoder
            for level in range(len(self.channels) - 1, 0, -1):
                self.add_step(level)

    def join(self, level: int, reduce: bool) -> LongSkip:
        """The join of a level, counted from 1, with the one above it."""
        low, high = self.channels[level - 1 : level + 1]
        return get_long_skip(self._fusion, low, high if reduce else low, reduce, **self._options)

    def add_step(self, level: int) -> None:
        """Add the layers that bring a level, counted from 1, together with the one above it."""
        raise NotImplementedError

    def step(self, F: Any, level: int, high: Any, low: Any) -> Any:
        """The decoder's map of a level, from its map of the level above and the encoder's of this one."""
        raise NotImplementedError

    def hybrid_forward(self, F: Any, x: Any) -> Tuple[Any, ...]:
        levels = self.encoder(x)
        maps = [levels[-1]]
        for level in range(len(levels) - 1, 0, -1):
            maps.insert(0, self.step(F, level, maps[0], levels[level - 1]))
        return tuple(maps)


class DenseNetwork(Inlined, Network):
    """A network that ends in logits for each pixel of its input.

    Parameters
    ----------
    fusion : str, default 'aff'
        What fuses two levels: a name that `fusion.get_fusion` knows.
    blocks : int, default 4
        In each stage of the encoder, and of the decoder where it has stages.
    channel_times : int, default 1
        Multiplies the encoder's widths 16, 32, 64 (and 128).
    tiny : bool, default False
        Whether the finest level has the size of the image, for targets of a few pixels; otherwise it has a quarter, and
        the logits are resized.
    stages : {3, 4}
        How many levels the encoder has.
    classes : int, default 1
        Logits per pixel; one is for a target before a background.
    head_drop : float, default 0.1
        Dropout before the last layer.
    r : int, default 4
        Reduction of the fusion blocks.
    norm : {'batch', 'group', 'none'}
        Of the fusion blocks' global branches: see `fusion.attention.GlobalContext`.

    Attributes
    ----------
    pyramid : Pyramid
        The network without its head: from an image to a tuple of maps, such as a detector takes.

    Inputs
        - **x**: images (B, 3, H, W), normalised, of any size.
    Outputs
        - logits (B, classes, H, W).
    """

    dense = True
    input_size = 480
    classifier = "head.block.4"
    inlined = ("pyramid",)

    #: The family's pyramid.
    pyramid_type: ClassVar[Any] = Pyramid

    def __init__(
        self,
        fusion: str = "aff",
        blocks: int = 4,
        channel_times: int = 1,
        tiny: bool = False,
        stages: int = 3,
        classes: int = 1,
        head_drop: float = 0.1,
        r: int = 4,
        norm: str = "batch",
        **kwargs: Any,
    ) -> None:
        super().__init__(classes, **kwargs)
        with self.name_scope():
            encoder = Encoder(blocks, channel_times, tiny, stages)
            self.pyramid = self.pyramid_type(encoder, fusion, blocks, r, norm)
            self.head = Head(self.pyramid.channels[0], classes, head_drop)

    @staticmethod
    def default_initializer() -> Any:
        return mx.init.MSRAPrelu()

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        logits = self.head(self.pyramid(x)[0])
        return logits if self.pyramid.strides[0] == 1 else resize_like(F, logits, x)
