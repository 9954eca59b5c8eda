"""How a weight makes one feature map of two: eight equations, and a fast way to compute them on a CPU.

x is the transformed features, y the shortcut and w the weight, all (B, C, H, W).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Optional, Tuple

from .operators import total

#: The role of a weight that gives to one input what it takes from the other.
SELECTS = "selects"


@dataclass(frozen=True)
class Combination:
    """How a weight w makes one map of x and y: base + factor·(w − shift)⊗gated.

    Called with x, y and w it computes its equation as it is written.

    Attributes
    ----------
    equation : callable
        From x, y and w to the result.
    base : tuple of two int
        What the weight does not touch: so many x and so many y.
    gated : tuple of two int
        What the weight multiplies, likewise.
    factor, shift : float
        See above.
    """

    equation: Callable[[Any, Any, Any], Any]
    base: Tuple[int, int]
    gated: Tuple[int, int]
    factor: float = 1.0
    shift: float = 0.0

    def __call__(self, x: Any, y: Any, w: Any) -> Any:
        return self.equation(x, y, w)

    @property
    def role(self) -> str:
        """What the weight does: it selects (what x gains y loses), or it gates x, gates y or gates both."""
        of_x, of_y = self.gated
        if of_x and of_y:
            return SELECTS if of_x * of_y < 0 else "gates both"
        return "gates x" if of_x else "gates y"

    def shares(self, w: Any) -> Tuple[Any, Any]:
        """What x and y are multiplied by at a weight, for arrays of NumPy."""
        gain = self.factor * (w - self.shift)
        of_x, of_y = (base + gated * gain for base, gated in zip(self.base, self.gated))
        return of_x, of_y


def _soft_selection(x: Any, y: Any, w: Any) -> Any:
    double = 2 * w
    return x * double + y * (2 - double)


#: 2·x⊗w + 2·y⊗(1−w), which is x + y + 2·(w − ½)⊗(x − y): what one side gains the other loses, and w = ½ is addition.
soft_selection = Combination(_soft_selection, base=(1, 1), gated=(1, -1), factor=2.0, shift=0.5)

#: x⊗w + y⊗(1−w): soft selection without its factor 2.
weighted_mean = Combination(lambda x, y, w: x * w + y * (1 - w), base=(0, 1), gated=(1, -1))

#: y⊗w + x⊗(1−w): as the first release averages the branches of an Inception module.
swapped_mean = Combination(lambda x, y, w: y * w + x * (1 - w), base=(1, 0), gated=(1, -1), factor=-1.0)

#: w⊗y + x.
gated_y_plus_x = Combination(lambda x, y, w: w * y + x, base=(1, 0), gated=(0, 1))

#: w⊗x + y.
gated_x_plus_y = Combination(lambda x, y, w: w * x + y, base=(0, 1), gated=(1, 0))

#: 2·w⊗y and 2·w⊗x: the halves of a crossed fusion, each with a weight of its own.
twice_y = Combination(lambda x, y, w: 2 * w * y, base=(0, 0), gated=(0, 1), factor=2.0)
twice_x = Combination(lambda x, y, w: 2 * w * x, base=(0, 0), gated=(1, 0), factor=2.0)

#: w⊗(x + y).
gated_sum = Combination(lambda x, y, w: w * (x + y), base=(0, 0), gated=(1, 1))


class Combining:
    """A combination of two maps in operators whose forward and backward passes are cheap: see `fusion.attention`.

    Only the product is MXNet's own operator. What goes into it and what comes out of it passes through a convolution,
    so that values and gradients around it stay in oneDNN's layout, in which their sums are cheap.
    """

    def __init__(self, F: Any, layout: Callable[..., Any], x: Any, y: Any, combination: Combination) -> None:
        self._F = F
        self._layout = layout
        self._combination = combination
        self._base = self._sum(x, y, combination.base)
        same = combination.gated == combination.base
        self._gated = layout(self._base if same else self._sum(x, y, combination.gated))

    def _sum(self, x: Any, y: Any, counts: Tuple[int, int]) -> Optional[Any]:
        of_x, of_y = counts
        if of_x and of_y:
            return total(self._F, [x, y if of_y == 1 else self._layout(y, factor=of_y)])
        return x if of_x else y if of_y else None

    def __call__(self, x: Any, y: Any, w: Any) -> Any:
        about = self._combination
        centred = w - about.shift if about.shift else w
        share = self._layout(centred * self._gated, factor=about.factor)
        return share if self._base is None else total(self._F, [self._base, share])
