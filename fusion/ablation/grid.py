"""A grid of runs over fusions, blocks and seeds: it is planned, trained and summarised here.

Each cell of the grid is a run in its own folder. A new process trains it, with the same command line as by hand, so
that the result is the same to the last bit. One process for all cells would carry state of MXNet from one training to
the next, such as oneDNN's weight layouts and the counters of random draws. A grid that was stopped can be continued:
finished cells are skipped, and a cell that was interrupted resumes from its checkpoint.
"""

from __future__ import annotations

import itertools
import logging
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Sequence, TextIO

from ..errors import ConfigError, FusionError
from ..fuse import find_fusion, fusion_aliases, list_fusions
from ..models.zoo import model_arguments
from ..outputs import check_place
from ..signals import Forwarding
from ..training.config import differing_keys, read_config
from ..training.configs import find_config
from ..training.logbook import RunDirectory, is_finished, read_evaluations, read_result
from ..training.main import RESUMABLE
from ..training.preparation import build_network
from ..training.run_files import RunError, refuse_changed
from ..training.settings import Settings
from .report import CellResult, write_report

logger = logging.getLogger(__name__)

#: Settings that the grid sets; the command line may not set them.
_GRID_KEYS = ("model.fusion", "model.blocks", "train.seed")

#: A number of classes for checking that a cell's network can be built; the real number is known once data is loaded.
_SOME_CLASSES = 10


class AblationError(FusionError):
    """Raised if a cell of the grid ends with an error."""


@dataclass(frozen=True)
class Cell:
    """One run of the grid.

    Attributes
    ----------
    fusion : str
        The class name of the fusion block.
    blocks : int or None
        The number of residual blocks in each stage; None if the model's family has no such argument.
    seed : int
        The seed of the run.
    path : Path
        The folder of the run.
    config : Path
        The config file that the run is trained with.
    words : list of str
        The settings on the command line, which replace those of the config.
    settings : Settings
        The settings that result from the config and the words.
    """

    fusion: str
    blocks: Optional[int]
    seed: int
    path: Path
    config: Path
    words: List[str]
    settings: Settings

    @property
    def finished(self) -> bool:
        """Whether all epochs of the run are finished, or it has ended early."""
        run = RunDirectory(self.path)
        return run.result.is_file() and is_finished(read_result(run), self.settings)

    @property
    def damage(self) -> Optional[RunError]:
        """What is damaged in the files of its run; None of a sound run, and of one that has not started."""
        run = RunDirectory(self.path)
        try:
            if run.config.is_file():
                refuse_changed(run.config)
            if run.result.is_file():
                read_result(run)
                read_evaluations(run)
        except RunError as error:
            return error
        return None

    @property
    def command(self) -> List[str]:
        """The arguments of the training script: to start the run, or to resume it if it has been started."""
        if RunDirectory(self.path).config.is_file():
            incidental = [word for word in self.words if word.startswith(RESUMABLE)]
            return ["--resume", str(self.path), *incidental]
        return ["--config", str(self.config), "--run-dir", str(self.path), *self.words]


# --- The grid --------------------------------------------------------------------------------------------------------


def short_name(fusion: str) -> str:
    """The block's alias if it has one, otherwise its class name; used in the names of folders and in tables."""
    names = fusion_aliases()[fusion]
    return names[0] if names else fusion


def plan_grid(
    config: Path,
    fusions: Sequence[str],
    blocks: Sequence[Optional[int]],
    seeds: int,
    folder: Path,
    overrides: Sequence[str] = (),
) -> List[Cell]:
    """List the cells of a grid, and check each; no training is started.

    The cells are ordered by seed, so that a grid that was stopped has every block for its first seeds.

    Parameters
    ----------
    config : Path
        The config of the experiment: a file, or the name of a config that is installed with the package.
    fusions : sequence of str
        Names or aliases of fusion blocks; `all` stands for every block.
    blocks : sequence of int or None
        Numbers of residual blocks in each stage; None stands for the number in the config.
    seeds : int
        The number of seeds, which are counted from 0.
    folder : Path
        The folder that contains the folders of the cells.
    overrides : sequence of str
        Words such as `train.epochs=20`, which replace settings of the config.

    Raises
    ------
    ConfigError
        If a name, number or setting is impossible in any cell, or if a cell's folder holds a run with other settings.
    """
    for word in overrides:
        if word.partition("=")[0] in _GRID_KEYS:
            raise ConfigError(f"command line, {word!r}: the grid sets this; use --fusions, --blocks and --seeds")
    if seeds < 1:
        raise ConfigError(f"--seeds {seeds}: expected the number of runs for each cell, at least 1")
    config = find_config(config)
    names = _class_names(fusions)
    if len(set(blocks)) < len(blocks):
        raise ConfigError(f"--blocks {','.join(map(str, blocks))}: the same number is given twice")
    cells = []
    for seed, block, fusion in itertools.product(range(seeds), blocks, names):
        words = [*overrides, f"model.fusion={short_name(fusion)}", f"train.seed={seed}"]
        words += [f"model.blocks={block}"] if block is not None else []
        settings = read_config(config, words)
        own_blocks = settings.model.blocks or model_arguments(settings.model.name).get("blocks")
        place = f"{short_name(fusion)}_blocks{own_blocks}" if own_blocks else short_name(fusion)
        cells.append(Cell(fusion, own_blocks, seed, folder / f"{place}_seed{seed}", config, words, settings))
    for cell in cells:
        _check_cell(cell)
    return cells


