"""What the rest of the package has to know of a data set: each data set's own file ends with its description."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Optional, Tuple

from .imageset import DataSet

#: The kinds of data sets: images in memory, an `ImageSet`; photos that are decoded when needed, a `PhotoSet`.
IMAGES, PHOTOS = "images", "photos"


@dataclass(frozen=True)
class Description:
    """A data set.

    Attributes
    ----------
    name : str
        `data.name` of the settings.
    load : callable
        Called as `load(split=..., **options)`, with the options below.
    kind : {"images", "photos"}
        What `load` returns, and so how batches are made of it.
    options : tuple of str
        The options of `fusion.data.load_dataset` that mean something to it.
    task : str
        What is learnt on it unless the settings name another task.
    fixed_classes : bool
        Whether its classes are the same for everybody, as those of CIFAR are.
    size : int, optional
        Height and width of its images in pixels, where they are always the same.
    """

    name: str
    load: Callable[..., DataSet]
    kind: str = IMAGES
    options: Tuple[str, ...] = ()
    task: str = "classification"
    fixed_classes: bool = False
    size: Optional[int] = None

    @property
    def needs_folder(self) -> bool:
        """Whether it is read from a folder that the user has to name."""
        return "root" in self.options
