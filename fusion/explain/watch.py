"""python -m fusion watch: several runs as a table that follows them: epochs, figures, state and time left."""

from __future__ import annotations

import argparse
import math
import shutil
import statistics
import sys
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from ..errors import ConfigError, FusionError
from ..failures import in_words
from ..locks import holder
from ..printing import Screen
from ..progress import duration
from ..tables import text_table
from ..tasks.base import TRAINING
from ..training.config import read_config
from ..training.history import History
from ..training.logbook import RunDirectory
from ..training.run_files import NoEpochError
from ..training.settings import Settings
from ..words import counted, shortened

#: Seconds from one look to the next, unless it is given.
EVERY = 5.0

#: A run's time per epoch is the median of its last few.
_LAST = 5

_RUNNING, _STOPPED, _FINISHED, _DAMAGED = "running", "stopped", "finished", "damaged"

_UNKNOWN = "-"

#: Lines of a terminal that are no runs: heading, rule, the line below, and the one of the cursor.
_OTHER_LINES = 5


@dataclass(frozen=True)
class Look:
    """What is seen of a run at one moment.

    Attributes
    ----------
    path : Path
        Its folder.
    state : str
        Running, stopped, finished or damaged.
    epochs : int
        Of the whole run.
    history : History, optional
        Its finished epochs; None before the first, and of a damaged run.
    since : float
        Seconds since the last epoch was written, or since the run began.
    trouble : str
        What is damaged; empty as a rule.
    """

    path: Path
    state: str
    epochs: int = 0
    history: Optional[History] = None
    since: float = 0.0
    trouble: str = ""

    @property
    def done(self) -> int:
        """How many epochs are finished."""
        return len(self.history) if self.history else 0

    @property
    def seconds(self) -> float:
        """Of an epoch; not a number before the first."""
        rows = self.history.rows[-_LAST:] if self.history else ()
        return statistics.median(row["seconds"] for row in rows) if rows else math.nan

    @property
    def left(self) -> float:
        """Seconds until the run ends, if its epochs go on as the last ones; not a number unless it runs."""
        if self.state != _RUNNING:
            return math.nan
        return self.seconds * (self.epochs - self.done) - min(self.since, self.seconds)


# --- Runs ------------------------------------------------------------------------------------------------------------


def find_runs(paths: Sequence[Path]) -> List[Path]:
    """The folders of runs: those that are named, and those in the folders that are named, up to two deep.

    Raises
    ------
    ConfigError
        If a folder is missing, or none of them is a run or holds one.
    """
    found: Dict[Path, None] = {}
    for path in paths:
        if not path.is_dir():
            raise ConfigError(f"{path}: no such folder; expected the folder of a run, or one that holds runs")
        own = [path] if (path / "config.yaml").exists() else _below(path)
        found.update(dict.fromkeys(own))
    if not found:
        raise ConfigError(f"{', '.join(map(str, paths))}: no run (no folder with a config.yaml), nor a folder of runs")
    return list(found)


def _below(path: Path) -> List[Path]:
    return sorted(config.parent for depth in ("*", "*/*") for config in path.glob(f"{depth}/config.yaml"))


def look_at(path: Path) -> Look:
    """Look at a run. Whatever is wrong with its files is said in the result."""
    try:
        return _look_at(RunDirectory(path))
    except FusionError as error:
        return Look(path, _DAMAGED, trouble=str(error))
    except OSError as error:
        return Look(path, _DAMAGED, trouble=in_words(error) or str(error))


def _look_at(run: RunDirectory) -> Look:
    # Before its figures: a run that ends in between has then all of them, and is not taken for one that was stopped.
    runs = holder(run.lock) is not None
    settings, began = _settings(run.config)
    history, written = None, began
    try:
        history = run.history(settings)
        written = run.metrics.stat().st_mtime
    except NoEpochError:
        pass
    finished = history is not None and history.is_finished(settings)
    state = _FINISHED if finished else _RUNNING if runs else _STOPPED
    return Look(run.path, state, settings.train.epochs, history, max(0.0, time.time() - written))


