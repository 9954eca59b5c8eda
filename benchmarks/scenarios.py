#!/usr/bin/env python
"""Draws the three places where features meet, from the graphs of this package's own layers: docs/scenarios.png.

    python benchmarks/scenarios.py --output docs/scenarios.png

Each layer is called on symbols, and its parts say what they were given and what they made of it: the boxes are its
parts, by their names in the code, and what MXNet computes between them. A fusion block's two arrows are marked x and y.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import fusion
from fusion.attentional import WeightedFusion
from fusion.compat import mx
from fusion.long_skip import LongSkip

_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#888888"


@dataclass
class Layers:
    """The parts of a layer and what flows between them.

    Attributes
    ----------
    arrows : list of (str, str, str)
        From, to, and what the arrow is called.
    fusions : set of str
        The parts that fuse.
    """

    arrows: List[Tuple[str, str, str]] = field(default_factory=list)
    fusions: List[str] = field(default_factory=list)

    @property
    def parts(self) -> List[str]:
        """Every part, in the order of the arrows."""
        return list(dict.fromkeys(name for arrow in self.arrows for name in arrow[:2]))


def trace(layer: Any, inputs: Sequence[str], opened: Sequence[str] = ()) -> Layers:
    """The parts of a layer, from a call on symbols.

    Parameters
    ----------
    layer : HybridBlock
        Whose children are the parts.
    inputs : sequence of str
        A name for each of its inputs.
    opened : sequence of str
        Children whose own children stand for them.
    """
    parts: Dict[str, Any] = {}
    for name, child in layer._children.items():
        parts.update(child._children if name in opened else {name: child})
    found = Layers()
    made: Dict[str, str] = {}
    calls: List[Tuple[str, Tuple[Any, ...], Any]] = []
    handles = [
        child.register_forward_hook(lambda _, given, out, name=name: calls.append((name, given, out)))
        for name, child in parts.items()
    ]
    symbols = [mx.sym.Variable(name) for name in inputs]
    made.update((symbol.name, name) for symbol, name in zip(symbols, inputs))
    output = layer(*symbols)
    for handle in handles:
        handle.detach()
    for name, given, out in calls:
        fuses = isinstance(parts[name], (WeightedFusion, LongSkip))
        if fuses:
            found.fusions.append(name)
        names = ("high: x", "low: y") if isinstance(parts[name], LongSkip) else ("x", "y")
        outputs = out if isinstance(out, (list, tuple)) else [out]
        if outputs[0].name in made:  # an empty part hands on what it is given
            continue
        for symbol, label in zip(given, names if fuses else ("",) * len(given)):
            _connect(found, made, symbol, name, label)
        made.update((one.name, name) for one in outputs)
    _connect(found, made, output[0] if isinstance(output, (list, tuple)) else output, "output", "")
    return found


def _connect(found: Layers, made: Dict[str, str], symbol: Any, to: str, label: str) -> None:
    """Add the arrow from what made a symbol, with the operators between two parts where there are some."""
    if symbol.name not in made:
        operator = json.loads(symbol.tojson())["nodes"][-1]["op"]
        made[symbol.name] = _OPERATORS.get(operator, operator)
        made[symbol.name] += " " * sum(part.strip() == made[symbol.name] for part in found.parts)  # tells them apart
        children = symbol.get_children()
        inputs = [] if children is None else list(children)
        for child in inputs[:1] if operator in _OF_A_SIZE else inputs:
            if not child.name.endswith(("_weight", "_bias")):
                _connect(found, made, child, made[symbol.name], "")
    arrow = (made[symbol.name], to, label)
    if arrow not in found.arrows and arrow[0] != to:
        found.arrows.append(arrow)


#: Operators whose second input only says how large the result is.
_OF_A_SIZE = ("_contrib_BilinearResize2D", "slice_like")

#: MXNet's operators in words.
_OPERATORS = {"_contrib_BilinearResize2D": "bilinear resize", "elemwise_add": "+", "Activation": "ReLU", "relu": "ReLU"}


def places(layers: Layers) -> Dict[str, Tuple[float, float]]:
    """Where each part stands: a column behind all that it is made of, and beside the others of its column."""
    column: Dict[str, int] = {}

    def depth(part: str) -> int:
        if part not in column:
            column[part] = 1 + max((depth(a) for a, b, _ in layers.arrows if b == part), default=-1)
        return column[part]

    rows: Dict[int, List[str]] = {}
    for part in sorted(layers.parts, key=depth):
        rows.setdefault(depth(part), []).append(part)
    return {part: (float(x), (len(row) - 1) / 2 - index) for x, row in rows.items() for index, part in enumerate(row)}


def draw(axes: Any, layers: Layers, title: str) -> None:
    """Draw a layer's parts on axes."""
    at = places(layers)
    boxes = {}
    for part, (x, y) in at.items():
        fuses = part in layers.fusions
        box = {"boxstyle": "round,pad=0.4", "facecolor": "#fbe9df" if fuses else "#e8f1f8"}
        box["edgecolor"] = _ORANGE if fuses else _BLUE
        text = axes.text(x, y, part.strip(), ha="center", va="center", fontsize=9, bbox=box, zorder=3)
        boxes[part] = text.get_bbox_patch()
    for start, end, label in layers.arrows:
        (x, y), (to_x, to_y) = at[start], at[end]
        bend = 0.16 if to_x - x > 1 and y == to_y else 0.0
        arrow = {"arrowstyle": "-|>", "color": _GREY, "patchA": boxes[start], "patchB": boxes[end], "shrinkB": 4}
        arrow["connectionstyle"] = f"arc3,rad={bend}"
        axes.annotate("", xy=(to_x, to_y), xytext=(x, y), arrowprops=arrow)
        if label:
            where = (to_x - 0.38 * (to_x - x), to_y - 0.38 * (to_y - y))
            if y == to_y:
                where = (to_x - 0.42, to_y - 0.62) if bend else ((x + to_x) / 2 + 0.12, y + 0.52)
            ground = {"facecolor": "white", "edgecolor": "none", "pad": 1}
            axes.text(*where, label, ha="center", va="center", fontsize=9, color=_ORANGE, bbox=ground, zorder=2.5)
    axes.set_xlim(-0.6, max(x for x, _ in at.values()) + 0.6)
    span = [y for _, y in at.values()]
    bent = any(label and at[a][1] == at[b][1] and at[b][0] - at[a][0] > 1 for a, b, label in layers.arrows)
    axes.set_ylim(min(span) - (1.9 if bent else 0.6), max(span) + 0.8)
    axes.set_title(title, loc="left", fontsize=10)
    axes.axis("off")


def three_places() -> List[Tuple[str, Layers]]:
    """A layer of each place, with the title of its picture."""
    residual = fusion.get_model("cifar_resnet", fusion="aff", blocks=1, channel_times=1).features[3][0]
    unit = fusion.get_model("cifar_inception", fusion="aff", blocks=1, channel_times=1).features[1]
    pyramid = fusion.get_model("fpn", fusion="aff", blocks=1, channel_times=1, tiny=True)
    return [
        ("Short skip: a residual block of cifar_resnet", trace(residual, ["input"])),
        ("Same layer: a unit of cifar_inception", trace(unit, ["input"])),
        ("Long skip: the pyramid of fpn", trace(pyramid.pyramid, ["image"], opened=["encoder"])),
    ]


def main() -> int:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, required=True, metavar="PNG", help="the picture")
    arguments = parser.parse_args()
    found = three_places()
    figure = Figure(figsize=(11, 6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, layers) in zip(figure.subplots(len(found), 1), found):
        draw(axes, layers, title)
    figure.savefig(arguments.output, dpi=110, format="png")
    print(f"{arguments.output}: " + "; ".join(f"{title}, {len(layers.parts)} parts" for title, layers in found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
