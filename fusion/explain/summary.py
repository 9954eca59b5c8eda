"""Parameters and multiply-adds of a network, block by block."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Tuple

import numpy as np

from ..compat import mx, nn
from ..models.network import count_parameters
from ..places import imperative, walk
from ..tables import text_table


@dataclass(frozen=True)
class BlockSummary:
    """What is counted of one block of a network.

    Attributes
    ----------
    name : str
        Where it is in the network, such as `features.2.0.attention`; empty for the network itself.
    kind : str
        Class name.
    output_shape : tuple of int
        For one image, without the batch axis; empty for a block that gives several maps.
    parameters : int
        How many numbers are learnt; running statistics are not counted, as in the published figures.
    multiply_adds : int
        Of its convolutions and dense layers, for one image. Operations without a weight are not counted.
    """

    name: str
    kind: str
    output_shape: Tuple[int, ...]
    parameters: int
    multiply_adds: int


def summarise(net: Any, input_size: Optional[int] = None) -> List[BlockSummary]:
    """Count a network's parameters and multiply-adds by running it on one image.

    Parameters
    ----------
    net : Network
        From `fusion.get_model`. Its weights need not be initialised; those that are not stay so.
    input_size : int, optional
        Height and width of the image in pixels; by default those of the network's images.

    Returns
    -------
    list of BlockSummary
        Every block, each before its children; the first is the network itself.

    Examples
    --------
    >>> import fusion
    >>> whole, *blocks = summarise(fusion.get_model("aff_resnet8_digits"))
    >>> whole.parameters
    84066
    >>> whole.output_shape
    (10,)
    """
    size = input_size or net.input_size
    shapes: Dict[int, _Shapes] = {}
    blocks = list(walk(net))
    with _initialised(net), imperative(block for _, block in blocks):
        hooks = [block.register_forward_hook(_record(shapes)) for _, block in blocks]
        try:
            net(mx.nd.zeros((1, 3, size, size)))
        finally:
            for hook in hooks:
                hook.detach()
    return [
        BlockSummary(
            name,
            type(block).__name__,
            shapes.get(id(block), _UNUSED).output,
            count_parameters(block),
            _cost(block, shapes),
        )
        for name, block in blocks
    ]


@contextmanager
def _initialised(net: Any) -> Iterator[None]:
    """Weights that are not initialised hold zeros within the block, and are left as they were after it."""
    uninitialised = [parameter for parameter in net.collect_params().values() if parameter._data is None]
    for parameter in uninitialised:
        parameter.initialize(mx.init.Zero())
    try:
        yield
    finally:
        for parameter in uninitialised:
            parameter._data = parameter._grad = None


@dataclass(frozen=True)
class _Shapes:
    """Of a block's first input and of its output, for one image; empty where that is not one array."""

    input: Tuple[int, ...]
    output: Tuple[int, ...]


#: Of a block that took no part.
_UNUSED = _Shapes((0, 0), ())


def _record(shapes: Dict[int, _Shapes]) -> Any:
    def hook(block: Any, inputs: Any, output: Any) -> None:
        shapes[id(block)] = _Shapes(*(tuple(getattr(value, "shape", ())[1:]) for value in (inputs[0], output)))

    return hook


def _cost(block: Any, shapes: Dict[int, _Shapes]) -> int:
    """A convolution or dense layer applies all its weights once per output pixel, a transposed one per input pixel."""
    if isinstance(block, (nn.Conv2D, nn.Conv2DTranspose, nn.Dense)):
        found = shapes.get(id(block), _UNUSED)
        shape = found.input if isinstance(block, nn.Conv2DTranspose) else found.output or _UNUSED.input
        return int(np.prod(block.weight.shape)) * int(np.prod(shape[1:]))
    return sum(_cost(child, shapes) for child in block._children.values())


def format_table(blocks: List[BlockSummary], depth: int) -> str:
    """The blocks down to a depth as text, with the totals below.

    Parameters
    ----------
    blocks : list of BlockSummary
        From `summarise`.
    depth : int
        1 shows the network's children, 2 also the children of these, and so on.
    """
    total = blocks[0]
    table = text_table(
        ("layer", "kind", "output", "parameters", "multiply-adds"),
        [_words(block) for block in blocks if block.name and block.name.count(".") < depth],
        left=3,
        totals=("total", "", "", f"{total.parameters:,}", f"{total.multiply_adds:,}"),
    )
    per_image = f"{total.multiply_adds / 1e9:.3f} G multiply-adds per image"
    return f"{table}\n{total.parameters / 1e6:.2f} M parameters, {per_image}"


def _words(block: BlockSummary) -> Tuple[str, ...]:
    indent = "  " * block.name.count(".")
    shape = "×".join(map(str, block.output_shape)) or "-"
    return indent + block.name, block.kind, shape, f"{block.parameters:,}", f"{block.multiply_adds:,}"
