"""Whether the first steps of a run move the weights: steps below the rounding of float32 leave them as they are."""

from __future__ import annotations

from typing import Any, List, Optional

import numpy as np

from ..models.network import learns

#: Steps after which the weights are looked at.
STEPS = 20

#: So many parameters are looked at, spread over the network, and none with more numbers than this.
_PARAMETERS, _LARGEST = 16, 2**18

#: If no larger share of the weights has changed, nothing is learnt.
_STILL = 0.1


class Movement:
    """Some weights of a network as a run begins.

    Parameters
    ----------
    net : Block
        Its weights are initialised. Weights of float16 are left out, since they have float32 masters that may move
        before they do; its gammas, which are float32, are looked at.
    """

    def __init__(self, net: Any) -> None:
        learning = [
            parameter
            for parameter in net.collect_params().values()
            if learns(parameter)
            and np.dtype(parameter.dtype) == np.float32
            and 0 < np.prod(parameter.shape) <= _LARGEST
        ]
        step = max(1, -(-len(learning) // _PARAMETERS))
        self._parameters: List[Any] = learning[::step]
        self._before = [_values(parameter) for parameter in self._parameters]

    def doubt(self, steps: int, rate: float) -> Optional[str]:
        """What to say if next to nothing has moved.

        Parameters
        ----------
        steps : int
            That were taken.
        rate : float
            The learning rate of the last of them.
        """
        moved = total = 0
        for parameter, before in zip(self._parameters, self._before):
            counts = before != 0  # of a zero, any step is large enough
            moved += np.count_nonzero((_values(parameter) != before) & counts)
            total += np.count_nonzero(counts)
        if not total or moved > _STILL * total:
            return None
        return (
            f"{steps} steps have changed {100 * moved / total:.2g} % of the weights: at a learning rate of {rate:.3g} "
            "the others' steps are lost in the rounding of float32, or their gradients are 0. Raise schedule.lr; if it "
            "is as the recipe has it, look at the loss and at train.initial_parameters"
        )


def _values(parameter: Any) -> np.ndarray:
    """A copy: what is seen as a part of a parameter could change its layout in memory, and so the rounding."""
    return np.asarray(parameter.list_data()[0].asnumpy())
