"""Pages of pictures: their size, colours, fonts and file formats, and axes of epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Sequence, Tuple

import numpy as np

from .errors import ConfigError
from .fonts import families_for, quiet_fonts
from .printing import printable

#: Okabe and Ito's colours, which colour-blind readers can tell apart.
BLUE, ORANGE, GREEN, GREY, SKY = "#0072B2", "#D55E00", "#009E73", "#666666", "#56B4E9"

#: Matplotlib's ways to place panels that are used here.
Layout = Literal["constrained", "compressed"]

#: The colour of the lines of a grid.
FAINT = "#dddddd"

#: The width of every page in inches, and its dots per inch: as wide as a README, 990 pixels.
WIDTH, DPI = 9.0, 110

#: What a picture can be written as, by the ending of its name.
FORMATS = {".png": "png", ".pdf": "pdf", ".svg": "svg", ".jpg": "jpg", ".jpeg": "jpg"}

#: The ending of a file that takes its name when it is whole, such as a run's curves.png: it is written as PNG.
_PART = ".part"

#: Up to this number of epochs, each has a mark on its line.
_FEW_EPOCHS = 40


# --- Files -----------------------------------------------------------------------------------------------------------


def picture_format(path: Path, name: str = "--output") -> str:
    """The format of a picture by the ending of its name.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        The option of the command line that it is from, for the error.

    Raises
    ------
    ConfigError
        If no picture can be written under such a name.
    """
    known = FORMATS.get(path.suffix.lower())
    if known is None:
        endings = list(FORMATS)
        raise ConfigError(
            f"{name} {path}: expected a name that ends in {', '.join(endings[:-1])} or {endings[-1]}, which says how "
            "the picture is written"
        )
    return known


# --- Pages -----------------------------------------------------------------------------------------------------------


def new_figure(height: float, title: str, width: float = WIDTH, layout: Layout = "constrained") -> Any:
    """An empty page.

    Parameters
    ----------
    height : float
        In inches.
    title : str
        Above everything.
    width : float
        In inches.
    layout : {'constrained', 'compressed'}
        Matplotlib's way to place panels: "compressed" where their heights and widths belong together, as of images.
    """
    # The object interface: pyplot would keep every figure alive and may want a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    figure.suptitle(plain(title), fontsize=11)
    return figure


def new_page(
    rows: int, columns: int, height: float, title: str, layout: Layout = "constrained"
) -> Tuple[Any, np.ndarray]:
    """A page with a grid of panels.

    Parameters
    ----------
    rows, columns : int
        Of the grid.
    height : float
        Of the page, in inches.
    title : str
        Above everything.
    layout : {'constrained', 'compressed'}
        As in `new_figure`.

    Returns
    -------
    figure, ndarray of axes
        The second (rows, columns).
    """
    figure = new_figure(height, title, layout=layout)
    return figure, figure.subplots(rows, columns, squeeze=False)


def save_page(figure: Any, path: Path) -> None:
    """Write a page in the format that the file's name ends in, with fonts that have its characters.

    Raises
    ------
    ConfigError
        If the name has no ending of `FORMATS`.
    """
    from matplotlib.text import Text

    texts = figure.findobj(Text)
    families = families_for("".join(text.get_text() for text in texts))
    if families:
        for text in texts:
            text.set_fontfamily(families)
    with quiet_fonts():
        figure.savefig(path, dpi=DPI, format="png" if path.suffix == _PART else picture_format(path, "picture"))


def plain(text: str) -> str:
    """Text that matplotlib shows as it is: a dollar sign starts a formula, and no font has control characters."""
    return printable(text).replace("$", r"\$")


# --- Axes of epochs --------------------------------------------------------------------------------------------------


def label_epochs(axes: Any) -> None:
    """Make the horizontal axis one of epochs, with whole numbers, and give the panel a grid."""
    axes.set_xlabel("epoch")
    axes.grid(color=FAINT, linewidth=0.6)
    # One tick is enough: matplotlib wants two unless told, and would put them within a single epoch.
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)


def epoch_marker(epochs: Sequence[float], marker: str = ".") -> str:
    """The marker of a line: single epochs are marked where there are few, so that a first one shows."""
    return marker if len(epochs) <= _FEW_EPOCHS else ""
