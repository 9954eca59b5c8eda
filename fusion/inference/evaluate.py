"""python -m fusion evaluate: the error of a network on the test set of its run."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ..errors import ConfigError, nearest
from ..models.pretrained import find_weights, list_pretrained
from ..models.zoo import FAMILIES, MODELS
from ..training.evaluation import evaluate_with_settings
from ..training.logbook import RunDirectory
from ..words import counted


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `evaluate`."""
    parser = commands.add_parser("evaluate")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", type=Path, metavar="DIR", help="the folder of a run")
    source.add_argument("--model", metavar="NAME", help="a model whose weights come with the package")
    parser.add_argument("--checkpoint", metavar="best|last|average|FILE", help="of the run (default: best)")
    parser.add_argument("--device", default="cpu", help="cpu, gpu, or GPU numbers such as 0,1")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    where = "where the data is now, such as data.dir=PATH, and how images are shown, such as eval.flips=true"
    parser.add_argument("settings", nargs="*", metavar="section.key=value", help=where)
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
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
    settings = run.settings(arguments.settings)
    found = evaluate_with_settings(run, settings, which, arguments.device)
    if arguments.json:
        print(json.dumps(found))
        return
    print(f"{found['model']} on {found['data']}, {found['checkpoint']}")
    loss, *others = run.task(settings).evaluation
    named = [*((figure.title, figure) for figure in others), (loss.short, loss)]
    width = max(len(name) for name, _ in named)
    for name, figure in named:
        print(f"  {name:<{width}}  {figure.text(found[figure.name])}")
    print(f"  {counted(found['images'], 'image')}, {found['images_per_second']:.0f} images/s")
