"""The end of a run that cannot go on, such as on a full disk or without memory: one message, and what is left to do."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any, Iterator, Optional

from ..data.loader import Batch
from ..errors import FusionError
from ..failures import in_words
from .logbook import RunDirectory


class BrokenOffError(FusionError):
    """Something that a run needs has failed; the message says how the run goes on."""


def broken_off(error: Exception, run: RunDirectory) -> Exception:
    """The error to raise: what the system refuses with what is left of the run, anything else as it is.

    Parameters
    ----------
    error : Exception
        What was raised.
    run : RunDirectory
        The run, as far as it has come.
    """
    words = None if isinstance(error, FusionError) else in_words(error)
    return error if words is None else BrokenOffError(f"{words}. {_what_is_left(run)}")


def _what_is_left(run: RunDirectory) -> str:
    if run.last.exists():
        return f"The last checkpoint is whole: continue with --resume {run.path}"
    if run.config.exists():
        return f"There is no checkpoint yet: start again with --resume {run.path}"
    return "Nothing of the run is there yet: start it again"


class Supply:
    """The batches of a run, until one cannot be made: the run then saves as after Ctrl-C, and its error comes last.

    Parameters
    ----------
    batches : Batches
        Of the run.
    alone : bool
        Whether this is the only worker. Others would wait for this one: among several, the error is raised at once.
    """

    def __init__(self, batches: Any, alone: bool) -> None:
        self._batches = batches
        self._alone = alone
        self._error: Optional[BaseException] = None
        self._where = ""

    def epoch(self, epoch: int, start: int) -> Iterator[Batch]:
        """As `fusion.data.loader.Batches.epoch`; after an error there are no more batches."""
        number = start
        try:
            for batch in self._batches.epoch(epoch, start):
                number += 1
                yield batch
        except (Exception, SystemExit) as error:  # a thread may raise either
            if not self._alone:
                raise
            self._error, self._where = error, f"batch {number + 1} of epoch {epoch + 1} cannot be made"

    def raise_error(self, run: RunDirectory) -> None:
        """Raise what kept a batch from being made, if anything did.

        Raises
        ------
        BrokenOffError
            With its reason.
        """
        if self._error is not None:
            raise BrokenOffError(f"{self._where}: {_reason(self._error)}. {_what_is_left(run)}") from self._error


def _reason(error: BaseException) -> str:
    if isinstance(error, FusionError):
        return str(error)
    words = in_words(error)
    if words is not None:
        return words
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(frame.filename).name}, line {frame.lineno})"
