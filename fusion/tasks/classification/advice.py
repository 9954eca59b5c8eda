"""What is said of a classifier that answers no better than at random, or much better than it was trained to."""

from __future__ import annotations

from typing import Dict, Sequence, Tuple

import numpy as np
from scipy.special import entr

from ..base import IN_TURN, Seen

#: A loss of at least this share of that of a network which ignores the image is no better than that.
_NO_BETTER = 0.97

#: A test error of at most this share of that of such a network is much better than that.
_MUCH_BETTER = 0.5

#: So many standard deviations of the number of right answers are luck.
_LUCK = 3.0


def find_doubts(
    losses: Sequence[float],
    tested: Sequence[Tuple[float, float]],
    epochs: int,
    seen: Seen,
    smoothing: float = 0.0,
    has_teacher: bool = False,
) -> Dict[str, str]:
    """The doubts about a classifier: see `fusion.tasks.base.Task.doubts`.

    A network that does not look at the image can do no better than to give each class its share of the targets. Its
    loss is their entropy, ln(classes) if they are equal, and so it is with mixup, which changes no share.

    Parameters
    ----------
    losses : sequence of float
        In training, of each evaluated epoch.
    tested : sequence of (float, float)
        Top-1 error and cross-entropy on the test set, of the same epochs.
    epochs : int
        So far.
    seen : Seen
        What else is known of the run.
    smoothing : float
        Label smoothing of the targets.
    has_teacher : bool
        Whether the loss in training has a teacher's part, so that it cannot be compared with an entropy.
    """
    shares = seen.shares
    if not tested or np.count_nonzero(shares) < 2:
        return {}
    known = float(entr(shares).sum())
    unknown_loss = float(entr((1 - smoothing) * shares + smoothing / len(shares)).sum())
    likeliest = float(shares.max())
    flat = [loss >= _NO_BETTER * unknown_loss for loss in losses]
    found: Dict[str, str] = {}
    error, loss = tested[-1]
    luck = _LUCK * np.sqrt(likeliest * (1 - likeliest) / max(1, seen.test_images))
    if seen.is_long(epochs) and 1 - error <= likeliest + luck and loss >= _NO_BETTER * known:
        training = _in_training(losses[-1], unknown_loss, has_teacher)
        found["chance"] = (
            f"after {epochs} epochs the test error is {100 * error:.2f} %, no better than with the most frequent class "
            f"as the answer to all images ({100 * (1 - likeliest):.2f} %), {training}"
        )
    last = list(zip(flat, tested))[-IN_TURN:]
    much_better = [is_flat and error <= _MUCH_BETTER * (1 - likeliest) for is_flat, (error, _) in last]
    if len(last) == IN_TURN and all(much_better) and not has_teacher:
        found["better"] = (
            f"the test error is {100 * error:.2f} %, while the training loss of {losses[-1]:.3f} is still that of a "
            f"network which does not look at the image ({unknown_loss:.3f}): what it is trained on is not what it is "
            "tested on. Look at the training images and their labels with python -m fusion browse, and at "
            "train.initial_parameters"
        )
    return found


def _in_training(loss: float, unknown_loss: float, has_teacher: bool) -> str:
    """What the loss in training says about a network that is no better than chance on the test set."""
    browse = "look at some with python -m fusion browse"
    if has_teacher:
        return (
            f"with a training loss of {loss:.3f}. The labels may not belong to the images ({browse}), or to the teacher"
        )
    if loss >= _NO_BETTER * unknown_loss:
        return (
            f"and the training loss of {loss:.3f} is that of a network which does not look at the image "
            f"({unknown_loss:.3f}). The labels may not belong to the images ({browse}), or schedule.lr may be far from "
            "what this network learns with"
        )
    return (
        f"although the training loss has come down to {loss:.3f} from {unknown_loss:.3f}. The network learns the "
        f"training images by heart: their labels, or those of the test images, may not belong to them ({browse}), or "
        "the classes of the two may be in another order"
    )
