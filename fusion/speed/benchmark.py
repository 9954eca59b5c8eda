"""python -m fusion benchmark: speed and memory of networks, in training and in every way to use them.

The ways that are compared run in one process and take turns, one call of each per round, so that other programs slow
all of them equally. The figures are medians and quartiles. Peak memory is measured in a separate process for each way,
because the peak of a process never decreases. The number of threads is set when a process starts: by --threads, or
otherwise by the package.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from ..command import log_to_terminal
from ..errors import ConfigError, nearest
from ..fuse import find_fusion
from ..models.zoo import family_of, model_arguments
from ..outputs import check_picture, written_picture
from ..progress import progress
from ..tables import text_columns
from ..timing import Times, gain
from .measuring import WAYS, Candidate, Job, Measurement, in_process
from .picture import draw

#: Defaults of the command line.
_BATCH_SIZES = "1,32"
_ROUNDS = 15

#: Bytes per unit in which tables show memory.
_MEBI = 2**20


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `benchmark`."""
    parser = commands.add_parser("benchmark")
    parser.add_argument("models", nargs="+", metavar="MODEL", help="families or named models, with random weights")
    parser.add_argument("--against", metavar="FUSION", help="also measure the networks with this fusion, such as add")
    parser.add_argument(
        "--ways", default=",".join(WAYS), metavar="NAMES", help="which ways to run them; all by default: %(default)s"
    )
    parser.add_argument("--batch-sizes", default=_BATCH_SIZES, metavar="NUMBERS", help="(default: %(default)s)")
    parser.add_argument("--input-size", type=int, metavar="PIXELS", help="height and width (default: the model's)")
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help="measured calls per way (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="threads of OpenMP (default: as in training, see docs/threads.md)")
    parser.add_argument(
        "--no-memory", action="store_true", help="leave out memory, for which each row takes one more process"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--output", type=Path, metavar="FILE", help="a picture, such as speed.png")
    parser.add_argument("--picture", dest="output", type=Path, help=argparse.SUPPRESS)  # its former name
    parser.add_argument("--force", action="store_true", help="write over FILE if it exists")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    log_to_terminal("stderr")
    sizes = _numbers("--batch-sizes", arguments.batch_sizes)
    for option, value in (("rounds", arguments.rounds), ("threads", arguments.threads)):
        if value is not None and value < 1:
            raise ConfigError(f"--{option} {value}: expected at least 1")
    picture = arguments.output
    if picture is not None:
        check_picture(picture, arguments.force)
    ways = _ways(arguments.ways)
    models = [_candidates(name, arguments.against, arguments.input_size, ways) for name in arguments.models]
    rows, left_out = measure(models, sizes, arguments.rounds, arguments.threads, not arguments.no_memory)
    if not rows:
        reasons = "; ".join(f"{way}: {reason}" for way, reason in left_out.items())
        raise ConfigError(f"--ways {arguments.ways}: nothing can be measured here ({reasons})")
    threads = rows[0].threads
    machine = {"threads": threads, "rounds": arguments.rounds, "left_out": left_out}
    if arguments.json:
        print(json.dumps({**machine, "rows": [asdict(row) for row in rows]}))
    else:
        print(format_table(rows))
        rounds = "one round" if arguments.rounds == 1 else f"the median of {arguments.rounds} rounds"
        print(f"each figure is {rounds}, with the middle half in brackets; the ways took turns; threads: {threads}")
        for way, reason in left_out.items():
            print(f"left out: {way} ({reason})")
    if picture is not None:
        with written_picture(picture, force=True) as aside:
            draw(rows, aside)
        if not arguments.json:
            print(f"wrote {picture}")


def _numbers(option: str, text: str) -> List[int]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) for word in words):
        raise ConfigError(f"{option} {text!r}: expected positive numbers such as 1,32")
    return list(dict.fromkeys(map(int, words)))


def _ways(text: str) -> List[str]:
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if word not in WAYS:
            raise ConfigError(f"--ways: no way is named {word!r}: {nearest(word, WAYS)}")
    return list(dict.fromkeys(words))


