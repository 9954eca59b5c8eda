"""python -m fusion evaluate: the figures of a network on the test set of its run, or of a config."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Optional, Tuple

from ..errors import CheckpointError, ConfigError, nearest
from ..models.pretrained import find_weights, list_pretrained
from ..models.zoo import FAMILIES, MODELS
from ..tasks import task_of
from ..training.config import read_config
from ..training.configs import find_config
from ..training.evaluation import evaluate_weights
from ..training.logbook import RunDirectory
from ..training.settings import Settings
from ..words import counted


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `evaluate`."""
    parser = commands.add_parser("evaluate")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", type=Path, metavar="DIR", help="the folder of a run")
    source.add_argument("--model", metavar="NAME", help="a model whose weights come with the package")
    words = "the experiment that the weights of --checkpoint FILE are for, such as those that others published"
    source.add_argument("--config", metavar="FILE", help=words)
    parser.add_argument("--checkpoint", metavar="best|last|average|EPOCH|FILE", help="of the run (default: best)")
    parser.add_argument("--device", default="cpu", help="cpu, gpu, or GPU numbers such as 0,1")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    where = "where the data is now, such as data.dir=PATH, and how images are shown, such as eval.flips=true"
    parser.add_argument("settings", nargs="*", metavar="section.key=value", help=where)
    parser.set_defaults(run_command=_run)


def _network(arguments: argparse.Namespace) -> Tuple[Settings, Path, Optional[RunDirectory]]:
    """The settings, the file of weights and the run, if there is one, that the command line names."""
    if arguments.config is not None:
        if arguments.checkpoint is None:
            raise ConfigError(f"--config {arguments.config}: name the file of weights as well, by --checkpoint FILE")
        file = Path(arguments.checkpoint)
        if not file.is_file():
            raise CheckpointError(f"--checkpoint {file}: no such file; with --config, name a file of weights")
        return read_config(find_config(arguments.config), arguments.settings), file, None
    unwanted = [word for word in arguments.settings if not word.startswith(("data.", "eval."))]
    if unwanted:
        raise ConfigError(
            f"command line, {unwanted[0]!r}: evaluate takes data.key=value and eval.key=value only, such as "
            "data.dir=PATH"
        )
    folder, which = arguments.run, arguments.checkpoint or "best"
    if arguments.model is not None:
        if arguments.checkpoint is not None:
            raise ConfigError("--checkpoint is for --run: --model evaluates the weights that come with the package")
        if arguments.model not in (*list_pretrained(), *FAMILIES, *MODELS):
            advice = nearest(arguments.model, list_pretrained())
            raise ConfigError(f"--model: no such model {arguments.model!r}, {advice}")
        weights = find_weights(arguments.model)
        folder, which = weights.folder, str(weights.file)
    run = RunDirectory.existing(folder)
    return run.settings(arguments.settings), run.weights(which), run


def _run(arguments: argparse.Namespace) -> None:
    settings, file, run = _network(arguments)
    found = evaluate_weights(settings, file, arguments.device, run)
    if arguments.json:
        print(json.dumps(found))
        return
    print(f"{found['model']} on {found['data']}, {found['checkpoint']}")
    # Which figures a task has depends on how many classes there are, not on their names.
    loss, *others = task_of(settings, [str(number) for number in range(found["classes"])]).evaluation
    named = [*((figure.title, figure) for figure in others), (loss.short, loss)]
    width = max(len(name) for name, _ in named)
    for name, figure in named:
        print(f"  {name:<{width}}  {figure.text(found[figure.name])}")
    print(f"  {counted(found['images'], 'image')}, {found['images_per_second']:.0f} images/s")
