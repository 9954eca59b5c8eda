"""The file with the lines of a run, which a full disk does not keep from its work."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Iterator

from ..printing import PrintableFormatter

logger = logging.getLogger("fusion")


class _LogFile(logging.StreamHandler):  # type: ignore[type-arg]
    """Appends lines to a file. One that cannot be written stays in memory until there is room; that is said once."""

    def __init__(self, path: Path) -> None:
        # Names of files may hold bytes that are no text.
        super().__init__(path.open("a", encoding="utf-8", errors="backslashreplace"))
        self.setFormatter(PrintableFormatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        self._path = path
        self._told = False

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._told:
            self._told = True
            logger.warning("%s: cannot be written now (%s)", self._path, error.strerror or error)

    def close(self) -> None:
        with suppress(OSError):
            self.stream.close()
        super().close()


@contextmanager
def logged_to(path: Path) -> Iterator[None]:
    """Within this context, append the package's log messages to a file as well.

    Parameters
    ----------
    path : Path
        The file.
    """
    handler = _LogFile(path)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()
