#!/usr/bin/env python3
"""Gives damaged and hostile files to everything that reads files, and prints how they ended: a table.

Valid files of nine kinds are changed at random; each is read as a command of a user would read it, in a process that
is replaced where it ends. A refusal is one message that says what to do. Tracebacks, crashes, inputs that take twenty
seconds and inputs that take a gigabyte are faults: the exit status is then 1, and the inputs are in the folder of
--keep, each beside what it led to. The rates are per second of a processor, without what it takes to make the inputs.

    python tests/fuzz.py                                22,500 inputs, always the same
    python tests/fuzz.py --seed 7 --each 1000           others
    python tests/fuzz.py --kinds graphs --first 1207 --each 1     one again
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from pathlib import Path
from typing import List

from fuzzing.campaign import FAULTS, OUTCOMES, Fault, Reading, Tally, fuzz, keep
from fuzzing.inputs import KINDS

#: Inputs of each kind.
EACH = 2500

_COLUMNS = ("kind", "tried", *OUTCOMES, "a second", "slowest")


def row(tally: Tally) -> List[str]:
    """A line of the table, as cells."""
    counts = [f"{tally.counts.get(outcome, 0):,}" for outcome in OUTCOMES]
    rate = tally.tried / max(tally.seconds, 1e-9)
    return [tally.kind, f"{tally.tried:,}", *counts, f"{rate:.0f}", f"{tally.slowest:.1f} s"]


def line(cells: List[str]) -> str:
    """Cells under their headings."""
    widths = [11, *(max(8, len(name)) for name in _COLUMNS[1:])]
    return cells[0].ljust(widths[0]) + "".join(f"  {cell:>{width}}" for cell, width in zip(cells[1:], widths[1:]))


def total(tallies: List[Tally]) -> Tally:
    """All kinds as one."""
    found = Tally("all", seconds=sum(tally.seconds for tally in tallies))
    found.slowest = max(tally.slowest for tally in tallies)
    for tally in tallies:
        for outcome, count in tally.counts.items():
            found.counts[outcome] = found.counts.get(outcome, 0) + count
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], epilog="The kinds: " + ", ".join(KINDS), allow_abbrev=False
    )
    parser.add_argument("--seed", type=int, default=0, help="other inputs (default: 0)")
    parser.add_argument("--each", type=int, default=EACH, metavar="N", help=f"inputs of each kind (default: {EACH})")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first input (default: 0)")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), metavar="KIND")
    parser.add_argument("--keep", type=Path, default=Path(".fuzz"), metavar="DIR", help="(default: .fuzz)")
    arguments = parser.parse_args()
    logging.getLogger("fusion").setLevel(logging.ERROR)
    seed, tallies = arguments.seed, []

    def tell(fault: Fault) -> None:
        path = keep(arguments.keep, fault, seed)
        why = fault.answer.text.strip().splitlines() or [""]
        print(f"  {fault.answer.outcome}: {path}: {why[-1][:160]!r}", file=sys.stderr, flush=True)

    print(line(list(_COLUMNS)), flush=True)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, Reading(Path(folder), seed) as reading:
        for kind in arguments.kinds:
            numbers = range(arguments.first, arguments.first + arguments.each)
            tallies.append(fuzz(reading, seed, kind, numbers, tell))
            print(line(row(tallies[-1])), flush=True)
    whole = total(tallies)
    print(line(row(whole)))
    return int(any(whole.counts.get(outcome) for outcome in FAULTS))


if __name__ == "__main__":
    sys.exit(main())
