"""Networks with an answer per pixel: arXiv 2009.14530, and the long skip connections of arXiv 2009.14082."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .layers import InputNorm, convolution1x1, convolution3x3, norm_relu, post_layers, projection, stem_layers
from .slots import Encoder, Join, Norm


class BasicBlock(nn.Module):
    """Z = δ(F(X) + S(X)): F is conv3×3 (stride), BN, ReLU, conv3×3, BN, and S the shortcut (arXiv 1512.03385)."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            convolution3x3(in_channels, channels, stride),
            *norm_relu(channels),
            convolution3x3(channels, channels),
            Norm(channels),
        )
        self.downsample = None
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(convolution1x1(in_channels, channels, stride), Norm(channels))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        return torch.relu(shortcut + self.body(x))


def basic_stage(in_channels: int, channels: int, stride: int, blocks: int) -> nn.Sequential:
    """Basic blocks, of which only the first changes the shape."""
    first = BasicBlock(in_channels, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))


class BasicEncoder(nn.Module):
    """A stem and three or four stages of basic blocks, each of half the size before it.

    Parameters
    ----------
    widths : tuple
        Channels of the stem's first convolutions and of each stage.
    blocks : int
        In each stage.
    tiny : bool
        Whether the first stage keeps the size of the image; otherwise it has a quarter.
    """

    def __init__(self, widths: tuple, blocks: int, tiny: bool) -> None:
        super().__init__()
        stem, *channels = widths
        width = channels[0]
        if tiny:
            layers: list = [InputNorm(), convolution3x3(3, width), *norm_relu(width)]
        else:
            layers = [InputNorm(), *stem_layers((stem, stem, width), 2), *norm_relu(width), nn.MaxPool2d(3, 2, 1)]
        self.stem = nn.Sequential(*layers)
        for index, own in enumerate(channels):
            self.add_module(f"layer{index + 1}", basic_stage(width, own, 2 if index else 1, blocks))
            width = own

    def levels(self, x: Tensor) -> list:
        """The maps after each stage, the finest first."""
        x, found, number = self.stem(x), [], 1
        while hasattr(self, f"layer{number}"):
            x = getattr(self, f"layer{number}")(x)
            found.append(x)
            number += 1
        return found


