"""Functions that all commands use: to parse arguments, to report errors, to log to the terminal."""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, List, Optional, Sequence, Tuple

from .errors import FusionError
from .failures import in_words
from .printing import PrintableFormatter, printable_streams
from .signals import INTERRUPTED, heed_ctrl_c

#: The exit status for errors that the user can correct.
BAD_INPUT = 2

Main = Callable[[Optional[Sequence[str]]], int]


def reported(main: Main) -> Main:
    """Wrap a command: what the user can correct, or the system refuses, gives one message and exit status 2.

    The message goes to standard error. Only a mistake in the program gives a traceback.

    What the command prints shows no control character of a name as it is.
    """

    @printable_streams()
    def run(arguments: Optional[Sequence[str]] = None) -> int:
        heed_ctrl_c()
        _let_streams_take_all_text()
        try:
            return _with_all_printed(main(arguments))
        except FusionError as error:
            return _say(str(error))
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return INTERRUPTED
        except BrokenPipeError:  # the program that reads our output, such as head, has ended
            _drop(sys.stdout)
            return 0
        except Exception as error:
            words = in_words(error)
            if words is None:
                raise
            return _say(words)

    return run


def _say(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return BAD_INPUT


def _let_streams_take_all_text() -> None:
    """Have characters that a terminal's encoding lacks, and bytes of names that are no text, shown by their numbers."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started this process
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  until this process ends
        elif getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _with_all_printed(status: int) -> int:
    """The status, once what was printed has left this process; an error would otherwise come after its end."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _drop(sys.stdout)
        return _say(f"standard output cannot be written ({error.strerror or error})")
    return status


def _drop(stream: Any) -> None:
    """Let what a stream still holds go nowhere."""
    with suppress(OSError, ValueError):  # a ValueError for a stream without a file, as in notebooks
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


# --- Words -----------------------------------------------------------------------------------------------------------

#: The beginning of a setting, such as data.dir=PATH.
_SETTING = re.compile(r"\w+(\.\w+)+=")


def parse_in_any_order(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse a command line in which options and other words may come in any order.

    After the word `--` nothing is an option. `argparse` cannot combine that with words in any order, so that a command
    line with `--` must have the usual order of `argparse`.
    """
    if "--" in words:
        return parser.parse_args(words)
    return parser.parse_intermixed_args(words)


def split_settings(words: Sequence[str]) -> Tuple[List[str], List[str]]:
    """Separate settings, such as data.dir=PATH, from the other words of a command line."""
    settings = [word for word in words if _SETTING.match(word)]
    return settings, [word for word in words if not _SETTING.match(word)]


# --- Logging ---------------------------------------------------------------------------------------------------------


class _Terminal(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to the current `sys.stdout` or `sys.stderr`, which notebooks and tests replace by their own streams."""

    def __init__(self, name: str) -> None:
        logging.Handler.__init__(self)  # StreamHandler.__init__ would keep the current stream
        self.stream_name = name
        self.setFormatter(PrintableFormatter("%(message)s"))

    @property
    def stream(self) -> Any:
        return getattr(sys, self.stream_name)

    def handleError(self, record: logging.LogRecord) -> None:
        """Be silent from now on if nobody reads or the disk behind is full: the work goes on, and has its own log."""
        if isinstance(sys.exc_info()[1], OSError):
            _drop(self.stream)
        else:
            super().handleError(record)


def log_to_terminal(stream_name: str = "stdout") -> None:
    """Print the package's log messages, one plain line for each, on standard output (or "stderr").

    If a program has already added handlers to the package's logger, these are kept and no other is added.
    """
    logger = logging.getLogger("fusion")
    logger.setLevel(logging.INFO)
    own = [handler for handler in logger.handlers if isinstance(handler, _Terminal)]
    if own:
        own[0].stream_name = stream_name
    elif not logger.handlers:
        logger.addHandler(_Terminal(stream_name))
