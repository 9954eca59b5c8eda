"""Encoders, whose stages are features by level: that of the released dense networks, and any classifier.

Source: the released code of "Asymmetric Contextual Modulation", arXiv 2009.14530; the block is GluonCV's
`CIFARBasicBlockV1`, of He et al., "Deep Residual Learning for Image Recognition", arXiv 1512.03385.
"""

from __future__ import annotations

from typing import Any, List, Tuple

from ..compat import HybridBlock, nn
from ..long_skip import Inlined
from .feature_maps import levels_of
from .layers import InputNorm, convolution1x1, convolution3x3, norm_relu, sequence
from .network import Network, positive

#: Channels of the stem's first convolutions and of each stage at channel_times=1.
WIDTHS = (8, 16, 32, 64, 128)

#: How many stages the encoder may have.
STAGES = (3, 4)


class BasicBlock(HybridBlock):
    """conv3×3 (stride), BN, ReLU, conv3×3, BN, plus the shortcut, then ReLU.

    Parameters
    ----------
    channels, stride, in_channels : int
        Of the block. The shortcut has a convolution and batch norm where the shape changes.

    Inputs
        - **x**: (B, in_channels, H, W).
    Outputs
        - (B, channels, H / stride, W / stride), rounded up.
    """

    def __init__(self, channels: int, stride: int, in_channels: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        changes = stride != 1 or in_channels != channels
        with self.name_scope():
            self.body = sequence(
                lambda: [
                    convolution3x3(channels, stride, in_channels),
                    *norm_relu(channels),
                    convolution3x3(channels, 1, channels),
                    nn.BatchNorm(in_channels=channels),
                ]
            )
            self.downsample = sequence(lambda: _shortcut(channels, stride, in_channels)) if changes else None

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.Activation(shortcut + self.body(x), act_type="relu")


def _shortcut(channels: int, stride: int, in_channels: int) -> List[Any]:
    return [convolution1x1(channels, stride, in_channels), nn.BatchNorm(in_channels=channels)]


def basic_stage(blocks: int, channels: int, stride: int, in_channels: int) -> Any:
    """A stage of basic blocks, of which only the first changes the shape."""
    return sequence(
        lambda: [
            BasicBlock(channels, 1 if position else stride, channels if position else in_channels)
            for position in range(blocks)
        ]
    )


class BasicEncoder(HybridBlock):
    """The encoder of the released dense networks: a stem and three or four stages, each of half the size before it.

    Parameters
    ----------
    blocks : int
        In each stage.
    channel_times : int
        Multiplies the widths 8, 16, 32, 64, 128.
    tiny : bool
        Whether the first stage keeps the size of the image, for targets of a few pixels; otherwise it has a quarter.
    stages : {3, 4}
        How many.

    Attributes
    ----------
    channels, strides : tuple of int
        Of each level, the finest first: how many channels it has and how many pixels of the image a pixel of it spans.

    Inputs
        - **x**: images (B, 3, H, W).
    Outputs
        - the levels, (B, channels[i], H / strides[i], W / strides[i]), rounded up.
    """

    def __init__(self, blocks: int, channel_times: int, tiny: bool, stages: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        positive("blocks", blocks)
        positive("channel_times", channel_times)
        if stages not in list(STAGES):
            raise ValueError(f"stages={stages!r}: expected one of {', '.join(map(str, STAGES))}")
        stem, *widths = (width * channel_times for width in WIDTHS[: stages + 1])
        first = 1 if tiny else 4
        self.channels: Tuple[int, ...] = tuple(widths)
        self.strides: Tuple[int, ...] = tuple(first * 2**level for level in range(stages))
        with self.name_scope():
            self.stem = sequence(lambda: _tiny_stem(widths[0]) if tiny else _stem(stem, widths[0]))
            width = widths[0]
            for number, channels in enumerate(widths, start=1):
                setattr(self, f"layer{number}", basic_stage(blocks, channels, 1 if number == 1 else 2, width))
                width = channels

    @staticmethod
    def owns(name: str) -> bool:
        """Whether a file's parameter of this name belongs to the encoder rather than to a decoder or a classifier."""
        return name.startswith(("stem.", "layer"))

    def hybrid_forward(self, F: Any, x: Any) -> Tuple[Any, ...]:
        x = self.stem(x)
        levels = []
        for number in range(1, len(self.channels) + 1):
            x = getattr(self, f"layer{number}")(x)
            levels.append(x)
        return tuple(levels)


def _tiny_stem(channels: int) -> List[Any]:
    return [InputNorm(), convolution3x3(channels, 1, 3), *norm_relu(channels)]


def _stem(width: int, channels: int) -> List[Any]:
    return [
        InputNorm(),
        *(convolution3x3(width, 2, 3), *norm_relu(width)),
        *(convolution3x3(width, 1, width), *norm_relu(width)),
        *(convolution3x3(channels, 1, width), *norm_relu(channels)),
        nn.MaxPool2D(pool_size=3, strides=2, padding=1),
    ]


class ClassifierEncoder(Inlined):
    """A classifier without its last layer; the parameters keep the names that they have in the classifier.

    Parameters
    ----------
    network : Network
        Of a family that classifies. It loses its classifier.

    Attributes, inputs and outputs as `BasicEncoder`.
    """

    inlined = ("network",)

    def __init__(self, network: Network, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._classifier = network.classifier
        del network._children[network.classifier]
        object.__setattr__(network, network.classifier, None)  # Gluon's own keeps a block from becoming none
        self.network = network
        _, self.channels, self.strides = levels_of(network)

    def owns(self, name: str) -> bool:
        """As `BasicEncoder.owns`."""
        return not name.startswith(f"{self._classifier}.")

    def hybrid_forward(self, F: Any, x: Any) -> Tuple[Any, ...]:
        return tuple(self.network.stage_features(x))