def _class_names(fusions: Sequence[str]) -> List[str]:
    if list(fusions) == ["all"]:
        return list_fusions()
    try:
        names = [find_fusion(name).__name__ for name in fusions]
    except ValueError as error:
        raise ConfigError(f"--fusions: {error}") from None
    single = [fusion for fusion, name in zip(fusions, names) if name not in list_fusions()]
    if single or not names:
        raise ConfigError(f"--fusions {','.join(fusions)}: expected blocks with two inputs, such as add,aff,iaff")
    twice = [fusion for fusion, name in zip(fusions, names) if names.count(name) > 1]
    if twice:
        raise ConfigError(f"--fusions {','.join(fusions)}: {' and '.join(twice)} are the same block")
    return names


def _check_cell(cell: Cell) -> None:
    if cell.seed == 0:
        build_network(cell.settings, _SOME_CLASSES)
    run = RunDirectory(cell.path)
    if run.config.is_file() and cell.damage is None:
        found = read_config(run.config)
        changed = [key for key in differing_keys(found, cell.settings) if not key.startswith(RESUMABLE)]
        if changed:
            raise ConfigError(
                f"{cell.path}: holds a run whose {changed[0]} differs from this grid's; give the settings that "
                "the grid was started with, or another folder with --runs"
            )


# --- Running it ------------------------------------------------------------------------------------------------------


def run_grid(cells: Sequence[Cell], folder: Path, output: TextIO) -> None:
    """Train the cells that are not finished, and write the table again after each cell.

    A cell whose run is damaged is named in a warning and left out.

    Parameters
    ----------
    cells : sequence of Cell
        The cells that `plan_grid` returned.
    folder : Path
        The folder to write the table to.
    output : TextIO
        The stream that the cells print to.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C, when the cell that was being trained has saved its checkpoint.
    AblationError
        If a cell ends with an error.
    """
    check_place(folder, "--runs")
    folder.mkdir(parents=True, exist_ok=True)
    write_report(folder, collect(cells))
    for number, cell in enumerate(cells, start=1):
        if cell.damage is not None:
            logger.warning("cell %d of %d, %s: left out: %s", number, len(cells), cell.path.name, cell.damage)
            continue
        if cell.finished:
            logger.info("cell %d of %d, %s: finished already", number, len(cells), cell.path.name)
            continue
        logger.info("cell %d of %d, %s: %s", number, len(cells), cell.path.name, " ".join(cell.command))
        try:
            _train(cell, output)
        finally:
            write_report(folder, collect(cells))


def _train(cell: Cell, output: TextIO) -> None:
    """Train a cell in its own process, and pass signals on to that process."""
    words = [sys.executable, "-m", "fusion.training", *cell.command]
    child = subprocess.Popen(words, stdout=output, start_new_session=True)
    with Forwarding(child) as forwarding:
        status = child.wait()
    if forwarding.asked_to_stop:
        logger.info("to continue the grid, run the same command again")
        raise KeyboardInterrupt
    if status != 0:
        raise AblationError(
            f"{cell.path}: this cell ended with status {status} (its error is printed above); later cells were not run"
        )


def collect(cells: Sequence[Cell]) -> List[CellResult]:
    """The results of the cells so far, without those that have not finished an epoch or are damaged."""
    results = []
    for cell in cells:
        run = RunDirectory(cell.path)
        if run.result.is_file() and cell.damage is None:
            facts, history = read_result(run), read_evaluations(run)
            headline, rows = history.task.headline, history.evaluated
            best, last = (headline.shown(row) for row in (headline.best(rows), rows[-1]))
            results.append(
                CellResult(
                    fusion=short_name(cell.fusion),
                    blocks=cell.blocks,
                    seed=cell.seed,
                    data=facts["data"],
                    parameters=facts["parameters"],
                    epochs=facts["epochs"],
                    epochs_planned=cell.settings.train.epochs,
                    best=best,
                    last=last,
                    run=cell.path.name,
                    figure=headline,
                    beside=tuple((figure, figure.shown(rows[-1])) for figure in history.task.beside),
                )
            )
    return results
