"""What is said to somebody whose network has stopped at an answer that no gradient leads away from."""

from __future__ import annotations

from typing import Optional, Sequence

from ..base import TRAINING, EpochRow
from .figures import IOU, LOSS
from .losses import OVERLAPS

#: So many epochs in turn without a pixel in common with the truth are taken for a loss that is dead: of losses that
#: measure overlap only, and of others, whose gradient leads away from background in the end.
PATIENCE, LONG_PATIENCE = 3, 10

#: An IoU below this is none.
_NONE = 1e-3


def dead_loss(rows: Sequence[EpochRow], losses: Sequence[str]) -> Optional[str]:
    """The advice after the epoch with which a network has found no foreground for too long; None after all others.

    A sigmoid that says background with certainty has no gradient in a measure of overlap: the loss stays at 1.

    Parameters
    ----------
    rows : sequence of dict
        The epochs so far, of a network with one logit per pixel.
    losses : sequence of str
        The names of those that are added up.
    """
    overlap_only = set(losses) <= set(OVERLAPS)
    patience = PATIENCE if overlap_only else LONG_PATIENCE
    iou, loss = IOU.column(TRAINING), LOSS.column(TRAINING)
    empty = [row[iou] < _NONE for row in rows[-patience - 1 :]]
    if not all(empty[-patience:]) or len(empty) < patience or (len(empty) > patience and empty[0]):
        return None
    ways = ["a lower schedule.lr", "a longer schedule.warmup_epochs"]
    if "bce" not in losses:
        ways.append('a loss of single pixels beside, such as train.loss="soft_iou + 0.5 bce"')
    ways.append("crops that contain targets, by augment.target_probability=0.5")
    why = "; from there this loss has next to no gradient" if overlap_only else ""
    return (
        f"the network has said background everywhere for {patience} epochs (training loss {rows[-1][loss]:.4f}, IoU "
        f"{rows[-1][iou]:.4f}){why}. What helps, in a new run: {'; '.join(ways)}"
    )
