#!/usr/bin/env python
"""Draws which rooms of the package import which others: the picture of docs/design.md.

    python benchmarks/structure.py --output docs/design.png

A room is a folder of `fusion/`, or a file beside these; an arrow says that one imports another at its top. A room
stands one floor above the highest room that it imports, and rooms that import each other in a circle are an error.
"""

from __future__ import annotations

import argparse
import ast
from pathlib import Path
from typing import Dict, Iterator, List, Set, Tuple

PACKAGE = Path(__file__).resolve().parents[1] / "fusion"

#: Modules that every room may use. They are drawn as one room.
GROUND = "ground"
_GROUND = (
    *("errors", "files", "machine", "memory", "processors", "progress", "signals", "words", "command", "compat"),
    *("completion", "lookup"),
    *("devices", "drawing", "fonts", "native_log", "norms", "tables", "timing", "gpus"),
    *("failures", "locks", "outputs", "printing", "reading", "recognise", "relay"),
)

#: Files that only pass a command on; they are not rooms.
_FACES = ("__main__", "launch")

_BLUE, _GREY = "#0072B2", "#888888"


def room_of(parts: Tuple[str, ...]) -> str:
    """The room of a module, whose name is given in parts without the package; empty for modules that only pass on."""
    if not parts or parts[0] in _FACES:
        return ""
    return GROUND if parts[0] in _GROUND else parts[0]


def imported(file: Path, package: Path = PACKAGE) -> Iterator[Tuple[str, ...]]:
    """The modules of the package that a file imports at its top, in parts; without those for type checkers only."""
    inside = file.relative_to(package).with_suffix("").parts
    here = inside[:-1]
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) - node.level + 1] + tuple((node.module or "").split(".") if node.module else ())
            for alias in node.names:
                whole = (*base, alias.name)
                is_module = (package / Path(*whole)).with_suffix(".py").is_file() or (package / Path(*whole)).is_dir()
                yield whole if is_module else base


def read_rooms(package: Path = PACKAGE) -> Tuple[Dict[str, int], Dict[str, Set[str]]]:
    """The number of lines of each room, and the rooms that it imports."""
    lines: Dict[str, int] = {}
    arrows: Dict[str, Set[str]] = {}
    for file in sorted(package.rglob("*.py")):
        parts = file.relative_to(package).with_suffix("").parts
        room = room_of(parts[:-1] if parts[-1] == "__init__" else parts)
        if not room:
            continue
        lines[room] = lines.get(room, 0) + len(file.read_text(encoding="utf-8").splitlines())
        found = {room_of(module) for module in imported(file, package)} - {room, ""}
        arrows[room] = arrows.get(room, set()) | found
    return lines, arrows


def floors(arrows: Dict[str, Set[str]]) -> Dict[str, int]:
    """The number of the floor on which each room is drawn, from 0.

    Raises
    ------
    ValueError
        If rooms import each other in a circle.
    """
    known: Dict[str, int] = {}

    def floor(room: str, above: Tuple[str, ...]) -> int:
        if room in above:
            circle = [*above[above.index(room) :], room]
            raise ValueError(f"rooms import each other in a circle: {' -> '.join(circle)}")
        if room not in known:
            known[room] = max((floor(other, (*above, room)) + 1 for other in arrows.get(room, ())), default=0)
        return known[room]

    for room in arrows:
        floor(room, ())
    return known


def draw(lines: Dict[str, int], arrows: Dict[str, Set[str]], path: Path) -> None:
    """Draw the rooms by floors, with an arrow for each import that does not follow from other arrows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height = floors(arrows)
    rows: List[List[str]] = [[] for _ in range(max(height.values()) + 1)]
    for room in sorted(height):
        rows[height[room]].append(room)
    figure = Figure(figsize=(9, 1.05 * len(rows) + 0.3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    places = {
        room: ((index + 0.5) / len(row), float(floor))
        for floor, row in enumerate(rows)
        for index, room in enumerate(row)
    }
    for room, others in arrows.items():
        for other in sorted(_direct(others, arrows)):
            (x, y), (to_x, to_y) = places[room], places[other]
            arrow = {"arrowstyle": "-|>", "color": _GREY, "linewidth": 0.9, "shrinkA": 12, "shrinkB": 12}
            axes.annotate("", xy=(to_x, to_y), xytext=(x, y), arrowprops=arrow)
    for room, (x, y) in places.items():
        name = "errors, files, compat, …" if room == GROUND else room
        box = {"boxstyle": "round,pad=0.45", "facecolor": "#e8f1f8", "edgecolor": _BLUE}
        axes.text(x, y, f"{name}\n{lines[room]:,} lines", ha="center", va="center", fontsize=9, bbox=box)
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.5, len(rows) - 0.5)
    axes.axis("off")
    figure.savefig(path, dpi=110, format="png")


def _direct(others: Set[str], arrows: Dict[str, Set[str]]) -> Set[str]:
    """Of the rooms that a room imports, those that none of its other imports leads to."""

    def below(room: str) -> Set[str]:
        found = set(arrows.get(room, ()))
        return found.union(*(below(other) for other in found))

    return {room for room in others if not any(room in below(other) for other in others - {room})}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, required=True, metavar="PNG", help="the picture")
    arguments = parser.parse_args()
    lines, arrows = read_rooms()
    draw(lines, arrows, arguments.output)
    print(f"{arguments.output}: {len(lines)} rooms, {sum(map(len, arrows.values()))} imports between them")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
