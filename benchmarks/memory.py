#!/usr/bin/env python
"""What a training step gains if the C library keeps freed memory: `fusion.memory` on and off, which take turns.

The step is that of benchmarks/fusion_step.py. Each way runs in a process of its own, because the C library is
configured once per process.

    python benchmarks/memory.py
"""

from __future__ import annotations

import argparse
import os
import statistics

from fusion_step import SIZES, milliseconds_in_process

#: If any of glibc's variables is set, `fusion.memory` changes nothing. This one is set to glibc's own default.
_OFF = {"MALLOC_TOP_PAD_": "131072"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="pairs of processes at each size (default: %(default)s)")
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
