"""How a weight w between 0 and 1 makes one map of x, the transformed features, and y, the shortcut."""

from torch import Tensor


def soft_selection(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
    """2·w⊗x + 2·(1 − w)⊗y: what one side gains the other loses, and w = ½ is addition."""
    return 2 * w * x + 2 * (1 - w) * y


def weighted_mean(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
    """w⊗x + (1 − w)⊗y."""
    return w * x + (1 - w) * y
