"""Functions that all commands use: to parse arguments, to report errors, to write folders, to log to the terminal."""

from __future__ import annotations

import argparse
import logging
import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from .errors import ConfigError, FusionError
from .files import filled_folder

#: The exit status that shells use for a command that Ctrl-C ended.
INTERRUPTED = 130

#: The exit status for errors that the user can correct.
BAD_INPUT = 2

Main = Callable[[Optional[Sequence[str]]], int]


def reported(main: Main) -> Main:
    """Wrap a command: an error that the user can correct gives one message on standard error, and exit status 2."""

    def run(arguments: Optional[Sequence[str]] = None) -> int:
        try:
            return main(arguments)
        except FusionError as error:
            print(f"error: {error}", file=sys.stderr)
            return BAD_INPUT
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return INTERRUPTED
        except BrokenPipeError:  # the program that reads our output, such as head, has ended
            sys.stderr.close()
            return 0

    return run


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


def keyword_values(words: Sequence[str]) -> Dict[str, Any]:
    """The keyword arguments of a model that words such as `fusion=iaff` give, each value as YAML.

    Raises
    ------
    ConfigError
        If a word is none of these.
    """
    import yaml  # not at the top: few commands need it

    keywords: Dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"command line, {word!r}: expected key=value, such as classes=10")
        try:
            keywords[key] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError):  # a ValueError for a date that does not exist
            raise ConfigError(f"command line, {word!r}: the value is not valid YAML") from None
    return keywords


# --- Output ----------------------------------------------------------------------------------------------------------


@contextmanager
def written_folder(path: Path, force: bool) -> Iterator[Path]:
    """A folder to write to. Its files go to the final folder at the end; after an error nothing goes there.

    Parameters
    ----------
    path : Path
        The final folder.
    force : bool
        Whether it may hold files already: those with the same names are replaced, others stay.

    Raises
    ------
    ConfigError
        If it holds files and `force` is not given, or if it cannot be made.
    """
    if path.exists() and not path.is_dir():
        raise ConfigError(f"--output {path}: is a file; expected a folder")
    if path.is_dir() and any(path.iterdir()) and not force:
        raise ConfigError(f"--output {path}: holds files already; write over them with --force, or name another folder")
    try:
        with filled_folder(path) as aside:
            yield aside
    except OSError as error:
        raise ConfigError(f"--output {path}: cannot be written ({error.strerror or error})") from None


# --- Logging ---------------------------------------------------------------------------------------------------------


class _Terminal(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to the current `sys.stdout` or `sys.stderr`, which notebooks and tests replace by their own streams."""

    def __init__(self, name: str) -> None:
        logging.Handler.__init__(self)  # StreamHandler.__init__ would keep the current stream
        self.stream_name = name
        self.setFormatter(logging.Formatter("%(message)s"))

    @property
    def stream(self) -> Any:
        return getattr(sys, self.stream_name)


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
