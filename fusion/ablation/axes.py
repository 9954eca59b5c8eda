"""What a grid varies besides fusions and depths: settings with several values each, and the names of their cells.

An axis is written `optimizer.name=nag,adam`. Commas separate its values, but for those in brackets, so that a list is
one value: `schedule.steps=[30,60],[50,80]`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any, Dict, List, Sequence, Tuple

from ..errors import ConfigError
from ..training.settings import KEYS, Settings, value_of
from ..training.typed_yaml import plain
from ..words import shortened

#: The settings that options of their own set, and the option of each.
OWN_OPTIONS = {"model.fusion": "--fusions", "model.blocks": "--blocks", "train.seed": "--seeds"}

_OPENING, _CLOSING = "[{", "]}"

#: Characters that the name of a folder does not have, and the longest part of such a name that is of one setting.
_STRANGE, _LONGEST = re.compile(r"[^\w.+-]+", re.ASCII), 40


@dataclass(frozen=True)
class Axis:
    """A setting, and the values that the grid gives it.

    Attributes
    ----------
    key : str
        Such as `optimizer.name`.
    values : tuple of str
        As they were written.
    """

    key: str
    values: Tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.key}={','.join(self.values)}"


def read_axes(words: Sequence[str]) -> Tuple[List[Axis], List[str]]:
    """The axes among the words of `--vary`, and the words that name a single value, which are settings as any others.

    Raises
    ------
    ConfigError
        If a word is no setting, a value is empty, or a setting is given twice or has an option of its own.
    """
    axes: Dict[str, Axis] = {}
    single: List[str] = []
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise ConfigError(
                f"--vary {shortened(word)}: expected section.key=one,two, such as optimizer.name=nag,adam"
            )
        values = _split(text)
        if len(values) == 1:
            single.append(word)
            continue
        if "" in values:
            raise ConfigError(f"--vary {shortened(word)}: a value is empty; write null for the setting's default")
        if key in OWN_OPTIONS:
            raise ConfigError(f"--vary {shortened(word)}: the grid sets this; use {OWN_OPTIONS[key]}")
        if key in axes:
            raise ConfigError(f"--vary {shortened(word)}: {key} is varied twice; write all of its values behind one =")
        axes[key] = Axis(key, tuple(values))
    return list(axes.values()), single


def _split(text: str) -> List[str]:
    """The values of an axis: what stands between commas outside of brackets."""
    values, depth = [""], 0
    for letter in text:
        depth += (letter in _OPENING) - (letter in _CLOSING)
        if letter == "," and depth <= 0:
            values.append("")
        else:
            values[-1] += letter
    return [value.strip() for value in values]


def shown_values(axes: Sequence[Axis], settings: Settings) -> Tuple[Tuple[str, str], ...]:
    """Each axis's setting and its value, for tables."""
    return tuple((axis.key, plain(value_of(settings, axis.key))) for axis in axes)


def folder_part(key: str, value: Any, keys: Sequence[str]) -> str:
    """What the name of a cell's folder has for one setting, such as `r2` or `name-adam`.

    Parameters
    ----------
    key : str
        The setting.
    value : object
        Its value in this cell. Characters that a folder's name should not have are replaced; digits of a
        checksum then tell such values apart.
    keys : sequence of str
        All settings that vary, among which this one's last word may be there twice.
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    text = plain(value)
    wanted = "+".join(map(plain, value)) if isinstance(value, list) else text
    part = _STRANGE.sub("-", wanted)[:_LONGEST]
    if part != wanted or not part or (isinstance(value, list) and "+" in text):
        part = f"{part}-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:6]}".lstrip("-")
    return f"{short_key(key, keys)}{'' if is_number else '-'}{part}"


def short_key(key: str, keys: Sequence[str]) -> str:
    """The last word of a setting's name, such as `lr`, if it says which of those that vary is meant; else the name."""
    leaf = key.rsplit(".", 1)[-1]
    return leaf if [other.rsplit(".", 1)[-1] for other in keys].count(leaf) == 1 else key


def in_order(keys: Sequence[str]) -> List[str]:
    """Settings in the order of a config, so that the folders of a grid do not depend on the order of its options."""
    return sorted(keys, key=list(KEYS).index)


def refuse_twice(axes: Sequence[Axis], settings: Sequence[Settings]) -> None:
    """Refuse an axis of which two values are the same once they are read, such as 0.1 and 1e-1.

    Parameters
    ----------
    axes : sequence of Axis
        Of a grid.
    settings : sequence of Settings
        Of all its cells.

    Raises
    ------
    ConfigError
        With the axis.
    """
    for axis in axes:
        if len({plain(value_of(each, axis.key)) for each in settings}) < len(axis.values):
            raise ConfigError(f"--vary {shortened(str(axis))}: the same value is given twice")
