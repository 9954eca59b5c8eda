#!/usr/bin/env python
"""Whether a long run keeps its memory, its open files and its threads: many batches of a tiny network by the engine.

python benchmarks/endurance.py --batches 10000      about ten minutes on one core

The run is an ordinary one, with its evaluations, checkpoints and pictures of the curves after each epoch. The figures
of the process are read between batches. The exit status is 1 if one of them grows.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, List, Optional, Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("OMP_NUM_THREADS", "1")

from fusion.tables import text_table
from fusion.training import engine
from fusion.training.config import read_config
from fusion.training.logbook import RunDirectory

#: The digits in batches of 8: 179 of them are an epoch.
WORDS = (
    "model.name=cifar_resnet",
    "model.fusion=add",
    "model.blocks=1",
    "model.channel_times=1",
    "data.name=digits",
    "data.batch_size=8",
    "augment.crop_padding=2",
    "augment.flip=true",
    "schedule.lr=0.01",
    "runtime.log_every=100000",
)
LENGTH = 179

#: Lines of the table.
LINES = 20

#: Memory may grow by so much from the second quarter of the run to the last: what allocators and caches vary by.
SHARE, MEGABYTES = 0.02, 8.0


@dataclass(frozen=True)
class Reading:
    """What the process has after so many batches: megabytes in memory, open files and threads."""

    batches: int
    megabytes: float
    files: int
    threads: int


def read_process(batches: int) -> Reading:
    """The figures of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    megabytes = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return Reading(batches, megabytes, _entries("/proc/self/fd"), _entries("/proc/self/task"))


def _entries(folder: str) -> int:
    return sum(1 for _ in Path(folder).iterdir())


def grown(readings: Sequence[Reading]) -> List[str]:
    """What grows, in words; the first quarter of the run does not count, in which caches fill."""
    quarter = max(1, len(readings) // 4)
    early, late = readings[quarter : 2 * quarter], readings[-quarter:]
    found = []
    before, after = (max(reading.megabytes for reading in part) for part in (early, late))
    if after > before * (1 + SHARE) + MEGABYTES:
        found.append(f"memory grew from {before:.0f} to {after:.0f} MB")
    for name in ("files", "threads"):
        before, after = (max(getattr(reading, name) for reading in part) for part in (early, late))
        if after > before:
            found.append(f"{name} grew from {before:.0f} to {after:.0f}")
    return found


def train(batches: int, folder: Path) -> List[Reading]:
    """Train for so many batches, and read the figures as often as the table has lines."""
    readings: List[Reading] = []
    take_step, count, step = engine.take_step, 0, max(1, batches // LINES)

    def watched(*arguments: Any, **keywords: Any) -> Any:
        nonlocal count
        output = take_step(*arguments, **keywords)
        count += 1
        if count % step == 0 and count <= batches:
            readings.append(read_process(count))
            print(readings[-1], file=sys.stderr, flush=True)
        return output

    engine.take_step = watched
    epochs = -(-batches // LENGTH)
    engine.train(read_config(None, [*WORDS, f"train.epochs={epochs}"]), RunDirectory(folder / "run"))
    return readings


def main(words: Optional[Sequence[str]] = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=10_000, metavar="N", help="(default: 10000)")
    arguments = parser.parse_args(words)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="endurance.") as folder:
        readings = train(arguments.batches, Path(folder))
    cells = [(f"{r.batches:,}", f"{r.megabytes:.1f}", str(r.files), str(r.threads)) for r in readings]
    print(text_table(("batches", "MB in memory", "open files", "threads"), cells))
    found = grown(readings)
    print(f"{'; '.join(found) or 'nothing grows'}: {arguments.batches:,} batches in {time.monotonic() - began:.0f} s")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
