"""Names of classes as people read them, from a user's file: `tench` for `n01440764`.

Only what is shown changes. A network knows its classes by the names in classes.txt of its run, and data sets are still
matched with it by these.

The file is a list, as ImageNet's synset_words.txt, or JSON, as Keras' imagenet_class_index.json::

    n01664065 loggerhead, loggerhead turtle             {"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}
    class<tab>name                                      {"n01440764": "tench", "n01443537": "goldfish"}
"""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, NamedTuple, Sequence, Tuple

from ..data.identity import Classes
from ..data.listing import SHOWN
from ..errors import DataError, nearest
from ..reading import ReadingError, read_json, read_lines, read_text
from ..words import counted, shortened

if TYPE_CHECKING:
    from .trained import Trained

#: In bytes; that of ImageNet's 22,000 classes has two million.
_LARGEST = 20 * 1024**2

#: An identifier of WordNet at the beginning of a line.
_WORDNET = re.compile(r"n[0-9]{8}\s+")


class _Entry(NamedTuple):
    """What a file says of one class: where, by which words it may be meant, each with the name that follows, and all.

    Attributes
    ----------
    place : str
        For messages, such as `line 3`.
    readings : tuple of (str, str)
        The classes that it may be about, each with its name; the likeliest first.
    whole : str
        The name, where the class is known by its number alone.
    """

    place: str
    readings: Tuple[Tuple[str, str], ...]
    whole: str


def add_class_names(parser: argparse.ArgumentParser) -> None:
    """Add the option that says how classes are shown."""
    words = "a file of names to show, such as synset_words.txt, imagenet_class_index.json, or lines CLASS<tab>NAME"
    parser.add_argument("--class-names", type=Path, metavar="FILE", help=words)


def as_shown(trained: Trained, arguments: argparse.Namespace) -> Trained:
    """A network with the names of its classes that --class-names of a command has, if that was given."""
    path = getattr(arguments, "class_names", None)
    return trained if path is None else with_shown_names(trained, path)


def with_shown_names(trained: Trained, path: Path) -> Trained:
    """A network whose classes are shown by the names of a file.

    Parameters
    ----------
    trained : Trained
        The network.
    path : Path
        As this module's head says. A network without names takes the names in their order.

    Raises
    ------
    DataError
        If the file cannot be read, has a class twice or without a name, or lacks a class of the network.
    """
    known = trained.known or Classes(trained.classes, str(trained.file), named=False)
    names = (*read_shown_names(path, known), *trained.classes[len(known.names) :])
    return replace(trained, classes=names, shown=True)


def read_shown_names(path: Path, classes: Classes) -> Tuple[str, ...]:
    """The names that a file has for classes.

    Parameters
    ----------
    path : Path
        As this module's head says.
    classes : Classes
        Of a network or a data set. Those that are not named take the names in their order.

    Raises
    ------
    DataError
        If the file cannot be read, has a class twice or without a name, or lacks one.
    """
    entries = _entries(path)
    return _by_name(path, entries, classes.names) if classes.named else _in_order(path, entries, len(classes.names))


# --- The file --------------------------------------------------------------------------------------------------------


