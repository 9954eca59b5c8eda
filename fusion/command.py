"""What the commands share: how their words are read, and how they end, with a result or with one message."""

from __future__ import annotations

import argparse
import logging
import re
import sys
from typing import Any, Callable, List, Optional, Sequence, Tuple

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


# --- Words -----------------------------------------------------------------------------------------------------------

#: A word that sets something, such as data.dir=PATH.
_SETTING = re.compile(r"\w+(\.\w+)+=")


def parse_in_any_order(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parse words of which options and others may come in any order.

    After the word `--` nothing is an option; `argparse` allows that only if the words before it are in its own order.
    """
    if "--" in words:
        return parser.parse_args(words)
    return parser.parse_intermixed_args(words)


def split_settings(words: Sequence[str]) -> Tuple[List[str], List[str]]:
    """The words that set something, such as data.dir=PATH, and the others."""
    settings = [word for word in words if _SETTING.match(word)]
    return settings, [word for word in words if not _SETTING.match(word)]


# --- What is logged --------------------------------------------------------------------------------------------------


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
