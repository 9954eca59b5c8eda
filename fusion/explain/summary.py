"""Parameters and multiply-adds of a network, block by block."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Tuple

import numpy as np

from ..compat import mx, nn
from ..models.network import count_parameters
from .layers import imperative, walk


@dataclass(frozen=True)
class Row:
    """One block of a network.

    Attributes
    ----------
    name : str
        Structural name, such as `features.2.0.attention`; empty for the network itself.
    kind : str
        Class name.
    output_shape : tuple of int
        For one image, without the batch axis.
    parameters : int
        Learnable numbers in it; running statistics are not counted, as in the published figures.
    multiply_adds : int
        Of its convolutions and dense layers, for one image; what costs no multiplication by a weight is not counted.
    """

    name: str
    kind: str
    output_shape: Tuple[int, ...]
    parameters: int
    multiply_adds: int


def summarise(net: Any, input_size: Optional[int] = None) -> List[Row]:
    """Count a network's parameters and multiply-adds by running it on one image.

    Parameters
    ----------
    net : Network
        From `fusion.get_model`; its weights may be started or not, and are left so.
    input_size : int, optional
        Height and width of the image in pixels; the network's own unless given.

    Returns
    -------
    list of Row
        Every block, each before its children, the network itself first.
    """
    size = input_size or net.input_size
    shapes: Dict[int, Tuple[int, ...]] = {}
    blocks = list(walk(net))
    with _started(net), imperative(block for _, block in blocks):
        hooks = [block.register_forward_hook(_record(shapes)) for _, block in blocks]
        try:
            net(mx.nd.zeros((1, 3, size, size)))
        finally:
            for hook in hooks:
                hook.detach()
    return [
        Row(name, type(block).__name__, shapes.get(id(block), ()), count_parameters(block), _cost(block, shapes))
        for name, block in blocks
    ]


@contextmanager
def _started(net: Any) -> Iterator[None]:
    """Zeros in the weights that have not been started, for as long as this lasts."""
    unstarted = [parameter for parameter in net.collect_params().values() if parameter._data is None]
    for parameter in unstarted:
        parameter.initialize(mx.init.Zero())
    try:
        yield
    finally:
        for parameter in unstarted:
            parameter._data = parameter._grad = None


def _record(shapes: Dict[int, Tuple[int, ...]]) -> Any:
    def hook(block: Any, inputs: Any, output: Any) -> None:
        shapes[id(block)] = tuple(output.shape[1:])

    return hook


def _cost(block: Any, shapes: Dict[int, Tuple[int, ...]]) -> int:
    """A convolution or dense layer applies all its weights once for each output pixel."""
    if isinstance(block, (nn.Conv2D, nn.Dense)):
        pixels = int(np.prod(shapes[id(block)][1:])) if id(block) in shapes else 0
        return int(np.prod(block.weight.shape)) * pixels
    return sum(_cost(child, shapes) for child in block._children.values())


def format_table(rows: List[Row], depth: int) -> str:
    """The rows down to a depth as text, with the totals below.

    Parameters
    ----------
    rows : list of Row
        From `summarise`.
    depth : int
        1 shows the network's children, 2 theirs too, ...
    """
    shown = [row for row in rows if row.name and row.name.count(".") < depth]
    cells = [("layer", "kind", "output", "parameters", "multiply-adds")]
    cells += [(*_words(row), f"{row.parameters:,}", f"{row.multiply_adds:,}") for row in shown]
    total = rows[0]
    cells.append(("total", "", "", f"{total.parameters:,}", f"{total.multiply_adds:,}"))
    widths = [max(len(line[column]) for line in cells) for column in range(5)]
    lines = [
        "  ".join(cell.rjust(width) if column > 2 else cell.ljust(width) for column, (cell, width) in columns).rstrip()
        for columns in (list(enumerate(zip(line, widths))) for line in cells)
    ]
    rule = "-" * max(map(len, lines))
    lines[1:1], lines[-1:] = [rule], [rule, lines[-1]]
    lines.append(f"{total.parameters / 1e6:.2f} M parameters, {total.multiply_adds / 1e9:.3f} G multiply-adds an image")
    return "\n".join(lines)


def _words(row: Row) -> Tuple[str, str, str]:
    indent = "  " * row.name.count(".")
    return indent + row.name, row.kind, "×".join(map(str, row.output_shape)) or "-"
