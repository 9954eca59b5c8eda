"""Layers that several families share: convolutions without bias, stems, and the shortcut of a stage's first block."""

from __future__ import annotations

from typing import Any, Callable, List, Sequence

from ..compat import nn

#: A function of (stride, in_channels, channels) that makes the shortcut of a block that changes its input's shape.
Shortcut = Callable[[int, int, int], Any]


def convolution1x1(channels: int, stride: int, in_channels: int) -> Any:
    """A point-wise convolution without bias."""
    return nn.Conv2D(channels, kernel_size=1, strides=stride, use_bias=False, in_channels=in_channels)


def convolution3x3(channels: int, stride: int, in_channels: int, dilation: int = 1, groups: int = 1) -> Any:
    """A 3×3 convolution without bias; at stride 1 the output is as large as the input."""
    return nn.Conv2D(
        channels,
        kernel_size=3,
        strides=stride,
        padding=dilation,
        dilation=dilation,
        groups=groups,
        use_bias=False,
        in_channels=in_channels,
    )


def convolution7x7(channels: int) -> Any:
    """The classic ImageNet stem: a 7×7 convolution of stride 2 on images."""
    return nn.Conv2D(channels, kernel_size=7, strides=2, padding=3, use_bias=False, in_channels=3)


def average_pool(stride: int) -> Any:
    """Average pooling that shrinks a shortcut by the factor `stride`; padding does not count in the averages."""
    return nn.AvgPool2D(pool_size=stride, strides=stride, ceil_mode=True, count_include_pad=False)


def pooled_shortcut(stride: int, in_channels: int, channels: int) -> Any:
    """Average pooling over stride × stride pixels, conv1×1, BN."""
    return sequence(
        lambda: [
            average_pool(stride),
            convolution1x1(channels, 1, in_channels),
            nn.BatchNorm(in_channels=channels),
        ]
    )


def strided_shortcut(stride: int, in_channels: int, channels: int) -> Any:
    """conv1×1 with the stride, BN."""
    return sequence(lambda: [convolution1x1(channels, stride, in_channels), nn.BatchNorm(in_channels=channels)])


def stem_layers(widths: Sequence[int], stride: int) -> List[Any]:
    """A stem on images: one conv3×3 per width, of which the first has the stride, with BN and ReLU between them."""
    layers = [convolution3x3(widths[0], stride, 3)]
    for in_channels, channels in zip(widths, widths[1:]):
        layers += [*norm_relu(in_channels), convolution3x3(channels, 1, in_channels)]
    return layers


def norm_relu(channels: int) -> List[Any]:
    """BN, ReLU."""
    return [nn.BatchNorm(in_channels=channels), nn.Activation("relu")]


def dropout(name: str, rate: float) -> Any:
    """Dropout at the rate of an argument of this name.

    Raises
    ------
    ValueError
        If the rate is not a number of at least 0 and below 1.
    """
    if not isinstance(rate, (int, float)) or isinstance(rate, bool) or not 0 <= rate < 1:
        raise ValueError(f"{name}={rate!r}: expected a fraction of at least 0 and below 1")
    return nn.Dropout(rate)


def final_dropout(rate: float) -> Any:
    """Dropout before a classifier, None at rate 0. Errors as `dropout`."""
    layer = dropout("final_drop", rate)
    return layer if rate else None


def sequence(layers: Callable[[], List[Any]], prefix: str = "") -> Any:
    """A container of layers, which are made inside its name scope so that their exported names begin with its name."""
    container = nn.HybridSequential(prefix=prefix or None)
    with container.name_scope():
        container.add(*layers())
    return container


def keep_statistics(norm: Any) -> None:
    """Make a batch norm of images, which has no scale, update its running statistics: see `InputNorm`.

    Parameters
    ----------
    norm : BatchNorm
        Built with `scale=False`, and not initialised.
    """
    norm.gamma._differentiable = True
    norm.gamma.grad_req = "write"
    norm.gamma.lr_mult = norm.gamma.wd_mult = 0.0


class InputNorm(nn.BatchNorm):
    """Batch norm of the images themselves, without scale and shift.

    MXNet's CPU kernels update running statistics in the backward pass. That pass is left out of a layer if neither its
    input nor its parameters need a gradient, as with images, so that Gluon's own layer would keep the initial
    statistics. Here gamma, which the operator holds at 1, requests its gradient, which is 0, and never learns.

    Parameters
    ----------
    channels : int
        The channels of the images.

    Inputs
        - **x**: images (B, channels, H, W).
    Outputs
        - the normalised images, in the same shape.
    """

    def __init__(self, channels: int = 3, **kwargs: Any) -> None:
        super().__init__(scale=False, center=False, in_channels=channels, **kwargs)
        keep_statistics(self)
