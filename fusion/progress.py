"""Progress of long reading: a bar where a person looks on, a log line for every tenth of the way otherwise."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType
from typing import ContextManager, Protocol

logger = logging.getLogger(__name__)


#: Seconds without a line before a tenth is worth one; the whole always is.
PAUSE = 2.0


class Meter(Protocol):
    """Anything that counts up: the part of a tqdm bar that this package uses."""

    def update(self, n: int) -> object:
        """Count `n` more."""


class LogLines:
    """Progress as a log line for every tenth of the way that takes a while, for runs whose output goes to a file.

    Parameters
    ----------
    title : str
        What is under way.
    total : int or None
        Where it ends; None if unknown, which leaves only a line at the end.
    unit : str
        What is counted.
    done : int, default 0
        What an earlier attempt did.
    """

    def __init__(self, title: str, total: int | None, unit: str, done: int = 0) -> None:
        self.title = title
        self.total = total
        self.unit = unit
        self.done = done
        self._tenth = self._tenths()
        self._said = time.monotonic()

    def update(self, n: int) -> None:
        """Count `n` more, and log when that completes a tenth and there was no line just before."""
        self.done += n
        tenth, now = self._tenths(), time.monotonic()
        if tenth > self._tenth and (tenth == 10 or now - self._said >= PAUSE):
            self._tenth, self._said = tenth, now
            logger.info("%s: %d %% of %s %s", self.title, 10 * tenth, f"{self.total:,}", self.unit)

    def _tenths(self) -> int:
        return 10 * self.done // self.total if self.total else 0

    def __enter__(self) -> LogLines:
        """Nothing to open."""
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        """Log the count where no tenth told it."""
        if not self.total:
            logger.info("%s: %s %s", self.title, f"{self.done:,}", self.unit)


def progress(title: str, total: int | None, *, unit: str, done: int = 0) -> ContextManager[Meter]:
    """A bar where a person looks on, log lines otherwise.

    Parameters
    ----------
    title : str
        What is under way.
    total : int or None
        Where the count ends, if known.
    unit : str
        What is counted, e.g. "B" for bytes.
    done : int, default 0
        Where the count begins.

    Returns
    -------
    context manager of Meter
        Call `update(n)` on what it gives.
    """
    if not sys.stderr.isatty():
        return LogLines(title, total, unit, done)
    from tqdm import tqdm

    bar: ContextManager[Meter] = tqdm(desc=title, total=total, unit=unit, unit_scale=True, initial=done, leave=False)
    return bar
