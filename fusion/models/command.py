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
from .zoo import FAMILIES, MODELS

logger = logging.getLogger(__name__)

#: How the figures of weights are shown.
_FIGURES = {"accuracy": lambda value: f"{100 * value:.2f} %", "iou": lambda value: f"IoU {value:.4f}"}


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `models`."""
    parser = commands.add_parser("models")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    aliases = fusion_aliases()
    weights = _sound_weights()
    if arguments.json:
        named = {name: {"family": family, **preset} for name, (family, preset) in MODELS.items()}
        known = {name: {found.figure: found.value, "data": found.trained_on} for name, found in weights.items()}
        print(json.dumps({"families": list(FAMILIES), "models": named, "fusions": aliases, "pretrained": known}))
        return
    _print(aliases, weights)


def _sound_weights() -> Dict[str, Weights]:
    """The weights that come with the package; those whose files are damaged are told and left out."""
    found = {}
    for name in list_pretrained():
        try:
            found[name] = find_weights(name)
        except CheckpointError as error:
            logger.warning("left out: %s", error)
    return found


def _print(aliases: Mapping[str, Sequence[str]], weights: Mapping[str, Weights]) -> None:
    print(f"families  {', '.join(FAMILIES)}")
    print("models")
    described = {
        name: f"{family}: {', '.join(f'{key}={value}' for key, value in preset.items())}"
        for name, (family, preset) in MODELS.items()
    }
    for name, found in weights.items():
        described[name] += f"; weights: {_FIGURES[found.figure](found.value)} on {found.trained_on}"
    print(text_columns(list(described.items())))
    print("fusions")
    print(text_columns([(name, ", ".join(others)) for name, others in aliases.items()]))
