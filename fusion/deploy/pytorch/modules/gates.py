"""Fusion blocks of two inputs, x and y, whose weight gates one of them or both; all maps are (B, C, H, W)."""

import torch
from torch import Tensor, nn

from .contexts import GlobalContext, LocalContext


class AXYforXplusY(nn.Module):
    """Z = X + w⊗Y, w = σ(L(X + Y) + G(X + Y))."""

    def __init__(self, channels: int, r: int, norm: type) -> None:
        super().__init__()
        self.local_att = LocalContext(channels, 0)
        self.global_att = GlobalContext(channels, 0, norm)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        both = x + y
        return x + torch.sigmoid(self.local_att(both) + self.global_att(both)) * y


class AXYforXY(nn.Module):
    """Z = w⊗(X + Y), w = σ(L(X + Y) + G(X + Y))."""

    def __init__(self, channels: int, r: int, norm: type) -> None:
        super().__init__()
        self.local_att = LocalContext(channels, 0)
        self.global_att = GlobalContext(channels, 0, norm)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        both = x + y
        return torch.sigmoid(self.local_att(both) + self.global_att(both)) * both


class AYforXplusY(nn.Module):
    """Z = X + w⊗Y, w = σ(L(X) + G(X))."""

    def __init__(self, channels: int, r: int, norm: type) -> None:
        super().__init__()
        self.local_att = LocalContext(channels, 0)
        self.global_att = GlobalContext(channels, 0, norm)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + torch.sigmoid(self.local_att(x) + self.global_att(x)) * y


class XplusAYforY(nn.Module):
    """Z = Y + w⊗X, w = σ(L(X) + G(X))."""

    def __init__(self, channels: int, r: int, norm: type) -> None:
        super().__init__()
        self.local_att = LocalContext(channels, 0)
        self.global_att = GlobalContext(channels, 0, norm)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return y + torch.sigmoid(self.local_att(x) + self.global_att(x)) * x


class SEFuse(nn.Module):
    """Squeeze-and-excitation (arXiv 1709.01507) of the residual function: Z = Y + σ(G(X))⊗X."""

    def __init__(self, channels: int, r: int, norm: type) -> None:
        super().__init__()
        self.global_att = GlobalContext(channels, r, norm)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return y + torch.sigmoid(self.global_att(x)) * x


class GAUFuse(nn.Module):
    """Global attention upsample (arXiv 1805.10180): Z = X + σ(G(X))⊗Y with one convolution in G."""

    def __init__(self, channels: int, r: int, norm: type) -> None:
        super().__init__()
        self.global_att = GlobalContext(channels, 0, norm)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + torch.sigmoid(self.global_att(x)) * y


class TopDownLocal(nn.Module):
    """Z = X + σ(L(X))⊗Y with one convolution in L, which has the original's name `global_att`."""

    def __init__(self, channels: int, r: int, norm: type) -> None:
        super().__init__()
        self.global_att = LocalContext(channels, 0)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + torch.sigmoid(self.global_att(x)) * y


class AsymBi(nn.Module):
    """Asymmetric contextual modulation (arXiv 2009.14530): Z = 2·σ(G(X))⊗Y + 2·σ(L(Y))⊗X."""

    def __init__(self, channels: int, r: int, norm: type) -> None:
        super().__init__()
        self.topdown = GlobalContext(channels, r, norm)
        self.bottomup = LocalContext(channels, r)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return 2 * torch.sigmoid(self.topdown(x)) * y + 2 * torch.sigmoid(self.bottomup(y)) * x


class BiLocal(nn.Module):
    """Z = 2·σ(L₁(X))⊗Y + 2·σ(L₂(Y))⊗X: `AsymBi` with both weights from each pixel."""

    def __init__(self, channels: int, r: int, norm: type) -> None:
        super().__init__()
        self.topdown = LocalContext(channels, r)
        self.bottomup = LocalContext(channels, r)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return 2 * torch.sigmoid(self.topdown(x)) * y + 2 * torch.sigmoid(self.bottomup(y)) * x


class BiGlobal(nn.Module):
    """Z = 2·σ(G₁(X))⊗Y + 2·σ(G₂(Y))⊗X: `AsymBi` with both weights from the mean."""

    def __init__(self, channels: int, r: int, norm: type) -> None:
        super().__init__()
        self.topdown = GlobalContext(channels, r, norm)
        self.bottomup = GlobalContext(channels, r, norm)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return 2 * torch.sigmoid(self.topdown(x)) * y + 2 * torch.sigmoid(self.bottomup(y)) * x
