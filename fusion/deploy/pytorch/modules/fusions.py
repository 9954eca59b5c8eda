"""Fusion blocks of two inputs, x and y, that weigh them by what both of them show; all maps are (B, C, H, W)."""

import torch
from torch import Tensor, nn

from .combinations import soft_selection, weighted_mean
from .contexts import GlobalContext, LocalContext
from .slots import Norm


class DirectAdd(nn.Module):
    """Z = X + Y: what a plain ResNet does."""

    def __init__(self, channels: int, r: int, norm: type) -> None:
        super().__init__()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Concat(nn.Module):
    """Z = PW(B(X ‖ Y)): concatenation, normalisation B and a point-wise convolution back to C channels."""

    def __init__(self, channels: int, r: int, norm: type, inputs: int = 2) -> None:
        super().__init__()
        self.fuse = nn.Sequential(Norm(inputs * channels), nn.Conv2d(inputs * channels, channels, 1))

    def forward(self, *maps: Tensor) -> Tensor:
        return self.fuse(torch.cat(maps, 1))


class ASKCFuse(nn.Module):
    """AFF, attentional feature fusion: a soft selection by MS-CAM.

    Z = 2·M(X + Y)⊗X + 2·(1 − M(X + Y))⊗Y, where M(X) = σ(L(X) + G(X)): equations 2 and 4 of arXiv 2009.14082, with the
    factor 2 of its code.
    """

    def __init__(self, channels: int, r: int, norm: type) -> None:
        super().__init__()
        self.local_att = LocalContext(channels, r)
        self.global_att = GlobalContext(channels, r, norm)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        both = x + y
        return soft_selection(x, y, torch.sigmoid(self.local_att(both) + self.global_att(both)))


class ResGlobLocaforGlobLocaCha(nn.Module):
    """iAFF, iterative attentional feature fusion: the weights of the second pass come from the result of the first.

    Z = M₂(U)⊗X + (1 − M₂(U))⊗Y with U = M₁(X + Y)⊗X + (1 − M₁(X + Y))⊗Y and Mᵢ(X) = σ(Lᵢ(X) + Gᵢ(X)): equations 4 and 5
    of arXiv 2009.14082. Each pass has branches of its own, local and global.
    """

    def __init__(self, channels: int, r: int, norm: type) -> None:
        super().__init__()
        self.local_att = LocalContext(channels, r)
        self.global_att = GlobalContext(channels, r, norm)
        self.local_att2 = LocalContext(channels, r)
        self.global_att2 = GlobalContext(channels, r, norm)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        both = x + y
        first = weighted_mean(x, y, torch.sigmoid(self.local_att(both) + self.global_att(both)))
        return weighted_mean(x, y, torch.sigmoid(self.local_att2(first) + self.global_att2(first)))


class ConcatAFF(nn.Module):
    """AFF whose attention looks at both inputs one after the other: Z = 2·w⊗X + 2·(1 − w)⊗Y, w = M(X ‖ Y)."""

    def __init__(self, channels: int, r: int, norm: type) -> None:
        super().__init__()
        self.local_att = LocalContext(channels, r, 2 * channels)
        self.global_att = GlobalContext(channels, r, norm, 2 * channels)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        both = torch.cat((x, y), 1)
        return soft_selection(x, y, torch.sigmoid(self.local_att(both) + self.global_att(both)))


class ResGlobCha(nn.Module):
    """Z = 2·w⊗X + 2·(1 − w)⊗Y, w = σ(G(X + Y)) with G of full width."""

    def __init__(self, channels: int, r: int, norm: type) -> None:
        super().__init__()
        self.attention = GlobalContext(channels, 1, norm)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return soft_selection(x, y, torch.sigmoid(self.attention(x + y)))


