"""Training crops with their masks, as a network is fed them: each image, and beside it the mask over the image."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Tuple

import numpy as np

from ..data.masks.labels import IGNORE, Labels
from ..data.masks.palette import label_colours, paint
from ..drawing import plain, save_page
from ..training.settings import Settings
from .panels import bare, new_image_page

#: Crops side by side, each with its image and its mask, and the white between the two by the height of a crop.
_COLUMNS, _GAP = 3, 0.02

#: How many classes a caption names, with their share of the pixels.
_NAMED = 3

#: An object that is smaller than this part of a crop has a ring around it, or it would not be found on the page.
_SMALL = 1 / 10

#: Objects of a crop that have a ring at the most.
_MOST_RINGS = 20


def crops_in_words(settings: Settings) -> str:
    """What is done to the training images and their masks, in words."""
    augment = settings.augment
    height, width = augment.crop_size or (settings.data.size, settings.data.size)
    if augment.long_side:
        scale = "longer side {} to {} pixels".format(*augment.long_side)
    else:
        scale = "" if augment.scale == [1.0, 1.0] else "scaled by {:g} to {:g}".format(*augment.scale)
    words = [scale, f"crop {width}x{height}"]
    if augment.target_probability:
        words.append(f"{100 * augment.target_probability:.0f} % placed on a target")
    words += ["flip"] if augment.flip else []
    words += [f"blur {100 * augment.blur_probability:.0f} %"] if augment.blur_probability else []
    words += [f"colour jitter {augment.colour_jitter:g}"] if augment.colour_jitter else []
    return ", ".join(word for word in words if word)


def mask_in_words(mask: np.ndarray, labels: Labels) -> str:
    """What a mask has: the pixels of the target, or the classes with the most of them.

    Parameters
    ----------
    mask : ndarray
        (H, W) uint8.
    labels : Labels
        Of the set.
    """
    counts = np.bincount(mask.ravel(), minlength=256)
    if labels.binary:
        return f"{labels.name(1)}: {counts[1]:,} pixels"
    counts[IGNORE] = 0
    order = [number for number in np.argsort(-counts, kind="stable")[:_NAMED] if counts[number]]
    total = max(1, int(counts.sum()))
    shares = [f"{labels.name(int(number))} {100 * counts[number] / total:.0f} %" for number in order]
    return ", ".join(shares) or "nothing counts"


def small_objects(mask: np.ndarray, has_background: bool) -> List[Tuple[float, float]]:
    """The centres (row, column) of the objects of a mask that are hard to see: pixels of any class that touch."""
    if not has_background:
        return []
    from scipy.ndimage import find_objects, label

    found, _ = label((mask != 0) & (mask != IGNORE), structure=np.ones((3, 3)))
    limit = _SMALL * max(mask.shape)
    boxes = [box for box in find_objects(found) if max(side.stop - side.start for side in box) < limit]
    return [tuple((side.start + side.stop - 1) / 2 for side in box) for box in boxes[:_MOST_RINGS]]


def draw_mask_sheet(pictures: np.ndarray, masks: np.ndarray, labels: Labels, title: str, path: Path) -> None:
    """Draw crops in rows, each beside itself with its mask, and below them the colours of the classes.

    Parameters
    ----------
    pictures : ndarray
        (n, H, W, 3) uint8.
    masks : ndarray
        (n, H, W) uint8, numbers of classes or `IGNORE`.
    labels : Labels
        Of the set.
    title : str
        Of the sheet.
    path : Path
        Written in the format that its name ends in.
    """
    count, height, width = masks.shape
    gap = max(1, round(_GAP * height))
    columns = min(_COLUMNS, count)
    rows = -(-count // columns)
    row = 8.6 / columns * height / (2 * width + gap) + 0.25
    figure, grid = new_image_page(rows, columns, rows * row + 1.1, title)
    panels = list(grid.flat)
    for axes, picture, mask in zip(panels, pictures, masks):
        white = np.full((height, gap, 3), 255, np.uint8)
        axes.imshow(np.concatenate([picture, white, paint(picture, mask, labels)], axis=1))
        _add_rings(axes, mask, width + gap, labels)
        axes.set_xlabel(plain(mask_in_words(mask, labels)), fontsize=8)
        bare(axes)
    for axes in panels[count:]:
        axes.remove()
    _add_legend(figure, masks, labels)
    save_page(figure, path)


def _add_rings(axes: Any, mask: np.ndarray, left: int, labels: Labels) -> None:
    from matplotlib.patches import Circle

    radius = 0.6 * _SMALL * max(mask.shape)
    for row, column in small_objects(mask, labels.has_background):
        axes.add_patch(Circle((left + column, row), radius, fill=False, color="#ffd000", linewidth=0.9))


def _add_legend(figure: Any, masks: np.ndarray, labels: Labels) -> None:
    """The colours of the classes that the crops have."""
    from matplotlib.patches import Patch

    colours = label_colours(labels) / 255
    present = np.flatnonzero(np.bincount(masks.ravel(), minlength=256))
    shown = [number for number in present.tolist() if number or not labels.has_background]
    names = ["does not count" if number == IGNORE else labels.name(number) for number in shown]
    patches = [Patch(color=tuple(colours[number]), label=plain(name)) for number, name in zip(shown, names)]
    if patches:
        figure.legend(
            handles=patches, loc="outside lower center", ncols=min(6, len(patches)), fontsize=8, frameon=False
        )
