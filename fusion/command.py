"""How every command of this project ends: a result, or one message and a status that is not zero."""

from __future__ import annotations

import logging
import sys
from typing import Any, Callable, Optional, Sequence

from .errors import FusionError

#: What a shell expects of a command that Ctrl-C ended.
INTERRUPTED = 130

#: For what the user can mend.
BAD_INPUT = 2

Main = Callable[[Optional[Sequence[str]]], int]


def reported(main: Main) -> Main:
    """Turn what a user can mend into one message on standard error and status 2."""

    def run(arguments: Optional[Sequence[str]] = None) -> int:
        try:
            return main(arguments)
        except FusionError as error:
            print(f"error: {error}", file=sys.stderr)
            return BAD_INPUT
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return INTERRUPTED
        except BrokenPipeError:  # the reader, such as head, has seen enough
            sys.stderr.close()
            return 0

    return run


class _Terminal(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to what `sys.stdout` or `sys.stderr` is at the time: a notebook and a test put their own there."""

    def __init__(self, name: str) -> None:
        logging.Handler.__init__(self)  # StreamHandler's would keep the stream of now
        self.stream_name = name
        self.setFormatter(logging.Formatter("%(message)s"))

    @property
    def stream(self) -> Any:
        return getattr(sys, self.stream_name)


def log_to_terminal(stream_name: str = "stdout") -> None:
    """Show what the package logs, a plain line each, on standard output (or "stderr").

    A program that has handlers of its own for the package keeps them, and gets none from here.
    """
    logger = logging.getLogger("fusion")
    logger.setLevel(logging.INFO)
    own = [handler for handler in logger.handlers if isinstance(handler, _Terminal)]
    if own:
        own[0].stream_name = stream_name
    elif not logger.handlers:
        logger.addHandler(_Terminal(stream_name))
