"""Trains the cells of a grid, one by one or several at once, and writes the table again after each.

A new process trains each cell, with the same command line as by hand, so that the result is the same to the last bit.
One process for all cells would carry state of MXNet from one training to the next, such as oneDNN's weight layouts and
the counters of random draws.

Several processes at once share the processors, so that each has fewer threads than alone. A sum of two threads is
rounded differently from that of one (docs/threads.md): a cell's result is that of a run by hand with as many threads.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Dict, List, Mapping, Optional, Sequence, TextIO, Tuple

from ..errors import ConfigError, FusionError
from ..machine import Usable, usable
from ..outputs import check_place
from ..processors import OMP_NUM_THREADS, first_number, users_value, with_threads
from ..signals import STOP, Handlers
from ..words import counted
from .grid import Cell, collect
from .picture import write_report

logger = logging.getLogger(__name__)

#: Seconds between two looks at the processes.
_LOOK = 0.1


class AblationError(FusionError):
    """Raised if cells of the grid end with an error."""


class Child:
    """The process that trains a cell.

    Parameters
    ----------
    cell : Cell
        What it trains.
    output : TextIO
        The stream that it prints to.
    environment : dict, optional
        Its variables, if it is one of several at once. Each of its lines then begins with the name of the cell, and it
        sees no terminal, where the bars of several would write over each other.
    """

    def __init__(self, cell: Cell, output: TextIO, environment: Optional[Mapping[str, str]] = None) -> None:
        self.cell = cell
        self.signals = 0
        pipes: Dict[str, Any] = {"stdout": output}
        if environment is not None:
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": dict(environment)}
        words = [sys.executable, "-m", "fusion.training", *cell.command]
        # In a session of its own, so that a terminal's Ctrl-C reaches it once, through this program.
        self._process = subprocess.Popen(words, start_new_session=True, **pipes)
        ends = [(self._process.stdout, output), (self._process.stderr, sys.stderr)]
        self._readers = [
            threading.Thread(target=_pass_on, args=(end, stream, cell.path.name), daemon=True)
            for end, stream in ends
            if end is not None
        ]
        for reader in self._readers:
            reader.start()

    @property
    def status(self) -> Optional[int]:
        """The exit status; None while it runs."""
        return self._process.poll()

    def send(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        self.signals += 1
        self._process.send_signal(number)

    def finish(self) -> None:
        """Wait until all that it printed has been passed on."""
        self._process.wait()
        for reader in self._readers:
            reader.join()

    def end(self) -> None:
        """Have it save and end, if it still runs."""
        if self.status is None:
            self._process.terminate()
        self.finish()


def _pass_on(lines: IO[bytes], stream: TextIO, name: str) -> None:
    """Print each line behind the name of its cell; if nobody reads any more, the cell goes on all the same."""
    with lines:
        for line in lines:
            text = line.decode(errors="backslashreplace").rstrip("\r\n")
            with suppress(OSError, ValueError):
                stream.write(f"{name}: {text}\n")
                stream.flush()


class _Signals:
    """Counts the signals that ask the grid to stop, and passes them on to every child."""

    def __init__(self) -> None:
        self.received: List[int] = []
        self._handlers = Handlers((*STOP, signal.SIGHUP), lambda number, frame: self.received.append(number))

    def __enter__(self) -> _Signals:
        self._handlers.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._handlers.restore()

    def pass_on(self, children: Sequence[Child]) -> None:
        """Send each child the signals that it has not had yet; the second one ends it at once."""
        for child in children:
            for number in self.received[child.signals :]:
                child.send(signal.SIGTERM if number == signal.SIGHUP else number)


def run_grid(cells: Sequence[Cell], folder: Path, output: TextIO, parallel: int = 1) -> None:
    """Train the cells that are not finished, and write the table again after each cell.

    A cell whose run is damaged is named in a warning and left out. If a cell ends with an error, the others are
    trained all the same.

    Parameters
    ----------
    cells : sequence of Cell
        The cells that `fusion.ablation.grid.plan_grid` returned.
    folder : Path
        The folder to write the table to.
    output : TextIO
        The stream that the cells print to.
    parallel : int
        How many cells are trained at once.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C, when the cells that were being trained have saved their checkpoints.
    AblationError
        At the end, if cells ended with an error.
    """
    if parallel < 1:
        raise ConfigError(f"--parallel {parallel}: expected how many cells are trained at once, at least 1")
    check_place(folder, "--runs")
    folder.mkdir(parents=True, exist_ok=True)
    write_report(folder, collect(cells))
    environment = _shared(parallel)
    waiting = _not_finished(cells)
    running: List[Child] = []
    failed: List[Tuple[Cell, int]] = []
    try:
        with _Signals() as signals:
            while running or (waiting and not signals.received):
                while waiting and len(running) < parallel and not signals.received:
                    number, cell = waiting.pop(0)
                    command = " ".join(cell.command)
                    logger.info("cell %d of %d, %s: %s", number, len(cells), cell.path.name, command)
                    running.append(Child(cell, output, environment))
                signals.pass_on(running)
                ended = [child for child in running if child.status is not None]
                for child in ended:
                    running.remove(child)
                    child.finish()
                    if child.status and not signals.received:
                        failed.append((child.cell, child.status))
                        logger.warning("%s: ended with status %d", child.cell.path.name, child.status)
                    elif parallel > 1:
                        logger.info("%s: %s", child.cell.path.name, "stopped" if child.status else "finished")
                    write_report(folder, collect(cells))
                if not ended:
                    time.sleep(_LOOK)
    finally:
        for child in running:
            child.end()
    if signals.received:
        logger.info("to continue the grid, run the same command again")
        raise KeyboardInterrupt
    if failed:
        raise AblationError(_words_of_failed(failed, len(cells)))


def _not_finished(cells: Sequence[Cell]) -> List[Tuple[int, Cell]]:
    """The cells that are to be trained, with their numbers; of the others a line says why not."""
    waiting = []
    for number, cell in enumerate(cells, start=1):
        if cell.damage is not None:
            logger.warning("cell %d of %d, %s: left out: %s", number, len(cells), cell.path.name, cell.damage)
        elif cell.finished:
            logger.info("cell %d of %d, %s: finished already", number, len(cells), cell.path.name)
        else:
            waiting.append((number, cell))
    return waiting


def _words_of_failed(failed: Sequence[Tuple[Cell, int]], total: int) -> str:
    named = ", ".join(f"{cell.path} (status {status})" for cell, status in failed)
    few = "this cell" if len(failed) == 1 else f"these {len(failed)}"
    return (
        f"{named}: {few} of {counted(total, 'cell')} ended with an error, which is printed above; the others were "
        "trained. After you have removed the cause, run the same command again"
    )


# --- Threads ---------------------------------------------------------------------------------------------------------


def _shared(parallel: int) -> Optional[Dict[str, str]]:
    """The variables of each of several processes at once; None for one alone, which chooses its own threads."""
    if parallel == 1:
        return None
    found = usable()
    own = first_number(users_value(os.environ))
    threads = threads_of_each(parallel, os.environ, found)
    each = f"{counted(threads, 'thread')} each"
    if own is not None:
        logger.info("%d cells at once with %s (%s)", parallel, each, OMP_NUM_THREADS)
    else:
        logger.info(
            "%d cells at once with %s (%s); with another number of threads a run is rounded differently: "
            "%s=%d gives the same results one by one",
            *(parallel, each, found.why, OMP_NUM_THREADS, threads),
        )
    if threads * parallel > found.count:
        logger.warning(
            "%s need more than the %d that there are (%s): they wait for each other, which is slower than fewer "
            "cells at once",
            *(counted(threads * parallel, "thread"), found.count, found.why),
        )
    return with_threads(os.environ, threads)


def threads_of_each(parallel: int, environment: Mapping[str, str], found: Usable) -> int:
    """How many threads each of several processes at once has: the user's number, or a share of the processors.

    Parameters
    ----------
    parallel : int
        How many processes.
    environment : mapping of str to str
        The variables of this process.
    found : Usable
        The processors that it may use.
    """
    return first_number(users_value(environment)) or max(1, found.count // parallel)
