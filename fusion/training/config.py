"""Reads an experiment: YAML files that inherit from each other, then words of the command line, checked one by one.

A file may start with `base: other.yaml`, whose settings it then overrides. The base is a path from the file's own
folder, or the name of a config that comes with the package, such as `quickstart`; it may also be a list of these. Every
complaint names where the value came from: a file and line, or the word on the command line.

Each value is read as the type that `fusion.training.settings` declares (see `fusion.training.typed_yaml`). On the
command line text is everything behind the equals sign, without quotes; `null`, or nothing, gives a setting back its
default.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Optional, Sequence, Tuple, Union

import yaml

from ..errors import ConfigError, nearest
from ..words import shortened
from .checks import Place, check
from .configs import find_config
from .settings import KEYS, Settings, model_keywords, value_of
from .typed_yaml import MOST_BYTES, YamlError, compose, flow_node, read_freely, read_value, shown, text_node

__all__ = ["differing_keys", "model_keywords", "read_config", "to_yaml", "value_of"]

#: The most files that one experiment may be spread over.
MOST_FILES = 50


_SECTIONS = tuple(dict.fromkeys(name.split(".")[0] for name in KEYS if "." in name))
_WITHOUT_SECTION = tuple(name for name in KEYS if "." not in name)


@dataclass(frozen=True)
class Word:
    """One setting as it was written: its key, such as `schedule.lr`, its value before it is read, and where."""

    key: str
    node: yaml.Node
    place: Place


def read_config(path: Optional[Union[str, Path]], overrides: Sequence[str] = ()) -> Settings:
    """Resolve a config file and command-line words into settings.

    Parameters
    ----------
    path : str or Path, optional
        A YAML file; None starts from the defaults.
    overrides : sequence of str
        Words such as `schedule.lr=0.1`, which win over the file.

    Returns
    -------
    Settings
        Typed and checked.

    Raises
    ------
    ConfigError
        For an unknown key, a wrong type or an impossible value: where it stands, what was expected, and the nearest
        known key.

    Examples
    --------
    >>> from fusion.training.configs import packaged_config
    >>> settings = read_config(packaged_config("quickstart"), ["model.fusion=iaff", "schedule.lr=0.1"])
    >>> settings.model.fusion, settings.schedule.lr
    ('iaff', 0.1)
    """
    words = [*(_words_of_file(Path(path), (), []) if path is not None else ()), *map(_word_of_argument, overrides)]
    settings, places = Settings(), {}
    for word in words:
        _apply(settings, word)
        places[word.key] = word.place
    check(settings, places)
    return settings


def to_yaml(settings: Settings, reasons: bool = False) -> str:
    """The settings as a YAML file that `read_config` reads back.

    Parameters
    ----------
    settings : Settings
        Resolved.
    reasons : bool, default False
        Write beside each setting what it is.
    """
    lines, above = [], ""
    for name, key in KEYS.items():
        section, _, leaf = name.rpartition(".")
        if section != above:
            lines.append(f"{section}:")
            above = section
        value = yaml.safe_dump([value_of(settings, name)], default_flow_style=True, width=1000).strip()[1:-1]
        text = f"{'  ' if section else ''}{leaf}: {value}"
        lines.append(f"{text:<42}  # {key.metadata['reason']}" if reasons else text)
    return "\n".join(lines) + "\n"


def differing_keys(one: Settings, other: Settings) -> List[str]:
    """The settings in which two runs differ, by their names."""
    return [key for key in KEYS if value_of(one, key) != value_of(other, key)]


# --- Reading ---------------------------------------------------------------------------------------------------------


def _words_of_file(path: Path, above: Tuple[str, ...], files: List[str]) -> Iterator[Word]:
    """The settings of a file in order, after those of its bases.

    `above` are the files that inherit from this one, `files` all that have been read, which this one is added to.
    """
    if len(files) == MOST_FILES:
        raise ConfigError(f"{path}: this would be more than {MOST_FILES} files for one experiment; use fewer bases")
    files.append(str(path))
    document = _document(path)
    real = os.path.realpath(path)
    if real in above:
        raise ConfigError(f"{path}: inherits from itself by way of {above[-1]}")
    if document is None:
        return
    if not isinstance(document, yaml.MappingNode):
        raise ConfigError(f"{path}: expected sections such as 'model:' and 'data:'")
    for key, node in document.value:
        if key.value == "base":
            for base in _bases(node, path, f"{path}, line {key.start_mark.line + 1}"):
                yield from _words_of_file(base, (*above, real), files)
    for key, node in document.value:
        if key.value != "base":
            yield from _words_of_section(path, key, node)


def _document(path: Path) -> Optional[yaml.Node]:
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot read this config ({error.strerror})") from None
    except ValueError as error:  # a NUL character in the name
        raise ConfigError(f"{str(path)!r}: cannot read this config ({error})") from None
    if len(content) > MOST_BYTES:
        raise ConfigError(f"{path}: more than {MOST_BYTES:,} bytes, and a config has a few thousand: another file?")
    try:
        return compose(content.decode("utf-8"))
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text file; a config is YAML in UTF-8") from None
    except YamlError as error:
        place = f"{path}, line {error.line}" if error.line else str(path)
        raise ConfigError(f"{place}: {error}") from None


def _bases(node: yaml.Node, path: Path, place: str) -> List[Path]:
    """The files that a file inherits from."""
    bases = read_freely(node)
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ConfigError(f"{place}: base is a file, or a list of files, and not {shown(node)}")
    try:
        return [find_config(base, path.parent) for base in bases]
    except ConfigError as error:
        raise ConfigError(f"{place}: base: {error}") from None


def _words_of_section(path: Path, section: yaml.Node, node: yaml.Node) -> Iterator[Word]:
    place = f"{path}, line {section.start_mark.line + 1}"
    if isinstance(section, yaml.ScalarNode) and section.value in _WITHOUT_SECTION:
        yield Word(section.value, node, Place(place))
        return
    if not isinstance(section, yaml.ScalarNode) or section.value not in _SECTIONS:
        name = read_freely(section)
        hint = nearest(name, (*_SECTIONS, *_WITHOUT_SECTION))
        raise ConfigError(f"{place}: no section is named {shown(section)}: {hint}")
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{place}: {section.value} is a section; put its settings below it, indented")
    for key, value in node.value:
        place = f"{path}, line {key.start_mark.line + 1}"
        name = key.value if isinstance(key, yaml.ScalarNode) else shown(key)
        yield Word(f"{section.value}.{name}", value, Place(place))


def _word_of_argument(argument: str) -> Word:
    key, equals, text = argument.partition("=")
    place = Place("command line", argument)
    if not equals:
        raise ConfigError(f"{place}: expected section.key=value, such as schedule.lr=0.1")
    is_text = key not in KEYS or KEYS[key].kind.is_text
    return Word(key, text_node(text) if is_text else flow_node(text), place)


def _apply(settings: Settings, word: Word) -> None:
    if word.key not in KEYS:
        raise ConfigError(f"{word.place}: no setting is named {shortened(repr(word.key))}: {_nearest_key(word.key)}")
    kind = KEYS[word.key].kind
    try:
        value = read_value(word.node, kind)
    except ValueError:
        raise ConfigError(f"{word.place}: {word.key} is {shown(word.node)}; expected {kind.words}") from None
    section, _, leaf = word.key.rpartition(".")
    setattr(value_of(settings, section) if section else settings, leaf, value)


def _nearest_key(key: str) -> str:
    """The closest setting, in whichever section it is."""
    leaf = key.rsplit(".", 1)[-1]
    namesakes = [known for known in KEYS if known.rsplit(".", 1)[-1] == leaf]
    if namesakes:
        return f"did you mean {' or '.join(map(repr, namesakes))}?"
    section = key.split(".")[0]
    in_section = [known for known in KEYS if known.startswith(f"{section}.")]
    return nearest(key, in_section or KEYS)
