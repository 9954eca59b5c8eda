"""Float16 training with float32 master weights, as in Micikevicius et al., arXiv 1710.03740.

Weights, activations and gradients are float16; batch norm's statistics, the loss and the weights that the optimizer
keeps are float32. As in the original there is no loss scaling. Evaluation and `best.params` are in float32.
"""

from __future__ import annotations

import logging
from typing import Any, Sequence

from .settings import Settings

logger = logging.getLogger(__name__)

FULL, HALF = "float32", "float16"


def training_dtype(settings: Settings, devices: Sequence[Any]) -> str:
    """What a run computes in: as its settings say on GPUs, and float32 on CPUs, whose convolutions have no float16.

    Parameters
    ----------
    settings : Settings
        `train.dtype`.
    devices : sequence of Context
        Where it trains.
    """
    on_cpu = any(device.device_type != "gpu" for device in devices)
    return FULL if on_cpu else settings.train.dtype


def cast_network(net: Any, settings: Settings, devices: Sequence[Any]) -> None:
    """Give an initialised network the type that it trains in; say so where it is not the settings'."""
    dtype = training_dtype(settings, devices)
    if dtype != settings.train.dtype:
        logger.warning(
            "train.dtype is %s, which needs a GPU: MXNet has no such convolutions on %s. This run trains in %s",
            *(settings.train.dtype, devices[0].device_type, dtype),
        )
    if dtype != FULL:
        net.cast(dtype)


def input_dtype(net: Any) -> str:
    """The type of the images that a network takes."""
    return getattr(net, "dtype", FULL)
