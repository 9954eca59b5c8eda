"""Networks for 32×32 images: arXiv 2009.14082, section 4."""

import torch
from torch import Tensor, nn

from .layers import (
    InputNorm,
    average_pool,
    convolution1x1,
    convolution3x3,
    norm_relu,
    stem_layers,
)
from .slots import Norm


class Classifier(nn.Module):
    """Layers, the mean over all pixels, dropout and a linear layer.

    Parameters
    ----------
    layers : list
        Among them a `nn.Sequential` for each stage.
    channels : int
        Of the last one.
    classes : int
        Logits; 0 leaves the linear layer out, for an encoder.
    drop : float
        Dropout before it.
    """

    def __init__(self, layers: list, channels: int, classes: int, drop: float) -> None:
        super().__init__()
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.drop = nn.Dropout(drop)
        self.output = nn.Linear(channels, classes) if classes else nn.Identity()

    def levels(self, x: Tensor) -> list:
        """The maps after each stage, the finest first; what follows the last stage before the pooling is part of it."""
        levels: list = []
        for layer in self.features:
            if isinstance(layer, nn.AdaptiveAvgPool2d):
                break
            x = layer(x)
            if isinstance(layer, nn.Sequential):
                levels.append(x)
            elif levels:
                levels[-1] = x
        return levels

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.drop(self.features(x)))


class PreActivationBlock(nn.Module):
    """Z = fuse(F(X), S(X)): F is twice BN, ReLU, conv3×3, and S the shortcut (arXiv 1603.05027)."""

    def __init__(self, in_channels: int, channels: int, stride: int, attention: nn.Module, avg_down: bool) -> None:
        super().__init__()
        self.resfwd = nn.Sequential(
            *norm_relu(in_channels),
            convolution3x3(in_channels, channels, stride),
            *norm_relu(channels),
            convolution3x3(channels, channels),
        )
        shortcut: list = []
        if in_channels != channels and avg_down:
            shortcut = [average_pool(stride), convolution1x1(in_channels, channels)]
        elif in_channels != channels:
            shortcut = [convolution1x1(in_channels, channels, stride)]
        self.downsample = nn.Sequential(*shortcut)
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(self.resfwd(x), self.downsample(x))


class CIFARResNet(Classifier):
    """Pre-activation ResNet of depth 6·blocks + 2.

    Parameters
    ----------
    fusions : tuple
        The class of each stage's fusion blocks.
    blocks : int
        In each stage.
    widths : tuple
        Channels of the stem and of each stage.
    classes : int
        Logits; 0 leaves the classifier out, for an encoder.
    deep_stem, avg_down, drop, r, norm
        Three convolutions in the stem, shortcuts that shrink by average pooling, dropout before the classifier;
        reduction and normalisation of the global branches of the fusion blocks.
    """

    def __init__(
        self,
        fusions: tuple,
        blocks: int,
        widths: tuple,
        classes: int,
        deep_stem: bool,
        avg_down: bool,
        drop: float,
        r: int,
        norm: type,
    ) -> None:
        width, *stages = widths
        layers: list = [InputNorm(), *stem_layers((width // 2, width // 2, width) if deep_stem else (width,), 1)]
        for index, (channels, fuse) in enumerate(zip(stages, fusions)):
            stage = []
            for position in range(blocks):
                stride = 2 if index and not position else 1
                stage.append(PreActivationBlock(width, channels, stride, fuse(channels, r, norm), avg_down))
                width = channels
            layers.append(nn.Sequential(*stage))
        super().__init__([*layers, *norm_relu(width)], width, classes, drop)


class InceptionUnit(nn.Module):
    """Z = fuse(X₅, X₃): convolutions of a 5×5 field (3×3 of dilation 2) and of a 3×3 field on the same input.

    Both end in a normalisation, except where they are added.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, fuse: nn.Module, normalised: bool) -> None:
        super().__init__()
        norms = [[Norm(channels)] if normalised else [] for _ in range(2)]
        self.feature_spatial_3 = nn.Sequential(nn.Conv2d(in_channels, channels, 3, stride, 1), *norms[0])
        self.feature_spatial_5 = nn.Sequential(nn.Conv2d(in_channels, channels, 3, stride, 2, 2), *norms[1])
        self.fuse = fuse

    def forward(self, x: Tensor) -> Tensor:
        return self.fuse(self.feature_spatial_5(x), self.feature_spatial_3(x))


class InceptionBlock(nn.Module):
    """Z = U₂(δ(B(U₁(δ(B(X)))))) + S(X): two units U, normalisation B and ReLU δ before each, and a shortcut S."""

    def __init__(self, in_channels: int, inner: int, channels: int, first: nn.Module, second: nn.Module, stride: int):
        super().__init__()
        self.bn1, self.bn2 = Norm(in_channels), Norm(inner)
        self.conv1, self.conv2 = first, second
        self.downsample = None if in_channels == channels else convolution1x1(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.conv1(torch.relu(self.bn1(x)))
        return self.conv2(torch.relu(self.bn2(x))) + shortcut


class CIFARInception(Classifier):
    """Inception-ResNet of depth 6·blocks + 2, fused within each layer.

    Parameters
    ----------
    fusions : tuple
        Of each stage: the class of its fusion blocks, and whether the branches before them are normalised.
    blocks : int
        In each stage.
    widths : tuple
        Channels of the stem and of each stage.
    classes, drop, r, norm
        Logits (0 leaves the classifier out, for an encoder), dropout before the classifier; reduction and normalisation
        of the global branches of the fusion blocks.
    as_released : bool
        The first unit of every block ends in the width of the stage before.
    """

    def __init__(
        self,
        fusions: tuple,
        blocks: int,
        widths: tuple,
        classes: int,
        as_released: bool,
        drop: float,
        r: int,
        norm: type,
    ) -> None:
        def unit(stage: int, in_channels: int, channels: int, stride: int) -> InceptionUnit:
            fuse, normalised = fusions[stage]
            return InceptionUnit(in_channels, channels, stride, fuse(channels, r, norm), normalised)

        before, *stages = widths
        layers: list = [InputNorm(), unit(0, 3, before, 1)]
        for index, channels in enumerate(stages):
            inner = before if as_released else channels
            stage = []
            for position in range(blocks):
                stride = 2 if index and not position else 1
                inside = channels if position else inner
                first, second = unit(index, before, inside, stride), unit(index, inside, channels, 1)
                stage.append(InceptionBlock(before, inside, channels, first, second, stride))
                before = channels
            layers.append(nn.Sequential(*stage))
        super().__init__([*layers, *norm_relu(before)], before, classes, drop)
