"""Ctrl-C and its like: a run finishes its batch and saves, a program passes the wish on to the runs that it started."""

from __future__ import annotations

import signal
from typing import Any, Callable, Dict, Tuple

#: What asks a run to stop and save. A closed terminal (SIGHUP) is as good a reason, and a run knows only these two.
STOP = (signal.SIGINT, signal.SIGTERM)

Handler = Callable[[int, Any], None]


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
