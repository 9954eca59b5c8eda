"""Photos that are stored turned or mirrored, as cameras do: EXIF numbers the eight ways, and every reader goes by them.

================  ==================================
1                 as stored
2                 mirrored left to right
3                 by half a turn
4                 mirrored top to bottom
5                 rows and columns exchanged
6                 by a quarter turn clockwise
7                 5, then by half a turn
8                 by a quarter turn anticlockwise
================  ==================================
"""

from __future__ import annotations

from typing import Tuple

import numpy as np

#: Of each orientation: whether rows and columns are exchanged, and then the steps through the rows and the columns.
_STEPS = {
    1: (False, 1, 1),
    2: (False, 1, -1),
    3: (False, -1, -1),
    4: (False, -1, 1),
    5: (True, 1, 1),
    6: (True, 1, -1),
    7: (True, -1, -1),
    8: (True, -1, 1),
}


def turned(stored: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels as they are shown.

    Parameters
    ----------
    stored : ndarray
        (H, W) or (H, W, channels).
    orientation : int
        From 1 to 8.

    Returns
    -------
    ndarray
        The same pixels, from 5 on (W, H) or (W, H, channels).
    """
    if orientation == 1:
        return stored
    exchanged, down, across = _STEPS[orientation]
    image = stored.swapaxes(0, 1) if exchanged else stored
    return np.ascontiguousarray(image[::down, ::across])


def stored_place(
    place: Tuple[int, int], size: Tuple[int, int], shown: Tuple[int, int], orientation: int
) -> Tuple[Tuple[int, int], Tuple[int, int]]:
    """Where a rectangle of the shown photo is stored: `turned` makes the one of the other.

    Parameters
    ----------
    place, size : (int, int)
        Top and left, and height and width, of the rectangle in the photo as it is shown.
    shown : (int, int)
        Height and width of the photo as it is shown.
    orientation : int
        From 1 to 8.

    Returns
    -------
    place, size : (int, int)
        The same in the photo as it is stored.
    """
    exchanged, *steps = _STEPS[orientation]
    top, left = (
        start if step > 0 else side - start - length for start, length, side, step in zip(place, size, shown, steps)
    )
    return ((left, top), (size[1], size[0])) if exchanged else ((top, left), size)
