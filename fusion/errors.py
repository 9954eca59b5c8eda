"""The errors a user can cause: each says what was given, what was expected and what to do.

The command line prints them as one message and exits with status 2; a library user catches them as `ValueError`.
"""

from __future__ import annotations

import difflib
from typing import Iterable


class FusionError(ValueError):
    """Anything that the caller can mend: a bad argument, file or setting."""


class ConfigError(FusionError):
    """A setting that is unknown, of the wrong type, or impossible."""


class DataError(FusionError):
    """A data set that is missing, damaged, or not laid out as expected."""


class CheckpointError(FusionError):
    """A parameter file that is damaged or belongs to another network."""


class ExportError(FusionError):
    """A network that cannot be written in another format, or whose export computes something else."""


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """The known names closest to a misspelt one, as the tail of an error message.

    Parameters
    ----------
    name : str
        What the user wrote.
    known : iterable of str
        Every valid name.
    count : int, default 3
        How many to suggest at the most.

    Returns
    -------
    str
        `"did you mean 'aff' or 'iaff'?"`, or the full list where nothing is close.
    """
    known = sorted(set(known))
    lowered = {candidate.lower(): candidate for candidate in known}
    close = [lowered[hit] for hit in difflib.get_close_matches(name.lower(), list(lowered), count, 0.5)]
    if close:
        return f"did you mean {' or '.join(repr(hit) for hit in close)}?"
    return f"known: {', '.join(known)}"
