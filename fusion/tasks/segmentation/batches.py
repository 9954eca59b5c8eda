"""Training batches for segmentation: crops of images and masks, by the settings of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Tuple

from ...data import MASKS, describe
from ...data.augment import Normalisation
from ...data.masks.augment import MaskAugmentation
from ...data.masks.batches import MaskBatches
from ...data.masks.labels import IGNORE, Labels
from ...errors import ConfigError

if TYPE_CHECKING:
    from ...training.settings import Settings


def training_batches(
    settings: Settings, data: Any, normalise: Normalisation, batch_size: int, shard: Tuple[int, int]
) -> MaskBatches:
    """The training batches of every epoch, with masks as targets: see `fusion.tasks.base.Task.batches`.

    Raises
    ------
    ConfigError
        If the data set has no masks, or crops are to be padded with a background that it does not have.
    """
    known = describe(settings.data.name)
    if known.kind != MASKS:
        raise ConfigError(
            f"{settings.data.name} has no masks, and the task is segmentation: choose a data set with masks, such as "
            "data.name=mask_folder, or leave out the setting task"
        )
    augmentation = crop_augmentation(settings, data.labels)
    return MaskBatches(data, augmentation, normalise, batch_size, settings.train.seed, settings.data.workers, shard)


def crop_augmentation(settings: Settings, labels: Labels) -> MaskAugmentation:
    """The way from an image and its mask to a training crop, as the settings say.

    Raises
    ------
    ConfigError
        If crops are to be padded with a background, and the classes have none.
    """
    augment = settings.augment
    ignored = augment.padding == "ignore"
    if not ignored and not labels.has_background:
        raise ConfigError(
            f"augment.padding is {augment.padding!r}, and none of the classes is the background (the first is "
            f"{labels.classes[0]!r}): set augment.padding=ignore"
        )
    height, width = augment.crop_size or (settings.data.size, settings.data.size)
    red, green, blue = (round(255 * mean) if ignored else 0 for mean in augment.mean)
    return MaskAugmentation(
        height=height,
        width=width,
        flip=augment.flip,
        long_side=(augment.long_side[0], augment.long_side[1]) if augment.long_side else None,
        scale=(augment.scale[0], augment.scale[1]),
        fill=(red, green, blue),
        fill_class=IGNORE if ignored else 0,
        target_probability=augment.target_probability,
        has_background=labels.has_background,
        blur_probability=augment.blur_probability,
        jitter=augment.colour_jitter,
    )
