"""Completes words in the shell by argcomplete: commands, options, and names, without waiting for MXNet.

A shell with argcomplete starts the command with `_ARGCOMPLETE` in its environment, and reads the words that fit from
file descriptor 8. Parsers and registries stand in modules that import MXNet and SciPy, which takes a second or more. No
word needs these, so that stand-ins take their place: classes can inherit from what is in them, and nothing can be
computed.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import types
from functools import partial
from typing import Any, Callable, Iterable, List, Mapping, NoReturn

_ASKED_FOR = "_ARGCOMPLETE"

#: The modules for which there is a stand-in. `compat` is where this package has MXNet from.
_LEFT_OUT = (f"{__package__}.compat", "scipy", "scipy.ndimage", "scipy.special")

#: A setting behind which another word follows. In which order words came does not matter for what may come next.
_SETTING = re.compile(r"(?<=\s)\w+(\.\w+)+=\S*\s+")

#: From the beginning of a word to the words that it may become.
Completer = Callable[[str], Iterable[str]]


def asked_for() -> bool:
    """Whether a shell has started this process to complete a word."""
    return _ASKED_FOR in os.environ


def compute_nothing() -> None:
    """Let modules of this package that are imported from now on find stand-ins for the libraries that compute.

    Only for a process that completes a word, and then ends.
    """
    for name in _LEFT_OUT:
        module: Any = types.ModuleType(name)
        module.__path__ = []  # a package, for the names below it
        module.__getattr__ = partial(getattr, _Absent)
        sys.modules[name] = module


class _AnyName(type):
    """Makes a class of every name that is asked for."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _AnyName(name, (_Absent,), {})


class _Absent(metaclass=_AnyName):
    """Stands for MXNet, and for any class, function or decorator in it."""

    def __init__(self, *given: Any, **options: Any) -> None:
        """Take what the real one would take."""

    def __call__(self, decorated: Any) -> Any:
        return decorated


def files(written: str) -> List[str]:
    """The files and folders whose path begins as what was written."""
    from argcomplete.completers import FilesCompleter

    return list(FilesCompleter()(written))


def complete(parser: argparse.ArgumentParser, completers: Mapping[str, Completer]) -> NoReturn:
    """Write the words that fit, and end this process.

    Parameters
    ----------
    parser : ArgumentParser
        Of the command line; of a command with commands of its own, with their parsers.
    completers : mapping of str to callable
        What an argument may be, by its `dest`; the others have their choices, or names of files.
    """
    try:
        import argcomplete
    except ImportError:  # it has been removed after the shell was told of it
        sys.exit(1)
    _attach(parser, completers)
    _leave_out_settings()
    argcomplete.autocomplete(parser)
    sys.exit(1)  # not reached where the shell has said what to complete


def _leave_out_settings() -> None:
    """Take the settings before the cursor out of the line: argparse reads words of one kind at one place only."""
    line, place = os.environ.get("COMP_LINE", ""), int(os.environ.get("COMP_POINT", "0"))
    before = _SETTING.sub("", os.fsdecode(os.fsencode(line)[:place]))
    os.environ.update({"COMP_LINE": before, "COMP_POINT": str(len(os.fsencode(before)))})


def _attach(parser: argparse.ArgumentParser, completers: Mapping[str, Completer]) -> None:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for own in action.choices.values():
                _attach(own, completers)
        elif action.dest in completers and action.nargs != 0:
            words = completers[action.dest]
            setattr(action, "completer", lambda prefix, words=words, **_: words(prefix))  # noqa: B010  argcomplete's
