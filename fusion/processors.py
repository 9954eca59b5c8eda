"""How many threads this process should use, and why. The module imports no package, so it works without MXNet.

MXNet uses half of the processors unless OMP_NUM_THREADS says otherwise when its library is loaded. Just before that,
`fusion.compat` calls `prepare`, which chooses a number. It starts from what the machine, the affinity and the control
group of this process allow, divides it among the processes of a job, and leaves to other programs the processors that
they use. docs/threads.md has the measurements.
"""

from __future__ import annotations

import os
import re
import sys
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, Dict, Mapping, MutableMapping, Optional, Tuple

from .machine import Usable, read_text, usable
from .words import counted

OMP_NUM_THREADS = "OMP_NUM_THREADS"
#: Set beside OMP_NUM_THREADS, to the same number, so that a child process knows that it was not the user who set it.
MARKER = "FUSION_CHOSEN_THREADS"

#: A larger `mx.nd.array` is copied by additional threads, which the calling thread starts. After that libgomp has more
#: threads than there are processors, so that MXNet's threads no longer wait actively: later work takes twice as long.
_PARALLEL_COPY = ("MXNET_CPU_PARALLEL_SIZE", "1000000000")
#: How often a waiting thread looks for work before it sleeps: the best of the numbers measured on a quiet machine.
_SPIN_COUNT = ("GOMP_SPINCOUNT", "10000")

#: From this 1-minute load average on it is worth measuring how many processors other programs use.
_BUSY_MINUTE = 0.7
#: For how many seconds this is measured: 20 ticks of the kernel's clock.
_WATCHED = 0.2
#: A run logs how many processors other programs use from this number on.
_WORTH_TELLING = 0.5

#: The variables in which launchers say how many processes they have started on this machine.
_LOCAL_SIZES = ("HOROVOD_LOCAL_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE")


def _own_seconds() -> float:
    """Processor time of this process and of the children that it has waited for."""
    return sum(os.times()[:4])


class Company:
    """Measures how many processors other programs keep busy.

    Parameters
    ----------
    found : Usable
        The processors to look at.
    root : Path
        The folder in which `proc` is.
    own : callable
        Processor time of this process so far, in seconds.
    """

    def __init__(self, found: Usable, root: Path = Path("/"), own: Callable[[], float] = _own_seconds) -> None:
        self._found, self._root, self._own = found, root, own
        self._told = False
        self.begin()

    def begin(self) -> None:
        """Start a new measurement now."""
        self._start = self._look()

    def busy(self) -> float:
        """How many processors others have used, averaged since `begin`; 0 if the system does not say."""
        others, elapsed = (now - before for now, before in zip(self._look(), self._start))
        return max(0.0, others / elapsed) if elapsed > 0 else 0.0

    def _look(self) -> Tuple[float, float]:
        """How many ticks of all processors others have used so far, and how many ticks have passed on each."""
        used = passed = 0
        names = {f"cpu{number}" for number in self._found.affinity}
        for line in read_text(self._root / "proc" / "stat").splitlines():
            words = line.split()
            if words and words[0] in names:
                if len(words) < 9 or not all(word.isdecimal() for word in words[1:9]):
                    return float("nan"), float("nan")
                user, nice, system, idle, waiting, irq, softirq, steal = map(int, words[1:9])
                used += user + nice + system + irq + softirq + steal
                passed += user + nice + system + irq + softirq + steal + idle + waiting
        return used - self._own() * os.sysconf("SC_CLK_TCK"), passed / len(self._found.affinity)

    def advice(self, threads: int, go_on: str) -> Optional[str]:
        """Advice for the user, the first time that other programs leave too few processors for this process's threads.

        Parameters
        ----------
        threads : int
            How many threads this process uses.
        go_on : str
            The option that resumes the run after it was interrupted.
        """
        others, cores = self.busy(), self._found.cores
        if self._told or threads == 1 or others < _WORTH_TELLING or threads + others <= cores + _WORTH_TELLING:
            return None
        self._told = True
        return (
            f"other programs kept {others:.1f} of {cores} processors busy during this epoch, and this run uses "
            f"{threads} threads, which then wait for processors and for each other. Fewer threads would be faster: "
            f"press Ctrl-C, and go on with OMP_NUM_THREADS={max(1, cores - round(others))} and {go_on}"
        )


def _load(root: Path) -> float:
    """How many processes wanted to run, averaged over the last minute; 0 if the system does not say."""
    found = re.match(r"\d+(\.\d+)?(?=\s)", read_text(root / "proc" / "loadavg"))
    return float(found[0]) if found else 0.0


# --- The choice ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Threads:
    """How many threads of OpenMP this process uses.

    Attributes
    ----------
    count : int
        How many.
    why : str
        The reason for this number.
    warning : str, optional
        What the user should know or do about it.
    """

    count: int
    why: str
    warning: Optional[str] = None

    def __str__(self) -> str:
        return f"{counted(self.count, 'thread')} ({self.why})"


