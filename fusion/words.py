"""Words of messages, tables and pictures: numbers with their nouns, and names that tell things apart."""

from __future__ import annotations

import re
from typing import List, Optional, Sequence

#: How Python keeps a byte of a name that is no text in UTF-8.
_NO_TEXT = re.compile("[\ud800-\udfff]")


def readable(text: str) -> str:
    """A text that can be drawn and written: a byte of a name that is not UTF-8 becomes a replacement character."""
    return _NO_TEXT.sub("\ufffd", text)


def counted(count: int, noun: str, plural: Optional[str] = None) -> str:
    """A number with its noun, such as `1 image`, `0 images` or `10,000 images`.

    Parameters
    ----------
    count : int
        How many.
    noun : str
        For one.
    plural : str, optional
        For any other number; the noun with an s unless given.
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def distinct(titles: Sequence[str], fallbacks: Sequence[str]) -> List[str]:
    """The titles if no two are alike, otherwise the fallbacks; these get numbers if two of them are alike as well."""
    for names in (titles, fallbacks):
        if len(set(names)) == len(names):
            return list(names)
    return [f"{name} ({number})" for number, name in enumerate(fallbacks, start=1)]
