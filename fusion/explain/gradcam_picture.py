"""Where networks look in images: overlays, and one sheet of several networks side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Sequence

import numpy as np

from ..compat import mx
from ..drawing import plain, save_page
from ..errors import ConfigError, nearest
from ..inference.masks import answer_pixels, labels_of
from ..inference.predict import likeliest, probabilities
from ..inference.trained import Trained
from .gradcam import concentration, grad_cam
from .panels import add_heat_bar, new_sheet, overlay, show_picture


@dataclass(frozen=True)
class Look:
    """Where one network looks in one image: one panel of the sheet.

    Attributes
    ----------
    picture : ndarray
        (h, w, 3) uint8: the overlay, in the image's proportions.
    caption : str
        The text below the overlay: the class that the map explains, with its probability or its share of the pixels.
    half : float
        The smallest share of the map's area that holds half of its sum; not a number if the map is 0 everywhere.
    """

    picture: np.ndarray
    caption: str
    half: float


@dataclass(frozen=True)
class LookedAt:
    """One image of the sheet, and where the networks look in it.

    Attributes
    ----------
    name : str
        The image's name.
    picture : ndarray
        (H, W, 3) uint8: the first network's input before it is normalised.
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
        (B, H, W, 3) uint8, from `trained.preparation.read`.
    layers : sequence of str
        See `fusion.explain.layers.find_layer`.
    wanted : str, optional
        The name of the class to explain; by default, the class that the network predicts for each image, or, of one
        that answers each pixel, the class with the most pixels.

    Returns
    -------
    list of list of Look
        For each image, one look per layer.

    Raises
    ------
    ConfigError
        If the network has no such class or layer.
    """
    dense = trained.task.dense
    shares = _shares_of_pixels(trained, images) if dense else probabilities(trained, images)
    classes = shares.argmax(axis=1) if wanted is None else np.full(len(images), class_number(trained, wanted))
    inputs = mx.nd.array(trained.preparation.normalise(images), ctx=trained.context)
    looks: List[List[Look]] = [[] for _ in images]
    for layer in layers:
        for index, heat in enumerate(grad_cam(trained.net, inputs, layer, classes.tolist())):
            share = 100 * shares[index, classes[index]]
            caption = f"{trained.classes[classes[index]]}: "
            caption += f"{share:.3g} % of the pixels" if dense else f"{share:.0f} %"
            if wanted is not None and not dense and shares[index].argmax() != classes[index]:
                caption += f" ({likeliest(trained, shares[index], 1)[0][0]})"
            caption += "" if heat.any() else ", no evidence"
            looks[index].append(Look(overlay(images[index], heat), caption, concentration(heat)))
    return looks


def _shares_of_pixels(trained: Trained, images: np.ndarray) -> np.ndarray:
    """The share of each image's pixels that a network gives to each class, (B, classes) without a background."""
    first = 1 if labels_of(trained).binary else 0
    numbers = np.arange(first, first + len(trained.classes))
    answers = (answer_pixels(trained, image) for image in images)
    return np.stack([(answer[..., None] == numbers).mean(axis=(0, 1)) for answer in answers])


def class_number(trained: Trained, name: str) -> int:
    """The index of a class by name.

    Raises
    ------
    ConfigError
        If the network has no such class; the message names the nearest ones.
    """
    if trained.shown and trained.known is not None and name in trained.known.names:
        return trained.known.names.index(name)
    if name not in trained.classes:
        raise ConfigError(f"--class {name!r}: no such class; {nearest(name, trained.classes)}")
    return trained.classes.index(name)


def draw_grad_cam_sheet(images: Sequence[LookedAt], columns: Sequence[str], title: str, path: Path) -> None:
    """Draw images, and beside each of them where the networks look, one panel per network and layer.

    Parameters
    ----------
    images : sequence of LookedAt
        The images, each with one look per column.
    columns : sequence of str
        The headings of the columns.
    title : str
        The title of the sheet.
    path : Path
        Written in the format that its name ends in.
    """
    pictures, names = [image.picture for image in images], [image.name for image in images]
    figure, grid, panels = new_sheet(pictures, names, columns, title)
    for image, own in zip(images, panels):
        for axes, look in zip(own, image.looks):
            show_picture(axes, look.picture)
            axes.set_xlabel(plain(look.caption), fontsize=8)
    add_heat_bar(figure, grid)
    save_page(figure, path)
