"""Words of messages, tables and pictures: numbers with their nouns, and names that tell things apart."""

from __future__ import annotations

from typing import List, Optional, Sequence

#: The longest value that a message shows, in characters.
_LONGEST_SHOWN = 200


def shortened(text: str) -> str:
    """Text that fits in a message."""
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


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


def capitalised(text: str) -> str:
    """Text that begins a sentence; a term that has a capital letter after its first, such as mIoU, stays as it is."""
    return text if text[1:2].isupper() else text[:1].upper() + text[1:]


def distinct(titles: Sequence[str], fallbacks: Sequence[str]) -> List[str]:
    """The titles if no two are alike, otherwise the fallbacks; these get numbers if two of them are alike as well."""
    for names in (titles, fallbacks):
        if len(set(names)) == len(names):
            return list(names)
    return [f"{name} ({number})" for number, name in enumerate(fallbacks, start=1)]
