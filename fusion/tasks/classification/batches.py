"""Training batches for classification, from images in memory and from photos that are decoded when they are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Tuple

from ...data import MAX_BAD_IMAGES, describe
from ...data.augment import Augmentation, Normalisation, named_policy
from ...data.description import IMAGES, PHOTOS
from ...data.loader import TrainingBatches
from ...data.photos.batches import PhotoBatches, Targets
from ...data.photos.photo import PhotoAugmentation
from ...errors import ConfigError

if TYPE_CHECKING:
    from ...training.settings import Settings


def training_batches(
    settings: Settings, data: Any, normalise: Normalisation, batch_size: int, shard: Tuple[int, int]
) -> Any:
    """The training batches of every epoch, with soft targets: see `fusion.tasks.base.Task.batches`."""
    return _MAKERS[describe(settings.data.name).kind](settings, data, normalise, batch_size, shard)


def count_outputs(settings: Settings, classes: int) -> int:
    """How many logits the network has for a data set's number of classes.

    Raises
    ------
    ConfigError
        If there is only one class, or `model.outputs` is less than the number of classes.
    """
    if classes < 2:
        where = f" in {settings.data.dir}" if settings.data.dir else ""
        raise ConfigError(
            f"{settings.data.name}{where} has only one class; expected at least 2: with one there is nothing to "
            "tell apart, and every answer is right"
        )
    outputs = settings.model.outputs
    if outputs is not None and outputs < classes:
        raise ConfigError(f"model.outputs is {outputs}, and the data has {classes} classes; expected at least as many")
    return outputs or classes


def _image_batches(
    settings: Settings, data: Any, normalise: Normalisation, batch_size: int, shard: Tuple[int, int]
) -> TrainingBatches:
    augment = settings.augment
    augmentation = Augmentation(
        normalise=normalise,
        classes=count_outputs(settings, len(data.classes)),
        crop_padding=augment.crop_padding,
        flip=augment.flip,
        policy=named_policy(augment.auto_augment, augment.randaugment_layers, augment.randaugment_magnitude),
        mixup_alpha=augment.mixup_alpha,
        cutmix_alpha=augment.cutmix_alpha,
        mixup_epochs=settings.train.epochs - augment.mixup_off_epochs,
        smoothing=settings.train.label_smoothing,
    )
    return TrainingBatches(data, augmentation, batch_size, settings.train.seed, settings.data.workers, shard)


def _photo_batches(
    settings: Settings, data: Any, normalise: Normalisation, batch_size: int, shard: Tuple[int, int]
) -> Any:
    """The batches of photos, by the pipeline that `data.pipeline` names."""
    augment, seed, workers = settings.augment, settings.train.seed, settings.data.workers
    targets = Targets(
        classes=count_outputs(settings, len(data.classes)),
        mixup_alpha=augment.mixup_alpha,
        cutmix_alpha=augment.cutmix_alpha,
        mixup_epochs=settings.train.epochs - augment.mixup_off_epochs,
        smoothing=settings.train.label_smoothing,
    )
    augmentation = PhotoAugmentation(
        size=settings.data.size,
        area=(augment.crop_area[0], augment.crop_area[1]),
        aspect=(augment.crop_aspect[0], augment.crop_aspect[1]),
        flip=augment.flip,
        policy=named_policy(augment.auto_augment, augment.randaugment_layers, augment.randaugment_magnitude),
        jitter=augment.colour_jitter,
        lighting=augment.lighting,
    )
    if settings.data.pipeline == "native":
        from ...data.photos.native import NativeBatches  # of MXNet, which the other batches do not need

        return NativeBatches(data, augmentation, normalise, targets, batch_size, seed, workers, shard)
    bad = MAX_BAD_IMAGES if settings.data.max_bad_images is None else settings.data.max_bad_images
    return PhotoBatches(data, augmentation, normalise, targets, batch_size, seed, workers, bad, shard)


_MAKERS = {IMAGES: _image_batches, PHOTOS: _photo_batches}
