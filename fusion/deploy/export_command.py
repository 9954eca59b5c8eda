"""python -m fusion export: a trained network as files for MXNet alone, for ONNX Runtime and for PyTorch."""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any, List, Tuple

from ..command import log_to_terminal, split_settings
from ..errors import ConfigError
from ..inference.source import add_source, from_arguments
from ..inference.trained import Trained, load_config
from .export import FORMATS, Exported, export
from .pytorch.interpreter import find_torch
from .verify import TOLERANCE

#: The most pixels that a side of an image may have: a larger batch of the comparison would fill the memory.
_LARGEST_SIDE = 4096


#: Every format that can be compared with the network here.
_ALL = "all"

logger = logging.getLogger("fusion")


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `export`."""
    parser = commands.add_parser("export")
    words = "the network of an experiment as its training begins, to be trained in PyTorch"
    add_source(parser).add_argument("--config", type=Path, metavar="FILE", help=words)
    words = "(default: symbol); all is without torch where there is no PyTorch"
    parser.add_argument("--format", choices=(*FORMATS, _ALL), default="symbol", help=words)
    words = "an interpreter that can import torch and safetensors (default: this one)"
    parser.add_argument("--torch-python", metavar="PYTHON", help=words)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="a new folder for the files")
    parser.add_argument(
        "--with-preprocess", action="store_true", help="the graph takes uint8 images (batch, height, width, 3)"
    )
    parser.add_argument("--input-shape", metavar="HEIGHT,WIDTH", help="size of the images (default: as trained)")
    words = "a real image, or a folder of them, to compare the answers on; for several, write --images A B"
    parser.add_argument("--images", action="append", default=[], metavar="PATH", help=words)
    parser.add_argument("--force", action="store_true", help="replace an earlier export")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    words = "further images, after --images; after --config, settings such as model.fusion=iaff"
    parser.add_argument("words", nargs="*", metavar="PATH", help=words)
    parser.set_defaults(run_command=_run)


def _images(arguments: argparse.Namespace) -> List[Path]:
    """The images that the command line names: --images takes one word, and the words without an option join it."""
    settings, further = split_settings(arguments.words)
    if settings and arguments.config is None:
        raise ConfigError(f"{settings[0]}: export reads no data set, and takes settings with --config; leave it out")
    if further and not arguments.images:
        raise ConfigError(f"{further[0]}: export knows no such word; images to compare the answers on follow --images")
    return [Path(word) for word in (*arguments.images, *further)]


def _network(arguments: argparse.Namespace) -> Trained:
    if arguments.config is None:
        return from_arguments(arguments)
    if arguments.checkpoint is not None:
        raise ConfigError(
            f"--checkpoint {arguments.checkpoint}: is for --run and --model; with --config, the weights to begin with "
            "are train.initial_parameters=FILE"
        )
    settings, _ = split_settings(arguments.words)
    return load_config(arguments.config, settings, arguments.device)


def _formats(arguments: argparse.Namespace) -> Tuple[str, ...]:
    if arguments.format != _ALL:
        return (arguments.format,)
    if find_torch(arguments.torch_python):
        return tuple(FORMATS)
    logger.info("torch: left out, since there is no PyTorch to compare it by; --torch-python PYTHON names one")
    return tuple(name for name in FORMATS if name != "torch")


def _run(arguments: argparse.Namespace) -> None:
    images = _images(arguments)
    log_to_terminal("stderr" if arguments.json else "stdout")
    size = input_shape(arguments.input_shape) if arguments.input_shape else None
    done = export(
        _network(arguments),
        arguments.output,
        _formats(arguments),
        size,
        arguments.with_preprocess,
        images,
        arguments.force,
        arguments.torch_python,
    )
    if arguments.json:
        print(json.dumps({**asdict(done), "folder": str(done.folder)}))
    else:
        _print(done)


def _print(done: Exported) -> None:
    print(f"{done.model}: {done.folder}")
    for name, size_in_bytes in done.files.items():
        print(f"  {name:<18} {size_in_bytes / 1e6:8.2f} MB")
    for name, shares in done.differences.items():
        listed = ", ".join(f"{batch} {share:.1e}" for batch, share in shares.items())
        print(f"  {name}: largest difference {max(shares.values()):.1e} of the largest output ({listed})")
    print(f"  allowed: {TOLERANCE:g}")


def input_shape(text: str) -> Tuple[int, int]:
    """Height and width of HEIGHT,WIDTH, of one number for both, or of 3,HEIGHT,WIDTH.

    Raises
    ------
    ConfigError
        If the text is none of them, or a side is not from 1 to 4,096 pixels.
    """
    try:
        numbers = [int(word) for word in text.replace("x", ",").split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 3 and numbers[0] == 3:
        numbers = numbers[1:]
    if len(numbers) == 1:
        numbers *= 2
    if len(numbers) != 2 or not all(1 <= number <= _LARGEST_SIDE for number in numbers):
        raise ConfigError(
            f"--input-shape {text}: expected HEIGHT,WIDTH in pixels, each from 1 to {_LARGEST_SIDE:,}, such as 224,224"
        )
    return numbers[0], numbers[1]
