"""What the rest of the package knows of a data set: one description, at the end of the data set's own file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable, Mapping, Optional, Tuple

from .imageset import DataSet

#: Kinds of data sets: an `ImageSet` in memory, a `PhotoSet` whose photos are decoded when they are needed, or a
#: `MaskSet`, whose images have masks.
IMAGES, PHOTOS, MASKS = "images", "photos", "masks"


@dataclass(frozen=True)
class Description:
    """A data set that `load_dataset` knows by name.

    Parameters
    ----------
    name : str
        What `data.name` says.
    title : str
        For lists and messages, such as "CIFAR-100".
    load : callable
        `load(split=..., **options)` gives one split.
    kind : {"images", "photos", "masks"}
        "images" are in memory (`ImageSet`); "photos" are decoded when they are needed (`PhotoSet`); "masks" are images
        with the class of every pixel (`MaskSet`). Each kind has its own batches and augmentation.
    options : tuple of str
        The options of `load_dataset` that mean something to this data set.
    task : str
        What is learnt on it unless the settings say otherwise.
    needs_folder : bool
        Whether `data.dir` must say where it is.
    fixed_classes : bool
        Whether its classes are always the same, so that its name tells them.
    classes : dict of str to tuple of str
        The names of these under each of its labellings, such as "fine"; empty where it has to be read to know them.
    size : int, optional
        Height and width of its images in pixels, where they are always the same.
    settings : tuple of str
        Settings that mean something to this data set or its kind only, such as "data.source".
    """

    name: str
    title: str
    load: Callable[..., DataSet]
    kind: str
    options: Tuple[str, ...] = ()
    task: str = "classification"
    needs_folder: bool = True
    fixed_classes: bool = False
    classes: Mapping[str, Tuple[str, ...]] = field(default_factory=dict)
    size: Optional[int] = None
    settings: Tuple[str, ...] = ()
