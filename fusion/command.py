"""How every command of this project ends: a result, or one message and a status that is not zero."""

from __future__ import annotations

import logging
import sys
from typing import Callable, Optional, Sequence, TextIO

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


def log_to_terminal(stream: Optional[TextIO] = None) -> None:
    """Show what the package logs, a plain line each, on standard output or another stream."""
    logger = logging.getLogger("fusion")
    logger.setLevel(logging.INFO)
    if not logger.handlers:
        handler = logging.StreamHandler(stream or sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
