"""What a report is about: a run, its network, its test set and some images to look at, each read when asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from ..data.imageset import DataSet
from ..errors import DataError
from ..inference.images import read_batches, report_unreadable
from ..inference.trained import Trained
from ..tasks.base import TEST
from ..training.history import History
from ..training.logbook import RunDirectory, read_evaluations, read_result
from ..training.run_files import damaged
from ..training.settings import Settings
from ..words import counted
from .answers import Answers, answer_all
from .panels import image_name
from .pixels import PixelAnswers, answer_all_pixels

#: Test images to look at: at most this number, of different classes.
_IMAGES = 6


@dataclass
class Known:
    """What a report is about.

    Attributes
    ----------
    run : RunDirectory
        The run.
    trained : Trained
        Its network.
    settings : Settings
        Those of the run, with its data where it is now.
    files : list of Path
        Images to look at instead of test images.
    """

    run: RunDirectory
    trained: Trained
    settings: Settings
    files: List[Path] = field(default_factory=list)

    @cached_property
    def result(self) -> Dict[str, Any]:
        """Its result.json."""
        facts = read_result(self.run)
        for which in ("best", "last"):
            lacking = [name for name in self.history.last or () if name.startswith(TEST) and name not in facts[which]]
            if lacking:
                raise damaged(self.run.result, f"its {which} epoch has no {lacking[0]}")
        return facts

    @cached_property
    def history(self) -> History:
        """Its finished epochs."""
        return read_evaluations(self.run)

    @cached_property
    def data(self) -> DataSet:
        """Its test set.

        Raises
        ------
        DataError
            If it cannot be found.
        """
        try:
            return self.trained.load_split(self.settings, "test")
        except DataError as error:
            raise DataError(f"the run's data is needed: {error}. Say where it is now with data.dir=PATH") from None

    @cached_property
    def answers(self) -> Answers:
        """What the network answers on the whole test set."""
        return answer_all(self.trained, self.data)

    @cached_property
    def pixel_answers(self) -> PixelAnswers:
        """The same of a network that answers each pixel."""
        return answer_all_pixels(self.trained, self.data)

    @cached_property
    def pictures(self) -> Tuple[np.ndarray, List[str]]:
        """Images to look at, (n, H, W, 3) uint8 as the network is fed them, with their names.

        Raises
        ------
        DataError
            If there is none.
        """
        if self.files:
            return _read_files(self)
        if self.trained.task.dense:
            return _of_one_size(self.data)
        return _one_per_class(self.data, self.trained.names_of(self.data))

    @property
    def title(self) -> str:
        """Model and data set."""
        return f"{self.trained.model} on {self.result['data']}"


def _read_files(known: Known) -> Tuple[np.ndarray, List[str]]:
    (batch,) = read_batches(known.files, known.trained.preparation, len(known.files))
    report_unreadable(batch.unreadable)
    if not batch.files:
        raise DataError(f"--images: no image can be read: {counted(len(known.files), 'file')} tried")
    return batch.images, [image_name(file) for file in batch.files]


def _of_one_size(data: Any) -> Tuple[np.ndarray, List[str]]:
    """At most `_IMAGES` test images with masks, those from the first on that have its size."""
    found: List[Any] = []
    for number in range(len(data)):
        sample = data.read(number)
        if not found or sample.image.shape == found[0].image.shape:
            found.append(sample)
        if len(found) == _IMAGES:
            break
    return np.stack([sample.image for sample in found]), [sample.name for sample in found]


def _one_per_class(data: DataSet, names: Sequence[str]) -> Tuple[np.ndarray, List[str]]:
    """The first test image of each of the first `_IMAGES` classes, and the names of these."""
    found: Dict[int, np.ndarray] = {}
    wanted = min(_IMAGES, len(names))
    for images, labels in data.in_order(1):
        if int(labels[0]) < wanted:
            found.setdefault(int(labels[0]), images[0])
        if len(found) == wanted:
            break
    if not found:
        raise DataError(f"{data.title}: no test image of the first {counted(wanted, 'class', 'classes')}")
    labels_found = sorted(found)
    return np.stack([found[label] for label in labels_found]), [names[label] for label in labels_found]
