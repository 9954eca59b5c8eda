"""Normalisations, and the layers that several families share."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .slots import Norm


class BatchNorm(nn.BatchNorm2d):
    """Batch norm whose running variance is that of the batch, Σ(x − μ)² / n, as in MXNet.

    PyTorch's own keeps Σ(x − μ)² / (n − 1). The outputs are the same in training, and in inference once the weights are
    loaded; only what training adds to the running variance differs. MXNet's momentum of 0.9 is PyTorch's of 0.1.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        mean, variance = self.running_mean.clone(), self.running_var.clone()
        normalised = F.batch_norm(x, mean, variance, self.weight, self.bias, True, self.momentum, self.eps)
        count = x.numel() // x.shape[1]
        with torch.no_grad():
            kept = (1 - self.momentum) * self.running_var
            self.running_mean.copy_(mean)
            self.running_var.copy_(kept + (variance - kept) * ((count - 1) / count))
            self.num_batches_tracked.add_(1)
        return normalised


class InputNorm(BatchNorm):
    """Batch norm of the images themselves, without scale and shift."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__(channels, affine=False)


class GroupNorm(nn.GroupNorm):
    """Group norm (arXiv 1803.08494) over groups of 16 channels, or of 8 or 4, or of all, as divides them."""

    def __init__(self, channels: int) -> None:
        size = next((size for size in (16, 8, 4) if channels % size == 0), channels)
        super().__init__(channels // size, channels)


class LayerNorm(nn.GroupNorm):
    """The channels of each image normalised together."""

    def __init__(self, channels: int) -> None:
        super().__init__(1, channels)


def convolution1x1(in_channels: int, channels: int, stride: int = 1) -> nn.Conv2d:
    """A point-wise convolution without bias."""
    return nn.Conv2d(in_channels, channels, 1, stride, bias=False)


def convolution3x3(in_channels: int, channels: int, stride: int = 1, dilation: int = 1, groups: int = 1) -> nn.Conv2d:
    """A 3×3 convolution without bias that keeps the size at stride 1."""
    return nn.Conv2d(in_channels, channels, 3, stride, dilation, dilation, groups, bias=False)


def norm_relu(channels: int) -> list:
    """Normalisation, ReLU."""
    return [Norm(channels), nn.ReLU(inplace=True)]


def stem_layers(widths: tuple, stride: int) -> list:
    """One 3×3 convolution per width, of which the first has the stride, with normalisation and ReLU between them."""
    layers: list = [convolution3x3(3, widths[0], stride)]
    for before, channels in zip(widths, widths[1:]):
        layers += [*norm_relu(before), convolution3x3(before, channels)]
    return layers


def average_pool(stride: int) -> nn.AvgPool2d:
    """Average pooling that shrinks a shortcut; what lies outside of the map does not count."""
    return nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)


def pooled_shortcut(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    """Average pooling, conv1×1, normalisation."""
    return nn.Sequential(average_pool(stride), convolution1x1(in_channels, channels), Norm(channels))


def strided_shortcut(in_channels: int, channels: int, stride: int) -> nn.Sequential:
    """conv1×1 with the stride, normalisation."""
    return nn.Sequential(convolution1x1(in_channels, channels, stride), Norm(channels))


def projection(in_channels: int, channels: int) -> nn.Sequential:
    """A 1×1 convolution with bias to other channels, normalisation and ReLU."""
    return nn.Sequential(nn.Conv2d(in_channels, channels, 1), *norm_relu(channels))


def post_layers(in_channels: int, channels: int) -> nn.Sequential:
    """What follows a fusion of levels: a 3×3 convolution with bias, normalisation and ReLU."""
    return nn.Sequential(nn.Conv2d(in_channels, channels, 3, padding=1), *norm_relu(channels))
