"""Turns the names of devices on the command line into MXNet contexts."""

from __future__ import annotations

import re
from typing import Any, List

from .compat import mx
from .errors import ConfigError


def contexts(device: str) -> List[Any]:
    """The MXNet contexts for the name of a device.

    Parameters
    ----------
    device : str
        `cpu`; `cpu:2` for two CPU contexts; `gpu` for the first GPU; `0,1` for GPUs by number.

    Returns
    -------
    list of Context
        One context for each device.

    Raises
    ------
    ConfigError
        If the word is not the name of a device, or names a GPU that does not exist.
    """
    word = str(device).strip()
    cpus = re.fullmatch(r"cpu(?::([1-9]\d?))?", word)
    if cpus:
        return [mx.cpu(number) for number in range(int(cpus.group(1) or 1))]
    if word != "gpu" and not re.fullmatch(r"\d+(,\d+)*", word):
        raise ConfigError(f"device {word!r}: expected cpu, cpu:2 (two CPU contexts), gpu, or GPU numbers such as 0,1")
    numbers = [0] if word == "gpu" else [int(number) for number in word.split(",")]
    if len(set(numbers)) < len(numbers):
        raise ConfigError(f"device {word!r}: the same GPU is named twice")
    _check_gpus(word, numbers)
    return [mx.gpu(number) for number in numbers]


def count_devices(device: str) -> int:
    """The number of devices that a word for `contexts` names; they need not exist."""
    cpus = re.fullmatch(r"cpu(?::(\d+))?", device.strip())
    return int(cpus.group(1) or 1) if cpus else device.count(",") + 1


def _check_gpus(word: str, numbers: List[int]) -> None:
    if not mx.runtime.Features().is_enabled("CUDA"):
        raise ConfigError(
            f"device {word!r}: this MXNet is built without CUDA; use --device cpu, or install mxnet-cu112 or "
            "mxnet-cu117 (for GPUs up to compute capability 8.9, not Hopper or Blackwell)"
        )
    try:
        found = mx.context.num_gpus()
    except mx.MXNetError:
        found = 0
    missing = [number for number in numbers if number >= found]
    if missing:
        raise ConfigError(f"device {word!r}: no GPU {missing[0]}; MXNet finds {found} (see nvidia-smi)")
