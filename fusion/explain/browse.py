"""python -m fusion browse: the images that a config's network is fed, as pixels again, with their targets."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path
from typing import Any, List, Sequence

import numpy as np

from ..command import log_to_terminal
from ..data import PHOTOS, describe
from ..data.loader import Batch
from ..devices import count_devices
from ..errors import ConfigError
from ..training.config import read_config
from ..training.preparation import build_batches, load_split
from ..training.settings import Settings
from .drawing import bare, new_page, plain, save_page
from .output import add_output_file, written_file

#: Images of a sheet unless asked otherwise, and the most.
_IMAGES, _MOST = 32, 200

#: Panels side by side: small images have no use for large ones.
_COLUMNS, _COLUMNS_OF_PHOTOS = 8, 5
_PHOTO = 64

#: Classes of a target that are named; mixup has two.
_NAMED = 2


def fed_images(settings: Settings, data: Any, images: int, epoch: int = 0) -> Batch:
    """The first images that a run of these settings trains on, exactly as its network sees them.

    Parameters
    ----------
    settings : Settings
        Of a run.
    data : DataSet
        Its training images.
    images : int
        How many; there are fewer where an epoch has.
    epoch : int
        From 0.

    Returns
    -------
    Batch
        Images (n, 3, H, W), normalised, and targets (n, classes), of as many batches as are needed.

    Raises
    ------
    FusionError
        If a setting is impossible.
    """
    batches = build_batches(settings, data, range(count_devices(settings.runtime.device)))
    parts: List[Batch] = []
    with closing(batches.epoch(epoch)) as stream:  # its threads would go on
        for batch in stream:
            parts.append(batch)
            if sum(len(part.images) for part in parts) >= images:
                break
    found = (np.concatenate([getattr(part, name) for part in parts])[:images] for name in ("images", "targets"))
    return Batch(*found)


def to_pixels(images: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """From normalised images (n, 3, H, W) to (n, H, W, 3) uint8; what lies outside of 0 to 255 is cut off."""
    scaled = images.transpose(0, 2, 3, 1) * np.asarray(std) + np.asarray(mean)
    return np.rint(255 * scaled).clip(0, 255).astype(np.uint8)


def target_in_words(target: np.ndarray, classes: Sequence[str]) -> str:
    """A target (classes,) by its largest shares: 'cat', 'cat: 0.91' under label smoothing, two lines under mixup.

    Parameters
    ----------
    target : ndarray
        Rows of a batch's targets.
    classes : sequence of str
        Names in label order; of further columns, the numbers.
    """
    floor = float(target.min())  # what label smoothing gives every class
    order = [index for index in np.argsort(-target, kind="stable")[:_NAMED] if target[index] > floor + 5e-3]
    names = [classes[index] if index < len(classes) else str(index) for index in order]
    if len(order) == 1 and target[order[0]] > 0.995:
        return names[0]
    return "\n".join(f"{name}: {target[index]:.2f}" for name, index in zip(names, order)) or "all alike"


def describe_augmentation(settings: Settings) -> str:
    """What is done to the training images, in words, as the settings have it."""
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
    """Draw images with a caption each, in rows.

    Parameters
    ----------
    pictures : ndarray
        (n, H, W, 3) uint8.
    captions : sequence of str
        Below them.
    title : str
        Of the sheet.
    path : Path
        Written as PNG, 990 pixels wide.
    """
    small = pictures.shape[1] < _PHOTO
    columns = _COLUMNS if small else _COLUMNS_OF_PHOTOS
    rows = -(-len(pictures) // columns)
    lines = max(caption.count("\n") + 1 for caption in captions)
    figure, grid = new_page(rows, columns, rows * (8.6 / columns + 0.17 * lines) + 0.6, title)
    panels = list(grid.flat)
    for axes, picture, caption in zip(panels, pictures, captions):
        axes.imshow(picture, interpolation="nearest" if small else "antialiased")
        axes.set_xlabel(plain(caption), fontsize=8)
        bare(axes)
    for axes in panels[len(pictures) :]:
        axes.remove()
    save_page(figure, path)


def draw_fed_images(settings: Settings, path: Path, images: int = _IMAGES, epoch: int = 0) -> int:
    """Draw the first images that a run of these settings trains on, and return how many there are.

    Parameters
    ----------
    settings : Settings
        Of a run.
    path : Path
        Written as PNG, 990 pixels wide.
    images : int
        How many at the most.
    epoch : int
        From 0.

    Raises
    ------
    FusionError
        If the data is missing or a setting is impossible.
    """
    data = load_split(settings, "train")
    batch = fed_images(settings, data, images, epoch)
    pictures = to_pixels(batch.images, settings.augment.mean, settings.augment.std)
    captions = [target_in_words(target, data.classes) for target in batch.targets]
    title = f"{data.title}, epoch {epoch + 1}: what the network is fed\n{describe_augmentation(settings)}"
    draw_contact_sheet(pictures, captions, title, path)
    return len(pictures)


# --- The command -----------------------------------------------------------------------------------------------------


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `browse`."""
    parser = commands.add_parser("browse", help="a sheet of the augmented images that a config's network is fed")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the experiment, or a run's config")
    parser.add_argument("--images", type=int, default=_IMAGES, metavar="N", help=f"default: {_IMAGES}")
    parser.add_argument("--epoch", type=int, default=1, metavar="N", help="from 1 (default: the first)")
    add_output_file(parser, "browse.png here")
    parser.add_argument("settings", nargs="*", metavar="section.key=value", help="settings over the config's")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    log_to_terminal("stderr")
    settings = read_config(arguments.config, arguments.settings)
    if not 1 <= arguments.images <= _MOST:
        raise ConfigError(f"--images {arguments.images}: expected from 1 to {_MOST}")
    if not 1 <= arguments.epoch <= settings.train.epochs:
        raise ConfigError(f"--epoch {arguments.epoch}: expected from 1 to the {settings.train.epochs} of the config")
    output = arguments.output or Path("browse.png")
    with written_file(output, arguments.force) as aside:
        count = draw_fed_images(settings, aside, arguments.images, arguments.epoch - 1)
    print(f"{output}: {count} images")
