"""Pictures of what a network answers: image, truth, answer, and where the answer is wrong.

Small targets are shown enlarged: beside the whole image with a frame in it, the other panels have what is in the frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, List, Sequence, Tuple

import numpy as np

from ...compat import mx
from ...data.augment import Normalisation
from ...data.masks.labels import IGNORE, Labels
from ...data.masks.palette import paint
from ...drawing import GREEN, ORANGE, SKY, WIDTH, new_page, plain, save_page
from .meters import answers
from .whole import restored, shown

#: Images of a picture unless another number is asked for.
IMAGES = 6

#: A target that takes less than this share of the image is shown in a frame whose side is at least so many pixels.
_SMALL, _FRAME = 0.02, 48

#: How bright the image is below the errors.
_DIMMED = 0.6


@dataclass(frozen=True)
class Answered:
    """A test image with its truth and a network's answer.

    Attributes
    ----------
    name : str
        Of the image.
    image : ndarray
        (H, W, 3) uint8.
    truth, answer : ndarray
        (H, W) uint8, numbers of classes; pixels of the truth that do not count are `IGNORE`.
    """

    name: str
    image: np.ndarray
    truth: np.ndarray
    answer: np.ndarray


def answer_some(
    answering: Any, data: Any, normalise: Normalisation, context: Any, count: int = IMAGES, resize: int = 0
) -> List[Answered]:
    """A network's answers to some images of a set, which are spread evenly over it.

    Parameters
    ----------
    answering : callable
        From images (1, 3, H, W) to logits: see `fusion.tasks.base.Task.answering`.
    data : MaskSet
        The images, with their masks.
    normalise : Normalisation
        From uint8 images to the network's input.
    context : Context
        Where the network is.
    count : int
        How many images, or as many as there are.
    resize : int
        The side of the square that images are shown in, in pixels; 0 is their own size.
    """
    found = []
    for number in np.unique(np.linspace(0, len(data) - 1, min(count, len(data))).astype(int)):
        sample = data.read(int(number))
        inputs = mx.nd.array(normalise(shown(sample.image, resize)[None].transpose(0, 3, 1, 2)), ctx=context)
        answer = answers(answering(inputs).asnumpy())[0].astype(np.uint8)
        found.append(Answered(sample.name, sample.image, sample.mask, restored(answer, sample.image)))
    return found


def colour_errors(answered: Answered, binary: bool) -> np.ndarray:
    """The image, dimmed, with what is found in green, what is said and is not in orange, what is missed in blue.

    Parameters
    ----------
    answered : Answered
        An image.
    binary : bool
        Whether there is one class before a background. With several classes, right pixels keep the image, and all
        wrong ones are orange.

    Returns
    -------
    ndarray
        (H, W, 3) uint8; pixels that do not count are light grey.
    """
    truth, answer = answered.truth, answered.answer
    counted = truth != IGNORE
    colours = np.rint(_DIMMED * answered.image).astype(np.uint8)
    if binary:
        colours[counted & (truth == 1) & (answer == 1)] = _rgb(GREEN)
        colours[counted & (truth == 1) & (answer == 0)] = _rgb(SKY)
        colours[counted & (truth == 0) & (answer == 1)] = _rgb(ORANGE)
    else:
        colours[counted & (truth != answer)] = _rgb(ORANGE)
    colours[~counted] = 225
    return colours


def draw_answers(found: Sequence[Answered], labels: Labels, title: str, path: Path) -> None:
    """Draw a row per image: the image, its truth, the answer, and the errors in colour.

    Parameters
    ----------
    found : sequence of Answered
        At least one.
    labels : Labels
        Of the set.
    title : str
        Above everything.
    path : Path
        Written in the format that its name ends in.
    """
    meaning = "green: found; orange: said and is not; blue: missed" if labels.binary else "orange: wrong"
    if labels.binary:
        meaning += "; frame: what the other panels enlarge"
    if any((one.truth == IGNORE).any() for one in found):
        meaning += "; light grey: does not count"
    shapes = [one.image.shape for one in found]
    heights = [WIDTH / 4 * min(1.0, height / width) + 0.12 for height, width, _ in shapes]
    figure, grid = new_page(len(found), 4, sum(heights) + 0.9, f"{title}\n{meaning}", layout="compressed")
    for axes, heading in zip(grid[0], ("image", "truth", "answer", "errors")):
        axes.set_title(heading, fontsize=9)
    for panels, one in zip(grid, found):
        rows, columns = frame(one.truth) if labels.binary else (slice(None), slice(None))
        whole = one.image
        parts = [
            paint(one.image, one.truth, labels)[rows, columns],
            paint(one.image, one.answer, labels)[rows, columns],
            colour_errors(one, labels.binary)[rows, columns],
        ]
        for axes, pixels in zip(panels, [whole, *parts]):
            axes.imshow(pixels, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
        panels[0].set_ylabel(plain(one.name[:18]), fontsize=8)
        if parts[0].shape != whole.shape:
            _draw_frame(panels[0], rows, columns)
    save_page(figure, path)


def frame(truth: np.ndarray) -> Tuple[slice, slice]:
    """The rows and columns around the largest target of a mask (H, W) if it is small; otherwise all of them."""
    from scipy import ndimage

    regions, count = ndimage.label(truth == 1, structure=np.ones((3, 3)))
    sizes = np.bincount(regions.ravel(), minlength=count + 1)[1:]
    if not count or sizes.max() > _SMALL * truth.size:
        return slice(None), slice(None)
    rows, columns = ndimage.find_objects(regions)[int(sizes.argmax())]
    side = max(_FRAME, 3 * (rows.stop - rows.start), 3 * (columns.stop - columns.start))
    return _around(rows, side, truth.shape[0]), _around(columns, side, truth.shape[1])


def _around(part: slice, side: int, length: int) -> slice:
    """A part of a side of an image, which is as long as asked for and lies within the image."""
    start = max(0, min((part.start + part.stop - side) // 2, length - side))
    return slice(start, min(start + side, length))


def _draw_frame(axes: Any, rows: slice, columns: slice) -> None:
    from matplotlib.patches import Rectangle

    size = (columns.stop - columns.start, rows.stop - rows.start)
    axes.add_patch(Rectangle((columns.start, rows.start), *size, fill=False, edgecolor=ORANGE, linewidth=1.2))


def _rgb(colour: str) -> Tuple[int, ...]:
    return tuple(int(colour[place : place + 2], 16) for place in (1, 3, 5))
