"""The settings of a training run that are about images with masks."""

from __future__ import annotations

from typing import Any, Dict, Iterator

from ..data import MASKS, describe
from .photo_training import Problem
from .settings import Settings


def mask_problems(settings: Settings) -> Iterator[Problem]:
    """The settings about masks that cannot be applied: for each, its key, its value and what was expected."""
    if describe(settings.data.name).kind != MASKS:
        return
    data, augment = settings.data, settings.augment
    if augment.crop_padding:
        expected = "expected 0: crops of images with masks are placed at random without it"
        yield "augment.crop_padding", augment.crop_padding, expected
    if data.fit != "exact":
        yield "data.fit", data.fit, "it is for image_folder; images with masks keep their sizes"
    if augment.auto_augment != "none":
        yield "augment.auto_augment", augment.auto_augment, "it does not change masks with their images; expected none"
    if augment.crop_size and (len(augment.crop_size) != 2 or min(augment.crop_size) < 1):
        yield "augment.crop_size", augment.crop_size, "expected height and width, such as [180, 240], or []"
    yield from _scale_problems(settings)


def _scale_problems(settings: Settings) -> Iterator[Problem]:
    augment = settings.augment
    for key, limits in (("long_side", augment.long_side or [1, 1]), ("scale", augment.scale)):
        if len(limits) != 2 or not 0 < limits[0] <= limits[1]:
            yield f"augment.{key}", getattr(augment, key), "expected two rising numbers, both above 0"
    if augment.long_side and augment.scale != Settings().augment.scale:
        expected = "augment.long_side says how images are scaled; leave one of the two out"
        yield "augment.scale", augment.scale, expected


def mask_options(settings: Settings) -> Dict[str, Any]:
    """The arguments of `load_dataset` for masks; for other data they have values that it ignores."""
    data = settings.data
    return {
        "train_split": data.train_split,
        "test_split": data.test_split,
        "mask_suffix": data.mask_suffix,
        "ignore": data.ignore,
        "mask_mismatch": data.mask_mismatch,
    }
