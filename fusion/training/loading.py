"""The data of a run, labelled as a network numbers its classes, and how its images become inputs; without MXNet."""

from __future__ import annotations

import logging
from typing import Any, Dict, Optional, Tuple

from ..data import MASKS, MAX_BAD_IMAGES, DataSet, describe, load_dataset
from ..data.augment import Normalisation
from ..data.identity import Classes, match_classes
from ..tasks import Task, task_of
from .mask_training import mask_options
from .photo_training import photo_options
from .settings import Settings

logger = logging.getLogger("fusion")


def model_title(settings: Settings) -> str:
    """The name of the model in tables and log lines."""
    model = settings.model
    return f"{model.name} ({model.fusion})" if model.fusion else model.name


def build_normalisation(settings: Settings) -> Normalisation:
    """Build the normalisation that turns stored images into the network's input."""
    return Normalisation(settings.augment.mean, settings.augment.std)


def load_split(settings: Settings, split: str) -> DataSet:
    """Load one split of the data set, 'train' or 'test'."""
    data = settings.data
    options: Dict[str, Any] = {"labels": data.labels, "url": data.url, "fit": data.fit}
    options.update(photo_options(settings), **mask_options(settings))
    if describe(data.name).kind != MASKS:  # there it is the size of training crops, which are cut out later
        options["size"] = data.size
    if "max_bad_images" in describe(data.name).options:  # photos on disk are read by their batches
        options["max_bad_images"] = MAX_BAD_IMAGES if data.max_bad_images is None else data.max_bad_images
    return load_dataset(data.name, split, data.dir, **options)


def load_data(settings: Settings) -> Tuple[DataSet, DataSet]:
    """Load the training images and the test images, whose labels are numbers of the training classes."""
    train, test = load_split(settings, "train"), load_split(settings, "test")
    owner = f"the training part of {train.title}"
    return train, data_for(test, task_of(settings), classes_of_data(train, owner), owner)


def load_split_for(settings: Settings, split: str, network: Optional[Classes], owner: str) -> DataSet:
    """Load one split for a network that is there already, with labels that are the numbers of its outputs.

    Parameters
    ----------
    settings : Settings
        What the data is, and what the network answers.
    split : {"train", "test"}
        Which part.
    network : Classes, optional
        What the network was trained on, where that is known.
    owner : str
        What the network is called where it is not.

    Raises
    ------
    DataError
        If the data cannot be loaded, or has a class that is none of the network's.
    """
    return data_for(load_split(settings, split), task_of(settings), network, owner)


def classes_of_data(data: DataSet, owner: Optional[str] = None) -> Classes:
    """The classes of a data set."""
    return Classes(tuple(data.classes), owner or data.title, data.named)


def places_of(task: Task, data: Classes, network: Classes) -> Tuple[int, ...]:
    """For each number in the targets of a data set, the number that a network has for the same class.

    Raises
    ------
    DataError
        If the data set has a class that is none of the network's.
    """
    own, wanted = (Classes(task.label_names(each.names), each.owner, each.named) for each in (data, network))
    return match_classes(own, wanted)


def data_for(data: DataSet, task: Task, network: Optional[Classes], owner: str) -> DataSet:
    """The same images with the labels of a network's outputs.

    Parameters
    ----------
    data : DataSet
        Any split.
    task : Task
        Of the network.
    network : Classes, optional
        Of the network; None where they are not known, so that labels stay as they are, which is logged.
    owner : str
        What the network is called in this message.

    Raises
    ------
    DataError
        If the data set has a class that is none of the network's.
    """
    if network is None:
        logger.warning(
            "%s does not say on which classes it was trained: class number N of %s is taken for output number N, and "
            "nothing shows whether that is right",
            *(owner, data.title),
        )
        return data
    if tuple(data.classes) == network.names:
        return data
    places = places_of(task, classes_of_data(data), network)
    return data.relabelled(places, network.names)
