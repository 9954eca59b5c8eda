"""A grid of runs over fusions, blocks, any other settings and seeds: it is planned here.

Each cell of the grid is a run in its own folder. `fusion.ablation.running` trains them. A grid that was stopped can be
continued: finished cells are skipped, and a cell that was interrupted resumes from its checkpoint.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Optional, Sequence, Set, Tuple, Union

from ..errors import ConfigError
from ..fuse import find_fusion, fusion_aliases, list_fusions
from ..models.zoo import model_arguments
from ..tasks import task_of
from ..training.config import differing_keys, read_config
from ..training.configs import find_config
from ..training.history import is_finished
from ..training.logbook import RunDirectory, read_evaluations, read_result
from ..training.main import RESUMABLE
from ..training.preparation import build_network
from ..training.run_files import RunError, refuse_changed
from ..training.settings import Settings, value_of
from .axes import OWN_OPTIONS, Axis, folder_part, in_order, refuse_twice, shown_values
from .report import CellResult

#: A number of classes for checking that a cell's network can be built; the real number is known once data is loaded.
_SOME_CLASSES = 10


@dataclass(frozen=True)
class Cell:
    """One run of the grid.

    Attributes
    ----------
    fusion : str or None
        The class name of the fusion block; None if the grid leaves that to the config.
    blocks : int or None
        The number of residual blocks in each stage; None if the model's family has no such argument, or if the grid
        has neither fusions nor blocks.
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
    varied : tuple of (str, str)
        The other settings that the grid varies, and their values here.
    """

    fusion: Optional[str]
    blocks: Optional[int]
    seed: int
    path: Path
    config: Path
    words: List[str]
    settings: Settings
    varied: Tuple[Tuple[str, str], ...] = ()

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
    fusions: Optional[Sequence[str]],
    blocks: Sequence[Optional[int]],
    seeds: Union[int, Sequence[int]],
    folder: Path,
    overrides: Sequence[str] = (),
    axes: Sequence[Axis] = (),
) -> List[Cell]:
    """List the cells of a grid, and check each; no training is started.

    The cells are ordered by seed, so that a grid that was stopped has every other choice for its first seeds.

    Parameters
    ----------
    config : Path
        The config of the experiment: a file, or the name of a config that is installed with the package.
    fusions : sequence of str, optional
        Names or aliases of fusion blocks; `all` stands for every block. None leaves the block to the config.
    blocks : sequence of int or None
        Numbers of residual blocks in each stage; None stands for the number in the config.
    seeds : int or sequence of int
        How many seeds, which are counted from 0; or the seeds themselves.
    folder : Path
        The folder that contains the folders of the cells.
    overrides : sequence of str
        Words such as `train.epochs=20`, which replace settings of the config.
    axes : sequence of Axis
        The other settings that vary.

    Raises
    ------
    ConfigError
        If a name, number or setting is impossible in any cell, or if a cell's folder holds a run with other settings.
    """
    _refuse_set_twice(overrides, axes)
    if fusions is None and not axes:
        raise ConfigError("say what to compare: --fusions add,aff, or --vary optimizer.name=nag,adam")
    chosen = _seeds(seeds)
    config = find_config(config)
    names: Sequence[Optional[str]] = _class_names(fusions) if fusions is not None else [None]
    if len(set(blocks)) < len(blocks):
        raise ConfigError(f"--blocks {','.join(map(str, blocks))}: the same number is given twice")
    choices = list(itertools.product(*(axis.values for axis in axes)))
    cells = []
    for seed, block, fusion, values in itertools.product(chosen, blocks, names, choices):
        words = [*overrides, *([f"model.fusion={short_name(fusion)}"] if fusion else []), f"train.seed={seed}"]
        words += [f"model.blocks={block}"] if block is not None else []
        words += [f"{axis.key}={value}" for axis, value in zip(axes, values)]
        settings = read_config(config, words)
        own_blocks = settings.model.blocks or model_arguments(settings.model.name).get("blocks")
        own_blocks = own_blocks if fusion or block else None
        place = folder / _folder_name(fusion, own_blocks, axes, settings)
        cells.append(Cell(fusion, own_blocks, seed, place, config, words, settings, shown_values(axes, settings)))
    refuse_twice(axes, [cell.settings for cell in cells])
    _refuse_several_tasks(cells)
    for cell in _with_other_networks(cells[: len(cells) // len(chosen)]):
        build_network(cell.settings, _SOME_CLASSES)
    for cell in cells:
        _refuse_other_run(cell)
    return cells


def _refuse_set_twice(overrides: Sequence[str], axes: Sequence[Axis]) -> None:
    """Refuse settings on the command line that the grid itself sets."""
    varied = {axis.key for axis in axes}
    for word in overrides:
        key = word.partition("=")[0]
        if key in OWN_OPTIONS:
            raise ConfigError(f"command line, {word!r}: the grid sets this; use --fusions, --blocks and --seeds")
        if key in varied:
            raise ConfigError(f"command line, {word!r}: the grid sets this by --vary; leave one of the two out")


def _seeds(seeds: Union[int, Sequence[int]]) -> List[int]:
    if isinstance(seeds, int):
        if seeds < 1:
            raise ConfigError(f"--seeds {seeds}: expected the number of runs for each cell, at least 1")
        return list(range(seeds))
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"--seeds {','.join(map(str, seeds))}: the same seed is given twice")
    return list(seeds)


def _folder_name(fusion: Optional[str], blocks: Optional[int], axes: Sequence[Axis], settings: Settings) -> str:
    keys = in_order([axis.key for axis in axes])
    parts = [short_name(fusion)] if fusion else []
    parts += [f"blocks{blocks}"] if blocks else []
    parts += [folder_part(key, value_of(settings, key), keys) for key in keys]
    return "_".join([*parts, f"seed{settings.train.seed}"])


def _with_other_networks(cells: Sequence[Cell]) -> Iterator[Cell]:
    """The first cell of each network."""
    known: Set[str] = set()
    for cell in cells:
        network = repr((cell.settings.model, cell.settings.task, cell.settings.data.name))
        if network not in known:
            known.add(network)
            yield cell


def _refuse_several_tasks(cells: Sequence[Cell]) -> None:
    """Refuse a grid whose cells have no figure in common."""
    titles = list(dict.fromkeys(task_of(cell.settings).title for cell in cells))
    if len(titles) > 1:
        raise ConfigError(
            f"--vary: the cells of this grid have different tasks, {' and '.join(titles)}: one table of "
            "both would have nothing to compare; use one grid for each"
        )


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


def _refuse_other_run(cell: Cell) -> None:
    run = RunDirectory(cell.path)
    if run.config.is_file() and cell.damage is None:
        found = read_config(run.config)
        changed = [key for key in differing_keys(found, cell.settings) if not key.startswith(RESUMABLE)]
        if changed:
            raise ConfigError(
                f"{cell.path}: holds a run whose {changed[0]} differs from this grid's; give the settings that "
                "the grid was started with, or another folder with --runs"
            )


# --- Its results -----------------------------------------------------------------------------------------------------


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
                    fusion=short_name(cell.fusion) if cell.fusion else None,
                    blocks=cell.blocks,
                    seed=cell.seed,
                    data=facts["data"],
                    parameters=facts["parameters"],
                    epochs=facts["epochs"],
                    epochs_planned=cell.settings.train.epochs,
                    best=best,
                    last=last,
                    run=cell.path.name,
                    varied=cell.varied,
                    figure=headline,
                    beside=tuple((figure, figure.shown(rows[-1])) for figure in history.task.beside),
                )
            )
    return results
