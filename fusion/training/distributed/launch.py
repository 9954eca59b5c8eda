"""Starts several training processes on this machine, and ends them all when one of them dies.

    python -m fusion.launch -n 2 train_cifar.py --config configs/quickstart.yaml runtime.distributed=dist_sync
    python -m fusion.launch -n 2 -m fusion train --config quickstart runtime.distributed=dist_sync

MXNet's key-value store needs a scheduler and servers besides the workers. All of them find each other by DMLC_*
variables in their environment; docs/scaling.md shows how to start them by hand on several hosts. The store itself does
not notice that a worker has died: the other workers would wait for it for ever. This program watches the workers; when
one dies, it ends the others and says which one died and how.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

from ...command import BAD_INPUT, INTERRUPTED, reported
from ...errors import ConfigError
from ...processors import MARKER, OMP_NUM_THREADS, choose, first_number, users_value
from ...signals import STOP, Handlers
from .rollcall import PARTNER_LOST

#: Seconds between two checks of the processes.
_LOOK = 0.1
#: Seconds to wait after a worker has failed: others that fail for the same reason can report it in this time.
_LAST_WORDS = 3.0
#: Seconds within which all processes must end after the first has ended without an error.
_PARTING = 30.0
#: How many of the last lines of a failed worker's output are shown.
_TAIL = 20
#: The option of Linux's prctl that sends a process a signal when its parent dies.
_PR_SET_PDEATHSIG = 1
_GO_ON = (
    "After you have removed the cause, the same command with --resume RUN_DIR in place of --config continues from the "
    "last checkpoint"
)
_LIBC = ctypes.CDLL(None)

#: The command of the scheduler and the servers: importing MXNet makes a process what DMLC_ROLE says.
_RELAY = [sys.executable, "-m", "fusion.compat"]


class Process:
    """A child process: its name, its output, and how it ended."""

    def __init__(self, name: str, command: Sequence[str], environment: Dict[str, str], output: Any = None) -> None:
        self.name = name
        self.output = output
        self._child = subprocess.Popen(
            list(command),
            env={**_inherited(os.environ), **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            start_new_session=True,  # so that Ctrl-C reaches this program only, which passes it on to the workers
            preexec_fn=_die_with_parent,
        )

    @property
    def status(self) -> Optional[int]:
        """The exit status: None while it runs, and minus the number of the signal if one ended it."""
        return self._child.poll()

    def send(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        self._child.send_signal(number)

    def kill(self) -> None:
        """End it at once, with all processes that it started."""
        if self.status is None:
            try:
                os.killpg(self._child.pid, signal.SIGKILL)
            except ProcessLookupError:
                self._child.kill()
        self._child.wait()

    def how_it_ended(self) -> str:
        """How it ended, in words."""
        status = self.status or 0
        ended = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        return f"{self.name} (process {self._child.pid}) {ended}"

    def last_lines(self) -> List[str]:
        """The end of its output; nothing if the output was shown as it came."""
        if self.output is None:
            return []
        self.output.seek(0)
        return self.output.read().decode(errors="replace").splitlines()[-_TAIL:]


def _inherited(environment: Mapping[str, str]) -> Dict[str, str]:
    """The variables that children get from this process: none of the key-value store's, which are the job's own.

    One of them could have the scheduler listen on every network, such as DMLC_USE_KUBERNETES.
    """
    return {name: value for name, value in environment.items() if not name.startswith("DMLC_")}


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Job:
    """All processes of a training run on this machine.

    Parameters
    ----------
    command : sequence of str
        What each worker's Python runs: a script or `-m` and a module, and their words.
    workers, servers : int
        How many of each. A small array is added up on one server, a large one in parts on all of them.
    """

    def __init__(self, command: Sequence[str], workers: int, servers: int) -> None:
        self._command = command
        self._counts = {"DMLC_NUM_WORKER": str(workers), "DMLC_NUM_SERVER": str(servers)}
        self._threads = threads_of_each(os.environ, workers)
        self._exit = ExitStack()
        self._interrupts = 0
        self.workers: List[Process] = []
        self.helpers: List[Process] = []

    def __enter__(self) -> Job:
        self._exit.enter_context(Handlers(STOP, self._interrupt))
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: Any) -> None:
        for process in [*self.workers, *self.helpers]:
            process.kill()
        self._exit.close()

    def _start(self) -> None:
        shared = {
            **self._counts,
            "DMLC_PS_ROOT_URI": "127.0.0.1",
            "DMLC_PS_ROOT_PORT": str(_free_port()),
            "DMLC_NODE_HOST": "127.0.0.1",
        }
        quiet = {**shared, OMP_NUM_THREADS: "1"}
        self.helpers.append(Process("the scheduler", _RELAY, {**quiet, "DMLC_ROLE": "scheduler"}, self._file()))
        for number in range(int(self._counts["DMLC_NUM_SERVER"])):
            self.helpers.append(Process(f"server {number}", _RELAY, {**quiet, "DMLC_ROLE": "server"}, self._file()))
        for number in range(int(self._counts["DMLC_NUM_WORKER"])):
            own = {"DMLC_ROLE": "worker", "DMLC_TASK_ID": str(number), **self._threads}
            command = [sys.executable, *self._command]
            output = self._file() if number else None  # the first worker's output is shown as it comes
            self.workers.append(Process(f"worker {number}", command, {**shared, **own}, output))

    def _file(self) -> Any:
        return self._exit.enter_context(tempfile.TemporaryFile())

    def _interrupt(self, number: int, frame: Any) -> None:
        """The first signal lets the workers finish their batch and save; the second one ends everything."""
        self._interrupts += 1
        if self._interrupts > 1:
            raise KeyboardInterrupt
        for worker in self.workers:
            worker.send(signal.SIGINT)

    def wait(self) -> int:
        """Wait for the end of the workers.

        Returns
        -------
        int
            The exit status: 0, 130 if they were interrupted, or that of the worker that failed.
        """
        first_end: Optional[float] = None
        while any(worker.status is None for worker in self.workers):
            failed = self._failed()
            if failed:
                return self._fail(failed)
            ended = [process for process in [*self.workers, *self.helpers] if process.status is not None]
            if ended:
                first_end = first_end or time.monotonic()
                if time.monotonic() - first_end > _PARTING:
                    return self._fail(ended[0])
            time.sleep(_LOOK)
        failed = self._failed()
        if failed:
            return self._fail(failed)
        return INTERRUPTED if any(worker.status for worker in self.workers) else 0

    def _failed(self) -> Optional[Process]:
        """A process that failed, or None; scheduler and servers end by themselves after the workers."""
        for process in [*self.workers, *self.helpers]:
            if process.status not in (None, 0, INTERRUPTED):
                return process
        return None

    def _fail(self, failed: Process) -> int:
        deadline = time.monotonic() + _LAST_WORDS
        while time.monotonic() < deadline and any(worker.status is None for worker in self.workers):
            time.sleep(_LOOK)
        # A worker that failed by itself is to blame before one that only lost its partner or a scheduler that lost it.
        broken = [worker for worker in self.workers if worker.status not in (None, 0, INTERRUPTED)]
        broken = [worker for worker in broken if worker.status != PARTNER_LOST] or broken or [failed]
        for process in [*self.workers, *self.helpers]:
            if process not in broken:
                process.kill()
        told = broken[0]
        for line in told.last_lines():
            print(f"{told.name}: {line}", file=sys.stderr)
        status = told.status or 0
        print(
            f"error: {told.how_it_ended()}. The {len(self.workers)} workers cannot go on without each other: all have "
            f"been ended. {'Its own message is above' if status == BAD_INPUT else _GO_ON}",
            file=sys.stderr,
        )
        return status if status > 0 else 128 - status if status < 0 else 1


def threads_of_each(environment: Mapping[str, str], workers: int) -> Dict[str, str]:
    """The environment variables that tell each worker on this machine how many threads to use.

    Parameters
    ----------
    environment : mapping of str to str
        The variables of this process. If the user has set a number of threads, it stays, and nothing is returned.
    workers : int
        How many workers share the machine.
    """
    if first_number(users_value(environment)) is not None:
        return {}
    share = str(max(1, choose(environment).count // workers))
    return {OMP_NUM_THREADS: share, MARKER: share}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _positive(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word!r}: expected a number from 1 upwards")
    return int(word)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fusion.launch",
        usage="%(prog)s [-h] [-n WORKERS] [--servers SERVERS] (SCRIPT | -m MODULE) ...",
        description="Train in several processes on this machine (runtime.distributed=dist_sync).",
        epilog="example: %(prog)s -n 2 train_cifar.py --config quickstart runtime.distributed=dist_sync",
    )
    parser.add_argument("-n", "--workers", type=_positive, default=2, help="number of training processes (default: 2)")
    parser.add_argument(
        "--servers", type=_positive, default=1, help="number of processes that add up the gradients (default: 1)"
    )
    parser.add_argument(
        "-m",
        dest="module",
        nargs=argparse.REMAINDER,
        metavar="MODULE ...",
        help="start a module in place of a script, such as fusion, with all words that follow it",
    )
    parser.add_argument(
        "command",
        nargs=argparse.REMAINDER,
        metavar="SCRIPT ...",
        help="the script, such as train_cifar.py, and its words",
    )
    return parser


def _command(found: argparse.Namespace) -> List[str]:
    """What each worker's Python runs, by the words of the command line; it is there."""
    words = found.command[1:] if found.command[:1] == ["--"] else found.command
    words = words if found.module is None else ["-m", *found.module, *words]
    if words in ([], ["-m"]):
        raise ConfigError(
            "say what to start, such as: python -m fusion.launch -n 2 train_cifar.py --config FILE, or "
            "python -m fusion.launch -n 2 -m fusion train --config quickstart"
        )
    if words[0] == "-m":
        if not _is_module(words[1]):
            raise ConfigError(f"-m {words[1]}: there is no such Python module; expected one such as fusion")
    elif not words[0].startswith("-") and not Path(words[0]).is_file():
        raise ConfigError(f"{words[0]}: no such file; expected a Python script, such as train_cifar.py")
    return words


def _is_module(name: str) -> bool:
    """Whether Python would find a module, or for one in a package, that package."""
    try:
        return importlib.util.find_spec(name.partition(".")[0]) is not None
    except ValueError:  # no name at all
        return False


@reported
def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Start the workers and wait for them.

    Parameters
    ----------
    arguments : sequence of str, optional
        The words of the command line; the process's own unless given.

    Returns
    -------
    int
        The exit status: 0 if the workers have finished, 130 if they were interrupted, otherwise that of the process
        that failed.
    """
    found = _parser().parse_args(arguments)
    with Job(_command(found), found.workers, found.servers) as job:
        return job.wait()
