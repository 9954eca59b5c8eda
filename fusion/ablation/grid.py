"""A grid of runs over fusions, blocks and seeds: its plan, its runs, and what they have come to.

Each cell is a run in a folder of its own, trained by a fresh process with the words that train it by hand, so that it
is that run to the last bit: one process for all would carry over what MXNet keeps between trainings, such as oneDNN's
weight layouts and its counters of random draws. A grid that was stopped goes on: finished cells are left alone, and a
cell that was interrupted resumes from its checkpoint.
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
from ..signals import Forwarding
from ..training.config import differing_keys, read_config
from ..training.configs import find_config
from ..training.logbook import RunDirectory, read_result
from ..training.main import RESUMABLE
from ..training.preparation import build_network
from ..training.settings import Settings
from .report import CellResult, write_report

logger = logging.getLogger(__name__)

#: What the grid sets, so that a word on the command line cannot.
_GRID_KEYS = ("model.fusion", "model.blocks", "train.seed")

#: Classes to build a cell's network with, to see that it can be built; its own number comes with its data.
_SOME_CLASSES = 10


class AblationError(FusionError):
    """A cell of the grid that did not finish."""


@dataclass(frozen=True)
class Cell:
    """One run of the grid.

    Attributes
    ----------
    fusion : str
        The block's class name.
    blocks : int or None
        A stage; None where the family has none to choose.
    seed : int
        Of the run.
    path : Path
        Its run directory.
    config : Path
        What it is trained with ...
    words : list of str
        ... under these settings.
    settings : Settings
        The two resolved.
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
        """Whether all its epochs are done."""
        run = RunDirectory(self.path)
        return run.result.is_file() and read_result(run)["epochs"] >= self.settings.train.epochs

    @property
    def command(self) -> List[str]:
        """The words after the training script's name: a new run, or going on with one."""
        if RunDirectory(self.path).config.is_file():
            incidental = [word for word in self.words if word.startswith(RESUMABLE)]
            return ["--resume", str(self.path), *incidental]
        return ["--config", str(self.config), "--run-dir", str(self.path), *self.words]


# --- The grid --------------------------------------------------------------------------------------------------------


def short_name(fusion: str) -> str:
    """A block's alias where it has one: folders and tables are read by people."""
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
    """The cells of a grid, seed by seed so that a grid that was stopped has whole rounds; all checked, none started.

    Parameters
    ----------
    config : Path
        The experiment: a file, or the name of a packaged one.
    fusions : sequence of str
        Names or aliases; `all` is every one.
    blocks : sequence of int or None
        Residual blocks a stage; None is the config's own.
    seeds : int
        How many, from 0.
    folder : Path
        Each cell is a folder in it.
    overrides : sequence of str
        Words such as `train.epochs=20`, over the config.

    Raises
    ------
    ConfigError
        For a name, number or setting that is impossible in any cell, or a cell's folder with another run in it.
    """
    for word in overrides:
        if word.partition("=")[0] in _GRID_KEYS:
            raise ConfigError(f"command line, {word!r}: the grid sets this; use --fusions, --blocks and --seeds")
    if seeds < 1:
        raise ConfigError(f"--seeds {seeds}: expected how many runs a cell, at least 1")
    config = find_config(config)
    names = _class_names(fusions)
    if len(set(blocks)) < len(blocks):
        raise ConfigError(f"--blocks {','.join(map(str, blocks))}: a number is there twice")
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
        raise ConfigError(f"--fusions {','.join(fusions)}: expected blocks of two inputs, such as add,aff,iaff")
    twice = [fusion for fusion, name in zip(fusions, names) if names.count(name) > 1]
    if twice:
        raise ConfigError(f"--fusions {','.join(fusions)}: {' and '.join(twice)} are the same block")
    return names


def _check_cell(cell: Cell) -> None:
    if cell.seed == 0:
        build_network(cell.settings, _SOME_CLASSES)
    run = RunDirectory(cell.path)
    if run.config.is_file():
        found = read_config(run.config)
        changed = [key for key in differing_keys(found, cell.settings) if not key.startswith(RESUMABLE)]
        if changed:
            raise ConfigError(
                f"{cell.path}: holds a run with another {changed[0]} than this grid's; give the settings that the "
                "grid was started with, or another folder with --runs"
            )


# --- Running it ------------------------------------------------------------------------------------------------------


def run_grid(cells: Sequence[Cell], folder: Path, output: TextIO) -> None:
    """Train what is not finished, writing the table anew after each cell.

    Parameters
    ----------
    cells : sequence of Cell
        From `plan_grid`.
    folder : Path
        Of the table.
    output : TextIO
        Where the cells print.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C: the cell under way has saved its checkpoint.
    AblationError
        If a cell ends in an error.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--runs {folder}: cannot hold runs ({error.strerror})") from None
    write_report(folder, collect(cells))
    for number, cell in enumerate(cells, start=1):
        if cell.finished:
            logger.info("cell %d of %d, %s: finished already", number, len(cells), cell.path.name)
            continue
        logger.info("cell %d of %d, %s: %s", number, len(cells), cell.path.name, " ".join(cell.command))
        try:
            _train(cell, output)
        finally:
            write_report(folder, collect(cells))


def _train(cell: Cell, output: TextIO) -> None:
    """Train a cell in a process of its own, to which signals are passed on."""
    words = [sys.executable, "-m", "fusion.training", *cell.command]
    child = subprocess.Popen(words, stdout=output, start_new_session=True)
    with Forwarding(child) as forwarding:
        status = child.wait()
    if forwarding.asked_to_stop:
        logger.info("the same command goes on with the grid")
        raise KeyboardInterrupt
    if status != 0:
        raise AblationError(
            f"{cell.path}: this cell ended with status {status}, its error is above; the cells after it were not run"
        )


def collect(cells: Sequence[Cell]) -> List[CellResult]:
    """What the cells have come to so far, those without a finished epoch left out."""
    results = []
    for cell in cells:
        run = RunDirectory(cell.path)
        if run.result.is_file():
            facts, history = read_result(run), run.history()
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
                )
            )
    return results
