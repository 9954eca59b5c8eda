"""The outlines and run lengths of COCO's annotations to pixels, the same pixels as COCO's own code.

Source: the C code of pycocotools, `common/maskApi.c` (P. Dollár and T.-Y. Lin), `rleFrPoly`, `rleFrString` and
`rleDecode`. Its library draws polygons where it is installed, as it is faster. Without it they are drawn here in NumPy,
so that a data set can be made without a compiler; a test holds the two against each other.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, List, Mapping, Sequence, Union

import numpy as np

#: What an annotation's "segmentation" may be: polygons x, y, x, y, ..., or run lengths down the columns.
Segmentation = Union[Sequence[Sequence[float]], Mapping[str, Any]]

#: Numbers of a polygon of three corners.
_LEAST = 6

#: No corner is farther from an image's, in pixels: the library keeps a number for each step of the outline.
_FARTHEST = 100_000

#: Of a run length; an image has fewer pixels than their numbers.
_MOST_BITS = 60

#: The outline is followed in steps of this part of a pixel.
_STEPS = 5


def rasterise(segmentation: Segmentation, height: int, width: int) -> np.ndarray:
    """The pixels of an annotation.

    Parameters
    ----------
    segmentation : sequence or mapping
        Polygons, whose union is meant, or {"size": [height, width], "counts": ...} with run lengths as a list of
        numbers or in COCO's compressed text.
    height, width : int
        Of the image.

    Returns
    -------
    ndarray
        (height, width) bool.

    Raises
    ------
    ValueError
        If it is neither, or of another size.
    """
    if isinstance(segmentation, Mapping):
        if list(segmentation.get("size", ())) != [height, width]:
            raise ValueError(f"run lengths of the size {segmentation.get('size')} in an image of {[height, width]}")
        counts = segmentation["counts"]
        runs = _uncompressed(counts) if isinstance(counts, (str, bytes)) else counts
        return _of_runs(runs, height, width)
    mask = np.zeros((height, width), bool)
    for polygon in segmentation:
        if len(polygon) % 2:
            raise ValueError(f"a polygon of {len(polygon)} numbers; expected x and y of each corner")
        if not all(abs(number) <= _FARTHEST for number in polygon):  # nor is any that is not a number
            raise ValueError(f"a polygon with a corner beyond {_FARTHEST:,} pixels")
        if len(polygon) >= _LEAST:  # with two corners or one, nothing is inside
            mask |= _of_polygon(polygon, height, width)
    return mask


@lru_cache(maxsize=None)
def _library() -> Any:
    """The module `pycocotools.mask`, or None where it is not installed."""
    try:
        from pycocotools import mask
    except ImportError:
        return None
    return mask


def _of_polygon(polygon: Sequence[float], height: int, width: int) -> np.ndarray:
    library = _library()
    if library is None:
        return fill_polygon(polygon, height, width)
    return np.asarray(library.decode(library.frPyObjects([list(polygon)], height, width)))[..., 0].astype(bool)


def _of_runs(runs: Sequence[int], height: int, width: int) -> np.ndarray:
    """Runs of pixels down the columns, in turn outside and inside, the first of them outside."""
    lengths = np.asarray(runs, np.int64)
    if lengths.ndim != 1 or not all(0 <= length <= height * width for length in runs):
        raise ValueError(f"a run length that no image of {height * width} pixels has")
    if lengths.sum() != height * width:
        raise ValueError(f"run lengths of {lengths.sum()} pixels in an image of {height * width}")
    return np.repeat(np.arange(len(runs)) % 2 == 1, lengths).reshape(width, height).T


def _uncompressed(text: Union[str, bytes]) -> List[int]:
    """The numbers of `rleFrString`: 5 bits per letter, and from the third on the difference from two before."""
    letters = iter(text.encode("ascii") if isinstance(text, str) else text)
    runs: List[int] = []
    for letter in letters:
        value, place, bits = 0, 0, letter - 48
        value |= bits & 31
        while bits & 32:
            bits, place = next(letters) - 48, place + 5
            value |= (bits & 31) << place
            if place > _MOST_BITS:
                raise ValueError("a run length without an end")
        if bits & 16:
            value -= 1 << (place + 5)
        runs.append(value + runs[-2] if len(runs) > 2 else value)
    return runs


def fill_polygon(polygon: Sequence[float], height: int, width: int) -> np.ndarray:
    """The pixels inside of a polygon.

    Parameters
    ----------
    polygon : sequence of float
        x, y, x, y, ... of its corners, in pixels.
    height, width : int
        Of the image.

    Returns
    -------
    ndarray
        (height, width) bool.
    """
    corners = (_STEPS * np.asarray(polygon, np.float64).reshape(-1, 2) + 0.5).astype(np.int64)
    ends = np.roll(corners, -1, axis=0)
    outline = np.concatenate([_line(*start, *end) for start, end in zip(corners.tolist(), ends.tolist())])
    (u, v), (u_next, v_next) = outline[:-1].T, outline[1:].T
    # Where the outline goes from one column of fine pixels to the next one, in the middle of a pixel's column.
    column = (np.where(u_next < u, u_next, u_next - 1) + 0.5) / _STEPS - 0.5
    crosses = (u_next != u) & (np.floor(column) == column) & (column >= 0) & (column <= width - 1)
    row = np.ceil(((np.minimum(v, v_next) + 0.5) / _STEPS - 0.5).clip(0, height))
    places = (column[crosses] * height + row[crosses]).astype(np.int64)
    # Down the columns, each crossing turns from outside to inside or back.
    crossings = np.bincount(places, minlength=height * width + 1)[: height * width]
    return (np.cumsum(crossings) % 2 == 1).reshape(width, height).T


def _line(x: int, y: int, x_end: int, y_end: int) -> np.ndarray:
    """The fine pixels of an edge (n, 2), from its start to its end."""
    across, down = abs(x_end - x), abs(y_end - y)
    length = max(across, down)
    backwards = x > x_end if across >= down else y > y_end
    if backwards:
        x, y, x_end, y_end = x_end, y_end, x, y
    steps = np.arange(length + 1)
    if across >= down:
        slope = (y_end - y) / across if across else 0.0
        points = np.stack([x + steps, (y + slope * steps + 0.5).astype(np.int64)], axis=1)
    else:
        slope = (x_end - x) / down
        points = np.stack([(x + slope * steps + 0.5).astype(np.int64), y + steps], axis=1)
    return points[::-1] if backwards else points
