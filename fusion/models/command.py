"""python -m fusion models: the models and fusion blocks by name, and the weights that come with the package."""

from __future__ import annotations

import argparse
import json
import logging
from typing import Any, Dict, Mapping, Sequence

from ..errors import CheckpointError
from ..fuse import fusion_aliases
from ..tables import text_columns
from .pretrained import Weights, find_weights, list_pretrained
from .zoo import FAMILIES, MODELS, list_models

logger = logging.getLogger(__name__)

#: How the figures of weights are shown.
_FIGURES = {"accuracy": lambda value: f"{100 * value:.2f} %", "iou": lambda value: f"IoU {value:.4f}"}


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `models`."""
    parser = commands.add_parser("models")
    parser.add_argument("pattern", nargs="?", metavar="PATTERN", help="only models that it matches, such as 'aff_*'")
    parser.add_argument("--pretrained", action="store_true", help="only models whose weights come with the package")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    names = list_models(arguments.pattern, arguments.pretrained)
    aliases = fusion_aliases()
    weights = _sound_weights(names)
    if arguments.json:
        named = {name: {"family": MODELS[name][0], **MODELS[name][1]} for name in names}
        known = {name: {found.figure: found.value, "data": found.trained_on} for name, found in weights.items()}
        print(json.dumps({"families": list(FAMILIES), "models": named, "fusions": aliases, "pretrained": known}))
    elif arguments.pattern is None and not arguments.pretrained:
        print(f"families  {', '.join(FAMILIES)}\nmodels\n{_described(names, weights)}")
        print("fusions")
        print(text_columns([(name, ", ".join(others)) for name, others in aliases.items()]))
    elif names:
        print(_described(names, weights))


def _sound_weights(names: Sequence[str]) -> Dict[str, Weights]:
    """The weights of those models that have some; weights whose files are damaged are told and left out."""
    found = {}
    for name in [name for name in list_pretrained() if name in names]:
        try:
            found[name] = find_weights(name)
        except CheckpointError as error:
            logger.warning("left out: %s", error)
    return found


def _described(names: Sequence[str], weights: Mapping[str, Weights]) -> str:
    """Models by name, each with its family, its arguments and its weights."""
    lines = []
    for name in names:
        family, preset = MODELS[name]
        words = f"{family}: {', '.join(f'{key}={value}' for key, value in preset.items())}"
        if name in weights:
            found = weights[name]
            words += f"; weights: {_FIGURES[found.figure](found.value)} on {found.trained_on}"
        lines.append((name, words))
    return text_columns(lines)