def choose(
    environment: Mapping[str, str],
    imported: bool = False,
    found: Optional[Usable] = None,
    root: Path = Path("/"),
    sleep: Callable[[float], None] = time.sleep,
    own: Callable[[], float] = _own_seconds,
) -> Threads:
    """Choose the number of threads for this process, without setting anything.

    Parameters
    ----------
    environment : mapping of str to str
        The environment variables.
    imported : bool
        Whether MXNet has been imported already, and has chosen its number itself.
    found : Usable, optional
        The processors that this process may use; by default, what is found under `root`.
    root : Path
        The folder in which `proc` and `sys` are.
    sleep, own : callable
        Functions that wait for some seconds, and that return this process's own processor time in seconds.
    """
    found = usable(root) if found is None else found
    if imported:
        return _taken(environment, found)
    if environment.get("DMLC_ROLE") in ("scheduler", "server"):
        return Threads(1, f"the {environment['DMLC_ROLE']} of a distributed run")
    text = users_value(environment)
    number = first_number(text)
    if number is not None:
        return Threads(number, OMP_NUM_THREADS, _too_many(number, found) if number > found.count else None)
    free = _shared(environment, found)
    if free.count > 1 and _load(root) >= _BUSY_MINUTE and not _launched(environment):
        company = Company(found, root, own)
        sleep(_WATCHED)
        others = company.busy()
        left = max(1, min(free.count, found.cores - round(others)))
        if left < free.count:
            free = Threads(left, f"{left} of {free.count}: other programs keep {others:.1f} processors busy")
    if not text:
        return free
    return replace(
        free,
        warning=f"{OMP_NUM_THREADS}={text}: expected a whole number from 1, such as {free.count}. OpenMP (libgomp) "
        f'calls this an "Invalid value" and ignores it, so that fusion sets {free.count} in its place ({free.why})',
    )


def users_value(environment: Mapping[str, str]) -> str:
    """The user's OMP_NUM_THREADS; empty if it is not set, or if `fusion` set it in a parent of this process."""
    text = environment.get(OMP_NUM_THREADS, "").strip()
    return "" if text == environment.get(MARKER) else text


def with_threads(environment: Mapping[str, str], count: int) -> Dict[str, str]:
    """The environment of a child process that is to use this number of threads, as if its user had set it."""
    kept = {name: value for name, value in environment.items() if name != MARKER}
    return {**kept, OMP_NUM_THREADS: str(count)}


def first_number(text: str) -> Optional[int]:
    """The first number of a list such as 4,2, whose others are for nested teams; None for any other text."""
    words = [word.strip() for word in text.split(",")]
    return int(words[0]) if all(re.fullmatch(r"[0-9]+", word) and int(word) for word in words) else None


def _too_many(number: int, found: Usable) -> str:
    return (
        f"{OMP_NUM_THREADS}={number}, and this process may use {found.count} ({found.why}): threads then wait for each "
        f"other, which can make everything many times slower. Set {OMP_NUM_THREADS}={found.count}, or leave it unset, "
        "and fusion chooses a number"
    )


def _taken(environment: Mapping[str, str], found: Usable) -> Threads:
    """The number that MXNet chose, if it was imported before this package."""
    text = environment.get(OMP_NUM_THREADS, "").strip()
    if text:
        count = first_number(text) or len(found.affinity)
        return Threads(count, f"{OMP_NUM_THREADS}; MXNet was imported before fusion")
    half, why = max(1, len(found.affinity) // 2), "MXNet was imported before fusion and took half of the processors"
    advice = f"write import fusion before import mxnet, or set {OMP_NUM_THREADS} before Python starts"
    return Threads(half, why, f"{why} ({half} of {len(found.affinity)}), which cannot be changed any more: {advice}")


def processes_of_job(environment: Mapping[str, str]) -> int:
    """How many processes of this process's job run on this machine, as their launcher says; 1 without a launcher."""
    names = [name for name in _LOCAL_SIZES if name in environment]
    host = environment.get("DMLC_PS_ROOT_URI", "")
    if host.startswith("127.") or host in ("localhost", "::1"):
        names.append("DMLC_NUM_WORKER")
    return (first_number(environment.get(names[0], "")) or 1) if names else 1


def _launched(environment: Mapping[str, str]) -> bool:
    """Whether `fusion.launch` has chosen a number for its workers, which would count each other as other programs."""
    chosen_for = environment.get("DMLC_ROLE") == "worker" and processes_of_job(environment) > 1
    return chosen_for and environment.get(MARKER, "") == environment.get(OMP_NUM_THREADS)


def _shared(environment: Mapping[str, str], found: Usable) -> Threads:
    """The number of threads that may be used, or this process's share of it."""
    processes = processes_of_job(environment)
    share = max(1, found.count // processes)
    if _launched(environment):
        share = min(share, first_number(environment[OMP_NUM_THREADS]) or share)
    return Threads(share, found.why if processes == 1 else f"a share of {share} for each of {processes} processes")


_chosen: Optional[Threads] = None


def prepare(environment: MutableMapping[str, str] = os.environ) -> Threads:
    """Choose a number, set it in the environment for MXNet, and warn if there is a reason to.

    Call it before MXNet is imported. Only the first call does anything.

    Parameters
    ----------
    environment : mutable mapping of str to str
        The environment variables, which MXNet and OpenMP read when their libraries are loaded.
    """
    global _chosen
    if _chosen is None:
        imported = "mxnet" in sys.modules or "mxnet.base" in sys.modules  # only the second, if its import has failed
        _chosen = choose(environment, imported)
        if not imported:
            apply(_chosen, environment)
        if _chosen.warning:
            warnings.warn(_chosen.warning, RuntimeWarning, stacklevel=2)
    return _chosen


def apply(threads: Threads, environment: MutableMapping[str, str]) -> None:
    """Set the variables that make MXNet use this number of threads; variables that the user has set are kept."""
    if first_number(environment.get(OMP_NUM_THREADS, "")) != threads.count:
        environment.update({OMP_NUM_THREADS: str(threads.count), MARKER: str(threads.count)})
    environment.setdefault(*_PARALLEL_COPY)
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault(*_SPIN_COUNT)


def chosen() -> Threads:
    """What `prepare` has chosen; if it was not called, since MXNet cannot be imported, what it would choose."""
    return choose(os.environ) if _chosen is None else _chosen
