"""Progress of long work: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import logging
import math
import sys
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Any, ContextManager, Protocol

from .printing import printable

logger = logging.getLogger(__name__)


#: Seconds without a line before a tenth is worth one; the whole always is.
PAUSE = 2.0


class Counter(Protocol):
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


def progress(title: str, total: int | None, *, unit: str, done: int = 0) -> ContextManager[Counter]:
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
    context manager of Counter
        Call `update(n)` on what it gives.
    """
    if not sys.stderr.isatty():
        return LogLines(title, total, unit, done)
    from tqdm import tqdm

    bar: ContextManager[Counter] = tqdm(
        desc=printable(title), total=total, unit=unit, unit_scale=True, initial=done, leave=False
    )
    return bar


def duration(seconds: float) -> str:
    """A time in words, such as `40 s`, `12 min` or `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


class EpochProgress:
    """Progress of an epoch of training: a bar on a terminal, otherwise one line per so many batches.

    Parameters
    ----------
    label : str
        The data set and the epoch.
    done, length : int
        How many batches are done, and how many the epoch has.
    batch_size : int
        Images per batch.
    log_every : int
        Batches from one line to the next.
    """

    def __init__(self, label: str, done: int, length: int, batch_size: int, log_every: int) -> None:
        self._label = label
        self._start, self._done, self._length = done, done, length
        self._batch_size = batch_size
        self._log_every = log_every
        self._began = time.perf_counter()
        self._bar: Any = None
        self._exit = ExitStack()

    def __enter__(self) -> EpochProgress:
        if sys.stderr.isatty():
            from tqdm import tqdm
            from tqdm.contrib.logging import logging_redirect_tqdm

            self._exit.enter_context(logging_redirect_tqdm([logging.getLogger("fusion")]))
            self._bar = self._exit.enter_context(
                tqdm(desc=printable(self._label), total=self._length, initial=self._done, unit="batch", leave=False)
            )
        return self

    def __exit__(self, *error: Any) -> None:
        self._exit.close()

    def advance(self, loss: float) -> None:
        """Count a batch, after which the mean loss is this; not a number where none is known yet."""
        self._done += 1
        rate = (self._done - self._start) * self._batch_size / (time.perf_counter() - self._began)
        if self._bar is not None:
            known = "" if math.isnan(loss) else f"loss {loss:.3f}, "
            self._bar.set_postfix_str(f"{known}{rate:.0f} images/s", refresh=False)
            self._bar.update()
        elif self._done % self._log_every == 0 and self._done < self._length:
            left = (self._length - self._done) * self._batch_size / rate
            known = "" if math.isnan(loss) else f"loss {loss:.4f}, "
            logger.info(
                "%s, batch %d/%d: %s%.0f images/s, %.0f s left of the epoch",
                *(self._label, self._done, self._length, known, rate, left),
            )
