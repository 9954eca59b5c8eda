"""Starts several training processes on this machine, and ends them all when one of them dies.

    python -m fusion.launch -n 2 train_cifar.py --config configs/quickstart.yaml runtime.distributed=dist_sync

MXNet's key-value store needs a scheduler and servers besides the workers, who find each other by DMLC_* variables in
their environment; docs/scaling.md shows the same by hand for several hosts. The store itself does not notice a worker
that dies: the others would wait for it for ever. This program watches them, kills the rest and says so.
"""

from __future__ import annotations

import argparse
import ctypes
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

from .command import BAD_INPUT, INTERRUPTED, reported
from .errors import ConfigError
from .processors import MARKER, OMP_NUM_THREADS, choose, first_number, users_value
from .training.distributed.rollcall import PARTNER_LOST

#: Seconds between two looks at the processes.
_LOOK = 0.1
#: Seconds in which workers that fail for the same reason may all say so.
_LAST_WORDS = 3.0
#: Seconds in which all workers end once one has ended well: they part from each other before that.
_PARTING = 30.0
#: Lines of a failed worker's output that are shown.
_TAIL = 20
#: Linux's prctl option by which a process gets a signal when its parent dies.
_PR_SET_PDEATHSIG = 1
_GO_ON = (
    "Once the reason is gone, the same command with --resume RUN_DIR in place of --config goes on from the last "
    "checkpoint"
)
_LIBC = ctypes.CDLL(None)

#: What becomes the scheduler or a server: MXNet does, by its role, while it is imported.
_RELAY = [sys.executable, "-m", "fusion.compat"]


class Process:
    """A child: its name, its output, and how it ended."""

    def __init__(self, name: str, command: Sequence[str], environment: Dict[str, str], output: Any = None) -> None:
        self.name = name
        self.output = output
        self._child = subprocess.Popen(
            list(command),
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            start_new_session=True,  # Ctrl-C on a terminal reaches this program alone, which passes it on to workers
            preexec_fn=_die_with_parent,
        )

    @property
    def status(self) -> Optional[int]:
        """None while it runs; negative for the signal that ended it."""
        return self._child.poll()

    def send(self, number: int) -> None:
        """Send a signal, if it still runs."""
        self._child.send_signal(number)

    def kill(self) -> None:
        """End it and whatever it started, now."""
        if self.status is None:
            try:
                os.killpg(self._child.pid, signal.SIGKILL)
            except ProcessLookupError:
                self._child.kill()
        self._child.wait()

    def how_it_ended(self) -> str:
        """In words, with its last lines where they were not shown yet."""
        status = self.status or 0
        ended = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        return f"{self.name} (process {self._child.pid}) {ended}"

    def last_lines(self) -> List[str]:
        """The end of its output, where that was not shown as it came."""
        if self.output is None:
            return []
        self.output.seek(0)
        return self.output.read().decode(errors="replace").splitlines()[-_TAIL:]


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Job:
    """All processes of a training run on this machine.

    Parameters
    ----------
    command : sequence of str
        A Python script and its words.
    workers, servers : int
        How many. Each array is summed on one server, or in parts on all if it is large.
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
        for number in (signal.SIGINT, signal.SIGTERM):
            self._exit.callback(signal.signal, number, signal.signal(number, self._interrupt))
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
            output = self._file() if number else None  # the first worker's is shown as it comes
            self.workers.append(Process(f"worker {number}", command, {**shared, **own}, output))

    def _file(self) -> Any:
        return self._exit.enter_context(tempfile.TemporaryFile())

    def _interrupt(self, number: int, frame: Any) -> None:
        """The first time the workers finish their batch and save; the second time everything ends."""
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
        """A process that did not end well; the helpers end by themselves once the workers have parted."""
        for process in [*self.workers, *self.helpers]:
            if process.status not in (None, 0, INTERRUPTED):
                return process
        return None

    def _fail(self, failed: Process) -> int:
        deadline = time.monotonic() + _LAST_WORDS
        while time.monotonic() < deadline and any(worker.status is None for worker in self.workers):
            time.sleep(_LOOK)
        # Of those that failed, the first worker has already said why; a helper may have ended for a worker's sake.
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
            f"error: {told.how_it_ended()}, and the {len(self.workers)} workers need each other: all have been ended. "
            f"{'Its own message is above' if status == BAD_INPUT else _GO_ON}",
            file=sys.stderr,
        )
        return status if status > 0 else 128 - status if status < 0 else 1


def threads_of_each(environment: Mapping[str, str], workers: int) -> Dict[str, str]:
    """The variables by which workers that share this machine know how many threads each may use.

    Parameters
    ----------
    environment : mapping of str to str
        Variables of this process. A number that the user has set is left as it is.
    workers : int
        How many there will be.
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
        raise argparse.ArgumentTypeError(f"{word!r}: expected a number from 1")
    return int(word)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fusion.launch", description="Train in several processes on this machine (dist_sync)."
    )
    parser.add_argument("-n", "--workers", type=_positive, default=2, help="training processes (default: 2)")
    parser.add_argument("--servers", type=_positive, default=1, help="processes that add gradients up (default: 1)")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="SCRIPT ...", help="train_cifar.py and its words")
    return parser


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
        The exit status: 0 finished, 130 interrupted, otherwise that of what failed.
    """
    found = _parser().parse_args(arguments)
    command = found.command[1:] if found.command[:1] == ["--"] else found.command
    if not command:
        raise ConfigError("say what to start, such as: python -m fusion.launch -n 2 train_cifar.py --config FILE")
    if not command[0].startswith("-") and not Path(command[0]).is_file():
        raise ConfigError(f"{command[0]}: no such file; expected a Python script, such as train_cifar.py")
    with Job(command, found.workers, found.servers) as job:
        return job.wait()


if __name__ == "__main__":
    sys.exit(main(None))
