"""Adds up what segmentation is measured by, batch by batch, so that an evaluation keeps nothing of an image."""

from __future__ import annotations

import math
from typing import Any, Dict, List, Sequence

import numpy as np

from ...compat import mx
from ..base import Meter, StepOutput
from .metrics import confusion_matrix, find_targets, foreground_iou, intersection_and_union, mean_iou, share


def answers(outputs: np.ndarray) -> np.ndarray:
    """The classes (B, H, W) that logits (B, C, H, W) name: of one logit, foreground where it is above 0."""
    return outputs[:, 0] > 0 if outputs.shape[1] == 1 else outputs.argmax(axis=1)


#: The sums about targets, which only a foreground has.
_TARGETS = ("targets", "found", "false_pixels")


class _Counting(Meter):
    """Adds up a confusion matrix besides some other numbers.

    Parameters
    ----------
    outputs : int
        Channels of the logits: one is for a foreground before a background, which are K = 2 classes.
    ignore : int
        The value of pixels that do not count.
    others : sequence of str
        Names of the other sums, which come first.
    """

    def __init__(self, outputs: int, ignore: int, others: Sequence[str]) -> None:
        self._binary = outputs == 1
        self._classes = classes = max(outputs, 2)
        self._ignore = ignore
        cells = (f"pixels_{truth}_as_{answer}" for truth in range(classes) for answer in range(classes))
        self.names = (*others, *cells)

    def _confusion(self, answer: np.ndarray, truth: np.ndarray) -> np.ndarray:
        return confusion_matrix(answer, truth, self._classes, self._ignore)

    def confusion(self, sums: np.ndarray) -> np.ndarray:
        """The confusion matrix (K, K) in the sums: a row per class, a column per answer."""
        return sums[-(self._classes**2) :].reshape(self._classes, self._classes)


class TrainingMeter(_Counting):
    """The mean loss over batches, and the IoU over all pixels that the network was trained on."""

    def __init__(self, outputs: int, ignore: int) -> None:
        super().__init__(outputs, ignore, ("loss", "batches"))

    def of_step(self, step: StepOutput) -> np.ndarray:
        loss = np.concatenate([part.asnumpy() for part in step.losses]).mean(dtype=np.float64)
        answer = np.concatenate([answers(part.asnumpy()) for part in step.outputs])
        return np.concatenate([[loss, 1.0], self._confusion(answer, step.targets).ravel()])

    def figures(self, sums: np.ndarray) -> Dict[str, float]:
        loss, batches = map(float, sums[:2])
        if not batches:
            return {"loss": math.nan, "iou": math.nan, "miou": math.nan}
        confusion = self.confusion(sums)
        iou = foreground_iou(confusion) if self._binary else math.nan
        return {"loss": loss / batches, "iou": iou, "miou": mean_iou(*intersection_and_union(confusion))}


class EvaluationMeter(_Counting):
    """The figures of whole images.

    Parameters
    ----------
    outputs, ignore : int
        As in training.
    loss : callable
        From logits and targets of one image to its loss (1,).
    """

    def __init__(self, outputs: int, ignore: int, loss: Any) -> None:
        super().__init__(outputs, ignore, ("loss", "images", "niou", *(_TARGETS if outputs == 1 else ())))
        self._loss = loss

    def of_batch(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        given = mx.nd.array(outputs)
        truth = mx.nd.array(targets, dtype="float32")
        said = answers(outputs)
        total = np.zeros(len(self.names))
        for number, (answer, wanted) in enumerate(zip(said, targets)):
            image = slice(number, number + 1)
            loss = float(self._loss(given[image], truth[image]).asscalar())
            confusion = self._confusion(answer, wanted)
            found = find_targets(answer & (wanted != self._ignore), wanted == 1) if self._binary else ()
            own = foreground_iou(confusion) if self._binary else mean_iou(*intersection_and_union(confusion))
            total += np.array([loss, 1.0, own, *found, *confusion.ravel()], dtype=np.float64)
        return total

    def figures(self, sums: np.ndarray) -> Dict[str, float]:
        named = dict(zip(self.names, map(float, sums)))
        confusion = self.confusion(sums)
        both, union = intersection_and_union(confusion)
        figures = {
            "loss": share(named["loss"], named["images"]),
            "miou": mean_iou(both, union),
            "niou": share(named["niou"], named["images"]),
            "pixel_accuracy": share(both.sum(), confusion.sum()),
        }
        if self._binary:
            figures["iou"] = foreground_iou(confusion)
            figures["pd"] = share(named["found"], named["targets"])
            figures["fa"] = share(named["false_pixels"], confusion.sum())
        return figures

    def class_ious(self, sums: np.ndarray) -> List[float]:
        """The IoU of each class; not a number for one that occurs neither in truth nor in the answers."""
        both, union = intersection_and_union(self.confusion(sums))
        return [float(one) / float(all_of) if all_of else math.nan for one, all_of in zip(both, union)]
