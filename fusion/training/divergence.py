"""A run whose numbers have left the range of numbers: it cannot go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FusionError

#: What helps.
LOWER = "lower schedule.lr or add schedule.warmup_epochs"


class DivergedError(FusionError):
    """The loss or a weight is infinite or not a number, so the run cannot go on."""


def refuse_diverged(net: Any, epoch: int, batch: int) -> None:
    """Refuse weights that are not finite. The loss of a step tells only about the steps before it.

    Parameters
    ----------
    net : Block
        Its parameters, of which those on the first device are looked at.
    epoch, batch : int
        Where the run is: the epoch from 0, and how many of its batches are done.

    Raises
    ------
    DivergedError
        Naming the first such parameter.
    """
    for name, parameter in net._collect_params_with_prefix().items():
        if not np.isfinite(parameter.list_data()[0].asnumpy()).all():
            raise DivergedError(f"{name} is not finite after batch {batch} of epoch {epoch + 1}")


def with_advice(error: DivergedError, checkpoint: Path) -> DivergedError:
    """The error with what to do, and with what there is to go on from.

    Parameters
    ----------
    error : DivergedError
        What was found.
    checkpoint : Path
        The run's last checkpoint, which may not exist yet.
    """
    kept = f"{checkpoint} is from before that" if checkpoint.exists() else "there is no checkpoint yet"
    return DivergedError(f"{error}: the network has diverged; {LOWER}, and start a new run ({kept})")
