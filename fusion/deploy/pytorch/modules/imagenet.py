"""ResNet-v1b and ResNeXt, whose shortcuts are fused: arXiv 2009.14082, section 4."""

import torch
from torch import Tensor, nn

from .cifar import Classifier
from .layers import (
    convolution1x1,
    convolution3x3,
    norm_relu,
    stem_layers,
)
from .slots import Norm


class Bottleneck(nn.Module):
    """Z = δ(fuse(F(X), S(X))): F is conv1×1, conv3×3 (stride), conv1×1, each normalised, and S the shortcut.

    The channels are 4 times the planes. Without a shortcut S is the identity.
    """

    def __init__(
        self, in_channels: int, planes: int, stride: int, dilation: int, shortcut: nn.Module, attention: nn.Module
    ) -> None:
        super().__init__()
        self.conv1 = convolution1x1(in_channels, planes)
        self.bn1 = Norm(planes)
        self.conv2 = convolution3x3(planes, planes, stride, dilation)
        self.bn2 = Norm(planes)
        self.conv3 = convolution1x1(planes, 4 * planes)
        self.bn3 = Norm(4 * planes)
        self.downsample = shortcut
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        body = torch.relu(self.bn1(self.conv1(x)))
        body = torch.relu(self.bn2(self.conv2(body)))
        body = self.bn3(self.conv3(body))
        return torch.relu(self.attention(body, x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """ResNet-50, 101 or 152.

    Parameters
    ----------
    fusions : tuple
        The class of each stage's fusion blocks.
    blocks : tuple
        In each stage.
    shortcut : function
        Makes the shortcut of a stage's first block.
    classes : int
        Logits; 0 leaves the classifier out, for an encoder.
    deep_stem, dilated, drop, r, norm
        Three convolutions in the stem, stages 3 and 4 dilated rather than smaller, dropout before the classifier;
        reduction and normalisation of the global branches of the fusion blocks.
    """

    def __init__(
        self,
        fusions: tuple,
        blocks: tuple,
        shortcut: type,
        classes: int,
        deep_stem: bool,
        dilated: bool,
        drop: float,
        r: int,
        norm: type,
    ) -> None:
        super().__init__()
        width = 64
        stem = stem_layers((32, 32, 64), 2) if deep_stem else []
        self.conv1 = nn.Sequential(*stem) if deep_stem else nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = Norm(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        strides, dilations = ((1, 2, 1, 1), (1, 1, 2, 4)) if dilated else ((1, 2, 2, 2), (1, 1, 1, 1))
        for index, fuse in enumerate(fusions):
            planes, stage = 64 * 2**index, []
            for position in range(blocks[index]):
                stride, dilation = strides[index], max(1, dilations[index] // 2)
                if position:
                    stride, dilation = 1, dilations[index]
                downsample = None if position else shortcut(width, 4 * planes, stride)
                attention = fuse(4 * planes, r, norm)
                stage.append(Bottleneck(width, planes, stride, dilation, downsample, attention))
                width = 4 * planes
            self.add_module(f"layer{index + 1}", nn.Sequential(*stage))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(drop)
        self.fc = nn.Linear(width, classes) if classes else nn.Identity()

    def levels(self, x: Tensor) -> list:
        """The maps after each stage, the finest first."""
        first = self.layer1(self.maxpool(torch.relu(self.bn1(self.conv1(x)))))
        second = self.layer2(first)
        third = self.layer3(second)
        return [first, second, third, self.layer4(third)]

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.drop(self.avgpool(self.levels(x)[-1]).flatten(1)))


class SqueezeExcite(nn.Sequential):
    """σ(W₂(δ(W₁(mean of X)))), a weight per channel (arXiv 1709.01507), of a bottleneck of 4·width channels."""

    def __init__(self, width: int) -> None:
        down, up = nn.Conv2d(4 * width, width // 4, 1), nn.Conv2d(width // 4, 4 * width, 1)
        super().__init__(down, nn.ReLU(inplace=True), up, nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mean((2, 3), keepdim=True))


class ResNeXtBlock(nn.Module):
    """Z = δ(fuse(F(X), S(X))): F is conv1×1, grouped conv3×3, conv1×1, each normalised (arXiv 1611.05431).

    With `squeeze` the body is F(X)⊗SE(F(X)). Without a shortcut S is the identity.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        grouped: int,
        cardinality: int,
        stride: int,
        squeeze: nn.Module,
        shortcut: nn.Module,
        attention: nn.Module,
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(
            convolution1x1(in_channels, grouped),
            *norm_relu(grouped),
            convolution3x3(grouped, grouped, stride, groups=cardinality),
            *norm_relu(grouped),
            convolution1x1(grouped, 4 * width),
            Norm(4 * width),
        )
        self.se = squeeze
        self.downsample = shortcut
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        body = self.body(x)
        if self.se is not None:
            body = body * self.se(body)
        return torch.relu(self.attention(body, x if self.downsample is None else self.downsample(x)))


def resnext_stage(
    in_channels: int,
    width: int,
    blocks: int,
    stride: int,
    groups: tuple,
    squeeze: type,
    shortcut: type,
    fuse: type,
    r: int,
    norm: type,
) -> nn.Sequential:
    """Bottlenecks of 4·width channels, of which the first has the stride and a shortcut with weights.

    `groups` are the cardinality and the channels per group at width 64.
    """
    grouped = groups[0] * (width * groups[1] // 64)
    stage = []
    for position in range(blocks):
        downsample = None if position else shortcut(in_channels, 4 * width, stride)
        se = squeeze(width) if squeeze else None
        own = 1 if position else stride
        attention = fuse(4 * width, r, norm)
        stage.append(ResNeXtBlock(in_channels, width, grouped, groups[0], own, se, downsample, attention))
        in_channels = 4 * width
    return nn.Sequential(*stage)


class CIFARResNeXt(Classifier):
    """ResNeXt of depth 9·blocks + 2 for 32×32 images.

    Parameters
    ----------
    fusions : tuple
        The class of each stage's fusion blocks.
    blocks, width : int
        Blocks in each stage, and the width of the first, which doubles from stage to stage.
    groups : tuple
        Cardinality, and channels per group at width 64.
    squeeze, shortcut
        What makes the squeeze-and-excitation of a block, or None, and the shortcut of a stage's first block.
    classes, deep_stem, drop, r, norm
        Logits (0 leaves the classifier out, for an encoder), three convolutions in the stem, dropout before the
        classifier; reduction and normalisation of the global branches of the fusion blocks.
    """

    def __init__(
        self,
        fusions: tuple,
        blocks: int,
        width: int,
        groups: tuple,
        squeeze: type,
        shortcut: type,
        classes: int,
        deep_stem: bool,
        drop: float,
        r: int,
        norm: type,
    ) -> None:
        stem = (width // 2, width // 2, width) if deep_stem else (width,)
        layers: list = [*stem_layers(stem, 1), *norm_relu(width)]
        channels = width
        for index, fuse in enumerate(fusions):
            stride = 2 if index else 1
            layers.append(resnext_stage(channels, width, blocks, stride, groups, squeeze, shortcut, fuse, r, norm))
            channels, width = 4 * width, 2 * width
        super().__init__(layers, channels, classes, drop)


class ResNeXt(Classifier):
    """ResNeXt-50, 101 or 152.

    Parameters
    ----------
    fusions, blocks : tuple
        The class of each stage's fusion blocks, and how many blocks it has.
    shortcuts : tuple
        What makes the shortcut of each stage's first block.
    groups : tuple
        Cardinality, and channels per group at width 64.
    squeeze
        What makes the squeeze-and-excitation of a block, or None.
    classes, deep_stem, drop, r, norm
        Logits (0 leaves the classifier out, for an encoder), three convolutions in the stem, dropout before the
        classifier; reduction and normalisation of the global branches of the fusion blocks.
    """

    def __init__(
        self,
        fusions: tuple,
        blocks: tuple,
        shortcuts: tuple,
        groups: tuple,
        squeeze: type,
        classes: int,
        deep_stem: bool,
        drop: float,
        r: int,
        norm: type,
    ) -> None:
        stem = stem_layers((64, 64, 128), 2) if deep_stem else [nn.Conv2d(3, 64, 7, 2, 3, bias=False)]
        channels = 128 if deep_stem else 64
        layers: list = [*stem, *norm_relu(channels), nn.MaxPool2d(3, 2, 1)]
        for index, (fuse, shortcut) in enumerate(zip(fusions, shortcuts)):
            width, stride = 64 * 2**index, 2 if index else 1
            stage = resnext_stage(channels, width, blocks[index], stride, groups, squeeze, shortcut, fuse, r, norm)
            layers.append(stage)
            channels = 4 * width
        super().__init__(layers, channels, classes, drop)
