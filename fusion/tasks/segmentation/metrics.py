"""What a segmentation is measured by: counts of pixels and of targets that are added up, and the figures of their sums.

IoU, mIoU and pixel accuracy are those of GluonCV's `SegmentationMetric` and of ACM's code (arXiv 2009.14530), whose
nIoU is the mean over images. Pd and Fa are those of DNANet's code (arXiv 2106.00487).
"""

from __future__ import annotations

from typing import Tuple

import numpy as np
from scipy import ndimage

#: A target is found where the centre of a region that is predicted lies nearer than this to its own, in pixels.
REACH = 3.0

#: Pixels that touch at a corner belong together.
_EIGHT = np.ones((3, 3), dtype=int)


def confusion_matrix(answer: np.ndarray, truth: np.ndarray, classes: int, ignore: int) -> np.ndarray:
    """Count pixels by what they are and by what they are said to be.

    Parameters
    ----------
    answer, truth : ndarray
        Class numbers, of one shape.
    classes : int
        K.
    ignore : int
        Pixels whose truth has this value are left out.

    Returns
    -------
    ndarray
        (K, K) int64: a row per class, a column per answer.
    """
    counted = truth != ignore
    place = truth[counted].astype(np.int64) * classes + answer[counted].astype(np.int64)
    return np.bincount(place, minlength=classes**2).reshape(classes, classes)


def intersection_and_union(confusion: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Of each class the pixels that are both in truth and answer, and those that are in one of them or both."""
    both = np.diagonal(confusion)
    return both, confusion.sum(axis=0) + confusion.sum(axis=1) - both


def share(part: float, whole: float) -> float:
    """Part of whole; 0 where the whole is 0."""
    return float(part) / float(whole) if whole else 0.0


def mean_iou(both: np.ndarray, union: np.ndarray) -> float:
    """The mean of intersection by union over the classes that occur in truth or answer; 0 if none does.

    GluonCV's `SegmentationMetric` counts a class that occurs in neither as 0; where each occurs, the two are equal.
    """
    occurs = union > 0
    return float(np.mean(both[occurs] / union[occurs])) if occurs.any() else 0.0


def foreground_iou(confusion: np.ndarray) -> float:
    """The IoU of class 1 before a background, class 0; 0 where it is neither in truth nor in answer."""
    both, union = intersection_and_union(confusion)
    return share(both[1], union[1])


def find_targets(answer: np.ndarray, truth: np.ndarray) -> Tuple[int, int, int]:
    """Compare the targets of an image with the regions that are predicted.

    Targets and regions are sets of pixels that touch, at corners too. In the order of the rows of the image, each
    target takes the first region that is not taken yet and whose centre is nearer than `REACH` pixels to its own.

    Parameters
    ----------
    answer, truth : ndarray
        (H, W) bool: where a target is said to be, and where one is.

    Returns
    -------
    targets, found, false_pixels : int
        How many targets there are; how many of them took a region; and the pixels of the regions that none took.
    """
    regions, areas = _centres_and_areas(answer)
    targets, _ = _centres_and_areas(truth)
    free = np.ones(len(regions), dtype=bool)
    found = 0
    for centre in targets:
        near = free & (np.hypot(*(regions - centre).T) < REACH)
        if near.any():
            free[np.argmax(near)] = False
            found += 1
    return len(targets), found, int(areas[free].sum())


def _centres_and_areas(mask: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Of each set of pixels that touch, the centre (row, column) in pixels and the number of pixels."""
    labels, count = ndimage.label(mask, structure=_EIGHT)
    rows, columns = np.nonzero(labels)
    numbers = labels[rows, columns]
    areas = np.bincount(numbers, minlength=count + 1)[1:]
    sums = [np.bincount(numbers, weights=places, minlength=count + 1)[1:] for places in (rows, columns)]
    return np.stack(sums, axis=1) / np.maximum(areas, 1)[:, None], areas
