"""The answers of a network that answers each pixel, as masks: PNG files with a palette, and the masks over the images.

Each file NAME gives NAME.png, whose values are those of the data set's own masks, and NAME_overlay.png. An image is
answered as in an evaluation of the run: whole and at its own size, by windows, mirrored as well, or resized to a square
if the settings in the section eval say so. The mask of a resized image is scaled back to the image's own size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence, Union

import numpy as np

from ..compat import mx
from ..data.masks.decoding import read_image
from ..data.masks.labels import Labels, binary_labels, class_labels
from ..data.masks.palette import colour_table, paint
from ..data.photos.header import BadPhotoError, read_file
from ..data.photos.kinds import ANY_IMAGE
from ..errors import CheckpointError, ConfigError
from ..tasks.segmentation.meters import answers
from ..tasks.segmentation.whole import restored, shown
from .images import Unreadable
from .trained import Trained

#: Behind an image's name, in that of the picture of the mask over the image.
OVERLAY = "_overlay"


@dataclass(frozen=True)
class MaskAnswer:
    """A network's answer to one image.

    Attributes
    ----------
    file : Path
        The image.
    shares : dict of str to float
        Of the pixels, by class, without a background.
    """

    file: Path
    shares: Dict[str, float]

    @property
    def words(self) -> str:
        """The shares in words, the largest first; classes without a pixel are left out."""
        found = sorted(((share, name) for name, share in self.shares.items() if share), reverse=True)
        return ", ".join(f"{name} {100 * share:.3g} % of the pixels" for share, name in found) or "background only"


def labels_of(trained: Trained) -> Labels:
    """What the values of a network's masks mean."""
    classes = trained.classes if trained.known is None else trained.known.names
    labels = binary_labels(classes[0]) if len(classes) == 1 else class_labels(classes)
    return replace(labels, shown=trained.classes)


def answer_pixels(trained: Trained, image: np.ndarray) -> np.ndarray:
    """The class that a network sees in each pixel of a whole image.

    Parameters
    ----------
    trained : Trained
        A network that answers each pixel.
    image : ndarray
        (H, W, 3) uint8, red, green, blue.

    Returns
    -------
    ndarray
        (H, W) uint8, numbers of classes; of a single class 1, before a background of 0.

    Raises
    ------
    CheckpointError
        If an answer is not a finite number, which happens if the training diverged.
    """
    resize = 0 if trained.settings is None else trained.settings.eval.resize
    inputs = mx.nd.array(trained.preparation.normalise(shown(image, resize)[None]), ctx=trained.context)
    logits = trained.task.answering(trained.net)(inputs).asnumpy()
    if not np.isfinite(logits).all():
        raise CheckpointError(f"{trained.file}: the network's answers are not finite numbers; its training diverged")
    return restored(answers(logits)[0].astype(np.uint8), image)


def predict_masks(trained: Trained, files: Sequence[Path], folder: Path) -> Iterator[Union[MaskAnswer, Unreadable]]:
    """Answer image files one by one, and write the mask of each and its overlay.

    Parameters
    ----------
    trained : Trained
        A network that answers each pixel.
    files : sequence of Path
        Image files.
    folder : Path
        Where the pictures go.

    Yields
    ------
    MaskAnswer or Unreadable
        In the order of the files.
    """
    labels = labels_of(trained)
    for file in files:
        try:
            image = read_image(read_file(file))
        except OSError as error:
            yield Unreadable(file, f"{file}: cannot be read ({error.strerror or error})")
            continue
        except BadPhotoError as error:
            yield Unreadable(file, f"{file}: {error}; expected {ANY_IMAGE}")
            continue
        mask = answer_pixels(trained, image)
        write_mask(mask, labels, folder / f"{file.stem}.png")
        write_picture(paint(image, mask, labels), folder / f"{file.stem}{OVERLAY}.png")
        first = 1 if labels.has_background else 0
        counts = np.bincount(mask.ravel(), minlength=256)
        numbers = range(first, first + len(labels.classes) - (0 if labels.binary else first))
        yield MaskAnswer(file, {labels.name(number): float(counts[number]) / mask.size for number in numbers})


def refuse_same_names(files: Sequence[Path]) -> None:
    """Refuse images whose masks would have one name.

    Raises
    ------
    ConfigError
        The message names the first two.
    """
    known: Dict[str, Path] = {}
    for file in files:
        for name in (file.stem, f"{file.stem}{OVERLAY}"):
            if name in known:
                raise ConfigError(
                    f"{known[name]} and {file}: both would be written to {name}.png; predict them one after the other, "
                    "into different folders"
                )
            known[name] = file


def write_mask(mask: np.ndarray, labels: Labels, path: Path) -> None:
    """Write a mask (H, W) uint8 of class numbers as a PNG file with a palette, in the values of the set's files."""
    from PIL import Image

    picture = Image.fromarray(labels.stored(mask), mode="P")
    picture.putpalette(colour_table(labels))
    picture.save(path, format="PNG")


def write_picture(pixels: np.ndarray, path: Path) -> None:
    """Write (H, W, 3) uint8 as a PNG file."""
    from PIL import Image

    Image.fromarray(pixels).save(path, format="PNG")


def describe(answers: Sequence[MaskAnswer], output: Path) -> List[Dict[str, Any]]:
    """The answers in plain types, for JSON."""
    return [
        {
            "file": str(found.file),
            "mask": str(output / f"{found.file.stem}.png"),
            "overlay": str(output / f"{found.file.stem}{OVERLAY}.png"),
            "shares": found.shares,
        }
        for found in answers
    ]
