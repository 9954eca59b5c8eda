"""U-Net whose skip connections are fused by any block of `fusion.fuse`, with an answer per pixel.

Source: the network of Ronneberger et al., arXiv 1505.04597, as in the released code of "Asymmetric Contextual
Modulation", arXiv 2009.14530, whose published checkpoint loads into it.
"""

from __future__ import annotations

from typing import Any

from ..compat import nn
from .dense import DenseNetwork, Pyramid, crop_like
from .encoder import basic_stage


class UNetPyramid(Pyramid):
    """Each level is the one above after a transposed convolution, fused with the encoder's own, then a stage of blocks.

    Parameters, inputs and outputs as `fusion.models.dense.Pyramid`.
    """

    def add_step(self, level: int) -> None:
        low, high = self.channels[level - 1 : level + 1]
        doubles = self.strides[level] > self.strides[level - 1]  # the stages of a dilated encoder may keep the size
        kernel, stride = (4, 2) if doubles else (3, 1)
        deconvolution = nn.Conv2DTranspose(low, kernel_size=kernel, strides=stride, padding=1, in_channels=high)
        setattr(self, f"deconv{level}", deconvolution)
        setattr(self, f"fuse{level}", self.join(level, reduce=False))
        setattr(self, f"uplayer{level}", basic_stage(self._blocks, low, 1, low))

    def step(self, F: Any, level: int, high: Any, low: Any) -> Any:
        # Twice the size of a level that was rounded up is one pixel more than the level below it.
        high = crop_like(F, getattr(self, f"deconv{level}")(high), low)
        return getattr(self, f"uplayer{level}")(getattr(self, f"fuse{level}")(high, low))


class UNet(DenseNetwork):
    """U-Net: an encoder, and a decoder of as many stages whose finest gives the answer.

    Parameters, attributes, inputs and outputs as `fusion.models.dense.DenseNetwork`.
    """

    pyramid_type = UNetPyramid
