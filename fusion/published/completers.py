"""What words of a command line may become: the ids of published rows."""

from __future__ import annotations

from typing import Dict, List

from ..completion import Completer
from .rows import ROWS


def rows(written: str) -> List[str]:
    """The ids of all rows."""
    return [row.id for row in ROWS]


#: What arguments of commands may be, by their `dest`.
COMPLETERS: Dict[str, Completer] = {"row": rows}
