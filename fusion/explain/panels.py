"""Panels that show images with what a network makes of them: sheets of them, overlays and scales of colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Sequence, Tuple

import numpy as np

from ..data.photos.photo import GREY as BRIGHTNESS
from ..drawing import BLUE, ORANGE, WIDTH, new_page, plain

#: The side of an overlay in pixels.
OVERLAY_SIDE = 256

#: A scale whose steps look equal, also to colour-blind readers.
HEAT = "inferno"

#: Panels side by side at the most, and the side of the largest panel in inches.
_PANELS = 8
LARGEST = 2.2

#: Letters of a file's name in a sheet.
_LETTERS = 18

#: Brightness of the image below an overlay.
_DIMMED = 0.8

#: How much of the image the highest heat hides.
_OPACITY = 0.75


def new_image_page(rows: int, columns: int, height: float, title: str) -> Tuple[Any, np.ndarray]:
    """As `fusion.drawing.new_page`, for panels that all show images: they stay close to each other and their titles."""
    return new_page(rows, columns, height, title, layout="compressed")


def new_sheet(
    pictures: Sequence[np.ndarray], names: Sequence[str], headings: Sequence[str], title: str
) -> Tuple[Any, np.ndarray, List[np.ndarray]]:
    """A page with each image and the empty panels beside it: one image per row, or more where there is room.

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
        The whole grid, and for each image the panels to fill, one per heading.
    """
    wide = len(headings) + 1
    across = max(1, min(len(pictures), _PANELS // wide))
    rows = -(-len(pictures) // across)
    side = min(LARGEST, (WIDTH - 0.4) / (across * wide))
    lines = max(heading.count("\n") for heading in headings) + 1
    height = (0.96 * side + 0.24) * rows + 0.14 * lines + 1.3
    figure, grid = new_image_page(rows, across * wide, height, title)
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


def show_picture(axes: Any, picture: np.ndarray) -> None:
    """Show an image (H, W, 3) in a panel, without ticks and with smoothed pixels."""
    axes.imshow(picture, interpolation="bicubic")
    bare(axes)


def bare(axes: Any) -> None:
    """Remove the ticks of a panel and make its frame thin."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color="#bbbbbb", linewidth=0.6)


def name_row(axes: Any, name: str, room: int = 18) -> None:
    """Write a row's name at the left of its first panel, in at most four lines of at most `room` letters."""
    import textwrap

    lines = [line for part in name.split("\n") for line in textwrap.wrap(part, room)]
    axes.set_ylabel(plain("\n".join(lines[:4])), fontsize=8)


def image_name(file: Path) -> str:
    """What a sheet calls an image: its folder, which often is the class, and its name, cut short if need be."""
    parent, name = file.resolve().parent.name, file.stem
    return f"{parent}/ {name if len(name) <= _LETTERS else name[: _LETTERS - 1] + '…'}"


def enlarged(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """A map (h, w) or an image (H, W, 3), smoothly scaled to (height, width[, 3]) float numbers.

    Parameters
    ----------
    array : ndarray
        Finite numbers. The result stays within their range.
    height, width : int
        In pixels.
    """
    from PIL import Image

    planes = array[..., None] if array.ndim == 2 else array
    low, high = float(array.min()), float(array.max())
    scaled = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(planes[..., index], np.float32)).resize(
                (width, height), Image.Resampling.BICUBIC
            )
        )
        for index in range(planes.shape[-1])
    ]
    found = np.stack(scaled, axis=-1).clip(low, high)  # bicubic overshoots at edges
    return found[..., 0] if array.ndim == 2 else found


def overlay(picture: np.ndarray, heat: np.ndarray, side: int = OVERLAY_SIDE) -> np.ndarray:
    """An image with a map over it: where the map is 0 the image is grey, where it is highest it has the brightest heat.

    Parameters
    ----------
    picture : ndarray
        (H, W, 3) uint8.
    heat : ndarray
        (h, w), at least 0. Its highest value is taken as 1; below a map of zeros the image is grey everywhere.
    side : int
        The longer side of the result, in pixels.

    Returns
    -------
    ndarray
        (side, side, 3) uint8 of a square; of an oblong image the shorter side has as many pixels fewer.
    """
    from matplotlib import colormaps

    height, width = (max(1, round(length * side / max(picture.shape[:2]))) for length in picture.shape[:2])
    highest = float(heat.max())
    share = enlarged(heat / highest if highest > 0 else heat, height, width)
    colours = 255 * colormaps[HEAT](share)[..., :3]
    opacity = _OPACITY * share[..., None]
    # Darker and grey: the colours of the image, or a bright sky in it, would look like heat.
    grey = enlarged(_DIMMED * (picture @ BRIGHTNESS), height, width)[..., None]
    return np.rint((1 - opacity) * grey + opacity * colours).clip(0, 255).astype(np.uint8)


def add_heat_bar(figure: Any, grid: np.ndarray) -> None:
    """Draw the scale of overlays below a grid of panels."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    heat = ScalarMappable(Normalize(0, 1), HEAT)
    add_bar(figure, grid, heat, "evidence for the class, as a share of the highest in the same map")


def add_bar(figure: Any, grid: np.ndarray, colours: Any, label: str) -> None:
    """Draw a colour bar below a grid of panels, half as long as the page is wide."""
    bar = figure.colorbar(colours, ax=grid, location="bottom", shrink=0.5, aspect=45, pad=0.02)
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8)


def write_picture(array: np.ndarray, path: Path) -> None:
    """Write (H, W, 3) uint8 as PNG."""
    from PIL import Image

    Image.fromarray(array).save(path, format="PNG")


def preference_colours() -> Any:
    """The colours of weights: the shortcut's at 0, white at one half, the transformed features' at 1."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("preference", [ORANGE, "#ffffff", BLUE])
