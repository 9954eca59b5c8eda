"""Errors that a user can correct: each message says what was given, what was expected and what to do.

The command line prints the message and exits with status 2. Users of the library can catch them as `ValueError`.
"""

from __future__ import annotations

import difflib
from typing import Any, Dict, Iterable, List, Set

from .printing import printable


class FusionError(ValueError):
    """Any error that the caller can correct: a bad argument, file or setting.

    Messages quote names of files, classes and settings, so that their control characters are escaped.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class ConfigError(FusionError):
    """A setting that is unknown, of the wrong type, or impossible."""


class DataError(FusionError):
    """A data set that is missing, damaged, or not laid out as expected."""


class CheckpointError(FusionError):
    """A parameter file that is damaged or belongs to another network."""


class ExportError(FusionError):
    """A network that cannot be written in another format, or whose export computes something else."""


#: Up to this number of known names, a message lists them all.
_MOST_LISTED = 60

#: What is compared of a name, in characters: the time grows with the square.
_LONGEST_COMPARED = 100


def nearest(name: Any, known: Iterable[str], count: int = 3) -> str:
    """Suggest the known names closest to a misspelt one, as the end of an error message.

    Parameters
    ----------
    name : object
        What the user wrote. Nothing is close to what is not text, such as None.
    known : iterable of str
        Every valid name.
    count : int, default 3
        The largest number of suggestions.

    Returns
    -------
    str
        `"did you mean 'aff' or 'iaff'?"`; if none is close, the list of all known names, or of so many that nobody
        would read them, the first few of those that are least far.
    """
    known = sorted(set(known))
    lowered = {candidate.lower()[:_LONGEST_COMPARED]: candidate for candidate in known}
    written = name.lower()[:_LONGEST_COMPARED] if isinstance(name, str) else ""
    lowered = lowered if len(known) <= _MOST_LISTED else _with_most_pairs(written, lowered)
    close = _closest(written, lowered, count, 0.5)
    if close:
        return f"did you mean {' or '.join(repr(hit) for hit in close)}?"
    if len(known) <= _MOST_LISTED:
        return f"known: {', '.join(known)}"
    least_far = _closest(written, lowered, count, 0.0)
    return f"{len(known):,} names are known, of which the nearest are {', '.join(map(repr, least_far))}"


def _closest(written: str, lowered: Dict[str, str], count: int, share: float) -> List[str]:
    """The names of which at least this share is alike, the closest first."""
    return [lowered[hit] for hit in difflib.get_close_matches(written, list(lowered), count, share)]


def _with_most_pairs(written: str, lowered: Dict[str, str]) -> Dict[str, str]:
    """The few names that have most pairs of letters in common with what was written."""

    def pairs(name: str) -> Set[str]:
        return {name[place : place + 2] for place in range(len(name) - 1)}

    wanted = pairs(written)
    ranked = sorted(lowered, key=lambda name: len(wanted ^ pairs(name)))
    return {name: lowered[name] for name in ranked[:_MOST_LISTED]}
