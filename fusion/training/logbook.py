"""The files that a run writes: its folder, log, metrics, picture and result.

In the folder of a run are:

    config.yaml       the value of every setting; --resume reads it
    environment.json  versions, command, commit, devices, threads
    classes.txt       class names in label order, one per line
    data.json         which data it was started on, which --resume verifies
    run.log           the lines that were printed, with their times
    metrics.csv       one row per epoch
    curves.png        a plot of metrics.csv, drawn again after each epoch
    pictures/         with runtime.pictures_every, some answers to test images by epoch
    tensorboard/      with runtime.tensorboard, figures and pictures for TensorBoard, and means of fusion weights
    result.json       the results of the best and the last epoch
    checkpoints/      last.npz (all that is needed to resume), best.params (the weights of the best epoch), with
                      train.ema_decay best_average.params (the averaged weights of the epoch in which they were best),
                      and with runtime.keep_every epoch_0010.npz and so on (last.npz as it was after those epochs)
    run.lock          while a process trains the run: its number
"""

from __future__ import annotations

import logging
from pathlib import Path
from shutil import copyfile
from typing import Any, ContextManager, Dict, List, Optional, Sequence

from ..errors import CheckpointError, ConfigError
from ..files import sweep, whole_file, write_json, write_text
from ..locks import HeldError, Lock
from ..tasks import Task, task_of
from . import checkpoint
from .config import read_config, to_yaml, value_of
from .history import History
from .run_environment import environment, tell_threads
from .run_files import (
    NoEpochError,
    RunError,
    damaged,
    read_class_names,
    read_environment,
    read_facts,
    seal,
    tell_changed,
)
from .run_log import logged_to
from .settings import Settings

logger = logging.getLogger("fusion")

#: The settings that say how long a run is; they may change when it is resumed.
LENGTH = ("train.epochs", "train.patience")


