"""What the values of mask files mean: the names of the classes, and from a stored value to the number of a class.

A set has either one class, which stands against a background that is no class, or several classes, of which each pixel
has one. `classes.txt` beside the images says which: one name per line, the first for the value 0, the next for 1, and
so on. With a single name, or without the file, the masks are binary.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ...errors import DataError
from ...reading import ReadingError, read_lines
from ..photos.header import BadPhotoError

logger = logging.getLogger(__name__)

#: In memory, the value of a pixel that neither a loss nor a metric may count, whichever value the files have for it.
IGNORE = 255

#: Masks are uint8, and one value is `IGNORE`.
MOST_CLASSES = 255

#: The file that names the classes, and the only class of masks without it.
CLASSES_FILE, TARGET = "classes.txt", "target"

#: Names of what data sets have for pixels that nobody labelled.
_UNLABELLED = frozenset({"unlabelled", "unlabeled", "void", "ignore", "ignored"})

#: The two values that stand for the target in binary masks: as an index, and as white.
_INDEX, _WHITE = 1, 255


@dataclass(frozen=True)
class Labels:
    """The classes of a set, and the values that its files have for them.

    Parameters
    ----------
    classes : tuple of str
        Names in the order of their numbers. Of binary masks it is the target's alone, whose number is 1.
    numbers : mapping of int to int
        From each value of a file, 0 to 255, to the number of its class, or to `IGNORE`.
    written : tuple of int
        From the number of a class to the value that stands for it in a file.
    ignore : int, optional
        The value of pixels that are not counted.
    named : bool
        Whether the data names the classes: not so if they are called `TARGET` for want of a name.
    shown : tuple of str
        Other names for people to read, one for each of `classes`; empty if they are shown as they are called.
    """

    classes: Tuple[str, ...]
    numbers: Mapping[int, int]
    written: Tuple[int, ...]
    ignore: Optional[int] = None
    named: bool = True
    shown: Tuple[str, ...] = ()

    @property
    def binary(self) -> bool:
        """Whether there is one class against a background: masks have 1 and 0."""
        return len(self.classes) == 1

    @property
    def has_background(self) -> bool:
        """Whether the number 0 stands for what is none of the objects."""
        return self.binary or self.classes[0].lower() == "background"

    def name(self, number: int) -> str:
        """The name to show of a class, by its number in masks; the background of binary masks is called that."""
        names = self.shown or self.classes
        return ("background", *names)[number] if self.binary else names[number]

    def find(self, values: np.ndarray) -> np.ndarray:
        """From the values of a file to numbers of classes.

        Parameters
        ----------
        values : ndarray
            (H, W), integers of any type.

        Returns
        -------
        ndarray
            (H, W) uint8.

        Raises
        ------
        BadPhotoError
            If a value is no class's, or binary masks have both values that can stand for the target.
        """
        present = set(values_of(values))
        unknown = sorted(present - set(self.numbers))
        if unknown:
            shown = ", ".join(map(str, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
            raise BadPhotoError(f"value{'s' if len(unknown) > 1 else ''} {shown}; {self._expected()}")
        if self.binary and self.ignore is None and {_INDEX, _WHITE} <= present:
            raise BadPhotoError(
                f"values {_INDEX} and {_WHITE}, either of which can stand for the target; if {_WHITE} is for pixels "
                f"that do not count, set data.ignore={_WHITE}"
            )
        table = np.zeros(256, np.uint8)
        for value, number in self.numbers.items():
            table[value] = number
        return np.asarray(table[values])

    def stored(self, mask: np.ndarray) -> np.ndarray:
        """From numbers of classes to the values of a file: the inverse of `find`.

        Parameters
        ----------
        mask : ndarray
            (H, W) uint8; `IGNORE` stays as it is where no value of a file stands for it.

        Returns
        -------
        ndarray
            (H, W) uint8.
        """
        table = np.arange(256, dtype=np.uint8)
        table[: len(self.written)] = self.written
        table[IGNORE] = IGNORE if self.ignore is None else self.ignore
        return np.asarray(table[mask])

    def _expected(self) -> str:
        known = sorted(value for value, number in self.numbers.items() if number != IGNORE)
        ignored = "no value is ignored" if self.ignore is None else f"{self.ignore} is ignored"
        if self.binary:
            values = " or ".join(map(str, known[1:]))
            return (
                f"expected 0 for the background and {values} for {self.classes[0]} ({ignored}); name the classes in "
                f"{CLASSES_FILE}, one per line, if there are several, or set data.ignore if it is not to count"
            )
        return (
            f"expected {_span(known)}, the {len(self.classes)} classes ({ignored}); set data.ignore if it is not to "
            f"count, or mend {CLASSES_FILE}"
        )


def values_of(mask: np.ndarray) -> List[int]:
    """The different values of a mask, in rising order."""
    if mask.dtype == np.uint8:
        return np.flatnonzero(np.bincount(mask.ravel(), minlength=256)).tolist()  # without sorting all pixels
    return np.unique(mask).tolist()


def _span(values: Sequence[int]) -> str:
    """Such as '0 to 10', or '1 to 3 and 5' in full."""
    if list(values) == list(range(values[0], values[-1] + 1)):
        return f"{values[0]} to {values[-1]}"
    return ", ".join(map(str, values))


def binary_labels(name: str = TARGET, ignore: Optional[int] = None) -> Labels:
    """The labels of masks with a single class: 0 is the background, 1 or 255 the target.

    Parameters
    ----------
    name : str
        Of the class.
    ignore : int, optional
        The value of pixels that are not counted.

    Raises
    ------
    DataError
        If the background is to be ignored.
    """
    if ignore == 0:
        raise DataError(
            "data.ignore=0 would ignore the background of binary masks, so that everything else is the target and "
            f"there is nothing to tell apart; name the classes in {CLASSES_FILE} if 0 is none of them"
        )
    targets = [value for value in (_WHITE, _INDEX) if value != ignore]
    numbers = {0: 0, **dict.fromkeys(targets, 1)}
    if ignore is not None:
        numbers[ignore] = IGNORE
    return Labels((name,), numbers, (0, targets[0]), ignore)


def class_labels(names: Sequence[str], ignore: Optional[int] = None) -> Labels:
    """The labels of masks with several classes: value 0 is the first name, 1 the second, and so on.

    Parameters
    ----------
    names : sequence of str
        In the order of the values. The name of the ignored value is no class's, and the later ones move up.
    ignore : int, optional
        The value of pixels that are not counted, a name's or beyond the names.
    """
    kept = [value for value in range(len(names)) if value != ignore]
    numbers = {value: number for number, value in enumerate(kept)}
    if ignore is not None:
        numbers[ignore] = IGNORE
    return Labels(tuple(names[value] for value in kept), numbers, tuple(kept), ignore)


def read_labels(root: Path, ignore: Optional[int]) -> Labels:
    """The labels of a folder, by its `classes.txt`; without that file the masks are binary.

    Raises
    ------
    DataError
        If the file has no name, one twice or an empty line, or too many, or the ignored value leaves no two classes.
    """
    path = root / CLASSES_FILE
    if not path.exists():
        return replace(binary_labels(ignore=ignore), named=False)
    try:
        names = [line.strip() for line in read_lines(path)]
    except ReadingError as error:
        raise DataError(f"{path}: cannot be read as a text file of class names ({error})") from None
    if not names or not all(names) or len(set(names)) < len(names):
        raise DataError(f"{path}: expected a different name on each line, one for each value from 0 on")
    if len(names) > MOST_CLASSES:
        raise DataError(f"{path} has {len(names)} names; expected at most {MOST_CLASSES}, as masks hold 8 bits")
    if len(names) == 1:
        return binary_labels(names[0], ignore)
    labels = class_labels(names, ignore)
    unlabelled = [value for value, name in enumerate(names) if name.lower() in _UNLABELLED and value != ignore]
    if unlabelled:
        value = unlabelled[0]
        logger.warning("%s: %r is taken for a class; set data.ignore=%d if not", path, names[value], value)
    if labels.binary:
        raise DataError(
            f"{path}: with data.ignore={ignore} only {labels.classes[0]!r} is left, so that there is nothing to tell "
            "apart; for binary masks write the name of the target alone"
        )
    return labels
