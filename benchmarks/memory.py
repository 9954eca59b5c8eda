#!/usr/bin/env python
"""What it brings to a training step that the C library keeps freed memory: fusion.memory on and off, in turn.

Each step is that of benchmarks/fusion_step.py, in a process of its own, since the C library is set once per process.

    python benchmarks/memory.py
"""

from __future__ import annotations

import argparse
import os
import statistics

from fusion_step import SIZES, milliseconds_in_process

#: Any variable of glibc's leaves memory as the user has set it: this one is glibc's own default.
_OFF = {"MALLOC_TOP_PAD_": "131072"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="of each pair of processes (default: %(default)s)")
    arguments = parser.parse_args()
    for blocks, channel_times, batch, _ in SIZES:
        size, steps = (blocks, channel_times, batch), 20 if blocks == 1 else 6
        ways = [{**os.environ, **_OFF}, os.environ]
        pairs = [[milliseconds_in_process(size, steps, way) for way in ways] for _ in range(arguments.rounds)]
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
