"""Where the parts of a network are: blocks by their structural names, stages by number, and the fusion blocks."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Iterable, Iterator, List, Tuple

from .attentional import WeightedFusion
from .compat import mx
from .fuse import find_fusion, list_fusions

#: What a fusion block is given, x and y, if the layer that holds it does not say: a residual block's.
INPUTS = ("transformed features", "shortcut")


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
    unit : int, default 0
        From 1: which part of the block it is in, if each part of a block fuses on its own; 0 if the block fuses once.
    inputs : tuple of two str
        What x and y are: what the layer that holds the fusion block states as its `fused_inputs`.
    """

    name: str
    stage: int
    position: int
    block: Any
    unit: int = 0
    inputs: Tuple[str, str] = INPUTS

    @property
    def title(self) -> str:
        """Stage, block and unit; or, outside the stages, the layer."""
        if not self.stage:
            return f"layer {self.name.rpartition('.')[0] or self.name}"
        unit = f", unit {self.unit}" if self.unit else ""
        return f"stage {self.stage}, block {self.position}{unit}"


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
    """Run compiled (hybridized) blocks one by one: hooks inside a compiled network get symbols without a shape."""
    compiled = [block for block in blocks if getattr(block, "_active", False)]
    for block in compiled:
        block._active = False
    try:
        yield
    finally:
        for block in compiled:
            block._active = True


def on_device(net: Any, images: Any) -> Any:
    """Images, of MXNet or of NumPy, as the network takes them: on its device, and of its type."""
    parameter = next(iter(net.collect_params().values()))
    context = parameter.list_ctx()[0]
    dtype = getattr(net, "dtype", "float32")
    if isinstance(images, mx.nd.NDArray):
        return images.as_in_context(context).astype(dtype)
    return mx.nd.array(images, ctx=context, dtype=dtype)


def stages(net: Any) -> List[Tuple[str, Any]]:
    """The stages of a network in order, with their structural names: containers whose every child fuses.

    Such a child is a block that holds a fusion block, or one whose parts do, as each unit of an Inception block does.

    Parameters
    ----------
    net : Block
        A network of this package, or any other that uses fusion blocks of `fusion.fuse`.
    """
    kinds = _fusion_classes()
    return [(name, block) for name, block in walk(net) if _is_stage(block, kinds)]


def fusion_places(net: Any) -> List[Place]:
    """Every fusion block of a network, in the network's order, also those outside all stages."""
    kinds = _fusion_classes()
    in_stages = {
        f"{name}.{key}.{path}": (stage, position, unit)
        for stage, (name, block) in enumerate(stages(net), start=1)
        for position, (key, child) in enumerate(block._children.items(), start=1)
        for path, unit in _fusions_of(child, kinds)
    }
    found: List[Place] = []
    for name, holder, own in _held(net, kinds):
        outside = 1 + sum(not place.stage for place in found)
        stage, position, unit = in_stages.get(name, (0, outside, 0))
        inputs = getattr(holder, "fused_inputs", INPUTS)
        found.append(Place(name, stage, position, own, unit, inputs))
    return found


def _fusion_classes() -> Tuple[Any, ...]:
    return (*(find_fusion(name) for name in list_fusions()), WeightedFusion)


def _held(net: Any, kinds: Tuple[Any, ...]) -> Iterator[Tuple[str, Any, Any]]:
    """Each fusion block with its structural name and the layer that holds it."""
    for name, holder in walk(net):
        for key in _own_fusions(holder, kinds):
            yield f"{name}.{key}" if name else key, holder, holder._children[key]


def _is_stage(block: Any, kinds: Tuple[Any, ...]) -> bool:
    children = list(block._children.values())
    fuse = bool(children) and all(_fusions_of(child, kinds) for child in children)
    return fuse and not any(_is_stage(child, kinds) for child in children)  # nor is a container of stages one


def _fusions_of(block: Any, kinds: Tuple[Any, ...]) -> List[Tuple[str, int]]:
    """The fusion blocks of a residual block, by name within it, each with its unit: 0 if the block itself holds it."""
    own = [(key, 0) for key in _own_fusions(block, kinds)]
    in_parts = [
        [f"{part}.{key}" for key in _own_fusions(child, kinds)]
        for part, child in block._children.items()
        if not isinstance(child, kinds)
    ]
    units = enumerate((paths for paths in in_parts if paths), start=1)
    return own or [(path, unit) for unit, paths in units for path in paths]


def _own_fusions(block: Any, kinds: Tuple[Any, ...]) -> List[str]:
    return [key for key, child in block._children.items() if isinstance(child, kinds)]
