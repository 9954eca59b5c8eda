"""What a network that answers each pixel confuses, counted over a whole test set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Tuple

import numpy as np

from ..compat import mx
from ..data.masks.labels import IGNORE
from ..inference.masks import labels_of
from ..inference.trained import Trained
from ..progress import progress
from ..tables import text_table
from ..tasks.segmentation.meters import answers as answers_of
from ..tasks.segmentation.metrics import confusion_matrix, intersection_and_union, mean_iou
from ..words import counted
from .by_class import ClassFigures, figures_by_class

#: Images per batch, where their sizes are the same.
_BATCH = 8


@dataclass(frozen=True, eq=False)  # no field-wise ==: it has no truth value for arrays
class PixelAnswers:
    """How many pixels of each class got each answer.

    Attributes
    ----------
    counts : ndarray
        (K, K) int64: a row per class, a column per answer; a single class has the background before it.
    classes : tuple of str
        Names of the K classes.
    images : int
        Over how many images.
    has_background : bool
        Whether the first class is what is none of the objects.
    """

    counts: np.ndarray
    classes: Tuple[str, ...]
    images: int
    has_background: bool

    #: What is counted.
    unit = "pixels"

    def matrix(self) -> np.ndarray:
        """How many pixels of each class (rows) got each answer (columns): (K, K) int64."""
        return self.counts

    @property
    def ious(self) -> Dict[str, float]:
        """The intersection over union of each class; not a number for one that occurs neither in truth nor answers."""
        both, union = intersection_and_union(self.counts)
        return {
            name: float(both[place]) / float(union[place]) if union[place] else float("nan")
            for place, name in enumerate(self.classes)
        }

    @property
    def about(self) -> str:
        """The figures in words."""
        right = np.diagonal(self.counts).sum() / max(1, self.counts.sum())
        name, value = "mIoU", mean_iou(*intersection_and_union(self.counts))
        if len(self.classes) == 2 and self.has_background:
            name, value = f"IoU of {self.classes[1]}", self.ious[self.classes[1]]
        return f"{name} {value:.4f}, {100 * right:.2f} % of the pixels right on {counted(self.images, 'test image')}"

    def table(self) -> str:
        """A line per class: its pixels, the share that is found, the share of right answers, and its IoU."""
        lines: List[Tuple[str, ...]] = []
        for each, iou in zip(self.by_class(), self.ious.values()):
            shares = ("–" if np.isnan(share) else f"{100 * share:.2f}" for share in (each.recall, each.precision))
            lines.append((each.name, f"{each.total:,}", *shares, "–" if np.isnan(iou) else f"{iou:.4f}"))
        return text_table(("class", "pixels", "found (%)", "precision (%)", "IoU"), lines)

    def by_class(self) -> List[ClassFigures]:
        """Precision, recall and F1 of each class."""
        return figures_by_class(self.counts, self.classes)


def answer_all_pixels(trained: Trained, data: Any) -> PixelAnswers:
    """Run a network over a test set, each image as an evaluation of its run shows it.

    Parameters
    ----------
    trained : Trained
        A network that answers each pixel.
    data : MaskSet
        Its test images.
    """
    labels = labels_of(trained)
    names = tuple(map(labels.name, range(2 if labels.binary else len(labels.classes))))
    counts = np.zeros((len(names), len(names)), np.int64)
    answering = trained.task.answering(trained.net)
    trained.net.hybridize()
    try:
        with progress(f"{trained.model} on {data.title}", len(data), unit="images") as meter:
            for batch in trained.task.evaluation_batches(data, trained.preparation.normalisation, _BATCH, (0, 1)):
                said = answers_of(answering(mx.nd.array(batch.images, ctx=trained.context)).asnumpy())
                counts += confusion_matrix(said, batch.targets, len(names), IGNORE)
                meter.update(len(batch.targets))
    finally:
        trained.net.hybridize(False)
    return PixelAnswers(counts, names, len(data), labels.has_background)
