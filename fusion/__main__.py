# PYTHON_ARGCOMPLETE_OK
"""The command line: python -m fusion COMMAND. The commands are listed here; each is a module with `add_command`."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from importlib import import_module
from typing import Dict, Iterable, List, NamedTuple, NoReturn, Optional, Sequence, Tuple

from . import __version__
from .command import parse_in_any_order, reported
from .completion import asked_for, complete, compute_nothing
from .errors import nearest

_PROGRAM = "python -m fusion"


class Verb(NamedTuple):
    """A command.

    Attributes
    ----------
    name : str
        The word that stands for it.
    module : str
        Relative to the package; it is imported only for this command. Its `add_command` makes the parser.
    purpose : str
        What it does or shows, for --help.
    example : str
        The words after its name, as a user might write them.
    """

    name: str
    module: str
    purpose: str
    example: str


#: The commands under their headings, in the order of --help.
GROUPS: Tuple[Tuple[str, Tuple[Verb, ...]], ...] = (
    (
        "train and evaluate",
        (
            Verb(
                "prepare",
                ".data.prepare",
                "make a data set from another: photos as RecordIO files, stop signs with masks from COCO",
                "imagenet --source PATH --target RECORDS",
            ),
            Verb(
                "train",
                ".training.main",
                "train a network, or go on with a run",
                "--config configs/quickstart.yaml --run-dir runs/quickstart",
            ),
            Verb(
                "lr-range",
                ".explain.rate_range",
                "at which learning rates the loss of a config falls, and where it grows",
                "--config configs/quickstart.yaml --output lr_range.png",
            ),
            Verb(
                "evaluate",
                ".inference.evaluate",
                "the error of a network on its test set",
                "--run runs/quickstart",
            ),
            Verb(
                "ablate",
                ".ablation.command",
                "train a grid of runs over fusions, blocks, any settings and seeds, and write one table",
                "--config configs/cifar10_small.yaml --fusions add,aff,iaff --runs runs/ablation",
            ),
        ),
    ),
    (
        "look at networks, runs and data",
        (
            Verb(
                "models",
                ".models.command",
                "the models by name or pattern, and the fusion blocks",
                "aff_* --pretrained",
            ),
            Verb(
                "configs",
                ".published.configs_command",
                "the configs that come with the package, and all settings of one",
                "cifar100_fine_*",
            ),
            Verb(
                "watch",
                ".explain.watch",
                "a table of several runs that follows them: epochs, figures, time left",
                "runs",
            ),
            Verb(
                "summary",
                ".explain.summary_command",
                "layers, output shapes, parameters and multiply-adds of a model",
                "aff_resnet32 classes=100",
            ),
            Verb(
                "browse",
                ".explain.browse",
                "a sheet of the augmented images that a config's network is fed",
                "--config configs/quickstart.yaml --output browse.png",
            ),
            Verb(
                "curves",
                ".explain.plots",
                "test error and loss of several runs on one axis",
                "runs/add runs/aff --output curves.png",
            ),
            Verb(
                "report",
                ".explain.report",
                "all that is known of a run as one HTML file",
                "--run runs/quickstart",
            ),
            Verb(
                "confusion",
                ".explain.confusion",
                "which classes a network confuses, how good each is, and how true its confidence",
                "--run runs/quickstart --output confusion",
            ),
            Verb(
                "predict",
                ".inference.predict",
                "what a trained network sees in images",
                "--model aff_resnet8_cifar10 photo.jpg --top 3",
            ),
            Verb(
                "gradcam",
                ".explain.gradcam_command",
                "where a network looks, or several side by side (Grad-CAM)",
                "--run runs/aff photo.jpg --compare runs/add --output gradcam",
            ),
            Verb(
                "maps",
                ".explain.maps_command",
                "what the attention of fusion blocks decides, as maps and distributions",
                "--run runs/quickstart digit.png --output maps",
            ),
        ),
    ),
    (
        "ship a trained network",
        (
            Verb(
                "export",
                ".deploy.export_command",
                "a trained network as files for MXNet alone, for ONNX Runtime and for PyTorch",
                "--run runs/quickstart --format all --output exported",
            ),
            Verb(
                "import-torch",
                ".deploy.import_torch",
                "the weights of a network that PyTorch has trained, as a .params file",
                "exported/trained.safetensors --output trained.params",
            ),
            Verb(
                "optimise",
                ".deploy.optimise_command",
                "a trained network made fast for inference on the CPU",
                "--run runs/quickstart --output optimised --int8",
            ),
        ),
    ),
    (
        "published results",
        (
            Verb(
                "reproduce",
                ".published.command",
                "the published rows, and a run beside one of them",
                "cifar100_fine_aff_resnet32 --run runs/fine",
            ),
        ),
    ),
    (
        "this machine",
        (
            Verb(
                "benchmark",
                ".speed.benchmark",
                "speed and memory of models, in training and inference",
                "aff_resnet32 --against add",
            ),
            Verb(
                "doctor",
                ".doctor",
                "whether training works here, and what to do where it does not",
                "data.dir=PATH",
            ),
        ),
    ),
)

VERBS: Dict[str, Verb] = {verb.name: verb for _, verbs in GROUPS for verb in verbs}


def _overview() -> str:
    """The commands under their headings, each with an example."""
    width = max(map(len, VERBS))
    lines: List[str] = []
    for heading, verbs in GROUPS:
        lines += ["", f"{heading}:"]
        for verb in verbs:
            lines += [f"  {verb.name:<{width}}  {verb.purpose}", f"  {'':<{width}}    {_example(verb)}"]
    return "\n".join([*lines, "", f"The options of a command: {_PROGRAM} COMMAND --help"]).strip()


def _example(verb: Verb) -> str:
    return f"{_PROGRAM} {verb.name} {verb.example}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        usage=f"{_PROGRAM} COMMAND ...",
        description="Attentional feature fusion in MXNet/Gluon.",
        epilog=_overview(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("command", metavar="COMMAND", help="one of those below")
    return parser


def parser_of(verb: Verb) -> argparse.ArgumentParser:
    """The parser of a command, which only the command's own module knows how to make."""
    commands = argparse.ArgumentParser().add_subparsers(prog=_PROGRAM)
    import_module(verb.module, __package__).add_command(commands)
    parser: argparse.ArgumentParser = commands.choices[verb.name]
    parser.description = f"{verb.purpose[0].upper()}{verb.purpose[1:]}."
    parser.epilog = f"example: {_example(verb)}"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    return parser


