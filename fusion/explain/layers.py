"""Finds a layer of a network by name: its structural name, or one that begins with the number of a stage."""

from __future__ import annotations

from typing import Any, Dict

from ..errors import ConfigError, nearest
from ..places import stages, walk

#: Error messages list layers with at most so many dots in their names.
_LISTED_DEPTH = 1


def find_layer(net: Any, name: str) -> Any:
    """A layer of a network by name.

    Parameters
    ----------
    net : Block
        The network.
    name : str
        A structural name as `python -m fusion summary` shows it (`features.3.0.attention`), or a name that begins with
        a stage (`stage3`, `stage3.0.attention`).

    Raises
    ------
    ConfigError
        If there is no such layer; the message names the nearest ones, and those that exist.
    """
    named = layer_names(net)
    if name not in named:
        shown = [known for known in named if known.count(".") <= _LISTED_DEPTH]
        guess = nearest(name, named)
        meant = "" if guess.startswith("known") else f"{guess} "
        raise ConfigError(
            f"no layer is named {name!r}: {meant}There are {', '.join(shown)}, and the layers inside them"
        )
    return named[name]


def layer_names(net: Any) -> Dict[str, Any]:
    """Every name that `find_layer` knows, with its block: first names that begin with a stage, then structural ones."""
    blocks = {name: block for name, block in walk(net) if name}
    named = {}
    for number, (stage, _) in enumerate(stages(net), start=1):
        for name, block in blocks.items():
            if name == stage or name.startswith(f"{stage}."):
                named[f"stage{number}{name[len(stage) :]}"] = block
    return {**named, **blocks}
