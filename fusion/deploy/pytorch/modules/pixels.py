"""The preparation of images as a part of the network."""

import torch
from torch import Tensor

from .slots import Network


class FromPixels(Network):
    """The network for images (B, H, W, 3) of bytes, which it normalises: (pixels / 255 − mean) / std.

    Parameters
    ----------
    scale, shift : tuple
        Of red, green and blue: what a byte is multiplied by, and what is added then.
    **network
        Of the network.
    """

    def __init__(self, scale: tuple, shift: tuple, **network: object) -> None:
        super().__init__(**network)
        self.register_buffer("scale", torch.tensor(scale).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", torch.tensor(shift).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        return super().forward(pixels.permute(0, 3, 1, 2) * self.scale + self.shift)
