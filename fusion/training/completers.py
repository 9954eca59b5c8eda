"""What words of a command line may become: names of configs, and settings with their values.

`fusion.completion` uses them, in a process in which nothing can be computed.
"""

from __future__ import annotations

from typing import Dict, List

from ..completion import Completer, files
from ..models.completers import fusions, models
from ..models.pretrained import list_pretrained
from .configs import packaged_configs
from .settings import KEYS


def configs(written: str) -> List[str]:
    """The packaged configs, and files."""
    return [*packaged_configs(), *files(written)]


def _started(written: str) -> List[str]:
    """The models that come with weights, and files."""
    return [*list_pretrained(), *files(written)]


#: What settings may be whose values are not choices.
_VALUES: Dict[str, Completer] = {
    "model.name": models,
    "model.fusion": fusions,
    "model.encoder": models,
    "data.dir": files,
    "train.initial_parameters": _started,
    "train.encoder_parameters": files,
    "train.teacher": _started,
    "train.teacher_checkpoint": files,
}


def settings(written: str) -> List[str]:
    """Settings up to the equals sign; behind it what the setting may be, as far as that can be listed."""
    key, equals, value = written.partition("=")
    if not equals:
        return [f"{name}=" for name in KEYS]
    return [f"{key}={word}" for word in _values(key, value)] if key in KEYS else []


def _values(key: str, written: str) -> List[str]:
    if key in _VALUES:
        return list(_VALUES[key](written))
    if KEYS[key].kind.item is bool:
        return ["true", "false"]
    return [str(choice) for choice in KEYS[key].metadata.get("choices", ())]


def settings_or_files(written: str) -> List[str]:
    """Settings, and files where the word can be none."""
    return [*settings(written), *([] if "=" in written else files(written))]


#: What arguments of commands may be, by their `dest`.
COMPLETERS: Dict[str, Completer] = {
    "config": configs,
    "settings": settings,
    "words": settings_or_files,
}
