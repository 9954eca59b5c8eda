"""What segmentation minimises: overlap of regions, cross-entropy of pixels, and weighted sums of them.

Each loss takes logits (B, C, H, W) and targets (B, H, W), and gives (B,), whose mean is what is minimised. With one
channel the probability of the foreground is its sigmoid and targets are 0 and 1; with more the probabilities are their
softmax and targets are class numbers. Pixels of the value `ignore` count nowhere. All is computed in float32, whatever
the logits are.

Soft IoU: Rahman & Wang, "Optimizing Intersection-Over-Union in Deep Neural Networks for Image Segmentation", 2016, with
the constants of ACM's code (arXiv 2009.14530). Dice: Milletari et al., "V-Net", arXiv 1606.04797. Focal: Lin et al.,
arXiv 1708.02002.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Sequence, Tuple

from ...compat import HybridBlock
from ...data.masks.labels import IGNORE
from ...errors import nearest


class DenseLoss(HybridBlock):
    """The common part of the losses: what one of them needs to know of logits and targets.

    Parameters
    ----------
    classes : int
        Channels of the logits.
    ignore : int
        The value of targets that do not count.
    dtype : str
        In which it is computed.

    Inputs
        - **logits**: (B, classes, H, W).
        - **targets**: (B, H, W), class numbers.
    Outputs
        - (B,).
    """

    def __init__(self, classes: int, ignore: int = IGNORE, dtype: str = "float32", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._classes = classes
        self._ignore = ignore
        self._dtype = dtype

    def hybrid_forward(self, F: Any, logits: Any, targets: Any) -> Any:
        logits = F.cast(logits, dtype=self._dtype)
        targets = F.cast(targets, dtype=self._dtype)
        counted = targets != self._ignore
        return self.loss(F, logits, F.where(counted, targets, F.zeros_like(targets)), counted)

    def loss(self, F: Any, logits: Any, targets: Any, counted: Any) -> Any:
        """The loss (B,), where pixels that do not count have target 0, and 0 in `counted` (B, H, W)."""
        raise NotImplementedError


class _Overlap(DenseLoss):
    """1 minus a measure of how far regions of probability and of truth overlap, the mean over classes."""

    #: Over which axes of (B, C, H, W) a region extends.
    _region: Tuple[int, ...] = (2, 3)

    def loss(self, F: Any, logits: Any, targets: Any, counted: Any) -> Any:
        mask = F.expand_dims(counted, axis=1)
        if self._classes == 1:
            chances, truth = F.sigmoid(logits), F.expand_dims(targets, axis=1)
        else:
            chances = F.softmax(logits, axis=1)
            truth = F.transpose(F.one_hot(targets, depth=self._classes, dtype=self._dtype), axes=(0, 3, 1, 2))
        chances, truth = F.broadcast_mul(chances, mask), F.broadcast_mul(truth, mask)
        both, chances, truth = (F.sum(part, axis=self._region) for part in (chances * truth, chances, truth))
        return self.over_batch(F, 1 - F.mean(self.overlap(both, chances, truth), axis=-1), counted)

    def overlap(self, both: Any, chances: Any, truth: Any) -> Any:
        """The measure (..., C) from sums over the region: of probability times truth, of probability, and of truth."""
        raise NotImplementedError

    def over_batch(self, F: Any, loss: Any, counted: Any) -> Any:
        """From the loss of each region to (B,)."""
        return loss


class SoftIoUPerImage(_Overlap):
    """Soft IoU of each image: 1 - (Σpt + 1) / (Σp + Σt - Σpt + 1)."""

    def overlap(self, both: Any, chances: Any, truth: Any) -> Any:
        return (both + 1) / (chances + truth - both + 1)


class SoftIoU(SoftIoUPerImage):
    """The same with sums over all pixels of the batch, as ACM's code has it: each of the (B,) is the batch's loss."""

    _region = (0, 2, 3)

    def over_batch(self, F: Any, loss: Any, counted: Any) -> Any:
        images = F.sum(F.zeros_like(counted), axis=(1, 2))
        return F.broadcast_add(images, F.reshape(loss, shape=(1,)))


class Dice(_Overlap):
    """Dice loss of each image: 1 - (2 Σpt + 1) / (Σp + Σt + 1)."""

    def overlap(self, both: Any, chances: Any, truth: Any) -> Any:
        return (2 * both + 1) / (chances + truth + 1)


class CrossEntropy(DenseLoss):
    """Cross-entropy in nats; the mean of the (B,) is that over all pixels of the batch that count."""

    def loss(self, F: Any, logits: Any, targets: Any, counted: Any) -> Any:
        if self._classes == 1:
            logits = F.squeeze(logits, axis=1)
            pixels = F.relu(logits) - logits * targets + F.Activation(-F.abs(logits), act_type="softrelu")
        else:
            pixels = -F.pick(F.log_softmax(logits, axis=1), targets, axis=1)
        per_image = F.sum(self.of_pixels(F, pixels) * counted, axis=(1, 2))
        # Of each image as many pixels as the batch has in the mean, so that each pixel weighs the same.
        return F.broadcast_div(per_image, F.clip(F.mean(F.sum(counted, axis=(1, 2)), axis=0, keepdims=True), 1e-6, 1e9))

    def of_pixels(self, F: Any, entropy: Any) -> Any:
        """The loss of each pixel (B, H, W) from its cross-entropy."""
        return entropy


class Focal(CrossEntropy):
    """Focal loss: each pixel's cross-entropy times (1 - p)^gamma, where p is the probability of its class.

    Parameters
    ----------
    gamma : float
        At least 1: below that the gradient of a pixel that is certain has no bound.
    """

    def __init__(self, classes: int, ignore: int = IGNORE, gamma: float = 2.0, **kwargs: Any) -> None:
        super().__init__(classes, ignore, **kwargs)
        self._gamma = gamma

    def of_pixels(self, F: Any, entropy: Any) -> Any:
        return (1 - F.exp(-entropy)) ** self._gamma * entropy


class WeightedSum(HybridBlock):
    """A sum of losses, each with its weight.

    Parameters
    ----------
    parts : sequence of (float, DenseLoss)
        The weights and losses.
    """

    def __init__(self, parts: Sequence[Tuple[float, DenseLoss]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._weights = [weight for weight, _ in parts]
        for number, (_, loss) in enumerate(parts):
            setattr(self, f"loss{number}", loss)

    def hybrid_forward(self, F: Any, logits: Any, targets: Any) -> Any:
        parts = [getattr(self, f"loss{number}")(logits, targets) for number in range(len(self._weights))]
        total = parts[0] * self._weights[0]
        for part, weight in zip(parts[1:], self._weights[1:]):
            total = total + part * weight
        return total


# --- By name ---------------------------------------------------------------------------------------------------------

#: What `train.loss` may name. `bce` is cross-entropy of one logit, `cross_entropy` of several.
LOSSES: Dict[str, Any] = {
    "soft_iou": SoftIoU,
    "soft_iou_per_image": SoftIoUPerImage,
    "dice": Dice,
    "bce": CrossEntropy,
    "cross_entropy": CrossEntropy,
    "focal": Focal,
}

#: The losses that measure overlap, whose gradient vanishes where the network says background with certainty.
OVERLAPS = ("soft_iou", "soft_iou_per_image", "dice")

_TERM = re.compile(r"(?:(?P<weight>[0-9]*\.?[0-9]+)\s*\*?\s*)?(?P<name>[a-z_]+)")


def parse_loss(text: str) -> List[Tuple[float, str]]:
    """The weights and names of a sum of losses.

    Parameters
    ----------
    text : str
        Such as `soft_iou` or `soft_iou + 0.5 bce`.

    Raises
    ------
    ValueError
        If it is not such a sum; the message says what was expected.
    """
    terms = []
    for word in text.split("+"):
        found = _TERM.fullmatch(word.strip())
        if found is None:
            raise ValueError(f"expected a loss, or a sum such as 'soft_iou + 0.5 bce'; the losses: {', '.join(LOSSES)}")
        if found["name"] not in LOSSES:
            raise ValueError(f"no loss is named {found['name']!r}; {nearest(found['name'], LOSSES)}")
        terms.append((1.0 if found["weight"] is None else float(found["weight"]), found["name"]))
    names = [name for _, name in terms]
    if len(set(names)) < len(names) or not all(weight > 0 for weight, _ in terms):
        raise ValueError("expected each loss once, with a weight above 0")
    return terms


def build_loss(text: str, classes: int, ignore: int = IGNORE, gamma: float = 2.0, dtype: str = "float32") -> Any:
    """The loss that a text such as `soft_iou + 0.5 bce` names.

    Parameters
    ----------
    text : str
        See `parse_loss`.
    classes : int
        Channels of the logits; 1 is foreground and background by a sigmoid.
    ignore : int
        The value of targets that do not count.
    gamma : float
        Of the focal loss.
    dtype : str
        In which it is computed.

    Raises
    ------
    ValueError
        If the text names no loss, or one that is not for this number of channels.
    """
    parts = []
    for weight, name in parse_loss(text):
        if name == "bce" and classes > 1:
            raise ValueError(f"bce is for one class and background, and there are {classes} classes: use cross_entropy")
        if name == "cross_entropy" and classes == 1:
            raise ValueError("cross_entropy is for several classes, and there is one class and background: use bce")
        more = {"gamma": gamma} if name == "focal" else {}
        parts.append((weight, LOSSES[name](classes, ignore, dtype=dtype, **more)))
    return parts[0][1] if len(parts) == 1 and parts[0][0] == 1 else WeightedSum(parts)
