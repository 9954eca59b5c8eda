"""Text at the edges where it leaves the package: the terminal, logs and reports show no control character as it is.

Names come from others: of folders, files, classes and settings. One with an escape sequence could move the cursor of a
terminal, change its title or hide a line, and one that turns the direction of text around reads as another name.
"""

from __future__ import annotations

import logging
import re
import sys
from contextlib import contextmanager
from typing import Any, Iterable, Iterator

#: Control characters but for tabs and line feeds, other line breaks, what turns the direction of text around, and what
#: Python makes of bytes that are not UTF-8, which cannot be printed.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


#: What a terminal understands: clear to the end of the line or of the screen, cut lines that are too long, wrap them.
_ESCAPE = "\x1b["
_CLEAR_LINE, _CLEAR_BELOW, _NO_WRAP, _WRAP = (f"{_ESCAPE}{what}" for what in ("K", "J", "?7l", "?7h"))


def printable(text: str) -> str:
    r"""Text with control characters as Python writes them, such as `\x1b`; tabs and line feeds stay."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


class PrintableFormatter(logging.Formatter):
    """Formats log messages without control characters."""

    def format(self, record: logging.LogRecord) -> str:
        """The message with its time."""
        return printable(super().format(record))


@contextmanager
def printable_streams() -> Iterator[None]:
    """Within this context, standard output and standard error show no control character as it is."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (stream and _PrintableStream(stream) for stream in streams)  # None without a console
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams


class Screen:
    """A text on a terminal that is shown again and again in the place of the one before.

    Parameters
    ----------
    stream : text stream
        A terminal, such as `sys.stdout`.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream._stream if isinstance(stream, _PrintableStream) else stream
        self._lines = 0

    def show(self, text: str) -> None:
        """Show a text in place of the one before. Lines that are too long for the terminal are cut."""
        lines = [printable(line) for line in text.split("\n")]
        back = f"{_ESCAPE}{self._lines}F" if self._lines else ""
        body = "".join(f"{line}{_CLEAR_LINE}\n" for line in lines)
        self._stream.write(f"{back}{_NO_WRAP}{body}{_WRAP}{_CLEAR_BELOW}")
        self._stream.flush()
        self._lines = len(lines)


class _PrintableStream:
    """A stream of text that passes on what is printable; for all else it is the stream itself."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        # A progress bar begins each of its states with a carriage return. Within a text, one hides what is before it.
        beginning = "\r" if text.startswith("\r") else ""
        self._stream.write(beginning + printable(text[len(beginning) :]))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
