"""The images that a run trains on, as its network is fed them, turned back into pixels and shown with their targets."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, List, Optional, Sequence

import numpy as np

from ..data import describe
from ..data.description import MASKS, PHOTOS
from ..data.loader import Batch
from ..devices import count_devices
from ..drawing import plain, save_page
from ..inference.shown_names import read_shown_names
from ..training.loading import classes_of_data, load_split
from ..training.preparation import build_batches
from ..training.settings import Settings
from .browse_masks import crops_in_words, draw_mask_sheet
from .panels import bare, new_image_page

#: Images of a sheet unless another number is asked for.
IMAGES = 32

#: Panels side by side: of small images, and of those with at least this many rows of pixels.
_COLUMNS, _COLUMNS_OF_PHOTOS = 8, 5
_PHOTO = 64

#: How many classes of a target are named; mixup has two.
_NAMED = 2


def fed_images(settings: Settings, data: Any, images: int, epoch: int = 0) -> Batch:
    """The first images that a run of these settings trains on, exactly as its network is fed them.

    Parameters
    ----------
    settings : Settings
        Of a run.
    data : DataSet
        Its training images.
    images : int
        How many. An epoch may have fewer.
    epoch : int
        From 0.

    Returns
    -------
    Batch
        Images (n, 3, H, W), normalised, and targets (n, classes), or masks (n, H, W), from as many batches as are
        needed.

    Raises
    ------
    FusionError
        If a setting is impossible.
    """
    batches = build_batches(settings, data, range(count_devices(settings.runtime.device)))
    parts: List[Batch] = []
    with closing(batches.epoch(epoch)) as stream:  # or its threads would go on
        for batch in stream:
            parts.append(batch)
            if sum(len(part.images) for part in parts) >= images:
                break
    found = (np.concatenate([getattr(part, name) for part in parts])[:images] for name in ("images", "targets"))
    return Batch(*found)


def to_pixels(images: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """Normalised images (n, 3, H, W) as pixels (n, H, W, 3) uint8; values outside of 0 to 255 become 0 or 255."""
    scaled = images.transpose(0, 2, 3, 1) * np.asarray(std) + np.asarray(mean)
    return np.rint(255 * scaled).clip(0, 255).astype(np.uint8)


def target_in_words(target: np.ndarray, classes: Sequence[str]) -> str:
    """A target in words: 'cat', or with label smoothing 'cat: 0.91', or with mixup the two classes on a line each.

    Parameters
    ----------
    target : ndarray
        (classes,), one row of a batch's targets.
    classes : sequence of str
        Names in label order. An output beyond them is named by its number.
    """
    floor = float(target.min())  # what label smoothing gives every class
    order = [index for index in np.argsort(-target, kind="stable")[:_NAMED] if target[index] > floor + 5e-3]
    names = [classes[index] if index < len(classes) else str(index) for index in order]
    if len(order) == 1 and target[order[0]] > 0.995:
        return names[0]
    return "\n".join(f"{name}: {target[index]:.2f}" for name, index in zip(names, order)) or "all alike"


def describe_augmentation(settings: Settings) -> str:
    """What is done to the training images, in words."""
    augment, words = settings.augment, []
    photos = describe(settings.data.name).kind == PHOTOS
    if photos:
        low, high = augment.crop_area
        words.append(f"random crop of {low:g} to {high:g} of the area")
    elif augment.crop_padding:
        words.append(f"random crop after padding by {augment.crop_padding}")
    words += ["flip"] if augment.flip else []
    words += [f"AutoAugment: {augment.auto_augment}"] if augment.auto_augment != "none" else []
    for name, value in (("colour jitter", augment.colour_jitter), ("lighting", augment.lighting)):
        words += [f"{name} {value:g}"] if value and photos else []
    words += [f"mixup α={augment.mixup_alpha:g}"] if augment.mixup_alpha else []
    words += [f"CutMix α={augment.cutmix_alpha:g}"] if augment.cutmix_alpha else []
    words += [f"label smoothing {settings.train.label_smoothing:g}"] if settings.train.label_smoothing else []
    return ", ".join(words) or "no augmentation"


def draw_contact_sheet(pictures: np.ndarray, captions: Sequence[str], title: str, path: Path) -> None:
    """Draw images in rows, each with its caption.

    Parameters
    ----------
    pictures : ndarray
        (n, H, W, 3) uint8.
    captions : sequence of str
        One per image, written below it.
    title : str
        Of the sheet.
    path : Path
        Written in the format that its name ends in.
    """
    small = pictures.shape[1] < _PHOTO
    columns = _COLUMNS if small else _COLUMNS_OF_PHOTOS
    rows = -(-len(pictures) // columns)
    lines = max(caption.count("\n") + 1 for caption in captions)
    figure, grid = new_image_page(rows, columns, rows * (8.6 / columns + 0.17 * lines) + 0.6, title)
    panels = list(grid.flat)
    for axes, picture, caption in zip(panels, pictures, captions):
        axes.imshow(picture, interpolation="nearest" if small else "antialiased")
        axes.set_xlabel(plain(caption), fontsize=8)
        bare(axes)
    for axes in panels[len(pictures) :]:
        axes.remove()
    save_page(figure, path)


def draw_fed_images(
    settings: Settings, path: Path, images: int = IMAGES, epoch: int = 0, class_names: Optional[Path] = None
) -> int:
    """Draw the first images that a run of these settings trains on, and return how many were drawn.

    Parameters
    ----------
    settings : Settings
        Of a run.
    path : Path
        Written in the format that its name ends in.
    images : int
        How many at the most.
    epoch : int
        From 0.
    class_names : Path, optional
        A file of names to show for the classes (`fusion.inference.shown_names`).

    Raises
    ------
    FusionError
        If the data is missing, a setting is impossible, or a class has no name in the file.
    """
    data: Any = load_split(settings, "train")
    names = data.classes if class_names is None else read_shown_names(class_names, classes_of_data(data))
    batch = fed_images(settings, data, images, epoch)
    pictures = to_pixels(batch.images, settings.augment.mean, settings.augment.std)
    title = f"{data.title}, epoch {epoch + 1}: what the network is fed"
    if describe(settings.data.name).kind == MASKS:
        labels = replace(data.labels, shown=tuple(names))
        draw_mask_sheet(pictures, batch.targets, labels, f"{title}\n{crops_in_words(settings)}", path)
        return len(pictures)
    captions = [target_in_words(target, names) for target in batch.targets]
    draw_contact_sheet(pictures, captions, f"{title}\n{describe_augmentation(settings)}", path)
    return len(pictures)
