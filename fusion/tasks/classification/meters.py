"""What a classifier is measured by: top-1 and top-5 error, cross-entropy, and the distance of its probabilities."""

from __future__ import annotations

import math
from typing import Dict

import numpy as np
from scipy.special import log_softmax

from ..base import Meter, StepOutput


class TrainingMeter(Meter):
    """Means over batches: of the loss, and of the root mean square of probabilities minus targets."""

    names = ("loss", "rmse", "batches")

    def of_step(self, step: StepOutput) -> np.ndarray:
        loss = np.concatenate([part.asnumpy() for part in step.losses]).mean(dtype=np.float64)
        logits = np.concatenate([part.asnumpy() for part in step.outputs]).astype(np.float64)
        difference = np.exp(log_softmax(logits, axis=-1)) - step.targets
        return np.array([loss, np.sqrt(np.mean(difference**2)), 1.0])

    def figures(self, sums: np.ndarray) -> Dict[str, float]:
        loss, rmse, batches = map(float, sums)
        if not batches:
            return {"loss": math.nan, "rmse": math.nan}
        return {"loss": loss / batches, "rmse": rmse / batches}


class EvaluationMeter(Meter):
    """Counts of wrong answers, and the sum of the cross-entropy over images."""

    names = ("wrong_in_1", "wrong_in_5", "loss", "images")

    def of_batch(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        scores = outputs.astype(np.float64)
        loss = -log_softmax(scores, axis=-1)[np.arange(len(scores)), targets].sum()
        ranks = rank_of_labels(scores, targets)
        wrong = [np.count_nonzero(ranks > k) for k in (1, 5)]
        return np.array([*wrong, loss, len(targets)], dtype=np.float64)

    def figures(self, sums: np.ndarray) -> Dict[str, float]:
        *totals, images = map(float, sums)
        wrong1, wrong5, loss = (total / images if images else 0.0 for total in totals)
        return {"loss": loss, "top1_error": wrong1, "top5_error": wrong5}


def rank_of_labels(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many scores of each row are at least as high as its label's, itself included: 1 is the single highest.

    Parameters
    ----------
    scores : ndarray
        (N, classes) float64.
    labels : ndarray
        (N,) integers. A score that ties with the label's counts against it.

    Returns
    -------
    ndarray
        (N,) float64; infinity for a row with a score that is not a finite number.
    """
    own = scores[np.arange(len(scores)), labels]
    with np.errstate(invalid="ignore"):
        at_least = (scores >= own[:, None]).sum(axis=1)
    return np.where(np.isfinite(scores).all(axis=1), at_least, np.inf)


def top_k_error(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    """The share of rows whose label is not among the k highest scores: see `rank_of_labels`."""
    return float(np.mean(rank_of_labels(scores, labels) > k))
