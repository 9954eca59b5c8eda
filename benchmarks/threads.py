#!/usr/bin/env python
"""How the number of threads changes the speed of training: train_cifar.py as installed, and beside other programs.

    python benchmarks/threads.py                  # train_cifar.py without any variable, against OMP_NUM_THREADS=1
    python benchmarks/threads.py --company        # the table of docs/threads.md: spin counts, quiet and in company

Every figure comes from a process of its own, because the number of threads is fixed when MXNet is loaded. The two
processes of a pair alternate. In company means beside one other process that keeps one processor busy.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, List

from fusion_step import milliseconds_in_process

ROOT = Path(__file__).parents[1]

#: Blocks per stage, channel_times, batch size, epochs, steps, and the goal: the smallest ratio that should be reached.
SIZES = ((1, 1, 128, 3, 12, 1.5), (5, 4, 32, 2, 3, 1.8))

#: Values of GOMP_SPINCOUNT: how often a waiting thread looks for work before it sleeps. None sets no value.
SPIN_COUNTS = (None, 0, 1000, 10000, 30000, 100000, 1000000)

_VARIABLES = (
    "OMP_NUM_THREADS",
    "FUSION_CHOSEN_THREADS",
    "GOMP_SPINCOUNT",
    "OMP_WAIT_POLICY",
    "MXNET_CPU_PARALLEL_SIZE",
)


def environment(**changes: str) -> Dict[str, str]:
    """The variables of this process without those that concern threads, and with `changes`."""
    kept = {name: value for name, value in os.environ.items() if name not in _VARIABLES}
    return {**kept, **changes}


def trained(blocks: int, channel_times: int, batch: int, epochs: int, variables: Dict[str, str]) -> float:
    """Images per second of train_cifar.py on the embedded digits; of several epochs, the median without the first."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        settings = [
            f"model.blocks={blocks}",
            f"model.channel_times={channel_times}",
            f"data.batch_size={batch}",
            f"train.epochs={epochs}",
            "schedule.warmup_epochs=0",
        ]
        command = [sys.executable, "train_cifar.py", "--config", "configs/quickstart.yaml", "--run-dir", str(run)]
        subprocess.run(
            [*command, *settings], cwd=ROOT, env=environment(**variables), check=True, stdout=subprocess.DEVNULL
        )
        rows = list(csv.DictReader((run / "metrics.csv").open()))
    speeds = [float(row["images_per_second"]) for row in rows]
    return statistics.median(speeds[1:] or speeds)


def compare_with_one_thread(rounds: int) -> int:
    """Print the speed with one thread and as installed, at each size; return how many goals are missed."""
    missed = 0
    print("Images per second of train_cifar.py, with one thread and as installed")
    for blocks, channel_times, batch, epochs, _, goal in SIZES:
        size = (blocks, channel_times, batch, epochs)
        pairs = [(trained(*size, {"OMP_NUM_THREADS": "1"}), trained(*size, {})) for _ in range(rounds)]
        one, default = (statistics.median(column) for column in zip(*pairs))
        ratio = statistics.median(second / first for first, second in pairs)
        verdict = "met" if ratio >= goal else "missed"
        missed += ratio < goal
        print(
            f"  blocks={blocks}, channel_times={channel_times}, batch {batch}: one thread {one:.1f}, as installed "
            f"{default:.1f}, ratio {ratio:.2f}, goal of {goal} {verdict}",
            flush=True,
        )
    return missed


def compare_company() -> None:
    """Print the table of docs/threads.md."""
    ways: List[Dict[str, str]] = [{"OMP_NUM_THREADS": "1"}]
    for count in SPIN_COUNTS:
        # If a wait policy is set, the package sets no spin count; UNDEFINED is not a policy that libgomp knows.
        spin = {"OMP_WAIT_POLICY": "UNDEFINED"} if count is None else {"GOMP_SPINCOUNT": str(count)}
        ways.append({"OMP_NUM_THREADS": "2", **spin})
    for title, busy in (("quiet", False), ("beside one busy process", True)):
        print(f"Images per second of a training step, {title}")
        company = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
        try:
            for variables in ways:
                figures = [
                    1000 * batch / milliseconds_in_process((blocks, times, batch), steps, environment(**variables))
                    for blocks, times, batch, _, steps, _ in SIZES
                ]
                words = " ".join(f"{name}={value}" for name, value in variables.items())
                print("  " + "  ".join(f"{figure:7.1f}" for figure in figures) + f"  {words}", flush=True)
        finally:
            if company is not None:
                company.kill()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="pairs at each size (default: %(default)s)")
    parser.add_argument("--company", action="store_true", help="measure spin counts, quiet and beside one busy process")
    arguments = parser.parse_args()
    if arguments.company:
        compare_company()
        return 0
    return 1 if compare_with_one_thread(arguments.rounds) else 0


if __name__ == "__main__":
    raise SystemExit(main())
