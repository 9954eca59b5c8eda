"""Finds the parts of a network: blocks by their structural names, stages by number, and the fusion blocks."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Dict, Iterable, Iterator, List, Tuple

from ..errors import ConfigError, nearest
from ..fuse import find_fusion, list_fusions

#: Error messages list layers with at most so many dots in their names.
_LISTED_DEPTH = 1


@dataclass(frozen=True)
class Place:
    """A fusion block and where in a network it is.

    Attributes
    ----------
    name : str
        Its structural name, such as `features.3.0.attention`.
    stage, position : int
        The number of the stage, and that of the block within it, both from 1. Stage 0 stands for a block outside all
        stages.
    block : HybridBlock
        The fusion block.
    """

    name: str
    stage: int
    position: int
    block: Any


def walk(block: Any, name: str = "") -> Iterator[Tuple[str, Any]]:
    """Every block of a network with its structural name, each before its children; the network's own is empty."""
    yield name, block
    for child_name, child in block._children.items():
        yield from walk(child, f"{name}.{child_name}" if name else child_name)


@contextmanager
def imperative(blocks: Iterable[Any]) -> Iterator[None]:
    """Run compiled (hybridized) blocks one by one: hooks inside a compiled network get symbols without a shape."""
    compiled = [block for block in blocks if getattr(block, "_active", False)]
    for block in compiled:
        block._active = False
    try:
        yield
    finally:
        for block in compiled:
            block._active = True


def stages(net: Any) -> List[Tuple[str, Any]]:
    """The stages of a network in order, with their structural names.

    A stage is a container in which every child holds a fusion block.

    Parameters
    ----------
    net : Block
        A network of this package, or any other that uses fusion blocks of `fusion.fuse`.
    """
    kinds = _fusion_classes()
    return [
        (name, block)
        for name, block in walk(net)
        if block._children and all(_own_fusion(child, kinds) for child in block._children.values())
    ]


def fusion_places(net: Any) -> List[Place]:
    """Every fusion block of a network, in the network's order; those outside all stages come last."""
    kinds = _fusion_classes()
    found, seen = [], set()
    for stage, (name, block) in enumerate(stages(net), start=1):
        for position, (key, child) in enumerate(block._children.items(), start=1):
            for own in _own_fusion(child, kinds):
                seen.add(id(child._children[own]))
                found.append(Place(f"{name}.{key}.{own}", stage, position, child._children[own]))
    others = [(name, block) for name, block in walk(net) if isinstance(block, kinds) and id(block) not in seen]
    return found + [Place(name, 0, number, block) for number, (name, block) in enumerate(others, start=1)]


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


def _fusion_classes() -> Tuple[Any, ...]:
    return tuple(find_fusion(name) for name in list_fusions())


def _own_fusion(block: Any, kinds: Tuple[Any, ...]) -> List[str]:
    return [key for key, child in block._children.items() if isinstance(child, kinds)]
