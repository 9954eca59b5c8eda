"""The parts of a network: blocks by their structural names, stages by number, and where the fusion blocks are."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Dict, Iterable, Iterator, List, Tuple

from ..errors import ConfigError, nearest
from ..fuse import find_fusion, list_fusions

#: How deep an error message lists layers.
_LISTED_DEPTH = 1


@dataclass(frozen=True)
class Place:
    """A fusion block and where in a network it is.

    Attributes
    ----------
    name : str
        Structural name, such as `features.3.0.attention`.
    stage, position : int
        From 1: the stage, and which of its blocks. Stage 0 is outside any stage.
    block : HybridBlock
        The fusion block.
    """

    name: str
    stage: int
    position: int
    block: Any


def walk(block: Any, name: str = "") -> Iterator[Tuple[str, Any]]:
    """Every block of a network with its structural name, each before its children; the network's own is empty.

    The children of a block that names of parameters leave out (`fusion.long_skip.Inlined`) are named without it too.
    """
    yield name, block
    left_out = getattr(block, "inlined", ())
    for child_name, child in block._children.items():
        own = f"{name}.{child_name}" if name else child_name
        below = walk(child, name if child_name in left_out else own)
        _, first = next(below)
        yield own, first
        yield from below


@contextmanager
def imperative(blocks: Iterable[Any]) -> Iterator[None]:
    """Compiled blocks run one by one: inside a compiled network, hooks see symbols, which have no shape."""
    compiled = [block for block in blocks if getattr(block, "_active", False)]
    for block in compiled:
        block._active = False
    try:
        yield
    finally:
        for block in compiled:
            block._active = True


def stages(net: Any) -> List[Tuple[str, Any]]:
    """The stages of a network in order, with their structural names: containers whose every child holds a fusion block.

    Parameters
    ----------
    net : Block
        Any of this package, or another network that fuses by `fusion.fuse`.
    """
    kinds = _fusion_classes()
    return [
        (name, block)
        for name, block in walk(net)
        if block._children and all(_own_fusion(child, kinds) for child in block._children.values())
    ]


def fusion_places(net: Any) -> List[Place]:
    """Every fusion block of a network, in order."""
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
        A structural name, as `python -m fusion summary` shows them (`features.3.0.attention`), or one that begins
        with a stage (`stage3`, `stage3.0.attention`).

    Raises
    ------
    ConfigError
        If there is no such layer: the nearest ones, and those there are.
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
    """Every name that `find_layer` knows, with its block: first the stages, then structural names."""
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
