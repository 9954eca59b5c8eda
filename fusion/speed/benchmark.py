"""python -m fusion benchmark: speed and memory of networks, trained and used in every way there is.

What is timed against each other runs in one process, each way once a round, so that a busy machine slows each of them;
figures are medians and the quartiles around them. Peak memory is that of a process of its own each, since a process
never gives its peak back. How many threads there are is settled when a process starts: by --threads, or by the package.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from ..command import log_to_terminal
from ..errors import ConfigError, nearest
from ..fuse import find_fusion
from ..models.zoo import family_of, model_arguments
from ..progress import progress
from ..training.checkpoint import replacing
from .measuring import WAYS, Candidate, Job, in_process
from .timing import Times, gain

#: Of a measurement, where the command line does not say.
_BATCH_SIZES = "1,32"
_ROUNDS = 15

#: Bytes of what `ru_maxrss` counts in, on Linux.
_MEBI = 2**20


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes
    ----------
    model : str
        With its fusion in brackets, where that is not its own.
    way : str
        One of `WAYS`.
    batch_size : int
        Images a call.
    milliseconds, low, high : float
        Median and quartiles of a call.
    images_per_second : float
        At the median.
    megabytes : float, optional
        Peak resident memory of a process that does nothing else, MXNet included.
    times_as_fast : float, optional
        As the same way with the other fusion.
    threads : int, optional
        Of OpenMP, in the process that was timed.
    """

    model: str
    way: str
    batch_size: int
    milliseconds: float
    low: float
    high: float
    images_per_second: float
    megabytes: Optional[float] = None
    times_as_fast: Optional[float] = None
    threads: Optional[int] = None


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `benchmark`."""
    parser = commands.add_parser("benchmark", help="speed and memory of models, in training and inference")
    parser.add_argument("models", nargs="+", metavar="MODEL", help="families or named models, with random weights")
    parser.add_argument("--against", metavar="FUSION", help="also the same networks with this fusion, such as add")
    parser.add_argument("--ways", default=",".join(WAYS), metavar="NAMES", help="some of: %(default)s")
    parser.add_argument("--batch-sizes", default=_BATCH_SIZES, metavar="NUMBERS", help="(default: %(default)s)")
    parser.add_argument("--input-size", type=int, metavar="PIXELS", help="height and width (default: the model's)")
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help="of each measurement (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="of OpenMP (default: as in training, see docs/threads.md)")
    parser.add_argument("--no-memory", action="store_true", help="leave out memory, which takes a process for each row")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--picture", type=Path, metavar="PNG", help="images a second as a picture")
    parser.add_argument("--force", action="store_true", help="write over a picture of an earlier time")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    log_to_terminal("stderr")
    sizes = _numbers("--batch-sizes", arguments.batch_sizes)
    for option, value in (("rounds", arguments.rounds), ("threads", arguments.threads)):
        if value is not None and value < 1:
            raise ConfigError(f"--{option} {value}: expected at least 1")
    if arguments.picture is not None and arguments.picture.exists() and not arguments.force:
        raise ConfigError(f"--picture {arguments.picture}: is there already; write over it with --force")
    ways = _ways(arguments.ways)
    models = [_candidates(name, arguments.against, arguments.input_size, ways) for name in arguments.models]
    rows, left_out = measure(models, sizes, arguments.rounds, arguments.threads, not arguments.no_memory)
    threads = rows[0].threads if rows else arguments.threads
    machine = {"threads": threads, "rounds": arguments.rounds, "left_out": left_out}
    if arguments.json:
        print(json.dumps({**machine, "rows": [asdict(row) for row in rows]}))
    else:
        print(format_rows(rows))
        print(f"median of {arguments.rounds} rounds taken in turn, middle half in brackets; threads: {threads}")
        for way, reason in left_out.items():
            print(f"left out: {way} ({reason})")
    if arguments.picture is not None:
        with replacing(arguments.picture) as aside:
            draw(rows, aside)
        if not arguments.json:
            print(f"wrote {arguments.picture}")


def _numbers(option: str, text: str) -> List[int]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdigit() and int(word) for word in words):
        raise ConfigError(f"{option} {text!r}: expected numbers such as 1,32")
    return list(dict.fromkeys(map(int, words)))


def _ways(text: str) -> List[str]:
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if word not in WAYS:
            raise ConfigError(f"--ways: no way is named {word!r}: {nearest(word, WAYS)}")
    return list(dict.fromkeys(words))


def _candidates(name: str, against: Optional[str], size: Optional[int], ways: Sequence[str]) -> List[Candidate]:
    """A model in every way, and with the fusion that it is held against."""
    try:
        family_of(name)
        found = [Candidate(name, None, way, size) for way in ways]
        if against is not None and find_fusion(against) is not find_fusion(model_arguments(name)["fusion"]):
            if against == "mscam":
                raise ConfigError("--against mscam: takes one input; the fusion built of it is aff")
            found += [Candidate(name, against, way, size) for way in ways]
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if size is not None and size < 8:
        raise ConfigError(f"--input-size {size}: expected pixels, at least 8")
    return found


# --- Measuring -------------------------------------------------------------------------------------------------------


def measure(
    models: Sequence[Sequence[Candidate]],
    sizes: Sequence[int],
    rounds: int,
    threads: Optional[int],
    memory: bool,
    work: Optional[Callable[[Job, Optional[int]], Dict[str, Any]]] = None,
) -> Tuple[List[Row], Dict[str, str]]:
    """Time groups of candidates, each group at each batch size in a process of its own.

    Parameters
    ----------
    models : sequence of sequence of Candidate
        What is timed in turn.
    sizes : sequence of int
        Images a call.
    rounds : int
        That count.
    threads : int or None
        Of OpenMP; None for the package's own choice in the first process, which the others then follow.
    memory : bool
        Whether to measure it too.
    work : callable, optional
        What does a job with a number of threads; a process unless given.

    Returns
    -------
    rows : list of Row
        In order.
    left_out : dict of str to str
        Ways that are not possible here, with the reason.

    Raises
    ------
    ConfigError
        If a network cannot be run.
    """
    work = work or in_process
    rows: List[Row] = []
    left_out: Dict[str, str] = {}
    jobs = len(sizes) * sum(1 + (len(group) if memory else 0) for group in models)
    with progress("measuring", jobs, unit="processes") as meter:
        for group in models:
            for batch in sizes:
                found = work(Job("times", list(group), batch, rounds), threads)
                threads = found["threads"]  # so that no row differs from another if other programs come or go
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
) -> Row:
    taken = times[candidate.key]
    base = [key for key in times if key != candidate.key and key.endswith(f": {candidate.way}")]
    low, high = taken.quartiles
    return Row(
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


# --- Shown -----------------------------------------------------------------------------------------------------------


def format_rows(rows: Sequence[Row]) -> str:
    """The table, a line a row."""
    heads = ("model", "way", "batch", "ms a call", "(middle half)", "images/s", "peak MB", "times as fast")
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
    widths = [max(len(line[index]) for line in [heads, *cells]) for index in range(len(heads))]
    lines = []
    for line in [heads, *cells]:
        words = [line[i].ljust(widths[i]) if i < 2 else line[i].rjust(widths[i]) for i in shown]
        lines.append("  ".join(words).rstrip())
    return "\n".join(lines)


def draw(rows: Sequence[Row], path: Path) -> None:
    """Images a second as bars with their middle half, a panel for each batch size and for training and inference.

    Parameters
    ----------
    rows : sequence of Row
        What was measured.
    path : Path
        Written as PNG.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from ..drawing import BLUE, GREEN, GREY, ORANGE, SKY

    colours = dict(zip(WAYS, (GREY, BLUE, ORANGE, GREEN, SKY, "#E69F00")))
    panels = [
        (size, training)
        for size in dict.fromkeys(row.batch_size for row in rows)
        for training in (False, True)
        if any(row.batch_size == size and (row.way == "training") == training for row in rows)
    ]
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    most = max(sum(_in_panel(row, *panel) for row in rows) for panel in panels)
    figure = Figure(figsize=(5.2 * columns + 1, lines * (1.3 + 0.3 * most)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes, panel in zip(grid, panels):
        inside = [row for row in rows if _in_panel(row, *panel)]
        rates = [row.images_per_second for row in inside]
        # At least 0: where the quartiles are the median, as after one round, a difference may be the rounding of it.
        spread = [
            [max(0.0, rate - row.batch_size / row.high * 1000) for rate, row in zip(rates, inside)],
            [max(0.0, row.batch_size / row.low * 1000 - rate) for rate, row in zip(rates, inside)],
        ]
        names = [row.model if panel[1] else f"{row.model}, {row.way}" for row in inside]
        axes.barh(range(len(inside)), rates, color=[colours[row.way] for row in inside], height=0.7)
        axes.errorbar(rates, range(len(inside)), xerr=spread, fmt="none", ecolor="black", elinewidth=1, capsize=2)
        axes.set_yticks(range(len(inside)), names, fontsize=8)
        axes.invert_yaxis()
        axes.set_xlabel("images a second")
        images = "1 image" if panel[0] == 1 else f"{panel[0]} images"
        axes.set_title(f"{'a training step on' if panel[1] else 'inference on'} {images}", fontsize=10)
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    figure.suptitle("Speed on this machine: medians, with the middle half of the rounds", fontsize=11)
    figure.savefig(path, dpi=110, format="png")


def _in_panel(row: Row, size: int, training: bool) -> bool:
    return row.batch_size == size and (row.way == "training") == training
