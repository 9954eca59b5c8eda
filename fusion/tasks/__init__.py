"""What can be learnt: each task is a module of this package, which says all that training has to know about it.

A new task is one module here with a `TASK`: see `fusion.tasks.base.Task`. Nothing else has to name it.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Dict, List, Sequence

from ..data import describe
from ..errors import ConfigError, nearest
from .base import Task

if TYPE_CHECKING:
    from ..training.settings import Settings

__all__ = ["Task", "find_task", "list_tasks", "settings_of_other_tasks", "task_of"]


def list_tasks() -> List[str]:
    """Names that `find_task` knows, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")


def find_task(name: str) -> Task:
    """A task by its name.

    Raises
    ------
    ConfigError
        If there is none; the nearest names are given.
    """
    if name not in list_tasks():
        raise ConfigError(f"task {name!r} is unknown; {nearest(name, list_tasks())}")
    task: Task = importlib.import_module(f"{__name__}.{name}").TASK
    return task


def task_of(settings: Settings, classes: Sequence[str] = ()) -> Task:
    """The task of a run: the one that its settings name, or that of its data set.

    Parameters
    ----------
    settings : Settings
        Of the run.
    classes : sequence of str
        Names of the classes of its data; empty where they are not known, and so the figures may be others.
    """
    return find_task(settings.task or describe(settings.data.name).task).bound(settings, classes)


def settings_of_other_tasks(settings: Settings) -> Dict[str, str]:
    """The settings that mean nothing to a run's task, each with the names of the tasks that it is for."""
    own = task_of(settings)
    found: Dict[str, str] = {}
    for name in list_tasks():
        for key in find_task(name).settings:
            if key not in own.settings:
                found[key] = f"{found[key]}, {name}" if key in found else name
    return found
