"""Several processes, on one machine or many: who they are, what they add up, and how they stop together.

Every worker trains on its own part of each batch and adds its gradients to the others'; all of them then take the
same step, so that their weights and optimizers stay alike and any checkpoint resumes under any number of workers.
Two libraries do the adding: MXNet's key-value store (`python -m fusion.launch`, or DMLC_* variables on each host) and
Horovod (`horovodrun`). docs/scaling.md has the commands.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, Mapping

from ...errors import ConfigError
from ..settings import Settings

if TYPE_CHECKING:
    from .workers import Workers  # of MXNet, as is all that is imported below: the launcher needs none

logger = logging.getLogger("fusion")


def start(settings: Settings) -> Workers:
    """Meet the other workers, as `runtime.distributed` says; a context manager that parts from them.

    Parameters
    ----------
    settings : Settings
        Of the run.

    Returns
    -------
    Workers
        This process among them. Those that are not the first log errors only.

    Raises
    ------
    ConfigError
        If this process was not started the way that the setting needs, or Horovod is missing.
    """
    workers = _START[settings.runtime.distributed]()
    if workers.rank:
        logger.setLevel(logging.ERROR)
    return workers


def _start_alone() -> Workers:
    for variable, engine in (("DMLC_NUM_WORKER", "dist_sync"), ("HOROVOD_SIZE", "horovod")):
        count = os.environ.get(variable, "1")
        if count != "1":
            raise ConfigError(
                f"this process was started as one of {count} workers ({variable}), and runtime.distributed is none: "
                f"add runtime.distributed={engine}, without which each would train by itself into the same folder"
            )
    from .workers import ALONE

    return ALONE


def _start_store() -> Workers:
    from .stores import start_store

    return start_store()


def _start_horovod() -> Workers:
    from .stores import start_horovod

    return start_horovod()


_START: Mapping[str, Any] = {"none": _start_alone, "dist_sync": _start_store, "horovod": _start_horovod}