class ResLocaCha(nn.Module):
    """Z = 2·w⊗X + 2·(1 − w)⊗Y, w = σ(L(X + Y)) with L of full width."""

    def __init__(self, channels: int, r: int, norm: type) -> None:
        super().__init__()
        self.attention = LocalContext(channels, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return soft_selection(x, y, torch.sigmoid(self.attention(x + y)))


class ResGlobLocaCha(ASKCFuse):
    """Z = 2·w⊗X + 2·(1 − w)⊗Y, w = σ(L(X + Y) + G(X + Y)) with one convolution in each branch."""

    def __init__(self, channels: int, r: int, norm: type) -> None:
        super().__init__(channels, 0, norm)


class ResLocaLocaCha(nn.Module):
    """AFF with a second local branch in place of the global one, whose name it has."""

    def __init__(self, channels: int, r: int, norm: type) -> None:
        super().__init__()
        self.local_att = LocalContext(channels, r)
        self.global_att = LocalContext(channels, r)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        both = x + y
        return soft_selection(x, y, torch.sigmoid(self.local_att(both) + self.global_att(both)))


class ResGlobGlobCha(nn.Module):
    """AFF with a second global branch in place of the local one, whose name it has."""

    def __init__(self, channels: int, r: int, norm: type) -> None:
        super().__init__()
        self.local_att = GlobalContext(channels, r, norm)
        self.global_att = GlobalContext(channels, r, norm)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        both = x + y
        return soft_selection(x, y, torch.sigmoid(self.local_att(both) + self.global_att(both)))


class ResGlobforGlobCha(nn.Module):
    """Soft selection by σ(G₁(X + Y)), then by σ(G₂) of the result of that."""

    def __init__(self, channels: int, r: int, norm: type) -> None:
        super().__init__()
        self.global_att = GlobalContext(channels, 0, norm)
        self.global_att2 = GlobalContext(channels, 0, norm)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        first = soft_selection(x, y, torch.sigmoid(self.global_att(x + y)))
        return soft_selection(x, y, torch.sigmoid(self.global_att2(first)))


class ResLocaforLocaCha(nn.Module):
    """Soft selection by σ(L₁(X + Y)), then by σ(L₂) of the result of that."""

    def __init__(self, channels: int, r: int, norm: type) -> None:
        super().__init__()
        self.local_att = LocalContext(channels, 0)
        self.local_att2 = LocalContext(channels, 0)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        first = soft_selection(x, y, torch.sigmoid(self.local_att(x + y)))
        return soft_selection(x, y, torch.sigmoid(self.local_att2(first)))


class GlobLocaAverage(nn.Module):
    """Z = w⊗Y + (1 − w)⊗X, w = σ(L(X + Y) + G(X + Y)) with one convolution in each branch."""

    def __init__(self, channels: int, r: int, norm: type) -> None:
        super().__init__()
        self.local_att = LocalContext(channels, 0)
        self.global_att = GlobalContext(channels, 0, norm)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        both = x + y
        return weighted_mean(y, x, torch.sigmoid(self.local_att(both) + self.global_att(both)))


class GlobLocaforGlobLocaAverage(nn.Module):
    """The mean of `GlobLocaAverage` twice, the second weight from the result of the first."""

    def __init__(self, channels: int, r: int, norm: type) -> None:
        super().__init__()
        self.local_att = LocalContext(channels, 0)
        self.global_att = GlobalContext(channels, 0, norm)
        self.local_att2 = LocalContext(channels, 0)
        self.global_att2 = GlobalContext(channels, 0, norm)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        both = x + y
        first = weighted_mean(y, x, torch.sigmoid(self.local_att(both) + self.global_att(both)))
        return weighted_mean(y, x, torch.sigmoid(self.local_att2(first) + self.global_att2(first)))


class SKFuse(nn.Module):
    """Selective kernels (arXiv 1903.06586): Z = 2·w⊗X + 2·(1 − w)⊗Y, w the softmax over two logits per channel."""

    def __init__(self, channels: int, r: int, norm: type) -> None:
        super().__init__()
        self.global_att = GlobalContext(channels, 4, norm, logits=2)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        for_x, for_y = self.global_att(x + y).chunk(2, 1)
        return soft_selection(x, y, torch.sigmoid(for_x - for_y))