def parse(words: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """What a command line asks for. The first word names the command, and the others may come in any order.

    Parameters
    ----------
    words : sequence of str, optional
        The words after the program's name; the process's own unless given.

    Returns
    -------
    Namespace
        With `run_command`, the function that does it.
    """
    words = list(sys.argv[1:] if words is None else words)
    parser = _parser()
    name = parser.parse_args(words[:1]).command
    if name not in VERBS:
        _refuse(parser, name)
    return parse_in_any_order(parser_of(VERBS[name]), words[1:])


def _refuse(parser: argparse.ArgumentParser, name: str) -> NoReturn:
    parser.error(f"no such command {name!r}, {nearest(name, VERBS)}")


def _run(words: Optional[Sequence[str]]) -> int:
    arguments = parse(words)
    return arguments.run_command(arguments) or 0


#: Where the `COMPLETERS` of arguments are, by the arguments' `dest`.
_COMPLETERS = {
    **dict.fromkeys(("model", "models", "pattern", "against", "fusions", "arguments"), ".models.completers"),
    **dict.fromkeys(("config", "settings", "words"), ".training.completers"),
    "row": ".published.completers",
}


def _complete() -> NoReturn:
    """Complete the word under the cursor, in a process that a shell has started for that."""
    compute_nothing()
    parser = argparse.ArgumentParser(prog=_PROGRAM)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers()
    written = os.environ.get("COMP_LINE", "").split()
    for verb in VERBS.values():
        if verb.name in written:  # the options of the others are not asked for
            import_module(verb.module, __package__).add_command(commands)
        else:
            commands.add_parser(verb.name, help=verb.purpose)
    complete(parser, {dest: partial(_completed, dest, module) for dest, module in _COMPLETERS.items()})


def _completed(dest: str, module: str, written: str) -> Iterable[str]:
    """What an argument may be. The module is imported only for an argument that is being written."""
    words: Iterable[str] = import_module(module, __package__).COMPLETERS[dest](written)
    return words


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run a command; the exit status is 0, 1 where some of many images were left out, or 2 for bad input."""
    if arguments is None and asked_for():
        _complete()
    return reported(_run)(arguments)


if __name__ == "__main__":
    sys.exit(main())