class ClassifierEncoder(nn.Module):
    """A classifier without its last layer, whose stages make the levels."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def levels(self, x: Tensor) -> list:
        """The maps after each stage, the finest first."""
        return self.encoder.levels(x)


class Concatenation(nn.Module):
    """Z = X ‖ Y, which the layers behind it bring back to C channels."""

    def __init__(self, channels: int, r: int, norm: type) -> None:
        super().__init__()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.cat((x, y), 1)


class LongSkip(Join):
    """Z = post(fuse(feature_high(high), low)): X is the high level, Y the low one.

    `feature_high` is a 1×1 convolution to the low level's channels where they differ, `post` a 3×3 convolution from
    `inner` channels, each with normalisation and ReLU.
    """

    def __init__(self, channels: int, r: int, norm: type, high_channels: int, inner: int) -> None:
        super().__init__(channels, r, norm)
        self.feature_high = projection(high_channels, channels) if high_channels else None
        self.post = post_layers(inner, channels)

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        return self.post(super().forward(high if self.feature_high is None else self.feature_high(high), low))


class Head(nn.Module):
    """conv3×3 to a quarter of the channels, normalisation, ReLU, dropout, conv1×1 to the classes (arXiv 1411.4038)."""

    def __init__(self, in_channels: int, classes: int, drop: float) -> None:
        super().__init__()
        width = max(1, in_channels // 4)
        self.block = nn.Sequential(
            convolution3x3(in_channels, width), *norm_relu(width), nn.Dropout(drop), nn.Conv2d(width, classes, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


def resize_like(x: Tensor, like: Tensor) -> Tensor:
    """A map brought to the height and width of another one by bilinear interpolation, corners aligned."""
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=True)


def add_laterals(net: nn.Module, channels: tuple, width: int) -> tuple:
    """Add `lateral1`, ..., which bring all levels to a width (0 adds none); return the channels that they then have."""
    if not width:
        return channels
    for level, own in enumerate(channels, start=1):
        net.add_module(f"lateral{level}", nn.Conv2d(own, width, 1))
    return (width,) * len(channels)


def through_laterals(net: nn.Module, levels: list) -> list:
    """The levels, each brought to the width of the decoder where there are `lateral1`, ..."""
    if not hasattr(net, "lateral1"):
        return levels
    return [getattr(net, f"lateral{level}")(one) for level, one in enumerate(levels, start=1)]


class FPN(Encoder):
    """Feature pyramid: each level is the one above, resized, fused with the encoder's own (arXiv 1612.03144).

    Parameters
    ----------
    channels : tuple
        Of each level of the encoder, the finest first.
    width : int
        Of every map of the decoder, to which `lateral1`, ... bring the levels; 0 leaves each level its own.
    inner : int
        How many times its channels a fusion has: 2 for concatenation.
    classes, drop, r, norm
        Logits per pixel, dropout before the last layer; reduction and normalisation of the fusions.
    **encoder
        Of the class that makes the levels.
    """

    def __init__(
        self, channels: tuple, width: int, inner: int, classes: int, drop: float, r: int, norm: type, **encoder: object
    ) -> None:
        super().__init__(**encoder)
        self.count = len(channels)
        channels = add_laterals(self, channels, width)
        for level in range(len(channels) - 1, 0, -1):
            low, high = channels[level - 1 : level + 1]
            join = LongSkip(low, r, norm, 0 if width else high, inner * low)
            self.add_module(f"fuse{level}{level + 1}", join)
        self.head = Head(channels[0], classes, drop)

    def maps(self, x: Tensor) -> list:
        """The map of each level, the finest first."""
        levels = through_laterals(self, self.levels(x))
        found = [levels[-1]]
        for level in range(self.count - 1, 0, -1):
            low = levels[level - 1]
            found.insert(0, getattr(self, f"fuse{level}{level + 1}")(resize_like(found[0], low), low))
        return found

    def forward(self, x: Tensor) -> Tensor:
        return resize_like(self.head(self.maps(x)[0]), x)


class JointFPN(Encoder):
    """All levels, resized to the finest, are the inputs of one fusion.

    Parameters
    ----------
    fuse : nn.Module
        Of all levels.
    channels : tuple
        Of each level of the encoder, the finest first.
    width : int
        Of the fused map.
    lateral : bool
        Whether `lateral1`, ... bring each level to that width first.
    classes, drop
        Logits per pixel, and dropout before the last layer.
    **encoder
        Of the class that makes the levels.
    """

    def __init__(
        self, fuse: nn.Module, channels: tuple, width: int, lateral: bool, classes: int, drop: float, **encoder: object
    ) -> None:
        super().__init__(**encoder)
        add_laterals(self, channels, width if lateral else 0)
        self.fuse = fuse
        self.post = post_layers(width, width)
        self.head = Head(width, classes, drop)

    def maps(self, x: Tensor) -> list:
        """The fused map."""
        levels = through_laterals(self, self.levels(x))
        return [self.post(self.fuse(*levels))]

    def forward(self, x: Tensor) -> Tensor:
        return resize_like(self.head(self.maps(x)[0]), x)


class UNet(Encoder):
    """U-Net: each level is the one above, enlarged, fused with the encoder's own, then a stage (arXiv 1505.04597).

    Parameters
    ----------
    channels, strides : tuple
        Of each level of the encoder, the finest first: its channels, and how many pixels a pixel of it spans.
    decoder_blocks : int
        In each stage of the decoder.
    width : int
        Of every map of the decoder, to which `lateral1`, ... bring the levels; 0 leaves each level its own.
    inner : int
        How many times its channels a fusion has: 2 for concatenation.
    classes, drop, r, norm
        Logits per pixel, dropout before the last layer; reduction and normalisation of the fusions.
    **encoder
        Of the class that makes the levels.
    """

    def __init__(
        self,
        channels: tuple,
        strides: tuple,
        decoder_blocks: int,
        width: int,
        inner: int,
        classes: int,
        drop: float,
        r: int,
        norm: type,
        **encoder: object,
    ) -> None:
        super().__init__(**encoder)
        self.count = len(channels)
        channels = add_laterals(self, channels, width)
        for level in range(len(channels) - 1, 0, -1):
            low, high = channels[level - 1 : level + 1]
            kernel, stride = (4, 2) if strides[level] > strides[level - 1] else (3, 1)
            self.add_module(f"deconv{level}", nn.ConvTranspose2d(high, low, kernel, stride, 1))
            self.add_module(f"fuse{level}", LongSkip(low, r, norm, 0, inner * low))
            self.add_module(f"uplayer{level}", basic_stage(low, low, 1, decoder_blocks))
        self.head = Head(channels[0], classes, drop)

    def maps(self, x: Tensor) -> list:
        """The map of each level, the finest first."""
        levels = through_laterals(self, self.levels(x))
        found = [levels[-1]]
        for level in range(self.count - 1, 0, -1):
            low = levels[level - 1]
            # Twice the size of a level that was rounded up is one pixel more than the level below it.
            high = getattr(self, f"deconv{level}")(found[0])[:, :, : low.shape[2], : low.shape[3]]
            found.insert(0, getattr(self, f"uplayer{level}")(getattr(self, f"fuse{level}")(high, low)))
        return found

    def forward(self, x: Tensor) -> Tensor:
        return resize_like(self.head(self.maps(x)[0]), x)
