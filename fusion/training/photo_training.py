"""The settings of a training run that are about photos."""

from __future__ import annotations

from operator import attrgetter
from typing import Any, Dict, Iterator, Tuple

from ..data import PHOTOS, describe, settings_of_others
from .settings import Settings

Problem = Tuple[str, Any, str]


def photo_problems(settings: Settings) -> Iterator[Problem]:
    """The settings about photos that cannot be applied: for each, its key, its value and what was expected."""
    yield from _settings_of_other_data(settings)
    if describe(settings.data.name).kind != PHOTOS:
        return
    data, augment = settings.data, settings.augment
    if augment.crop_padding:
        yield "augment.crop_padding", augment.crop_padding, "expected 0: photos are cropped by augment.crop_area"
    if data.fit != "exact":
        yield "data.fit", data.fit, "it is for image_folder; test photos are resized by data.crop_share"
    for key, limits, highest in (("crop_area", augment.crop_area, 1.0), ("crop_aspect", augment.crop_aspect, 100.0)):
        if len(limits) != 2 or not 0 < limits[0] <= limits[1] <= highest:
            yield f"augment.{key}", limits, f"expected two rising numbers, above 0 and at most {highest:g}"
    if data.pipeline == "native":
        yield from _problems_of_native(settings)


def _settings_of_other_data(settings: Settings) -> Iterator[Problem]:
    """Report settings that have no effect on this data set: the user would otherwise notice only in the results."""
    defaults = Settings()
    for key, names in settings_of_others(settings.data.name).items():
        value = attrgetter(key)(settings)
        if value != attrgetter(key)(defaults):
            yield key, value, f"it is for {names}, and data.name is {settings.data.name}"


def _problems_of_native(settings: Settings) -> Iterator[Problem]:
    data, augment = settings.data, settings.augment
    if data.source == "folder":
        yield "data.source", data.source, "data.pipeline is native, and MXNet's ImageRecordIter reads records only"
    if augment.auto_augment != "none":
        expected = "data.pipeline is native, and MXNet's ImageRecordIter has no AutoAugment: data.pipeline=python"
        yield "augment.auto_augment", augment.auto_augment, expected
    if data.max_bad_images:
        expected = "data.pipeline is native, and MXNet's ImageRecordIter stops at the first bad photo: expected 0"
        yield "data.max_bad_images", data.max_bad_images, expected


def draws_depend_on(settings: Settings) -> Tuple[str, ...]:
    """Settings that a resumed run may not change, because the random draws of this pipeline depend on them."""
    return ("data.workers",) if settings.data.pipeline == "native" else ()


def photo_options(settings: Settings) -> Dict[str, Any]:
    """The arguments of `load_dataset` for photos; for other data they have values that it ignores."""
    data = settings.data
    source = "record" if data.pipeline == "native" else data.source
    return {"source": source, "classes": data.classes, "crop_share": data.crop_share, "workers": data.workers}
