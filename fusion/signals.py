"""Ctrl-C and its like: a run finishes its batch and saves, a program passes the wish on to the runs that it started."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Tuple

#: The exit status that shells use for a command that Ctrl-C ended.
INTERRUPTED = 130

#: What asks a run to stop and save. A closed terminal (SIGHUP) is as good a reason, and a run knows only these two.
STOP = (signal.SIGINT, signal.SIGTERM)

Handler = Callable[[int, Any], None]

#: The programs of this package besides `python -m fusion` and its modules.
_PROGRAMS = ("fusion", "train_cifar.py", "train_imagenet.py", "train_segmentation.py")


def leave_at_ctrl_c() -> None:
    """Have Ctrl-C end a command of this package at once, with one line, while it imports what it needs.

    An import that is interrupted would show a traceback of it, or go on. In a program of others nothing is changed.
    """
    if _is_own_program() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        with suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGINT, _leave)


def heed_ctrl_c() -> None:
    """Have Ctrl-C raise KeyboardInterrupt again, from where on a command handles it."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_own_program() -> bool:
    return _module().split(b".")[0] == b"fusion" or (bool(sys.argv) and Path(sys.argv[0]).name in _PROGRAMS)


def _module() -> bytes:
    """The module that `python -m` names, where that is how this process began; `sys.argv` has it only later."""
    with suppress(OSError, ValueError, IndexError):
        words = Path("/proc/self/cmdline").read_bytes().split(b"\0")
        return words[words.index(b"-m") + 1] if sys.argv[:1] == ["-m"] else b""
    return b""


@contextmanager
def leaving_at_ctrl_c() -> Iterator[None]:
    """Have Ctrl-C end a command of this package at once, as `leave_at_ctrl_c` does, for as long as an import lasts."""
    before = signal.getsignal(signal.SIGINT)
    leave_at_ctrl_c()
    try:
        yield
    finally:
        if before is not _leave:
            heed_ctrl_c()


def leaves_mxnet_for_later() -> bool:
    """Whether this process is a command of this package, which imports MXNet where it needs it, through `compat`.

    A program of others may import MXNet itself after this package, which must have made it importable by then; a
    training script only bears the name of ours unless it lies beside the package. A scheduler or server of a
    distributed run begins to serve as soon as MXNet is imported, and does nothing else; not so the launcher, which
    gives each process a role of its own, whatever the one that it was started with.
    """
    if _module() == b"fusion.launch":
        return True
    if os.environ.get("DMLC_ROLE") in ("scheduler", "server") or not _is_own_program():
        return False
    script = Path(sys.argv[0])
    return script.suffix != ".py" or script.resolve().parent == Path(__file__).resolve().parents[1]


def _leave(number: int, frame: Any) -> None:
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)


class Handlers:
    """Handlers of signals for as long as a `with` block lasts; then those of before are back.

    Outside of the main thread Python allows no handlers: a notebook's or a service's own then stay as they are.

    Parameters
    ----------
    numbers : tuple of int
        Signals.
    handler : callable
        What they call, with the signal's number and the frame.
    """

    def __init__(self, numbers: Tuple[int, ...], handler: Handler) -> None:
        self._numbers, self._handler = numbers, handler
        self._previous: Dict[int, Any] = {}

    def __enter__(self) -> Handlers:
        for number in self._numbers:
            try:
                self._previous[number] = signal.signal(number, self._handler)
            except ValueError:  # not the main thread
                break
        return self

    def __exit__(self, *error: Any) -> None:
        self.restore()

    def restore(self) -> None:
        """Put the handlers of before back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)


class Interruption:
    """Takes note of the first Ctrl-C or SIGTERM, so that the batch under way is finished and saved.

    The second one ends the program at once, for the handlers of before are back by then.
    """

    def __init__(self) -> None:
        self.requested = False
        self._handlers = Handlers(STOP, self._request)

    def __enter__(self) -> Interruption:
        self._handlers.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._handlers.restore()

    def _request(self, number: int, frame: Any) -> None:
        self.requested = True
        self._handlers.restore()


class Forwarding:
    """Passes signals on to a child, so that it saves itself; ends the child if this program ends otherwise.

    Parameters
    ----------
    child : subprocess.Popen
        In a session of its own, so that a terminal's Ctrl-C reaches it once, through this program.
    """

    def __init__(self, child: Any) -> None:
        self._child = child
        self._handlers = Handlers((*STOP, signal.SIGHUP), self._forward)
        self.asked_to_stop = False

    def __enter__(self) -> Forwarding:
        self._handlers.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._handlers.restore()
        if self._child.poll() is None:
            self._child.terminate()
            self._child.wait()

    def _forward(self, number: int, frame: Any) -> None:
        self.asked_to_stop = True
        self._child.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)