def _settings(config: Path) -> Tuple[Settings, float]:
    """The settings in a config.yaml, and when it was written."""
    found = config.stat()
    return _read(config, found.st_mtime_ns, found.st_size), found.st_mtime


@lru_cache(maxsize=None)
def _read(config: Path, changed: int, size: int) -> Settings:
    """The settings in a file, read anew only when it has changed."""
    return read_config(config, ())


# --- The table -------------------------------------------------------------------------------------------------------


def table_of(looks: Sequence[Look]) -> List[str]:
    """The table of some runs as lines, and below it a line for each run that is damaged."""
    figures = {look.history.task.headline.title for look in looks if look.history}
    figure = figures.pop() if len(figures) == 1 else "test figure"
    heading = ("run", "state", "epoch", "per epoch", "train loss", figure, "best", "time left")
    rows = [_row(look, len(figures) > 0) for look in looks]
    damaged = [f"{look.path}: {shortened(look.trouble)}" for look in looks if look.state == _DAMAGED]
    return [*text_table(heading, rows, left=2).splitlines(), *damaged]


def _row(look: Look, named: bool) -> Tuple[str, ...]:
    """The cells of a run; its figure is named where runs have different ones."""
    if look.state == _DAMAGED:
        return (str(look.path), look.state, *[_UNKNOWN] * 6)
    history, loss, figure, best = look.history, _UNKNOWN, _UNKNOWN, _UNKNOWN
    if history:
        trained, headline = history.task.training[0], history.task.headline
        loss = trained.text(history.rows[-1][trained.column(TRAINING)])
        if history.last and history.best:
            figure = headline.text(history.last[headline.column()])
            figure = f"{headline.short} {figure}" if named else figure
            best = f"{headline.text(history.best[headline.column()])} (epoch {history.best['epoch']:.0f})"
    times = (_UNKNOWN if math.isnan(seconds) else duration(max(0.0, seconds)) for seconds in (look.seconds, look.left))
    per_epoch, left = times
    return str(look.path), look.state, f"{look.done}/{look.epochs}", per_epoch, loss, figure, best, left


# --- The command -----------------------------------------------------------------------------------------------------


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `watch`."""
    parser = commands.add_parser("watch")
    words = "folders of runs, or folders that hold runs"
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help=words)
    parser.add_argument(
        "--every",
        type=float,
        default=EVERY,
        metavar="SECONDS",
        help=f"seconds from one look to the next, on a terminal (default: {EVERY:g})",
    )
    parser.add_argument("--once", action="store_true", help="print the table once, as where there is no terminal")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    if not 0.1 <= arguments.every <= 86_400:
        raise ConfigError(f"--every {arguments.every:g}: expected from 0.1 to 86400 seconds")
    if arguments.once or not sys.stdout.isatty():
        print("\n".join(table_of(list(map(look_at, find_runs(arguments.runs))))))
        return
    screen = Screen(sys.stdout)
    while True:
        screen.show("\n".join(_page(arguments.runs, arguments.every)))
        time.sleep(arguments.every)


def _page(paths: Sequence[Path], every: float) -> Iterator[str]:
    """The lines of a terminal: as many runs as it has room for, those first that run."""
    looks = list(map(look_at, find_runs(paths)))
    room = max(1, shutil.get_terminal_size().lines - _OTHER_LINES)
    shown = [look for look in looks if look in _first(looks, room)]
    yield from table_of(shown)[: room + 2]
    more = f"{counted(len(looks) - len(shown), 'more run')} not shown; " if len(shown) < len(looks) else ""
    yield f"{more}{time.strftime('%H:%M:%S')}, every {every:g} s; Ctrl-C ends"


def _first(looks: Sequence[Look], room: int) -> List[Look]:
    order = {_RUNNING: 0, _DAMAGED: 1, _STOPPED: 2, _FINISHED: 3}
    return sorted(looks, key=lambda look: order[look.state])[:room]
