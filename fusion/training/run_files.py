"""The files of a run, read back: what is damaged in them is one clear error that names the file.

config.yaml is sealed: its first line has the checksum of the others, so that a run whose config was cut or changed is
not continued by another recipe.
"""

from __future__ import annotations

import hashlib
import logging
import math
import re
from pathlib import Path
from typing import Any, Dict, List, Mapping

from ..errors import ConfigError
from ..reading import ReadingError, read_json, read_lines, read_text
from .typed_yaml import MOST_BYTES

logger = logging.getLogger(__name__)

#: In bytes; a result.json and an environment.json have 2,000.
LARGEST_FACTS = 1_000_000

#: In bytes; 20,000 classes with names of 100 letters have a tenth of it.
_LARGEST_CLASSES = 20_000_000

_SEAL = "# SHA-256 of the lines below, which --resume checks: "
_SEALED = re.compile(re.escape(_SEAL) + r"([0-9a-f]{64})\n")

#: The last section of every config.yaml that a run has written, of older versions too.
_LAST_SECTION = re.compile(r"^runtime:$", re.MULTILINE)

_TEXTS = ("model", "data")
_COUNTS = ("classes", "parameters", "train_images", "test_images", "epochs")
_ROWS = ("best", "last")
_MAY_BE_ROWS = ("best_average",)


class RunError(ConfigError):
    """A file of a run that is damaged."""


class NoEpochError(ConfigError):
    """A run of which no epoch is finished yet."""


# --- config.yaml -----------------------------------------------------------------------------------------------------


def seal(text: str) -> str:
    """A config with its checksum in the first line."""
    return f"{_SEAL}{_checksum(text)}\n{text}"


def refuse_changed(path: Path) -> None:
    """Refuse a config.yaml that is not as the run has written it.

    A config of an older version, which has no checksum, is taken with a notice if it goes on to its last section.

    Raises
    ------
    RunError
        If it was cut off or changed.
    """
    text = _config(path)
    if not _SEALED.match(text) and _LAST_SECTION.search(text):
        logger.warning("%s has no checksum, as of an older version: whether it was changed cannot be known", path)
    elif not _SEALED.match(text):
        raise RunError(f"{path}: cut off: it ends before the section runtime; copy it back, or start a new run")
    elif not _is_whole(text):
        raise RunError(
            f"{path}: cut off, or changed since the run started, by its checksum: the run would go on with another "
            "recipe. Copy it back; or remove its first line, if you have changed it yourself and want that"
        )


def tell_changed(path: Path) -> None:
    """Warn of a config.yaml that has a checksum and is not as the run has written it."""
    try:
        text = _config(path)
    except RunError:  # whoever reads the settings says why
        return
    if _SEALED.match(text) and not _is_whole(text):
        logger.warning("%s was cut off, or changed since the run started, by its checksum", path)


def _config(path: Path) -> str:
    try:
        return read_text(path, MOST_BYTES)
    except ReadingError as error:
        raise RunError(f"{path}: cannot be read ({error})") from None


def _is_whole(text: str) -> bool:
    found = _SEALED.match(text)
    return found is not None and found[1] == _checksum(text[found.end() :])


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# --- The others ------------------------------------------------------------------------------------------------------


def read_facts(path: Path) -> Dict[str, Any]:
    """What a result.json says, once its fields are found to be of their types.

    Raises
    ------
    RunError
        If it is damaged.
    NoEpochError
        If it is not there.
    """
    if not path.exists():
        raise NoEpochError(f"{path.parent}: no epoch of this run is finished yet (it has no {path.name})")
    facts = _object(path)
    for name in (*_TEXTS, *_COUNTS, *_ROWS, *(name for name in _MAY_BE_ROWS if name in facts)):
        if not _is_sound(name, facts.get(name)):
            raise damaged(path, f"its {name} is {_shown(facts, name)}")
    return facts


def read_environment(path: Path) -> Dict[str, Any]:
    """What an environment.json says; empty if it is not there.

    Raises
    ------
    RunError
        If it is damaged.
    """
    return _object(path) if path.exists() else {}


def read_class_names(path: Path) -> List[str]:
    """The names in a classes.txt, in label order; empty if it is not there, as of an older version.

    Raises
    ------
    RunError
        If it is damaged.
    """
    if not path.exists():
        return []
    try:
        names = read_lines(path, _LARGEST_CLASSES)
    except ReadingError as error:
        raise RunError(f"{path}: damaged: {error}; expected the name of a class on each line") from None
    if not names or not all(names) or len(set(names)) < len(names):
        raise RunError(f"{path}: damaged: expected a different name on each line, one for each class")
    return names


def _object(path: Path) -> Dict[str, Any]:
    try:
        found = read_json(path, LARGEST_FACTS)
    except ReadingError as error:
        raise damaged(path, str(error)) from None
    if not isinstance(found, dict):
        raise damaged(path, "it holds no object")
    return found


def _is_sound(name: str, value: Any) -> bool:
    if name in _TEXTS:
        return isinstance(value, str)
    if name in _COUNTS:
        return type(value) is int and value >= 0
    return isinstance(value, dict) and _is_epoch(value.get("epoch")) and all(map(_is_number, value.values()))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_epoch(value: Any) -> bool:
    return _is_number(value) and math.isfinite(value) and value >= 1


def _shown(facts: Mapping[str, Any], name: str) -> str:
    return repr(facts[name])[:60] if name in facts else "missing"


def damaged(path: Path, reason: str) -> RunError:
    """The error of a file that a resumed run writes again."""
    return RunError(
        f"{path}: damaged: {reason}. Copy it back, or continue the run with --resume {path.parent}, which writes it "
        "again from the checkpoint"
    )
