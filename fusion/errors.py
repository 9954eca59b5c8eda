"""Errors that a user can correct: each message says what was given, what was expected and what to do.

The command line prints the message and exits with status 2. Users of the library can catch them as `ValueError`.
"""

from __future__ import annotations

import difflib
from typing import Any, Iterable


class FusionError(ValueError):
    """Any error that the caller can correct: a bad argument, file or setting."""


class ConfigError(FusionError):
    """A setting that is unknown, of the wrong type, or impossible."""


class DataError(FusionError):
    """A data set that is missing, damaged, or not laid out as expected."""


class CheckpointError(FusionError):
    """A parameter file that is damaged or belongs to another network."""


class ExportError(FusionError):
    """A network that cannot be written in another format, or whose export computes something else."""


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
        `"did you mean 'aff' or 'iaff'?"`, or the list of all known names if none is close.
    """
    known = sorted(set(known))
    lowered = {candidate.lower(): candidate for candidate in known}
    written = name.lower() if isinstance(name, str) else ""
    close = [lowered[hit] for hit in difflib.get_close_matches(written, list(lowered), count, 0.5)]
    if close:
        return f"did you mean {' or '.join(repr(hit) for hit in close)}?"
    return f"known: {', '.join(known)}"
