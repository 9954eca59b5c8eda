"""The comment on top of a config: what it is, then fields such as `Published:` and `Expect:`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Tuple

from ..reading import read_text
from .typed_yaml import MOST_BYTES

#: The first line of a field. Its other lines are indented.
_FIELD = re.compile(r"([A-Z][a-z]*(?: [a-z]+)?):\s+(.+)")


@dataclass(frozen=True)
class Header:
    """What a config says of itself.

    Attributes
    ----------
    about : str
        What it is, as one paragraph.
    fields : dict of str to tuple of str
        The lines of each field, by the word before its colon.
    """

    about: str
    fields: Dict[str, Tuple[str, ...]]


def read_header(path: Path) -> Header:
    """The header of a config, which ends at the first line that is no comment.

    Raises
    ------
    ReadingError
        If the file cannot be read, or is no text.
    """
    about: List[str] = []
    fields: Dict[str, List[str]] = {}
    lines = about
    for line in read_text(path, MOST_BYTES).splitlines():
        if not line.startswith("#"):
            break
        text = line[2:].rstrip()
        found = _FIELD.fullmatch(text)
        if found:
            lines = fields.setdefault(found[1], [])
            text = found[2]
        lines.append(text)
    return Header(" ".join(about), {name: _without_indent(lines) for name, lines in fields.items()})


def _without_indent(lines: List[str]) -> Tuple[str, ...]:
    """The lines of a field, the later ones without the indent that they have in common."""
    first, *rest = lines
    indent = min((len(line) - len(line.lstrip()) for line in rest), default=0)
    return (first, *(line[indent:] for line in rest))
