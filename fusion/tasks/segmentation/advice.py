"""What is said to somebody whose network has stopped at an answer that no gradient leads away from."""

from __future__ import annotations

from typing import Dict, Optional, Sequence

from ..base import IN_TURN, TRAINING, EpochRow, Figure, Seen
from .figures import IOU, LOSS
from .losses import OVERLAPS

#: So many epochs in turn without a pixel in common with the truth are taken for a loss that is dead: of losses that
#: measure overlap only, and of others, whose gradient leads away from background in the end.
PATIENCE, LONG_PATIENCE = 3, 10

#: A training IoU below this share of that on the test set is much worse, if the latter is at least so much.
_MUCH_WORSE, _GOOD = 0.25, 0.3

#: An IoU above this multiple of what one answer for all pixels gives is better than that.
_BETTER = 1.05

#: A foreground with a smaller share of the pixels is `dead_loss`'s to tell about.
_LEAST_SHARE = 0.01

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
    ways = ["a start at rare targets, by model.prior=0.01", "a lower schedule.lr", "a longer schedule.warmup_epochs"]
    if "bce" not in losses:
        ways.append('a loss of single pixels beside, such as train.loss="soft_iou + 0.5 bce"')
    ways.append("crops that contain targets, by augment.target_probability=0.5")
    ways.append("masks that belong to their images: look at some with python -m fusion browse")
    why = "; from there this loss has next to no gradient" if overlap_only else ""
    return (
        f"the network has said background everywhere for {patience} epochs (training loss {rows[-1][loss]:.4f}, IoU "
        f"{rows[-1][iou]:.4f}){why}. What helps, in a new run: {'; '.join(ways)}"
    )


def find_doubts(rows: Sequence[EpochRow], seen: Seen, headline: Figure, binary: bool) -> Dict[str, str]:
    """The doubts about a network that answers pixels: see `fusion.tasks.base.Task.doubts`.

    Parameters
    ----------
    rows : sequence of dict
        The epochs so far.
    seen : Seen
        What else is known of the run.
    headline : Figure
        The IoU, or its mean over the classes.
    binary : bool
        Whether there is a foreground only.
    """
    trained, tested = headline.column(TRAINING), headline.column()
    evaluated = [row for row in rows if row.get(tested) == row.get(tested) and tested in row]
    if not evaluated:
        return {}
    last, found = evaluated[-1], {}
    shares = seen.shares
    # One class for all pixels has its share as IoU, and the other classes have 0.
    constant = 0.0 if len(shares) < 2 else float(shares[1] if binary else shares.max() / len(shares))
    if seen.is_long(len(rows)) and last[tested] <= _BETTER * constant and (not binary or constant >= _LEAST_SHARE):
        found["chance"] = (
            f"after {len(rows)} epochs the {headline.title} on the test set is {last[tested]:.4f}, no better than one "
            f"class for all pixels ({constant:.4f}). The masks may not belong to the images (look at some with python "
            "-m fusion browse), or schedule.lr may be far from what this network learns with"
        )
    turns = evaluated[-IN_TURN:]
    if len(turns) == IN_TURN and all(
        row[tested] >= _GOOD and row[trained] < _MUCH_WORSE * row[tested] for row in turns
    ):
        found["better"] = (
            f"the {headline.title} is {last[tested]:.4f} on the test set and {last[trained]:.4f} in training: what the "
            "network is trained on is not what it is tested on. Look at the training images and masks with python -m "
            "fusion browse"
        )
    return found
