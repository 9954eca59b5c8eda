"""The picture of `python -m fusion benchmark`: images per second as bars."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

from ..errors import ConfigError
from .measuring import WAYS, Measurement

#: What a picture can be written as, by the ending of its name.
FORMATS = {".png": "png", ".pdf": "pdf", ".svg": "svg", ".jpg": "jpg", ".jpeg": "jpg"}


def picture_format(path: Path) -> str:
    """The format of a picture by the ending of its name.

    Raises
    ------
    ConfigError
        If no picture can be written under such a name.
    """
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"--output {path}: expected a name that ends in {', '.join(FORMATS)}")
    return FORMATS[path.suffix.lower()]


def draw(rows: Sequence[Measurement], path: Path, form: str = "png") -> None:
    """Draw images per second as bars with their middle half: a panel per batch size, for training and for inference.

    Parameters
    ----------
    rows : sequence of Measurement
        What was measured.
    path : Path
        The file to write.
    form : str
        Its format.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from ..drawing import BLUE, GREEN, GREY, ORANGE, SKY

    colours = dict(zip(WAYS, (GREY, BLUE, ORANGE, GREEN, SKY, "#E69F00")))
    panels = [
        (size, training)
        for size in dict.fromkeys(row.batch_size for row in rows)
        for training in (False, True)
        if any(row.batch_size == size and (row.way == "training") == training for row in rows)
    ]
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    most = max(sum(_in_panel(row, *panel) for row in rows) for panel in panels)
    figure = Figure(figsize=(5.2 * columns + 1, lines * (1.3 + 0.3 * most)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes, panel in zip(grid, panels):
        inside = [row for row in rows if _in_panel(row, *panel)]
        rates = [row.images_per_second for row in inside]
        # At least 0: after one round the quartiles equal the median, and rounding can make the difference negative.
        middle_half = [
            [max(0.0, rate - row.batch_size / row.high * 1000) for rate, row in zip(rates, inside)],
            [max(0.0, row.batch_size / row.low * 1000 - rate) for rate, row in zip(rates, inside)],
        ]
        names = [row.model if panel[1] else f"{row.model}, {row.way}" for row in inside]
        axes.barh(range(len(inside)), rates, color=[colours[row.way] for row in inside], height=0.7)
        axes.errorbar(rates, range(len(inside)), xerr=middle_half, fmt="none", ecolor="black", elinewidth=1, capsize=2)
        axes.set_yticks(range(len(inside)), names, fontsize=8)
        axes.invert_yaxis()
        axes.set_xlabel("images per second")
        images = "1 image" if panel[0] == 1 else f"{panel[0]} images"
        axes.set_title(f"{'a training step on' if panel[1] else 'inference on'} {images}", fontsize=10)
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    figure.suptitle("Speed on this machine: medians, with the middle half of the rounds", fontsize=11)
    figure.savefig(path, dpi=110, format=form)


def _in_panel(row: Measurement, size: int, training: bool) -> bool:
    return row.batch_size == size and (row.way == "training") == training
