"""Pictures of images with what a network makes of them: how pages, panels and colours are chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Sequence, Tuple

import numpy as np

from ..data.photos.photo import GREY
from ..training.curves import BLUE, ORANGE

#: Of every page, in inches and dots an inch: as wide as a README, 990 pixels.
WIDTH, DPI = 9.0, 110

#: Of an overlay's file, in pixels; small images are enlarged to at least this.
OVERLAY_SIDE = 256

#: Perceptually even, and the same to colour-blind readers.
HEAT = "inferno"

#: Panels side by side where an image has fewer of its own, and the side of the largest panel in inches.
_PANELS = 8
_LARGEST = 1.9

#: Brightness of the image below an overlay.
_DIMMED = 0.8

#: Most of the heat that an overlay shows over its image.
_OPACITY = 0.75


def new_page(rows: int, columns: int, height: float, title: str) -> Tuple[Any, np.ndarray]:
    """A figure of the page's width with a grid of panels.

    Parameters
    ----------
    rows, columns : int
        Of the grid.
    height : float
        Of the page, in inches.
    title : str
        Above everything.

    Returns
    -------
    figure, ndarray of axes
        The second (rows, columns).
    """
    # The object interface: pyplot would keep every figure alive and may want a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(plain(title), fontsize=11)
    return figure, figure.subplots(rows, columns, squeeze=False)


def new_sheet(
    pictures: Sequence[np.ndarray], names: Sequence[str], headings: Sequence[str], title: str
) -> Tuple[Any, np.ndarray, List[np.ndarray]]:
    """A page with a row for each image, or two and more images a row where there is room: itself, then empty panels.

    Parameters
    ----------
    pictures : sequence of ndarray
        (H, W, 3) uint8.
    names : sequence of str
        Of the images.
    headings : sequence of str
        Of the panels that follow an image.
    title : str
        Of the page.

    Returns
    -------
    figure, ndarray of axes, list of ndarray of axes
        The whole grid, and for each image the panels to fill, one a heading.
    """
    wide = len(headings) + 1
    across = max(1, min(len(pictures), _PANELS // wide))
    rows = -(-len(pictures) // across)
    side = min(_LARGEST, (WIDTH - 0.4) / (across * wide))
    lines = max(heading.count("\n") for heading in headings) + 1
    height = (0.96 * side + 0.24) * rows + 0.14 * lines + 1.25
    figure, grid = new_page(rows, across * wide, height, title)
    groups = [panels[start : start + wide] for panels in grid for start in range(0, across * wide, wide)]
    for panels in groups[:across]:
        for axes, heading in zip(panels, ("image", *headings)):
            axes.set_title(plain(heading), fontsize=9 if side > 1.2 else 8)
    for panels, picture, name in zip(groups, pictures, names):
        show_picture(panels[0], picture)
        name_row(panels[0], name)
    for panels in groups[len(pictures) :]:
        for axes in panels:
            axes.axis("off")
    return figure, grid, [panels[1:] for panels in groups[: len(pictures)]]


def save_page(figure: Any, path: Path) -> None:
    """Write a figure as PNG."""
    figure.savefig(path, dpi=DPI, format="png")


def plain(text: str) -> str:
    """Text that matplotlib shows as it is: a dollar sign starts a formula."""
    return text.replace("$", r"\$")


def show_picture(axes: Any, picture: np.ndarray) -> None:
    """A panel of an image (H, W, 3), without ticks, its pixels smoothed."""
    axes.imshow(picture, interpolation="bicubic")
    bare(axes)


def bare(axes: Any) -> None:
    """Take the ticks off a panel, and make its frame a thin one."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color="#bbbbbb", linewidth=0.6)


def name_row(axes: Any, name: str, room: int = 18) -> None:
    """Write a row's name at the left of its first panel, in lines of so many letters."""
    import textwrap

    axes.set_ylabel(plain("\n".join(textwrap.wrap(name, room)[:4])), fontsize=8)


def enlarged(array: np.ndarray, side: int) -> np.ndarray:
    """A map (h, w) or image (H, W, 3) smoothly scaled to a square, (side, side[, 3]) float from the same range.

    Parameters
    ----------
    array : ndarray
        Finite numbers.
    side : int
        In pixels.
    """
    from PIL import Image

    planes = array[..., None] if array.ndim == 2 else array
    low, high = float(array.min()), float(array.max())
    scaled = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(planes[..., index], np.float32)).resize(
                (side, side), Image.Resampling.BICUBIC
            )
        )
        for index in range(planes.shape[-1])
    ]
    found = np.stack(scaled, axis=-1).clip(low, high)  # bicubic overshoots at edges
    return found[..., 0] if array.ndim == 2 else found


def overlay(picture: np.ndarray, heat: np.ndarray, side: int = OVERLAY_SIDE) -> np.ndarray:
    """An image with a map over it: nothing where the map is 0, and the heat's colour where it is highest.

    Parameters
    ----------
    picture : ndarray
        (H, W, 3) uint8.
    heat : ndarray
        (h, w), at least 0; its own highest is taken as 1, and a map of zeros leaves the image as it is.
    side : int
        Of the result, in pixels.

    Returns
    -------
    ndarray
        (side, side, 3) uint8.
    """
    from matplotlib import colormaps

    highest = float(heat.max())
    share = enlarged(heat / highest if highest > 0 else heat, side)
    colours = 255 * colormaps[HEAT](share)[..., :3]
    opacity = _OPACITY * share[..., None]
    # Darker and grey: the image's own colours, and a bright sky, would be taken for heat.
    grey = enlarged(_DIMMED * (picture @ GREY), side)[..., None]
    return np.rint((1 - opacity) * grey + opacity * colours).clip(0, 255).astype(np.uint8)


def add_heat_bar(figure: Any, grid: np.ndarray) -> None:
    """The scale of overlays below a grid of panels."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    heat = ScalarMappable(Normalize(0, 1), HEAT)
    add_bar(figure, grid, heat, "evidence for the class, as a share of each map's highest")


def add_bar(figure: Any, grid: np.ndarray, colours: Any, label: str) -> None:
    """A colour bar below a grid of panels, half as long as the page."""
    bar = figure.colorbar(colours, ax=grid, location="bottom", shrink=0.5, aspect=45, pad=0.02)
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8)


def write_picture(array: np.ndarray, path: Path) -> None:
    """Write (H, W, 3) uint8 as PNG."""
    from PIL import Image

    Image.fromarray(array).save(path, format="PNG")


def preference_colours() -> Any:
    """From the shortcut's colour at 0 through white at a half to the transformed features' at 1."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("preference", [ORANGE, "#ffffff", BLUE])


def distinct(titles: Sequence[str], fallbacks: Sequence[str]) -> Sequence[str]:
    """The titles where they differ, else the fallbacks, numbered where those do not either."""
    for names in (titles, fallbacks):
        if len(set(names)) == len(names):
            return list(names)
    return [f"{name} ({number})" for number, name in enumerate(fallbacks, start=1)]