def _entries(path: Path) -> List[_Entry]:
    try:
        if path.suffix.lower() == ".json" or read_text(path, _LARGEST).lstrip()[:1] in ("{", "["):
            found = list(_of_json(path, read_json(path, _LARGEST)))
        else:
            lines = read_lines(path, _LARGEST)
            found = [_of_line(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    except ReadingError as error:
        raise DataError(f"--class-names {path}: cannot be read as a file of class names ({error})") from None
    if not found:
        raise DataError(f"--class-names {path} has no names; expected a line CLASS<tab>NAME for each class")
    return found


def _of_line(path: Path, number: int, line: str) -> _Entry:
    """A line. Where there is no tab any blank may end the class, whose name may have some."""
    place = f"line {number}"
    key, tab, name = line.partition("\t")
    if tab:
        if not key.strip() or not name.strip():
            raise DataError(f"--class-names {path}, {place}: {shortened(repr(line))}: expected CLASS<tab>NAME")
        return _Entry(place, ((key.strip(), name.strip()),), name.strip())
    line = line.strip()
    blanks = list(re.finditer(r"\s+", line))
    readings = tuple((line[: blank.start()], line[blank.end() :]) for blank in reversed(blanks))
    return _Entry(place, readings or ((line, ""),), _WORDNET.sub("", line))


def _of_json(path: Path, value: Any) -> Iterator[_Entry]:
    if isinstance(value, list):
        value = {str(number): name for number, name in enumerate(value)}
    if not isinstance(value, dict):
        raise ReadingError('expected {"0": ["n01440764", "tench"], ...}')
    numbered = all(re.fullmatch(r"[0-9]{1,9}", key) for key in value)
    for key in sorted(value, key=int) if numbered else value:
        place, content = f"entry {shortened(repr(key))}", value[key]
        pair = content if isinstance(content, list) else [key, content]
        if len(pair) != 2 or not all(isinstance(word, str) and word.strip() for word in pair):
            raise DataError(
                f'--class-names {path}, {place}: expected ["n01440764", "tench"], or a name, and not '
                f"{shortened(repr(content))}"
            )
        yield _Entry(place, ((pair[0].strip(), pair[1].strip()),), pair[1].strip())


# --- The names -------------------------------------------------------------------------------------------------------


def _by_name(path: Path, entries: Sequence[_Entry], classes: Sequence[str]) -> Tuple[str, ...]:
    known, found, places = set(classes), {}, {}  # type: ignore[var-annotated]
    strange: List[_Entry] = []
    for entry in entries:
        reading = next((reading for reading in entry.readings if reading[0] in known), None)
        if reading is None:
            strange.append(entry)
            continue
        name, shown = reading
        if name in found:
            raise DataError(
                f"--class-names {path}: {shortened(repr(name))} is in {places[name]} and again in {entry.place}; "
                "remove one of them"
            )
        if not shown:
            raise DataError(f"--class-names {path}, {entry.place}: no name behind the class {shortened(repr(name))}")
        found[name], places[name] = shown, entry.place
    missing = [name for name in classes if name not in found]
    if missing:
        raise DataError(_words_of_missing(path, missing, len(classes), strange))
    return _distinct([found[name] for name in classes], classes)


def _words_of_missing(path: Path, missing: Sequence[str], total: int, strange: Sequence[_Entry]) -> str:
    named = ", ".join(shortened(repr(name)) for name in missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
    hint = ""
    if strange:
        word = strange[0].readings[-1][0]
        hint = f" ({strange[0].place} has {shortened(repr(word))}, which is none of them; {nearest(word, missing)})"
    return (
        f"--class-names {path} has no name for {len(missing)} of {counted(total, 'class', 'classes')}: "
        f"{named}{hint}; add them"
    )


def _in_order(path: Path, entries: Sequence[_Entry], count: int) -> Tuple[str, ...]:
    """The names of classes that are known by number."""
    if len(entries) != count:
        raise DataError(
            f"--class-names {path} has {counted(len(entries), 'name')} for {counted(count, 'class', 'classes')} that "
            "are known by number only; expected one for each, in their order"
        )
    firsts: Dict[str, str] = {}
    for entry in entries:
        key = entry.readings[-1][0] if _WORDNET.match(f"{entry.readings[-1][0]} ") else ""
        if key and key in firsts:
            raise DataError(
                f"--class-names {path}: {key!r} is in {firsts[key]} and again in {entry.place}; remove one of them"
            )
        firsts[key] = entry.place
    return _distinct([entry.whole for entry in entries], [str(number) for number in range(count)])


def _distinct(shown: Sequence[str], classes: Sequence[str]) -> Tuple[str, ...]:
    """The names; where two classes have the same, such as ImageNet's two cranes, each with its class behind it."""
    twice = {name for name in shown if list(shown).count(name) > 1} if len(set(shown)) < len(shown) else set()
    return tuple(f"{name} ({own})" if name in twice else name for name, own in zip(shown, classes))