def _candidates(name: str, against: Optional[str], size: Optional[int], ways: Sequence[str]) -> List[Candidate]:
    """A model in each of the ways, and the same with the fusion that it is compared with, if there is one."""
    try:
        family_of(name)
        found = [Candidate(name, None, way, size) for way in ways]
        if against is not None and find_fusion(against) is not find_fusion(model_arguments(name)["fusion"]):
            if against == "mscam":
                raise ConfigError("--against mscam: this block takes one input; the fusion built from it is aff")
            found += [Candidate(name, against, way, size) for way in ways]
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if size is not None and size < 8:
        raise ConfigError(f"--input-size {size}: expected a number of pixels of at least 8")
    return found


# --- Measuring -------------------------------------------------------------------------------------------------------


def measure(
    models: Sequence[Sequence[Candidate]],
    sizes: Sequence[int],
    rounds: int,
    threads: Optional[int],
    memory: bool,
    work: Optional[Callable[[Job, Optional[int]], Dict[str, Any]]] = None,
) -> Tuple[List[Measurement], Dict[str, str]]:
    """Time groups of candidates. Each group is timed at each batch size in a process of its own.

    Parameters
    ----------
    models : sequence of sequence of Candidate
        The candidates of a group take turns.
    sizes : sequence of int
        Batch sizes.
    rounds : int
        How many rounds are measured.
    threads : int or None
        Threads of OpenMP. None: the package chooses a number in the first process, and all others use the same one.
    memory : bool
        Whether to measure the peak memory of each candidate too.
    work : callable, optional
        The function that does a job with a number of threads; by default, `in_process`.

    Returns
    -------
    rows : list of Measurement
        For each group, by batch size.
    left_out : dict of str to str
        The ways that are not possible on this machine, each with the reason.

    Raises
    ------
    ConfigError
        If a network cannot be run.
    """
    work = work or in_process
    rows: List[Measurement] = []
    left_out: Dict[str, str] = {}
    jobs = len(sizes) * sum(1 + (len(group) if memory else 0) for group in models)
    with progress("measuring", jobs, unit="processes") as meter:
        for group in models:
            for batch in sizes:
                found = work(Job("times", list(group), batch, rounds), threads)
                threads = found["threads"]  # the same for all rows, even if other programs start or end in the meantime
                meter.update(1)
                left_out.update(found["left_out"])
                times = {key: Times(tuple(seconds)) for key, seconds in found["seconds"].items()}
                for candidate in group:
                    peak = None
                    if memory and candidate.key in times:
                        peak = work(Job("memory", [candidate], batch, 2), threads)["bytes"] / _MEBI
                    if memory:
                        meter.update(1)
                    if candidate.key in times:
                        rows.append(_row(candidate, batch, times, peak, threads))
    return rows, left_out


def _row(
    candidate: Candidate, batch: int, times: Dict[str, Times], peak: Optional[float], threads: Optional[int]
) -> Measurement:
    taken = times[candidate.key]
    base = [key for key in times if key != candidate.key and key.endswith(f": {candidate.way}")]
    low, high = taken.quartiles
    return Measurement(
        model=candidate.title,
        way=candidate.way,
        batch_size=batch,
        milliseconds=1000 * taken.median,
        low=1000 * low,
        high=1000 * high,
        images_per_second=batch / taken.median,
        megabytes=peak,
        times_as_fast=gain(times[base[0]], taken) if base and candidate.fusion is None else None,
        threads=threads,
    )


# --- The table -------------------------------------------------------------------------------------------------------


def format_table(rows: Sequence[Measurement]) -> str:
    """The table as text; columns without any figure are left out."""
    heads = ("model", "way", "batch", "ms per call", "(middle half)", "images/s", "peak MB", "times as fast")
    cells = [
        (
            row.model,
            row.way,
            str(row.batch_size),
            f"{row.milliseconds:.1f}",
            f"({row.low:.1f} to {row.high:.1f})",
            f"{row.images_per_second:.1f}",
            "-" if row.megabytes is None else f"{row.megabytes:.0f}",
            "-" if row.times_as_fast is None else f"{row.times_as_fast:.2f}",
        )
        for row in rows
    ]
    shown = [index for index in range(len(heads)) if any(line[index] != "-" for line in cells)]
    return text_columns([[line[index] for index in shown] for line in (heads, *cells)], indent=0, left=2)
