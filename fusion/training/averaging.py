"""An exponential moving average of a network's parameters, evaluated and saved beside the network.

Source: Polyak & Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992, in its exponential form. The
decay of step t is min(decay, (1 + t) / (10 + t)), as TensorFlow's `ExponentialMovingAverage` has it, so that a short
run's average does not remember where the weights started.
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
        Initialised; the average starts as its parameters.
    decay : float
        Share of the average that a step keeps, at least 0 and below 1.
    """

    def __init__(self, net: Any, decay: float) -> None:
        self.decay = decay
        self._parameters = net._collect_params_with_prefix()
        self._arrays = {name: _value(parameter).copy() for name, parameter in self._parameters.items()}

    def update(self, step: int) -> None:
        """Take in the parameters after a step, counted from 0 over all epochs."""
        # A backward pass updates batch norm's running statistics behind the engine's back: a read would not wait.
        mx.nd.waitall()
        decay = min(self.decay, (1 + step) / (_WARM_UP + step))
        for name, average in self._arrays.items():
            average *= decay
            average += (1 - decay) * _value(self._parameters[name])

    def copy_to(self, net: Any) -> None:
        """Give the average to a network of the same structure."""
        for name, parameter in net._collect_params_with_prefix().items():
            parameter.set_data(self._arrays[name].astype(parameter.dtype))

    def arrays(self) -> Dict[str, np.ndarray]:
        """The average by structural name."""
        return {name: array.asnumpy() for name, array in self._arrays.items()}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from what `arrays` gave."""
        for name, average in self._arrays.items():
            average[:] = mx.nd.array(arrays[name], dtype="float32", ctx=average.context)


def build_average(net: Any, settings: Settings) -> Optional[WeightAverage]:
    """The average that the settings ask for, of a network whose weights have started; None without one."""
    return WeightAverage(net, settings.train.ema_decay) if settings.train.ema_decay > 0 else None


def _value(parameter: Any) -> Any:
    """A parameter in float32 on its first device; running statistics, which differ between devices, as their mean."""
    first = parameter.list_ctx()[0]
    values = parameter.list_data() if parameter.grad_req == "null" else [parameter.data(first)]
    mean = mx.nd.add_n(*(value.as_in_context(first) for value in values)) / len(values)
    return mean.astype("float32")
