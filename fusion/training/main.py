"""The command `python -m fusion train`; the training scripts have the same command line."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, NoReturn, Optional, Sequence

from ..command import INTERRUPTED, log_to_terminal, reported
from ..completion import asked_for, complete, compute_nothing
from ..errors import ConfigError
from ..outputs import check_place
from ..words import counted
from .config import differing_keys, read_config, to_yaml
from .configs import WHAT_IT_TAKES, find_config
from .photo_training import draws_depend_on
from .run_files import refuse_changed
from .schedule import FALLING
from .settings import Settings

if TYPE_CHECKING:
    from .engine import Outcome
    from .logbook import RunDirectory

logger = logging.getLogger(__name__)

#: The settings that may be changed when a run is resumed, because they do not change its result.
RESUMABLE = ("runtime.", "data.dir", "data.url", "data.workers")


def add_command(commands: Any) -> None:
    """Add the command `train` to `python -m fusion`."""
    parser = commands.add_parser("train")
    _add_arguments(parser)
    parser.set_defaults(run_command=_run)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help=f"the experiment: {WHAT_IT_TAKES}")
    parser.add_argument(
        "--run-dir", type=Path, metavar="DIR", help="a new folder for all results (default: runs/CONFIG)"
    )
    parser.add_argument("--resume", type=Path, metavar="DIR", help="go on with the run in this folder")
    parser.add_argument("--device", help="cpu, gpu, GPU numbers such as 0,1, or cpu:2 for two CPU contexts")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check everything, try a few batches, say what the run will take, and leave nothing behind",
    )
    parser.add_argument("--print-config", action="store_true", help="print the resolved settings and stop")
    parser.add_argument(
        "settings", nargs="*", metavar="section.key=value", help="settings that replace those of the config"
    )


def main(
    description: str,
    arguments: Optional[Sequence[str]] = None,
    example: str = "--config quickstart --run-dir runs/quickstart",
) -> int:
    """Train a network with the settings given on the command line.

    Parameters
    ----------
    description : str
        Shown by --help.
    arguments : sequence of str, optional
        The words of the command line; by default, those of this process.
    example : str
        The words after the program's name as a user might write them, for --help.

    Returns
    -------
    int
        The exit status: 0 if the run finished, 2 for bad input, 130 if it was interrupted.
    """
    parser = argparse.ArgumentParser(
        description=description,
        epilog=f"example: {_program()} {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,  # keeps the example on one line
    )
    _add_arguments(parser)
    if arguments is None and asked_for():
        _complete(parser)
    return reported(lambda words: _run(parser.parse_intermixed_args(words)))(arguments)


def _complete(parser: argparse.ArgumentParser) -> NoReturn:
    compute_nothing()
    from .completers import COMPLETERS  # not at the top: it imports the networks

    complete(parser, COMPLETERS)


def _run(arguments: argparse.Namespace) -> int:
    overrides = list(arguments.settings)
    if arguments.device is not None:
        overrides.append(f"runtime.device={arguments.device}")
    if arguments.resume and arguments.dry_run:
        raise ConfigError("--dry-run tries a run that is not there yet: give it --config in place of --resume")
    settings = _resumed(arguments, overrides) if arguments.resume else _new(arguments, overrides)
    if arguments.print_config:
        print(to_yaml(settings, reasons=True), end="")
        return 0
    from .logbook import RunDirectory  # not at the top: a config can be read where there is no MXNet

    named = arguments.resume or arguments.run_dir
    run = RunDirectory(named) if named else RunDirectory.unnamed(arguments.config)
    check_place(run.path, "--resume" if arguments.resume else "--run-dir")
    log_to_terminal()
    if arguments.dry_run:
        from .dry_run import dry_run

        dry_run(settings, run)
        return 0
    from .engine import train

    outcome = train(settings, run, resume=arguments.resume is not None)
    if outcome.rank == 0:
        with run.log():
            _tell(outcome, run)
    return 0 if outcome.finished else INTERRUPTED


def _tell(outcome: Outcome, run: RunDirectory) -> None:
    if outcome.finished:
        _tell_result(run)
        return
    logger.info(
        "interrupted in epoch %d after %s; continue with: %s --resume %s",
        *(outcome.epoch + 1, counted(outcome.batch, "batch", "batches"), _program(), run.path),
    )


def _program() -> str:
    """The command that started this process, as the user can type it again: a script, or `python -m` and a package."""
    path = Path(sys.argv[0])
    if path.name == "__main__.py":
        return "python -m fusion.training" if path.parent.name == "training" else "python -m fusion train"
    return "fusion train" if path.name == "fusion" else f"python {path.name}"


def _new(arguments: argparse.Namespace, overrides: List[str]) -> Settings:
    if arguments.config is None:
        raise ConfigError("say what to train: --config FILE, such as configs/quickstart.yaml, or --resume DIR")
    if arguments.run_dir is not None and (arguments.run_dir / "config.yaml").exists():
        raise ConfigError(
            f"{arguments.run_dir}: holds a run already; continue it with --resume, or name another folder"
        )
    arguments.config = find_config(arguments.config)
    return read_config(arguments.config, overrides)


def _resumed(arguments: argparse.Namespace, overrides: List[str]) -> Settings:
    if arguments.config or arguments.run_dir:
        raise ConfigError(
            "--resume continues a run in its folder, with its own settings: leave out --config and --run-dir"
        )
    from .logbook import LENGTH, RunDirectory

    run = RunDirectory.existing(arguments.resume)
    refuse_changed(run.config)
    settings = run.settings(overrides)
    fixed = draws_depend_on(settings)
    differing = differing_keys(run.settings(), settings)
    changed = [key for key in differing if key in fixed or not key.startswith((*RESUMABLE, *LENGTH))]
    if "train.epochs" in differing and not changed:
        _refuse_other_epochs(run, settings)
    if changed:
        free = ", ".join(key + "*" if key.endswith(".") else key for key in (*RESUMABLE, *LENGTH))
        raise ConfigError(
            f"command line: {changed[0]} differs from the run in {run.path}; a resumed run keeps its settings "
            f"(except {free}). To change this setting, start a new run"
        )
    return settings


def _refuse_other_epochs(run: RunDirectory, settings: Settings) -> None:
    """Refuse another number of epochs where the epochs that are done would have been others with it."""
    reasons = []
    if settings.schedule.mode in FALLING:
        reasons.append(f"the learning rate falls over all epochs (schedule.mode={settings.schedule.mode})")
    if settings.augment.mixup_off_epochs:
        reasons.append(f"the last {settings.augment.mixup_off_epochs} are without mixup (augment.mixup_off_epochs)")
    if reasons:
        raise ConfigError(
            f"command line: train.epochs={settings.train.epochs} differs from the run in {run.path}, and "
            f"{' and '.join(reasons)}: what it has trained so far belongs to its own number of epochs. To train on "
            f"from its weights, start a new run with train.initial_parameters={run.path}"
        )


def _tell_result(run: RunDirectory) -> None:
    from .logbook import read_result

    result, history = read_result(run), run.history()
    (name, best), (_, last) = (history.task.result_words(result[which]) for which in ("best", "last"))
    epochs = (result["best"]["epoch"], result["last"]["epoch"])
    logger.info("finished: %s on %s", result["model"], result["data"])
    logger.info("  %-8s  %s at epoch %d (best), %s at epoch %d (last)", name, best, epochs[0], last, epochs[1])
    logger.info("  run       %s", run.path)
    logger.info("  picture   %s", run.picture)
