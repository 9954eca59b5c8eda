"""Names by shell patterns, such as `aff_*`."""

from __future__ import annotations

from difflib import SequenceMatcher
from fnmatch import fnmatchcase
from typing import Iterable, List, Optional, Sequence

from .errors import FusionError

#: What makes a word a pattern rather than a name.
_SIGNS = frozenset("*?[]")

#: How many names a message suggests.
_SHOWN = 3

#: What is compared of a pattern, in characters: the time grows with the square.
_LONGEST_COMPARED = 100


def is_pattern(word: str) -> bool:
    """Whether a word stands for several names."""
    return not _SIGNS.isdisjoint(word)


def matching(pattern: Optional[str], names: Iterable[str], what: str) -> List[str]:
    """The names that a shell pattern stands for, in their order.

    Parameters
    ----------
    pattern : str or None
        `*` is for any letters, `?` for one, `[ab]` for one of these; a name stands for itself. None stands for all.
    names : iterable of str
        All that there are.
    what : str
        What they are names of, in the plural, for the message.

    Raises
    ------
    FusionError
        If the pattern stands for none of them; the message has the nearest names.
    """
    known = list(names)
    if pattern is None:
        return known
    found = [name for name in known if fnmatchcase(name, pattern)]
    if not found:
        raise FusionError(f"{pattern!r} matches none of the {what}; {_nearest(pattern, known)}")
    return found


def _nearest(pattern: str, known: Sequence[str]) -> str:
    """The names that begin most nearly as a pattern does."""
    if not known:
        return "there are none"
    bare = "".join(letter for letter in pattern[:_LONGEST_COMPARED] if letter not in _SIGNS)
    ranked = sorted(known, key=lambda name: -SequenceMatcher(None, bare, name[: len(bare)]).ratio())
    return f"the nearest of {len(known)} are {', '.join(map(repr, ranked[:_SHOWN]))}"
