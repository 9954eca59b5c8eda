"""The data of a run and how its images become inputs, from its settings alone: none of this needs MXNet."""

from __future__ import annotations

from typing import Any, Dict, Tuple

from ..data import MASKS, DataSet, describe, load_dataset
from ..data.augment import Normalisation
from .mask_training import mask_options
from .photo_training import photo_options
from .settings import Settings


def model_title(settings: Settings) -> str:
    """The name of the model in tables and log lines."""
    model = settings.model
    return f"{model.name} ({model.fusion})" if model.fusion else model.name


def load_split(settings: Settings, split: str) -> DataSet:
    """Load one split of the data set, 'train' or 'test'."""
    data = settings.data
    options: Dict[str, Any] = {"labels": data.labels, "url": data.url, "fit": data.fit}
    options.update(photo_options(settings), **mask_options(settings))
    if describe(data.name).kind != MASKS:  # there it is the size of training crops, which are cut out later
        options["size"] = data.size
    return load_dataset(data.name, split, data.dir, **options)


def load_data(settings: Settings) -> Tuple[DataSet, DataSet]:
    """Load the training images and the test images."""
    return load_split(settings, "train"), load_split(settings, "test")


def build_normalisation(settings: Settings) -> Normalisation:
    """Build the normalisation that turns stored images into the network's input."""
    return Normalisation(settings.augment.mean, settings.augment.std)
