"""What a run leaves behind: its folder, log, metrics, picture and result.

config.yaml       every setting as resolved; --resume reads it
environment.json  versions, command, commit, devices, threads
classes.txt       class names in label order, one per line
run.log           what was printed
metrics.csv       one row per epoch
curves.png        the same as a picture, drawn again after each epoch
result.json       best and last epoch
checkpoints/      last.npz (all that is needed to go on), best.params (the weights of the best epoch), and with
                  train.ema_decay best_average.params (the averaged weights of the epoch in which they were best)
"""

from __future__ import annotations

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
from ..errors import CheckpointError, ConfigError
from ..files import whole_file, write_json, write_text
from ..machine import processors
from ..processors import chosen
from ..tasks import task_of
from . import checkpoint
from .config import read_config, to_yaml
from .history import History
from .settings import Settings

logger = logging.getLogger("fusion")


class RunDirectory:
    """The folder of one run.

    Parameters
    ----------
    path : Path
        Made when the run starts.
    name : str, optional
        Of a run whose folder nobody has named: it starts in the first folder `default_run_directory` that is free then.
    """

    def __init__(self, path: Path, name: Optional[str] = None) -> None:
        self.path = path
        self._name = name

    @classmethod
    def unnamed(cls, config: Optional[Path]) -> RunDirectory:
        """The folder of a new run that is called after its config file."""
        name = config.stem if config else "run"
        return cls(default_run_directory(name), name)

    @property
    def config(self) -> Path:
        """Every setting."""
        return self.path / "config.yaml"

    @property
    def classes(self) -> Path:
        """The class names."""
        return self.path / "classes.txt"

    @property
    def metrics(self) -> Path:
        """One row per epoch."""
        return self.path / "metrics.csv"

    @property
    def picture(self) -> Path:
        """The curves."""
        return self.path / "curves.png"

    @property
    def result(self) -> Path:
        """The best and the last epoch."""
        return self.path / "result.json"

    @property
    def last(self) -> Path:
        """The checkpoint to go on from."""
        return self.path / "checkpoints" / checkpoint.LAST

    @property
    def best(self) -> Path:
        """The weights of the best epoch."""
        return self.path / "checkpoints" / checkpoint.BEST

    @property
    def best_average(self) -> Path:
        """The averaged weights of the epoch in which they were best."""
        return self.path / "checkpoints" / checkpoint.BEST_AVERAGE

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

    def settings(self, overrides: Sequence[str] = ()) -> Settings:
        """The settings of the run.

        Parameters
        ----------
        overrides : sequence of str
            Words such as `data.dir=PATH` that go over them.

        Raises
        ------
        ConfigError
            If its config.yaml cannot be read, or a word is impossible.
        """
        return read_config(self.config, overrides)

    def history(self) -> History:
        """The epochs that are finished.

        Raises
        ------
        ConfigError
            If there is none yet.
        """
        if not self.metrics.is_file():
            raise ConfigError(f"{self.path}: no epoch of this run is finished yet (it has no metrics.csv)")
        return History.read(task_of(self.settings()), self.metrics)

    def weights(self, which: str) -> Path:
        """A file of weights.

        Parameters
        ----------
        which : str
            `best`, `last` or `average` (the best averaged weights) of the run, or the path of any other file.

        Raises
        ------
        CheckpointError
            If there is no such file.
        """
        file = {"best": self.best, "last": self.last, "average": self.best_average}.get(which, Path(which))
        if not file.is_file():
            raise CheckpointError(
                f"{file}: no such file; expected best, last or average of a run that has finished an epoch "
                "(average: with train.ema_decay), or the path of a .params file or checkpoint"
            )
        return file

    def create(self, settings: Settings) -> None:
        """Make the folder and write what is known before the first step.

        Raises
        ------
        ConfigError
            If it holds a run already, or cannot be made.
        """
        if self.config.exists() and self._name is None:
            raise ConfigError(f"{self.path}: holds a run already; go on with --resume {self.path}, or name another")
        try:
            if self._name is not None:
                self._claim(self._name)
            self.last.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.config, to_yaml(settings))
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot hold a run ({error.strerror})") from None
        self.write_environment(settings)

    def _claim(self, name: str) -> None:
        """Make the first folder that is free: another run of the same name may have started since it was looked for."""
        while True:
            self.path = default_run_directory(name)
            try:
                self.path.mkdir(parents=True)
                return
            except FileExistsError:
                continue

    def write_environment(self, settings: Settings) -> None:
        """Record versions, command, commit, devices and threads. Of a resumed run the first number of threads is kept.

        If a resumed run has another number of threads, that is logged: sums are then taken in another order.
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
        write_json(file, facts)

    def write_classes(self, names: Sequence[str]) -> None:
        """Write down the class names, for those who use the network without the data set."""
        write_text(self.classes, "".join(f"{name}\n" for name in names))

    def read_classes(self) -> List[str]:
        """The class names in label order; none of a run that was begun before runs wrote them down."""
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

    def write_epoch(self, history: History, title: str, facts: Dict[str, Any]) -> None:
        """Write metrics, picture and result of the epochs so far, each whole or not at all.

        Parameters
        ----------
        history : History
            The finished epochs.
        title : str
            Of the picture: model and data set.
        facts : dict
            What result.json says besides the best and last epoch.
        """
        from .picture import draw_training_curves

        with whole_file(self.metrics) as aside:
            history.write(aside)
        result = history.result(facts)
        if result is not None:
            write_json(self.result, result)
        with whole_file(self.picture) as aside:
            draw_training_curves(history, title, aside)


def default_run_directory(name: str) -> Path:
    """runs/NAME, or runs/NAME-2 and so on where that is taken."""
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
    for name in ("numpy", "gluoncv", "matplotlib", "Pillow"):
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
