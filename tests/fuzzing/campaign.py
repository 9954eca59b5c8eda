"""Gives inputs to a process that reads them, starts another one where it ends, and counts how they ended."""

from __future__ import annotations

import json
import math
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Callable, Dict, List, Optional, Sequence, Type

from .inputs import Input, kept_name, make_input

#: Seconds of a processor after which an input counts as one that never ends. On a busy machine, and for one that
#: waits, as many times the seconds of a clock.
PATIENCE, _BUSY = 20.0, 15

#: Seconds of a clock until a process has imported everything.
_STARTING = 600.0

CRASH, HANG = "crash", "hang"

#: How an input may end, in the order of the table; the last four are faults.
OUTCOMES = ("refused", "accepted", "traceback", CRASH, HANG, "over 1 GB")
FAULTS = OUTCOMES[2:]

_TESTS = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Answer:
    """How an input ended.

    Attributes
    ----------
    outcome : str
        One of `OUTCOMES`.
    text : str
        The message, the traceback, or the end of the log of a process that ended.
    """

    outcome: str
    text: str


class Reading:
    """A process that reads inputs; use it in a `with` block.

    Parameters
    ----------
    folder : Path
        For its samples and its log. A later process goes on with the samples of an earlier one.
    seed : int
        Of the inputs.
    patience : float
        Seconds of a processor for one input.
    module : str
        What reads.

    Attributes
    ----------
    seconds : float
        Of a processor, that all inputs so far have taken.
    """

    def __init__(self, folder: Path, seed: int, patience: float = PATIENCE, module: str = "fuzzing.child") -> None:
        self.folder = folder
        self._module = module
        self._seed = seed
        self._patience = patience
        self._process: Optional[subprocess.Popen[bytes]] = None
        self.seconds = 0.0

    def __enter__(self) -> Reading:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._end()

    def ask(self, request: Dict[str, Any]) -> Answer:
        """Have an input read: by its kind and its number, by the path that it is kept at, or a sample as it is."""
        if self._process is None:
            self._start()
        process = self._process
        assert process is not None
        _write(process, request)
        line = self._line(self._patience * _BUSY, self._patience)
        if line:
            found = json.loads(line)
            self.seconds += found["seconds"]
            if found["outcome"] == "over 1 GB":  # it may hold what it took
                self._end()
            return Answer(found["outcome"], found["text"])
        hangs = process.poll() is None and line is None
        status = self._end()
        if not (self.folder / "originals" / request["kind"]).exists():
            raise RuntimeError(f"there are no valid files of this kind:\n{self._log()}")
        return Answer(HANG if hangs else CRASH, f"status {status}\n{self._log()}")

    def _start(self) -> None:
        paths = [str(_TESTS.parent), str(_TESTS), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONHASHSEED": "0"}
        self.folder.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", self._module, str(self.folder), str(self._seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"OMP_NUM_THREADS": "1", **environment},
        )
        if not self._line(_STARTING):
            self._end()
            raise RuntimeError(f"the process that reads does not start:\n{self._log()}")

    def _line(self, seconds: float, of_processor: float = math.inf) -> Optional[bytes]:
        """The next line; empty where the process has ended, None where none came in time."""
        process = self._process
        assert process is not None and process.stdout is not None
        stream: IO[bytes] = process.stdout
        end, most = time.monotonic() + seconds, _used(process.pid) + of_processor
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while time.monotonic() < end and _used(process.pid) < most:
                if selector.select(1.0):
                    return stream.readline()
        return None

    def _end(self) -> Optional[int]:
        process, self._process = self._process, None
        if process is None:
            return None
        if process.poll() is None and process.stdin is not None:
            process.send_signal(signal.SIGKILL)
        status = process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
        return status

    def _log(self) -> str:
        """The end of what the process has printed, without the modules that Python lists where it crashes."""
        log = self.folder / "log"
        text = log.read_bytes().decode("utf-8", "replace") if log.exists() else ""
        return text.split("\nExtension modules:")[0].rstrip()[-3000:]


def _used(process: int) -> float:
    """The seconds of a processor that a process has used; 0 once it has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _write(process: subprocess.Popen[bytes], request: Dict[str, Any]) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it may have ended after its last answer, as at an error in another thread
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()


# --- Counting --------------------------------------------------------------------------------------------------------


@dataclass
class Fault:
    """An input that ended as none may.

    Attributes
    ----------
    number : int
        Of the input.
    answer : Answer
        How it ended.
    input : Input
        What it is.
    """

    number: int
    answer: Answer
    input: Input


@dataclass
class Tally:
    """How the inputs of a kind ended.

    Attributes
    ----------
    kind : str
        Of the inputs.
    counts : Counter
        By outcome.
    faults : list of Fault
        Those that ended in one of `FAULTS`.
    seconds : float
        Of a processor, for all of them that did not end the process.
    slowest : float
        The same of the one that took the longest.
    """

    kind: str
    counts: Dict[str, int] = field(default_factory=Counter)
    faults: List[Fault] = field(default_factory=list)
    seconds: float = 0.0
    slowest: float = 0.0

    @property
    def tried(self) -> int:
        """How many inputs there were."""
        return sum(self.counts.values())


def fuzz(
    reading: Reading, seed: int, kind: str, numbers: Sequence[int], tell: Callable[[Fault], None] = lambda fault: None
) -> Tally:
    """Have the inputs of some numbers read.

    Parameters
    ----------
    reading : Reading
        The process.
    seed : int
        The one that the process has.
    kind : str
        Of the inputs.
    numbers : sequence of int
        Which of them.
    tell : callable
        Is told each fault at once.
    """
    tally = Tally(kind)
    for number in numbers:
        before = reading.seconds
        answer = reading.ask({"kind": kind, "number": number})
        tally.seconds += reading.seconds - before
        tally.slowest = max(tally.slowest, reading.seconds - before)
        tally.counts[answer.outcome] += 1
        if answer.outcome in FAULTS:
            made = make_input(reading.folder / "originals", seed, kind, number)
            tally.faults.append(Fault(number, answer, made))
            tell(tally.faults[-1])
    return tally


def keep(folder: Path, fault: Fault, seed: int) -> Path:
    """Write the input of a fault below a folder, with what it led to beside it."""
    path = folder / kept_name(fault.input, f"{fault.answer.outcome.replace(' ', '_')}-{seed}-{fault.number}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(fault.input.content)
    path.with_name(f"{path.name}.why").write_text(fault.answer.text, encoding="utf-8", errors="backslashreplace")
    return path
