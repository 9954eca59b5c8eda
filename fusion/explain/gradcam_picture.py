"""Where networks look in images, as overlays and as one sheet of several networks side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Sequence

import numpy as np

from ..compat import mx
from ..errors import ConfigError, nearest
from ..inference.predict import likeliest, probabilities
from ..inference.trained import Trained
from .drawing import add_heat_bar, new_sheet, overlay, plain, save_page, show_picture
from .gradcam import concentration, grad_cam


@dataclass(frozen=True)
class Look:
    """Where one network looks in one image, for the sheet.

    Attributes
    ----------
    picture : ndarray
        (side, side, 3) uint8: the overlay.
    caption : str
        Of the panel: the class that the map explains, with its probability.
    half : float
        The smallest part of the map that holds half of its sum; not a number for a map of zeros.
    """

    picture: np.ndarray
    caption: str
    half: float


@dataclass(frozen=True)
class SheetRow:
    """One image of the sheet.

    Attributes
    ----------
    name : str
        Of the image.
    picture : ndarray
        (H, W, 3) uint8: what the first network is shown.
    looks : list of Look
        In the order of the sheet's columns.
    """

    name: str
    picture: np.ndarray
    looks: List[Look]


def look_at(
    trained: Trained, images: np.ndarray, layers: Sequence[str], wanted: Optional[str] = None
) -> List[List[Look]]:
    """Where a network looks in some images.

    Parameters
    ----------
    trained : Trained
        The network.
    images : ndarray
        (B, size, size, 3) uint8, from `trained.preparation.read`.
    layers : sequence of str
        See `fusion.explain.layers.find_layer`.
    wanted : str, optional
        The class to explain by name; by default each image's likeliest.

    Returns
    -------
    list of list of Look
        For each image, one for each layer.

    Raises
    ------
    ConfigError
        If the class or a layer is not known.
    """
    shares = probabilities(trained, images)
    classes = shares.argmax(axis=1) if wanted is None else np.full(len(images), class_number(trained, wanted))
    inputs = mx.nd.array(trained.preparation.normalise(images), ctx=trained.context)
    looks: List[List[Look]] = [[] for _ in images]
    for layer in layers:
        for index, heat in enumerate(grad_cam(trained.net, inputs, layer, classes.tolist())):
            caption = f"{trained.classes[classes[index]]}: {100 * shares[index, classes[index]]:.0f} %"
            if wanted is not None and shares[index].argmax() != classes[index]:
                caption += f" ({likeliest(trained, shares[index], 1)[0][0]})"
            caption += "" if heat.any() else ", no evidence"
            looks[index].append(Look(overlay(images[index], heat), caption, concentration(heat)))
    return looks


def class_number(trained: Trained, name: str) -> int:
    """The index of a class by name.

    Raises
    ------
    ConfigError
        If the network has no such class; the nearest are named.
    """
    if name not in trained.classes:
        raise ConfigError(f"--class {name!r}: no such class; {nearest(name, trained.classes)}")
    return trained.classes.index(name)


def draw_grad_cam_sheet(rows: Sequence[SheetRow], columns: Sequence[str], title: str, path: Path) -> None:
    """Draw images with where networks look in them: beside each image, a panel for each network and layer.

    Parameters
    ----------
    rows : sequence of SheetRow
        Each with a look a column.
    columns : sequence of str
        Their headings.
    title : str
        Of the sheet.
    path : Path
        Written as PNG, 990 pixels wide.
    """
    pictures, names = [row.picture for row in rows], [row.name for row in rows]
    figure, grid, panels = new_sheet(pictures, names, columns, title)
    for row, own in zip(rows, panels):
        for axes, look in zip(own, row.looks):
            show_picture(axes, look.picture)
            axes.set_xlabel(plain(look.caption), fontsize=8)
    add_heat_bar(figure, grid)
    save_page(figure, path)
