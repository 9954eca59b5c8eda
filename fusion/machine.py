"""How many processors this process may use, by its affinity, the quota of its control group, and the physical cores.

All functions take the folder in which /proc and /sys are, so that tests can give them files of other machines.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import FrozenSet, Iterator, List, Optional, Tuple


@dataclass(frozen=True)
class Usable:
    """The processors that this process may use.

    Attributes
    ----------
    affinity : frozenset of int
        Their numbers. Two of them may be hyper-threads of one core.
    cores : int
        How many physical cores they belong to.
    quota : float or None
        Seconds of processor time per second that the control group allows; None if there is no limit.
    """

    affinity: FrozenSet[int]
    cores: int
    quota: Optional[float] = None

    @property
    def count(self) -> int:
        """How many threads can run at the same time without interruption; at least 1."""
        if self.quota is None:
            return self.cores
        # A fractional quota is rounded down. With 1.5 CPUs, two threads would use up the quota of each period before
        # the period ends. The system would then stop both until the next period, even if one waits for the other.
        return max(1, min(self.cores, int(self.quota)))

    @property
    def why(self) -> str:
        """The reason for this number."""
        if self.quota is not None and self.quota < self.cores:
            return f"the control group's quota of {round(self.quota, 2)} CPUs on {len(self.affinity)} processors"
        return "1 physical core" if self.cores == 1 else f"{self.cores} physical cores"


def usable(root: Path = Path("/"), affinity: Optional[FrozenSet[int]] = None) -> Usable:
    """Find which processors this process may use.

    Parameters
    ----------
    root : Path
        The folder in which `proc` and `sys` are.
    affinity : frozenset of int, optional
        Numbers of the processors that the scheduler gives this process; by default, what the system says.
    """
    if affinity is None:
        known = hasattr(os, "sched_getaffinity")
        affinity = frozenset(os.sched_getaffinity(0) if known else range(os.cpu_count() or 1))
    # Hyper-threads of one core share the units that multiply. Training keeps these busy, so that a second thread on the
    # same core gains nothing.
    cores = {_siblings(root, number) for number in affinity}
    limits = [limit for limit in map(_limit, _groups(root)) if limit is not None]
    return Usable(affinity, len(cores), min(limits, default=None))


def processors() -> int:
    """How many processors this process may use; the machine may have more."""
    return usable().count


def read_text(path: Path) -> str:
    """The text of a file; empty if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _siblings(root: Path, number: int) -> FrozenSet[int]:
    """The processors of the same core; only the processor itself if the system does not say."""
    folder = root / "sys" / "devices" / "system" / "cpu" / f"cpu{number}" / "topology"
    text = (read_text(folder / "core_cpus_list") or read_text(folder / "thread_siblings_list")).strip()
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text):
        return frozenset({number})
    ranges = [part.split("-") for part in text.split(",")]
    found = frozenset(each for ends in ranges for each in range(int(ends[0]), int(ends[-1]) + 1))
    return found if number in found else frozenset({number})


def _groups(root: Path) -> Iterator[Path]:
    """The folders of the control groups that can limit this process's processor time: its own, and all above them."""
    for line in read_text(root / "proc" / "self" / "cgroup").splitlines():
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        kind = "cgroup2" if (number, controllers) == ("0", "") else "cgroup"
        if kind == "cgroup2" or "cpu" in controllers.split(","):
            inside = [(place, _below(path, top)) for top, place in _mounts(root, kind)]
            # In a container the path may be the one on the host, of which only the container's own group is mounted.
            known = [(place, parts) for place, parts in inside if parts is not None] or [(p, ()) for p, _ in inside]
            for place, parts in known:
                for depth in range(len(parts), -1, -1):
                    yield place.joinpath(*parts[:depth])


def _mounts(root: Path, kind: str) -> List[Tuple[str, Path]]:
    """For each place where control groups are mounted: the group at its root, and the folder."""
    found = []
    for line in read_text(root / "proc" / "self" / "mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, last = before.split(), after.split()
        if len(fields) < 5 or last[:1] != [kind] or (kind == "cgroup" and "cpu" not in last[-1].split(",")):
            continue
        top, place = (re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), field) for field in fields[3:5])
        found.append((top, root / place.lstrip("/")))
    return found


def _below(path: str, top: str) -> Optional[Tuple[str, ...]]:
    """The path from one control group down to another; None if the other is not below it."""
    try:
        parts = PurePosixPath(path).relative_to(top).parts
    except ValueError:
        return None
    return None if ".." in parts else parts


def _limit(group: Path) -> Optional[float]:
    """How many processors a control group allows, by the file of version 2 or those of version 1; None for no limit."""
    words = read_text(group / "cpu.max").split()
    words = words or [*read_text(group / "cpu.cfs_quota_us").split(), *read_text(group / "cpu.cfs_period_us").split()]
    if len(words) != 2 or not all(word.isdecimal() and int(word) for word in words):
        return None  # such as "max" and -1, which stand for no limit
    return int(words[0]) / int(words[1])
