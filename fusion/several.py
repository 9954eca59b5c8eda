"""The fusion of three inputs and more: a softmax over all of them, or one after the other in pairs.

The paper has two inputs. With N inputs x₁ … x_N the attention looks at their sum, and its branches make N logits per
channel in place of one; a softmax over the inputs makes the weights w₁ … w_N of them, and the result is N·Σ wᵢ⊗xᵢ for
blocks with the factor 2 (AFF), Σ wᵢ⊗xᵢ for those without (iAFF). With two inputs the softmax is the sigmoid of the
difference of the logits: it is the block of the paper with one redundant set of logits (tests/test_several.py).
"""

from __future__ import annotations

from typing import Any, List, Optional, Sequence, Type

from .attentional import (
    AttentionalFusion,
    WeightedFusion,
    WeightKind,
    checked_integration,
    x_plus_y,
)
from .branches import choose_contexts, weight_logits
from .combination import SELECTS, Combination
from .features import FeatureBlock
from .operators import repeat_over_pixels, total

#: How several inputs are fused.
JOINT, PAIRWISE = "joint", "pairwise"

#: What the weight of one input among several does.
SHARES = "shares"


def selects(block: Type[Any]) -> bool:
    """Whether a block of two inputs weighs them by a softmax if there are more, or is the same for any number."""
    if not issubclass(block, AttentionalFusion):
        return not issubclass(block, WeightedFusion)  # addition and concatenation
    return isinstance(block.combine, Combination) and block.combine.role == SELECTS and block.attends_to is x_plus_y


def total_of_shares(block: Type[Any], inputs: int) -> int:
    """What N inputs are multiplied by in all: N where two are by 2 in all (AFF), 1 where two are by 1 (iAFF).

    Raises
    ------
    ValueError
        If the block does not select among its inputs.
    """
    if not issubclass(block, AttentionalFusion) or not selects(block):
        raise ValueError(
            f"inputs={inputs}: {block.__name__} does not select among its inputs, so that a softmax over them has no "
            f"meaning; use iterate={PAIRWISE!r}, or a block that selects, such as 'aff'"
        )
    base = block.combine.base
    return inputs if sum(base) == len(base) else 1


class SoftmaxFusion(WeightedFusion):
    """Any number of inputs, weighed by a softmax over the logits of a block of `fusion.fuse`.

    Parameters
    ----------
    block : type
        The block of two inputs: an `AttentionalFusion` whose attention looks at the sum, and whose weight selects.
    channels, r, norm, contexts, integrate
        Of that block.
    inputs : int
        N, at least 2.
    **kwargs
        `ndim`, `in_channels` and `resize` of `fusion.features.FeatureBlock`; Gluon's `prefix` and `params`.

    Inputs
        - N features (B, C, H, W).
    Outputs
        - fused features (B, C, H, W).

    Raises
    ------
    ValueError
        If the block does not select among its inputs, or a parameter is impossible.
    """

    def __init__(
        self,
        block: Type[AttentionalFusion],
        channels: int,
        r: int = 4,
        norm: str = "batch",
        inputs: int = 3,
        contexts: Optional[Sequence[str]] = None,
        integrate: Optional[str] = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(channels, inputs=inputs, **kwargs)
        self._inputs = inputs
        self._total = total_of_shares(block, inputs)
        self._passes = choose_contexts(block.passes, contexts, block.__name__)
        self._concatenates = checked_integration(integrate, block) == "concat"
        with self.name_scope():
            for index, branches in enumerate(self._passes):
                features = channels * (inputs if self._concatenates and index == 0 else 1)
                for name, branch in branches.items():
                    setattr(self, name, branch.build(channels, r, norm, features, logits=inputs))

    def combine_maps(self, F: Any, *maps: Any) -> Any:
        fused = F.concat(*maps, dim=1) if self._concatenates else total(F, maps)
        for index, branches in enumerate(self._passes):
            weights = self._softmax(F, [getattr(self, name) for name in branches], maps[0], fused)
            for number, weight in enumerate(weights):
                self._show(index * self._inputs + number, weight)
            fused = total(F, [F.broadcast_mul(weight, one) for weight, one in zip(weights, maps)])
            if self._total != 1:
                fused = fused * self._total
        return fused

    def _softmax(self, F: Any, branches: List[Any], like: Any, fused: Any) -> List[Any]:
        """The weight (B, C, H, W) of each input."""
        local, pooled = weight_logits(F, branches, fused)
        logits = [
            F.split(part, num_outputs=self._inputs, axis=1) if part is not None else [None] * self._inputs
            for part in (local, pooled)
        ]
        if local is None:
            vectors = F.softmax(F.stack(*logits[1], axis=1), axis=1)
            shares = F.split(vectors, num_outputs=self._inputs, axis=1, squeeze_axis=True)
            return [repeat_over_pixels(F, share, like) for share in shares]
        maps = [
            of_pixels if of_image is None else of_pixels + repeat_over_pixels(F, of_image, like)
            for of_pixels, of_image in zip(*logits)
        ]
        weights = F.softmax(F.stack(*maps, axis=1), axis=1)
        return list(F.split(weights, num_outputs=self._inputs, axis=1, squeeze_axis=True))

    def weight_kinds(self) -> List[WeightKind]:
        passes = len(self._passes)
        return [
            WeightKind(f"of input {number}" if passes == 1 else f"of input {number}, pass {index}", SHARES)
            for index in range(1, passes + 1)
            for number in range(1, self._inputs + 1)
        ]


class PairwiseFusion(FeatureBlock):
    """Any number of inputs, fused one after the other: the first two, then their result with the third, and so on.

    Parameters
    ----------
    block : type
        The fusion block of two inputs; there are N − 1 of it, the children `fuse1`, `fuse2`, ...
    channels : int
        C.
    inputs : int
        N, at least 2.
    ndim, in_channels, resize
        Of `fusion.features.FeatureBlock`.
    prefix, params
        Gluon's.
    **options
        What else `block` takes.

    Inputs
        - N features (B, C, H, W).
    Outputs
        - fused features (B, C, H, W).
    """

    def __init__(
        self,
        block: Type[Any],
        channels: int,
        inputs: int = 3,
        ndim: int = 2,
        in_channels: Optional[Sequence[int]] = None,
        resize: Optional[str] = None,
        prefix: Optional[str] = None,
        params: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(channels, inputs, ndim, in_channels, resize, prefix=prefix, params=params)
        with self.name_scope():
            for number in range(1, inputs):
                setattr(self, f"fuse{number}", block(channels=channels, **options))

    def combine_maps(self, F: Any, *maps: Any) -> Any:
        fused = maps[0]
        for number, one in enumerate(maps[1:], start=1):
            fused = getattr(self, f"fuse{number}")(fused, one)
        return fused
