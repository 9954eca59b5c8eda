"""Training in other types than float32: float16 with master weights, as in Micikevicius et al., arXiv 1710.03740.

Weights, activations and gradients are float16; batch norm's statistics, the loss and the weights that the optimizer
keeps are float32. As in the original program, there is no loss scaling. Evaluation and `best.params` are in float32.
In float64 all of that is float64, loss included, so that two programs can be compared without rounding.
"""

from __future__ import annotations

import logging
from typing import Any, Sequence

from .settings import Settings

logger = logging.getLogger(__name__)

FULL, HALF, DOUBLE = "float32", "float16", "float64"


def training_dtype(settings: Settings, devices: Sequence[Any]) -> str:
    """The type that a run computes in: `train.dtype`, or float32 for float16 on CPUs, which have no such convolutions.

    Parameters
    ----------
    settings : Settings
        The run's settings, of which `train.dtype` is read.
    devices : sequence of Context
        The devices on which the run trains.
    """
    on_cpu = any(device.device_type != "gpu" for device in devices)
    return FULL if on_cpu and settings.train.dtype == HALF else settings.train.dtype


def cast_network(net: Any, settings: Settings, devices: Sequence[Any]) -> None:
    """Cast an initialised network to the type that it trains in; warn if the settings ask for another type."""
    dtype = training_dtype(settings, devices)
    if dtype != settings.train.dtype:
        logger.warning(
            "train.dtype is %s, which needs a GPU: MXNet has no convolutions of this type on %s. This run trains in %s",
            *(settings.train.dtype, devices[0].device_type, dtype),
        )
    if dtype != FULL:
        net.cast(dtype)


def input_dtype(net: Any) -> str:
    """The type of the images that a network takes."""
    return getattr(net, "dtype", FULL)
