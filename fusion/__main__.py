"""The command line beside training: python -m fusion evaluate | predict | gradcam | maps | prepare | summary | ..."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import yaml

from . import __version__, doctor
from .command import reported
from .compat import mx
from .data.photos import prepare as prepare_imagenet
from .deploy import export_command, optimise_command
from .errors import ConfigError
from .explain import browse, confusion, gradcam_command, maps_command, plots, report
from .fuse import fusion_aliases
from .inference import predict
from .models.pretrained import find_weights, list_pretrained
from .models.zoo import FAMILIES, MODELS, get_model
from .speed import benchmark
from .tables import text_columns


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fusion", description="Attentional feature fusion in MXNet/Gluon.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    evaluate = commands.add_parser("evaluate", help="error of a run's network on its test set")
    source = evaluate.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", type=Path, metavar="DIR", help="the folder of a run")
    source.add_argument("--model", metavar="NAME", help="a model whose weights come with the package")
    evaluate.add_argument("--checkpoint", metavar="best|last|FILE", help="of the run (default: best)")
    evaluate.add_argument("--device", default="cpu", help="cpu, gpu, or GPU numbers such as 0,1")
    evaluate.add_argument("--json", action="store_true", help="one JSON object on standard output")
    evaluate.add_argument("settings", nargs="*", metavar="data.key=value", help="where the data is now")
    evaluate.set_defaults(run_command=_evaluate)

    summary = commands.add_parser("summary", help="layers, output shapes, parameters and multiply-adds of a model")
    summary.add_argument("model", metavar="MODEL", help="a family or a named model")
    summary.add_argument("--depth", type=int, default=2, help="levels of blocks to show (default: 2)")
    summary.add_argument("--input-size", type=int, metavar="PIXELS", help="height and width of the image")
    summary.add_argument("--json", action="store_true", help="one JSON object on standard output")
    summary.add_argument("arguments", nargs="*", metavar="key=value", help="of the model, such as classes=10")
    summary.set_defaults(run_command=_summary)

    prepare_imagenet.add_command(commands)
    predict.add_command(commands)
    gradcam_command.add_command(commands)
    maps_command.add_command(commands)
    plots.add_command(commands)
    confusion.add_command(commands)
    browse.add_command(commands)
    report.add_command(commands)
    optimise_command.add_command(commands)
    benchmark.add_command(commands)
    doctor.add_command(commands)
    export_command.add_command(commands)

    models = commands.add_parser("models", help="the models and fusion blocks by name")
    models.add_argument("--json", action="store_true", help="one JSON object on standard output")
    models.set_defaults(run_command=_models)

    _add_reproduce(commands)
    _add_ablate(commands)
    return parser


def _run(words: Optional[Sequence[str]]) -> int:
    arguments = _parser().parse_args(words)
    return arguments.run_command(arguments) or 0


def _evaluate(arguments: argparse.Namespace) -> None:
    from .tasks import task_of
    from .training.config import read_config
    from .training.evaluation import evaluate_run

    unwanted = [word for word in arguments.settings if not word.startswith("data.")]
    if unwanted:
        raise ConfigError(f"command line, {unwanted[0]!r}: evaluate takes data.key=value only, such as data.dir=PATH")
    run, which = arguments.run, arguments.checkpoint or "best"
    if arguments.model is not None:
        if arguments.checkpoint is not None:
            raise ConfigError("--checkpoint is for --run: --model evaluates the weights that come with the package")
        weights = find_weights(arguments.model)
        run, which = weights.folder, str(weights.file)
    found = evaluate_run(run, which, arguments.device, arguments.settings)
    if arguments.json:
        print(json.dumps(found))
        return
    print(f"{found['model']} on {found['data']}, {found['checkpoint']}")
    loss, *others = task_of(read_config(run / "config.yaml")).evaluation
    named = [*((figure.title, figure) for figure in others), (loss.short, loss)]
    width = max(len(name) for name, _ in named)
    for name, figure in named:
        print(f"  {name:<{width}}  {figure.text(found[figure.name])}")
    print(f"  {found['images']:,} images, {found['images_per_second']:.0f} images/s")


def _summary(arguments: argparse.Namespace) -> None:
    from .explain.summary import format_table, summarise

    try:
        net = get_model(arguments.model, **_keywords(arguments.arguments))
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from None
    if arguments.input_size is not None and arguments.input_size < 1:
        raise ConfigError(f"--input-size {arguments.input_size}: expected pixels, at least 1")
    try:
        rows = summarise(net, arguments.input_size)
    except mx.MXNetError:
        if arguments.input_size is None:
            raise
        raise ConfigError(f"--input-size {arguments.input_size}: too small for {arguments.model}") from None
    if arguments.json:
        total = rows[0]
        counts = {"parameters": total.parameters, "multiply_adds": total.multiply_adds}
        print(json.dumps({"model": arguments.model, **counts, "layers": [asdict(row) for row in rows[1:]]}))
    else:
        print(format_table(rows, max(1, arguments.depth)))


def _keywords(words: List[str]) -> Dict[str, Any]:
    keywords = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"command line, {word!r}: expected key=value, such as classes=10")
        try:
            keywords[key] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError):  # the second for a date that is not
            raise ConfigError(f"command line, {word!r}: the value is not valid YAML") from None
    return keywords


def _models(arguments: argparse.Namespace) -> None:
    aliases = fusion_aliases()
    weights = {name: find_weights(name) for name in list_pretrained()}
    if arguments.json:
        named = {name: {"family": family, **preset} for name, (family, preset) in MODELS.items()}
        known = {name: {"accuracy": found.accuracy, "data": found.trained_on} for name, found in weights.items()}
        print(json.dumps({"families": list(FAMILIES), "models": named, "fusions": aliases, "pretrained": known}))
        return
    print(f"families  {', '.join(FAMILIES)}")
    print("models")
    described = {
        name: f"{family}: {', '.join(f'{key}={value}' for key, value in preset.items())}"
        for name, (family, preset) in MODELS.items()
    }
    for name, found in weights.items():
        described[name] += f"; weights: {100 * found.accuracy:.2f} % on {found.trained_on}"
    print(text_columns(list(described.items())))
    print("fusions")
    print(text_columns([(name, ", ".join(others)) for name, others in aliases.items()]))


def _add_reproduce(commands: Any) -> None:
    parser = commands.add_parser("reproduce", help="the published rows, and a run beside one of them")
    parser.add_argument("row", nargs="?", metavar="ROW", help="one row; all of them unless given")
    parser.add_argument("--run", type=Path, metavar="DIR", help="a run to hold against ROW, finished or not")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="a folder of runs: shows the best of each row")
    parser.add_argument("--output", type=Path, metavar="PNG", help="the picture (default: reproduce_ROW.png in --run)")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.set_defaults(run_command=_reproduce)


def _reproduce(arguments: argparse.Namespace) -> None:
    from .published.command import reproduce

    reproduce(arguments)


def _add_ablate(commands: Any) -> None:
    parser = commands.add_parser("ablate", help="a grid of runs over fusions, blocks and seeds, and one table of them")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the experiment")
    parser.add_argument("--fusions", required=True, metavar="NAMES", help="such as add,aff,iaff; all is every one")
    parser.add_argument("--blocks", metavar="NUMBERS", help="a stage, such as 1,2 (default: the config's own)")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="runs of each, from seed 0 on (default: 1)")
    parser.add_argument("--runs", type=Path, required=True, metavar="DIR", help="a folder of a run each, and the table")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output at the end")
    parser.add_argument("settings", nargs="*", metavar="section.key=value", help="settings over the config's")
    parser.set_defaults(run_command=_ablate)


def _ablate(arguments: argparse.Namespace) -> None:
    from .ablation.grid import ablate

    ablate(arguments)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run a command; the exit status is 0, 1 where some of many images were left out, or 2 for bad input."""
    return reported(_run)(arguments)


if __name__ == "__main__":
    sys.exit(main())
