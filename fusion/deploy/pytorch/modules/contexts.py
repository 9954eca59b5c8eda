"""The branches that make the logits of a fusion weight: equations 1 and 2 of arXiv 2009.14082."""

from torch import nn

from .slots import Norm


class LocalContext(nn.Sequential):
    """L(X): the context of each pixel.

    With a reduction r it is B(PW₂(δ(B(PW₁(X))))), where PW₁ is a point-wise convolution to C/r channels, PW₂ one back
    to C, B normalisation and δ the ReLU (equation 1); without one (r = 0) it is B(PW(X)).
    """

    def __init__(self, channels: int, r: int, features: int = 0, logits: int = 1) -> None:
        width, layers = features or channels, []
        if r:
            layers = [nn.Conv2d(width, channels // r, 1), Norm(channels // r), nn.ReLU(inplace=True)]
            width = channels // r
        super().__init__(*layers, nn.Conv2d(width, channels * logits, 1), Norm(channels * logits))


class GlobalContext(nn.Sequential):
    """G(X): the context of each channel, which is L of the mean of X over all pixels (equation 2)."""

    def __init__(self, channels: int, r: int, norm: type, features: int = 0, logits: int = 1) -> None:
        width, layers = features or channels, [nn.AdaptiveAvgPool2d(1)]
        if r:
            layers += [nn.Conv2d(width, channels // r, 1), norm(channels // r), nn.ReLU(inplace=True)]
            width = channels // r
        super().__init__(*layers, nn.Conv2d(width, channels * logits, 1), norm(channels * logits))
