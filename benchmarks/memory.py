#!/usr/bin/env python
"""What it brings to a training step that the C library keeps freed memory: fusion.memory on and off, in turn.

Each step is that of benchmarks/fusion_step.py, in a process of its own, since the C library is set once per process.

    python benchmarks/memory.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from typing import Dict, List

from fusion_step import SIZES, Candidate

#: Any variable of glibc's leaves memory as the user has set it: this one is glibc's own default.
_OFF = {"MALLOC_TOP_PAD_": "131072"}


def step(blocks: int, channel_times: int, batch: int, steps: int) -> float:
    """Milliseconds of a step in this process."""
    candidate = Candidate("aff", blocks, channel_times, batch)
    for _ in range(steps):
        candidate.step()
    return candidate.milliseconds


def in_process(words: List[str], environment: Dict[str, str]) -> float:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--step", *words]
    done = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="of each pair of processes (default: %(default)s)")
    parser.add_argument("--step", nargs=4, type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        print(step(*arguments.step))
        return 0
    for blocks, channel_times, batch, _ in SIZES:
        words = [str(word) for word in (blocks, channel_times, batch, 20 if blocks == 1 else 6)]
        pairs = [(in_process(words, _OFF), in_process(words, {})) for _ in range(arguments.rounds)]
        off, on = (statistics.median(column) for column in zip(*pairs))
        ratio = statistics.median(first / second for first, second in pairs)
        print(
            f"blocks={blocks}, channel_times={channel_times}, batch {batch}: given back {off:.0f} ms per step, "
            f"kept {on:.0f} ms, {ratio:.2f} times as fast",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
