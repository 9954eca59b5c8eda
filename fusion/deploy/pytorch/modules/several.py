"""The fusion of several maps, which are first brought to the channels and the size of the first one."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .fusions import Concat
from .layers import projection
from .slots import Join


class Levels(nn.Module):
    """Maps of several sizes and channels made alike: `feature2`, ... project those that have not C channels."""

    def __init__(self, channels: int, in_channels: tuple) -> None:
        super().__init__()
        for number, own in enumerate(in_channels, start=1):
            if own != channels:
                self.add_module(f"feature{number}", projection(own, channels))

    def alike(self, maps: tuple) -> list:
        """Each map with C channels, and resized to the first by bilinear interpolation, corners aligned."""
        found: list = []
        for number, one in enumerate(maps, start=1):
            layers = getattr(self, f"feature{number}", None)
            one = one if layers is None else layers(one)
            size = maps[0].shape[2:]
            found.append(F.interpolate(one, size=size, mode="bilinear", align_corners=True) if number > 1 else one)
        return found


class LevelSum(Levels):
    """Z = X₁ + … + Xₙ."""

    def __init__(self, channels: int, in_channels: tuple, r: int, norm: type) -> None:
        super().__init__(channels, in_channels)

    def forward(self, *maps: Tensor) -> Tensor:
        return torch.stack(self.alike(maps)).sum(0)


class LevelConcat(Levels):
    """Z = PW(B(X₁ ‖ … ‖ Xₙ)): concatenation, normalisation B and a point-wise convolution back to C channels."""

    def __init__(self, channels: int, in_channels: tuple, r: int, norm: type) -> None:
        super().__init__(channels, in_channels)
        self.fuse = Concat(channels, r, norm, len(in_channels)).fuse

    def forward(self, *maps: Tensor) -> Tensor:
        return self.fuse(torch.cat(self.alike(maps), 1))


class PairwiseFusion(Levels):
    """The first two maps fused, then their result with the third, and so on: `fuse1`, `fuse2`, ..."""

    def __init__(self, channels: int, in_channels: tuple, r: int, norm: type) -> None:
        super().__init__(channels, in_channels)
        for number in range(1, len(in_channels)):
            self.add_module(f"fuse{number}", Join(channels, r, norm))

    def forward(self, *maps: Tensor) -> Tensor:
        fused, *others = self.alike(maps)
        for number, one in enumerate(others, start=1):
            fused = getattr(self, f"fuse{number}")(fused, one)
        return fused


class SoftmaxFusion(Levels):
    """Z = s·Σ wᵢ⊗Xᵢ, where w is the softmax over the n inputs of n logits per channel and pixel, and s = n or 1.

    The logits are the sum of the branches of a pass on the sum of all inputs (or on all of them, one after the other);
    a second pass looks at the result of the first. With two inputs this is AFF (s = 2) or a pass of iAFF (s = 1).

    Parameters
    ----------
    passes : tuple
        For each pass its branches, (name, class, further arguments of the class after the channels).
    share : int
        s.
    concatenates : bool
        Whether the first pass looks at all inputs one after the other.
    """

    def __init__(self, channels: int, in_channels: tuple, passes: tuple, share: int, concatenates: bool) -> None:
        super().__init__(channels, in_channels)
        self.passes, self.share, self.concatenates = passes, share, concatenates
        for branches in passes:
            for name, branch, arguments in branches:
                self.add_module(name, branch(channels, *arguments))

    def forward(self, *maps: Tensor) -> Tensor:
        maps = tuple(self.alike(maps))
        fused = torch.cat(maps, 1) if self.concatenates else torch.stack(maps).sum(0)
        for branches in self.passes:
            logits = sum(getattr(self, name)(fused) for name, *_ in branches)
            weights = torch.stack(logits.chunk(len(maps), 1)).softmax(0)
            fused = self.share * (weights * torch.stack(maps)).sum(0)
        return fused
