"""An exponential moving average of a network's parameters, which is evaluated and saved in addition to the network.

Source: Polyak & Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992, in its exponential form. The
decay of step t is min(decay, (1 + t) / (10 + t)), as in TensorFlow's `ExponentialMovingAverage`, so that the average
of a short run does not depend on the initial weights.
"""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional

import numpy as np

from ..compat import mx
from .settings import Settings

_WARM_UP = 10


class WeightAverage:
    """The moving average of all parameters, running statistics included, in float32 on the first device.

    Parameters
    ----------
    net : Block
        An initialised network; the average starts with the values of its parameters.
    decay : float
        The share of the old average that each step keeps, at least 0 and below 1.
    """

    def __init__(self, net: Any, decay: float) -> None:
        self.decay = decay
        self._parameters = net._collect_params_with_prefix()
        self._arrays = {name: _value(parameter).copy() for name, parameter in self._parameters.items()}

    def update(self, step: int) -> None:
        """Add the parameters after a step to the average; steps are counted from 0 over all epochs."""
        # A backward pass updates batch norm's running statistics unknown to the engine: a read would not wait.
        mx.nd.waitall()
        decay = min(self.decay, (1 + step) / (_WARM_UP + step))
        for name, average in self._arrays.items():
            average *= decay
            average += (1 - decay) * _value(self._parameters[name])

    def copy_to(self, net: Any) -> None:
        """Copy the average to the parameters of a network of the same structure."""
        for name, parameter in net._collect_params_with_prefix().items():
            parameter.set_data(self._arrays[name].astype(parameter.dtype))

    def arrays(self) -> Dict[str, np.ndarray]:
        """The averaged parameters by structural name."""
        return {name: array.asnumpy() for name, array in self._arrays.items()}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Set the average to values that `arrays` returned."""
        for name, average in self._arrays.items():
            average[:] = mx.nd.array(arrays[name], dtype="float32", ctx=average.context)


def build_average(net: Any, settings: Settings) -> Optional[WeightAverage]:
    """Build the average of a network whose weights are initialised; None if the settings ask for no average."""
    return WeightAverage(net, settings.train.ema_decay) if settings.train.ema_decay > 0 else None


def _value(parameter: Any) -> Any:
    """A parameter in float32 on its first device; for running statistics, the mean over all devices, which differ."""
    first = parameter.list_ctx()[0]
    values = parameter.list_data() if parameter.grad_req == "null" else [parameter.data(first)]
    mean = mx.nd.add_n(*(value.as_in_context(first) for value in values)) / len(values)
    return mean.astype("float32")