class RunDirectory:
    """The folder of one run.

    Parameters
    ----------
    path : Path
        The folder; it is made when the run starts.
    name : str, optional
        The run's name, if the user named no folder: the run then starts in the first free folder of this name, which
        `default_run_directory` finds.
    """

    def __init__(self, path: Path, name: Optional[str] = None) -> None:
        self.path = path
        self._name = name
        self._lock: Optional[Lock] = None

    @classmethod
    def unnamed(cls, config: Optional[Path]) -> RunDirectory:
        """The folder of a new run, which is named after the config file."""
        name = config.stem if config else "run"
        return cls(default_run_directory(name), name)

    @property
    def config(self) -> Path:
        """The file with the value of every setting."""
        return self.path / "config.yaml"

    @property
    def environment(self) -> Path:
        """The file with versions, devices and threads."""
        return self.path / "environment.json"

    @property
    def classes(self) -> Path:
        """The file with the class names."""
        return self.path / "classes.txt"

    @property
    def metrics(self) -> Path:
        """The file with one row of metrics per epoch."""
        return self.path / "metrics.csv"

    @property
    def picture(self) -> Path:
        """The picture of the training curves."""
        return self.path / "curves.png"

    @property
    def pictures(self) -> Path:
        """The folder of pictures of answers, of the epochs that `runtime.pictures_every` names."""
        return self.path / "pictures"

    def picture_of(self, epoch: int) -> Path:
        """The picture of answers after an epoch, from 1; there is one if the settings asked for it."""
        return self.pictures / f"epoch_{epoch:04}.png"

    @property
    def lock(self) -> Path:
        """The file that the process which trains the run holds."""
        return self.path / "run.lock"

    @property
    def board(self) -> Path:
        """The folder of what TensorBoard shows, with `runtime.tensorboard`."""
        return self.path / "tensorboard"

    @property
    def result(self) -> Path:
        """The file with the results of the best and the last epoch."""
        return self.path / "result.json"

    @property
    def last(self) -> Path:
        """The checkpoint from which the run is resumed."""
        return self.path / "checkpoints" / checkpoint.LAST

    @property
    def best(self) -> Path:
        """The weights of the best epoch."""
        return self.path / "checkpoints" / checkpoint.BEST

    @property
    def best_average(self) -> Path:
        """The averaged weights of the epoch in which they were best."""
        return self.path / "checkpoints" / checkpoint.BEST_AVERAGE

    def kept(self, epoch: int) -> Path:
        """The checkpoint of an epoch that `runtime.keep_every` has kept."""
        return self.last.with_name(f"epoch_{epoch:04}{self.last.suffix}")

    @classmethod
    def existing(cls, path: Path) -> RunDirectory:
        """The folder of a run that has already started.

        Raises
        ------
        ConfigError
            If there is no run in the folder.
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
            Words such as `data.dir=PATH`, which replace settings of the run.

        Raises
        ------
        ConfigError
            If config.yaml cannot be read, or an override is impossible.
        """
        tell_changed(self.config)
        return read_config(self.config, overrides)

    def task(self, settings: Optional[Settings] = None) -> Task:
        """What the run learns; its config.yaml is read unless the caller has done so."""
        return task_of(settings or self.settings(), self.read_classes())

    def history(self, settings: Optional[Settings] = None) -> History:
        """Read the metrics of the finished epochs.

        Parameters
        ----------
        settings : Settings, optional
            Of the run, if the caller has read them; by default, its config.yaml is read.

        Raises
        ------
        NoEpochError
            If no epoch is finished yet.
        RunError
            If metrics.csv is damaged.
        """
        if not self.metrics.is_file():
            raise NoEpochError(f"{self.path}: no epoch of this run is finished yet (it has no metrics.csv)")
        return History.read(self.task(settings), self.metrics)

    def weights(self, which: str) -> Path:
        """The path of a file of weights.

        Parameters
        ----------
        which : str
            `best`, `last` or `average` (the best averaged weights) of the run, the number of an epoch whose checkpoint
            was kept, or the path of any other file.

        Raises
        ------
        CheckpointError
            If there is no such file.
        """
        file = {"best": self.best, "last": self.last, "average": self.best_average}.get(which, Path(which))
        if which.isdecimal() and not file.exists():
            file = self.kept(int(which))
        if not file.is_file():
            raise CheckpointError(
                f"{file}: no such file; expected best, last or average of a run that has finished an epoch "
                "(average: with train.ema_decay), the number of an epoch that runtime.keep_every has kept, or the path "
                "of a .params file or checkpoint"
            )
        return file

    def create(self, settings: Settings) -> None:
        """Make the folder, and write the files whose content is known before the first step.

        Raises
        ------
        ConfigError
            If the folder holds a run already, cannot be made, or another process starts a run in it.
        """
        self._refuse_run()
        try:
            if self._name is not None:
                self._claim(self._name)
            self.last.parent.mkdir(parents=True, exist_ok=True)
            self.hold()
            self._refuse_run()  # that another process has started, and ended, since
            write_text(self.config, seal(to_yaml(settings)))
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot hold a run ({error.strerror})") from None
        self.write_environment(settings)

    def _refuse_run(self) -> None:
        if self._name is None and self.config.exists():
            raise ConfigError(
                f"{self.path}: holds a run already; continue it with --resume {self.path}, or name another"
            )

    def hold(self) -> None:
        """Keep other processes from training this run until `let_go`, and remove what killed ones have left unfinished.

        Raises
        ------
        ConfigError
            If another process trains it.
        OSError
            If the folder cannot be written to.
        """
        lock = Lock(self.lock)
        try:
            lock.take()
        except HeldError as held:
            raise ConfigError(
                f"{self.path}: process {held.process} trains this run; wait for its end, or stop it (Ctrl-C, or "
                f"kill {held.process}), and continue with --resume {self.path}"
            ) from None
        self._lock = lock
        sweep(self.path)  # where a report may be written by another process now
        for folder in (self.last.parent, self.pictures):
            sweep(folder, alone=True)

    def keep(self, epoch: int) -> None:
        """Keep the last checkpoint as that of an epoch, which no later one replaces."""
        with whole_file(self.kept(epoch)) as aside:
            copyfile(self.last, aside)

    def keep_length(self, settings: Settings) -> None:
        """Write how long a resumed run is to be into its config, where that has changed."""
        before = self.settings()
        if any(value_of(before, key) != value_of(settings, key) for key in LENGTH):
            for key in LENGTH:
                setattr(before.train, key.partition(".")[2], value_of(settings, key))
            write_text(self.config, seal(to_yaml(before)))

    def let_go(self) -> None:
        """Let other processes train this run, if it was held."""
        if self._lock is not None:
            self._lock.release()

    def _claim(self, name: str) -> None:
        """Make the first free folder, even if other runs of this name make theirs at the same time."""
        while True:
            self.path = default_run_directory(name)
            try:
                self.path.mkdir(parents=True)
                return
            except FileExistsError:
                continue

    def write_environment(self, settings: Settings) -> None:
        """Record versions, command, commit, devices and threads.

        For a resumed run, the record keeps the number of threads that it was started with. If it now has another
        number, a message is logged, because sums are then computed in another order.
        """
        facts = environment(settings.runtime.device)
        try:
            earlier = read_environment(self.environment)
        except RunError:  # the record is damaged, but no run needs it
            earlier = {}
        first, later = earlier.get("threads"), earlier.get("threads_resumed", [])
        if isinstance(first, dict) and type(first.get("count")) is int and isinstance(later, list):
            tell_threads(first["count"], facts["threads"]["count"], settings.runtime.device)
            facts["threads_resumed"] = [*later, facts["threads"]]
            facts["threads"] = first
        write_json(self.environment, facts)

    def write_classes(self, names: Sequence[str]) -> None:
        """Write the class names, so that the network can be used without the data set."""
        write_text(self.classes, "".join(f"{name}\n" for name in names))

    def read_classes(self) -> List[str]:
        """Read the class names in label order; empty for a run of an older version, which did not write them."""
        return read_class_names(self.classes)

    def log(self) -> ContextManager[None]:
        """Within this context, append log messages to run.log as well as to the terminal."""
        return logged_to(self.path / "run.log")

    def write_epoch(self, history: History, title: str, facts: Dict[str, Any]) -> None:
        """Write metrics, picture and result of the epochs so far; each file is written completely or not at all.

        Parameters
        ----------
        history : History
            The finished epochs.
        title : str
            The title of the picture: model and data set.
        facts : dict
            What result.json contains besides the best and the last epoch.
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
    """The first of runs/NAME, runs/NAME-2, runs/NAME-3 and so on that does not exist."""
    number = 1
    while True:
        path = Path("runs") / (name if number == 1 else f"{name}-{number}")
        if not path.exists():
            return path
        number += 1


def read_result(run: RunDirectory) -> Dict[str, Any]:
    """Read the result.json of a run.

    Raises
    ------
    NoEpochError
        If no epoch is finished and evaluated yet.
    RunError
        If it is damaged.
    """
    return read_facts(run.result)


def read_evaluations(run: RunDirectory, settings: Optional[Settings] = None) -> History:
    """The history of a run that has a result.json, and so at least one epoch with an evaluation.

    Raises
    ------
    NoEpochError, RunError
        As `RunDirectory.history`; the second also where no epoch has an evaluation.
    """
    history = run.history(settings)
    if history.last is None:
        raise damaged(run.metrics, "no epoch has an evaluation, and result.json has the figures of one")
    return history
