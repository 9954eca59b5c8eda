"""Masks with the numbers that a network has for their classes, in place of those of the data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Sequence, Tuple

import numpy as np

from .labels import IGNORE

if TYPE_CHECKING:
    from .maskset import Facts, MaskSource


class RelabelledMasks:
    """Images with the numbers of other classes in their masks.

    Parameters
    ----------
    source : MaskSource
        Where they are.
    places : sequence of int
        The new number for each old one, with that of the background for binary masks.
    """

    def __init__(self, source: MaskSource, places: Sequence[int]) -> None:
        self._source = source
        self._places = tuple(places)
        self._table = np.arange(256, dtype=np.uint8)
        self._table[: len(places)] = places
        self._table[IGNORE] = IGNORE

    def __len__(self) -> int:
        return len(self._source)

    def name(self, number: int) -> str:
        """As the source has it."""
        return self._source.name(number)

    def files(self, number: int) -> Tuple[str, str]:
        """As the source has them."""
        return self._source.files(number)

    def read_image(self, number: int) -> np.ndarray:
        """As the source has it."""
        return self._source.read_image(number)

    def read_mask(self, number: int) -> np.ndarray:
        """The new numbers of classes, (h, w) uint8."""
        return np.asarray(self._table[self._source.read_mask(number)])

    def look(self, number: int) -> Facts:
        """As the source has it, with the new numbers."""
        facts = self._source.look(number)
        return facts._replace(classes=frozenset(int(self._table[each]) for each in facts.classes))

    def fingerprint(self) -> str:
        """As the source has it."""
        return self._source.fingerprint()
