"""Faults for a process that trains: it is killed, or the system refuses, at the n-th change of its folder.

The changes are seen by Python's audit hooks, so that the program needs to know nothing of this: files that are opened
for writing, renamed and removed, folders that are made; and `os.fsync`. Within a write, it is the kernel that ends the
process or refuses, by the limit on the size of files. `install` is called in a forked child, which it changes for good.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Optional

#: Audit events that change a folder, with the place of the path among their arguments.
_CHANGES = {"os.rename": 1, "os.remove": 0, "os.mkdir": 0, "os.rmdir": 0}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT

#: What gives back room, which a full disk does not refuse.
_REMOVALS = ("os.remove", "os.rmdir")

#: Of a file whose final size is not known.
_SMALL = 20


class Changes:
    """Calls a function with the number, from 1, the name and the path of each change below a folder."""

    def __init__(self, folder: Path, act: Callable[[int, str, str], None]) -> None:
        self._folder, self._act = Path(os.path.realpath(folder)), act
        self._count = 0
        fsync = os.fsync

        def watched(descriptor: int) -> None:
            self._seen("fsync", os.readlink(f"/proc/self/fd/{descriptor}"))
            fsync(descriptor)

        os.fsync = watched
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: Any) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, (str, bytes)) and flags & _WRITING:
                self._seen(event, os.fsdecode(path))
        elif event in _CHANGES:
            self._seen(event, os.fsdecode(arguments[_CHANGES[event]]))

    def _seen(self, event: str, path: str) -> None:
        place = Path(os.path.realpath(Path(path).parent), Path(path).name)
        if self._folder in (place, *place.parents):
            self._count += 1
            self._act(self._count, event, path)


@dataclass(frozen=True)
class Fault:
    """What happens, and at which change, batch or task of a thread, from 1.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    number : int
        When.
    sizes : dict of str to int
        Of a whole run's files, by name, for what happens within a write.
    """

    kind: str
    number: int
    sizes: Optional[Dict[str, int]] = None

    def install(self, folder: Path) -> None:
        """Have it happen in this process, to what it does to a folder."""
        KINDS[self.kind](self, folder)


def _count(fault: Fault, folder: Path) -> None:
    Changes(folder, lambda number, event, path: os.write(1, f"change {number}: {event} {path}\n".encode()) and None)


def _kill(fault: Fault, folder: Path) -> None:
    def act(number: int, event: str, path: str) -> None:
        if number == fault.number:
            os.kill(os.getpid(), signal.SIGKILL)

    Changes(folder, act)


def _within_write(fault: Fault, folder: Path, fatal: bool) -> None:
    def act(number: int, event: str, path: str) -> None:
        if number >= fault.number and event == "open":
            name = Path(path).name
            final = name[1:].rsplit(".", 2)[0] if name.endswith(".part") else name
            half = (fault.sizes or {}).get(final, _SMALL) // 2
            resource.setrlimit(resource.RLIMIT_FSIZE, (half, resource.RLIM_INFINITY))

    if fatal:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    Changes(folder, act)


def _refuse(fault: Fault, folder: Path, code: int, of: Callable[[str], bool]) -> None:
    """Refuse from the n-th change on, as a full disk does until there is room."""

    def act(number: int, event: str, path: str) -> None:
        if number >= fault.number and of(event):
            raise OSError(code, os.strerror(code), path)

    Changes(folder, act)


def _all(event: str) -> bool:
    return True


def _needs_room(event: str) -> bool:
    return event not in _REMOVALS


def _at_batch(fault: Fault, act: Callable[[Any], None]) -> None:
    """Act when the n-th step is taken, with its network."""
    from fusion.training import engine

    take_step, count = engine.take_step, 0

    def watched(net: Any, *arguments: Any, **keywords: Any) -> Any:
        nonlocal count
        count += 1
        if count == fault.number:
            act(net)
        return take_step(net, *arguments, **keywords)

    engine.take_step = watched


def _signal(number: int) -> Callable[[Any], None]:
    return lambda net: os.kill(os.getpid(), number)


def _spoil(net: Any) -> None:
    parameter = next(iter(net.collect_params().values()))
    parameter.set_data(parameter.data() * float("nan"))


def _wait(net: Any) -> None:
    print("waiting", flush=True)
    time.sleep(600)


def _break_thread(fault: Fault, error: BaseException) -> None:
    """Let the n-th task of the threads that prepare batches raise an error."""
    submit, count = ThreadPoolExecutor.submit, 0

    def watched(pool: Any, task: Any, *arguments: Any, **keywords: Any) -> Any:
        nonlocal count
        if not pool._thread_name_prefix.startswith("batches"):
            return submit(pool, task, *arguments, **keywords)
        count += 1
        number = count

        def tried() -> Any:
            if number == fault.number:
                raise error
            return task(*arguments, **keywords)

        return submit(pool, tried)

    ThreadPoolExecutor.submit = watched


#: What can happen, by the words of the table.
KINDS: Dict[str, Callable[[Fault, Path], None]] = {
    "killed between writes": _kill,
    "killed within a write": lambda fault, folder: _within_write(fault, folder, fatal=True),
    "killed at a batch": lambda fault, folder: _at_batch(fault, _signal(signal.SIGKILL)),
    "disk full": lambda fault, folder: _refuse(fault, folder, errno.ENOSPC, _needs_room),
    "disk full within a write": lambda fault, folder: _within_write(fault, folder, fatal=False),
    "read-only disk": lambda fault, folder: _refuse(fault, folder, errno.EROFS, _all),
    "read-only folder": lambda fault, folder: _refuse(fault, folder, errno.EACCES, _all),
    "SIGTERM": lambda fault, folder: _at_batch(fault, _signal(signal.SIGTERM)),
    "Ctrl-C": lambda fault, folder: _at_batch(fault, _signal(signal.SIGINT)),
    "loader thread: no memory": lambda fault, folder: _break_thread(fault, MemoryError()),
    "loader thread: disk error": lambda fault, folder: _break_thread(fault, OSError(errno.EIO, os.strerror(errno.EIO))),
    "loader thread: mistake": lambda fault, folder: _break_thread(fault, KeyError("mistake")),
    "loader thread: exit": lambda fault, folder: _break_thread(fault, SystemExit(3)),
    "NaN": lambda fault, folder: _at_batch(fault, _spoil),
    "counted": _count,
    "waits": lambda fault, folder: _at_batch(fault, _wait),
}
