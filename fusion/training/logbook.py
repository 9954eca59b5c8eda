"""What a run leaves behind: its folder, log, metrics, picture and result.

config.yaml       every setting as resolved; --resume reads it
environment.json  versions, command, commit, devices, threads
classes.txt       class names in label order, one a line
run.log           what was printed
metrics.csv       a row an epoch
curves.png        the same as a picture, redrawn each epoch
result.json       best and last epoch
checkpoints/      last.npz (everything), best.params (the network of the best epoch), and with train.ema_decay
                  best_average.params (the averaged weights of theirs)
"""

from __future__ import annotations

import csv
import datetime
import json
import logging
import platform
import shlex
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence

from ..compat import mx
from ..errors import ConfigError
from ..processors import chosen, processors
from . import checkpoint
from .config import to_yaml
from .metrics import columns_of, evaluated_rows
from .settings import Settings

logger = logging.getLogger("fusion")

BEST_NOTE = (
    "best is the epoch with the lowest top-1 error on the test set, as in the published tables; last is the last"
)


class RunDirectory:
    """The folder of one run.

    Parameters
    ----------
    path : Path
        Made when the run starts.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.classes = path / "classes.txt"
        self.metrics = path / "metrics.csv"
        self.picture = path / "curves.png"
        self.result = path / "result.json"
        self.last = path / "checkpoints" / checkpoint.LAST
        self.best = path / "checkpoints" / checkpoint.BEST
        self.best_average = path / "checkpoints" / checkpoint.BEST_AVERAGE

    @classmethod
    def existing(cls, path: Path) -> RunDirectory:
        """The folder of a run that has started.

        Raises
        ------
        ConfigError
            If there is none.
        """
        run = cls(path)
        if not run.config.is_file():
            raise ConfigError(f"{path}: not the folder of a run (it has no config.yaml)")
        return run

    def weights(self, which: str) -> Path:
        """The file of `best`, `last` or `average` (the best averaged weights), or any other by its path."""
        return {"best": self.best, "last": self.last, "average": self.best_average}.get(which, Path(which))

    def create(self, settings: Settings) -> None:
        """Make the folder and write what is known before the first step.

        Raises
        ------
        ConfigError
            If it holds a run already, or cannot be made.
        """
        if self.config.exists():
            raise ConfigError(f"{self.path}: holds a run already; go on with --resume {self.path}, or name another")
        try:
            self.last.parent.mkdir(parents=True, exist_ok=True)
            self.config.write_text(to_yaml(settings), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot hold a run ({error.strerror})") from None
        self.write_environment(settings)

    def write_environment(self, settings: Settings) -> None:
        """Record versions, command, commit, devices and threads; of a run that goes on, the first threads stay.

        A number of threads that is not the first one's is logged: sums are then taken in another order.
        """
        file, facts = self.path / "environment.json", environment(settings.runtime.device)
        try:
            earlier = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # a new run; or a damaged note of what it ran on, which no run needs
            earlier = {}
        if "threads" in earlier:
            facts["threads_resumed"] = [*earlier.get("threads_resumed", []), facts["threads"]]
            facts["threads"] = earlier["threads"]
            _tell_threads(facts["threads"]["count"], facts["threads_resumed"][-1]["count"], settings.runtime.device)
        _write_json(file, facts)

    def write_classes(self, names: Sequence[str]) -> None:
        """Note the class names, which whoever uses the network will want without the data set."""
        with checkpoint.replacing(self.classes) as aside:
            aside.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")

    def read_classes(self) -> List[str]:
        """The class names in label order; none of a run that was begun before runs noted them."""
        return self.classes.read_text(encoding="utf-8").splitlines() if self.classes.is_file() else []

    @contextmanager
    def log(self) -> Iterator[None]:
        """Append what is logged within to run.log, besides the terminal."""
        handler = logging.FileHandler(self.path / "run.log", encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            handler.close()

    def write_epoch(self, history: Sequence[Dict[str, float]], title: str, facts: Dict[str, Any]) -> None:
        """Write metrics, picture and result of the epochs so far, each whole or not at all.

        Parameters
        ----------
        history : sequence of dict
            Rows with `COLUMNS`, in order, and `AVERAGE_COLUMNS` where weights are averaged; those of epochs that were
            not evaluated lack the figures of an evaluation.
        title : str
            Of the picture: model and data set.
        facts : dict
            What result.json says besides the best and last epoch.
        """
        from .picture import draw_training_curves

        with checkpoint.replacing(self.metrics) as aside, aside.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, columns_of(history))
            writer.writeheader()
            writer.writerows(history)
        evaluated = evaluated_rows(history)
        if evaluated:
            best, last = min(evaluated, key=lambda row: row["val_top1_error"]), evaluated[-1]
            result = {**facts, "epochs": len(history), "best": best, "last": last, "note": BEST_NOTE}
            if "ema_top1_error" in last:
                result["best_average"] = min(evaluated, key=lambda row: row["ema_top1_error"])
            _write_json(self.result, result)
        with checkpoint.replacing(self.picture) as aside:
            draw_training_curves(history, title, aside)


def default_run_directory(config: Optional[Path]) -> Path:
    """runs/NAME after the config file, or runs/NAME-2 and so on where that is taken."""
    name = config.stem if config else "run"
    number = 1
    while True:
        path = Path("runs") / (name if number == 1 else f"{name}-{number}")
        if not path.exists():
            return path
        number += 1


def environment(device: str) -> Dict[str, Any]:
    """What a run ran on: versions, the command, the commit of the code, devices, threads."""
    from .. import __version__

    versions = {"fusion": __version__, "mxnet": mx.__version__}
    for name in ("numpy", "gluoncv", "matplotlib", "omegaconf", "Pillow"):
        versions[name] = _version(name)
    return {
        "command": shlex.join([Path(sys.executable).name, *sys.argv]),
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": versions,
        "mxnet_features": sorted(f.name for f in mx.runtime.feature_list() if f.enabled),
        "commit": _commit(),
        "device": device,
        "cpus": processors(),
        "threads": {"count": chosen().count, "why": chosen().why},
    }


def _tell_threads(first: int, now: int, device: str) -> None:
    """Say that a run on the CPU goes on with another number of threads."""
    if now != first and device.startswith("cpu"):
        logger.info(
            "this run was begun with OMP_NUM_THREADS=%d and goes on with %d: its figures will differ from those of a "
            "run that was never stopped, at first in their last digits, later as those of another seed do. To avoid "
            "that, go on with OMP_NUM_THREADS=%d",
            *(first, now, first),
        )


def _version(distribution: str) -> Optional[str]:
    from importlib import metadata

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> Optional[str]:
    """The commit of this code, `-dirty` where it was changed since; None outside a checkout."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None


def _write_json(path: Path, value: Dict[str, Any]) -> None:
    with checkpoint.replacing(path) as aside:
        aside.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def read_result(run: RunDirectory) -> Dict[str, Any]:
    """The result.json of a run.

    Raises
    ------
    ConfigError
        If no epoch is finished and evaluated yet.
    """
    try:
        return json.loads(run.result.read_text(encoding="utf-8"))
    except OSError:
        raise ConfigError(f"{run.path}: no epoch of this run is finished yet (it has no result.json)") from None
