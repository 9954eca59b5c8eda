"""Images that are exact copies of others, found without reading all of every image.

Images are told apart by what is cheapest first: their lengths, then some of their bytes, and only those that still
agree by a digest of everything. Of most sets hardly any image gets that far.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import Any, Callable, Dict, Hashable, List, NamedTuple, Protocol, Sequence, Tuple

import numpy as np

from .imageset import ImageSet
from .masks.maskset import MaskSet
from .photos.photoset import PhotoSet
from .span import Span, file_span

#: Of an image in memory: so many places of eight bytes each are compared first.
_PLACES, _WIDTH = 8, 8
_ODD = np.uint64(0x9E3779B97F4A7C15)

#: Of a file: its last bytes are compared first. A JPEG's are as good as random, those of a PNG hold a checksum.
_END = 64


class Pictures(Protocol):
    """The images of a split, as they are compared: by several keys, of which equal images have the same."""

    def __len__(self) -> int:
        """Count the images."""

    @property
    def keys(self) -> Sequence[Callable[[np.ndarray], np.ndarray]]:
        """From numbers of images (n,) to keys (n,) uint64: the cheapest first, and the last leaves no doubt."""

    def label(self, number: int) -> Hashable:
        """What an image is said to be."""

    def name(self, number: int) -> str:
        """The name of an image for messages."""


class Copies(NamedTuple):
    """Images that are copies of others.

    Attributes
    ----------
    distinct : int
        Different training images.
    shared : list of (int, int)
        Test images that are training images as well: the number in each split.
    contradicting : list of (int, int)
        Training images that are the same as an earlier one which has another label: the number of both.
    """

    distinct: int
    shared: List[Tuple[int, int]]
    contradicting: List[Tuple[int, int]]


def find_copies(train: Pictures, test: Pictures) -> Copies:
    """The copies within the training images, and those of them among the test images."""
    groups = _equal(train, test)
    distinct, shared, contradicting = len(train), [], []
    for group in groups:
        own = [number for number in group if number < len(train)]
        distinct -= max(0, len(own) - 1)
        if not own:
            continue
        shared += [(number - len(train), own[0]) for number in group if number >= len(train)]
        label = train.label(own[0]) if len(own) > 1 else None
        contradicting += [(number, own[0]) for number in own[1:] if train.label(number) != label]
    return Copies(distinct, sorted(shared), sorted(contradicting))


def _equal(train: Pictures, test: Pictures) -> List[List[int]]:
    """Numbers of equal images, where the test images go on from the training images; single images are left out."""
    groups = [np.arange(len(train) + len(test))]
    for of_train, of_test in zip(train.keys, test.keys):
        # One call for all groups: a key of each image that may have a copy.
        numbers = np.concatenate(groups) if groups else np.arange(0)
        own = numbers < len(train)
        key = np.empty(len(numbers), np.uint64)
        key[own], key[~own] = of_train(numbers[own]), of_test(numbers[~own] - len(train))
        ends = np.cumsum([len(group) for group in groups])[:-1]
        groups = [part for group, part_key in zip(groups, np.split(key, ends)) for part in _split(group, part_key)]
    return [sorted(map(int, group)) for group in groups]


def _split(numbers: np.ndarray, key: np.ndarray) -> List[np.ndarray]:
    """The numbers that share a key with another."""
    order = np.argsort(key, kind="stable")
    ends = np.flatnonzero(np.diff(key[order])) + 1
    sizes = np.diff([0, *ends, len(key)])
    starts = np.concatenate([[0], ends])
    return [numbers[order[start : start + size]] for start, size in zip(starts[sizes > 1], sizes[sizes > 1])]


def _digest(data: Any) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


# --- What is compared -------------------------------------------------------------------------------------------------


class ImagePictures:
    """Images in memory.

    Parameters
    ----------
    data : ImageSet
        Which.
    """

    def __init__(self, data: ImageSet) -> None:
        self._data = data
        self._rows = data.images.reshape(len(data), -1)

    def __len__(self) -> int:
        return len(self._data)

    @property
    def keys(self) -> Sequence[Callable[[np.ndarray], np.ndarray]]:
        """Some bytes, and a digest of all."""
        return self._some, self._all

    def label(self, number: int) -> Hashable:
        """The number of its class."""
        return int(self._data.labels[number])

    def name(self, number: int) -> str:
        """By its number and class."""
        return f"image {number} ({self._data.classes[self._data.labels[number]]})"

    def _some(self, numbers: np.ndarray) -> np.ndarray:
        length = self._rows.shape[1]
        draw = np.random.default_rng(0)  # places at equal distances would all be in one column
        key = np.zeros(len(self), np.uint64)
        for start in draw.integers(max(1, length - _WIDTH + 1), size=_PLACES):
            piece = np.zeros((len(self), _WIDTH), np.uint8)
            piece[:, : min(length, _WIDTH)] = self._rows[:, start : start + _WIDTH]
            key *= _ODD
            key += piece.view(np.uint64)[:, 0]
        return key[numbers]

    def _all(self, numbers: np.ndarray) -> np.ndarray:
        return np.array([_digest(self._data.images[number].tobytes()) for number in numbers], np.uint64)


class FilePictures:
    """Images in files, whose bytes are compared, not their pixels.

    Parameters
    ----------
    count : int
        How many.
    span : callable
        From a number to the place of the image's bytes.
    label : callable
        From a number to what the image is said to be.
    name : callable
        From a number to a name for messages.
    """

    def __init__(
        self,
        count: int,
        span: Callable[[int], Span],
        label: Callable[[int], Hashable],
        name: Callable[[int], str],
    ) -> None:
        self._count = count
        self._span = span
        self.label = label
        self.name = name
        self._spans: Dict[int, Span] = {}

    def __len__(self) -> int:
        return self._count

    @property
    def keys(self) -> Sequence[Callable[[np.ndarray], np.ndarray]]:
        """The length, a checksum of the end, and a digest of all."""
        return self._lengths, self._ends, self._all

    def read(self, number: int) -> bytes:
        """The bytes of an image; none if it cannot be read."""
        span = self._span(number)
        try:
            return span.read_end(span.length)
        except OSError:
            return b""

    def _lengths(self, numbers: np.ndarray) -> np.ndarray:
        self._spans = {int(number): self._span(int(number)) for number in numbers}
        return np.array([span.length for span in self._spans.values()], np.uint64)

    def _ends(self, numbers: np.ndarray) -> np.ndarray:
        spans = [self._spans[int(number)] for number in numbers]
        return np.array([self._of(number, span, _END, zlib.crc32) for number, span in zip(numbers, spans)], np.uint64)

    def _all(self, numbers: np.ndarray) -> np.ndarray:
        spans = [self._spans[int(number)] for number in numbers]
        return np.array(
            [self._of(number, span, span.length, _digest) for number, span in zip(numbers, spans)], np.uint64
        )

    def _of(self, number: int, span: Span, count: int, key: Callable[[bytes], int]) -> int:
        """The key of the last bytes of an image; of one that cannot be read or is empty, one that no other has."""
        try:
            data = span.read_end(count)
        except OSError:
            data = b""
        return key(data) if data else _digest(f"{id(self)} {number}".encode())


def pictures(data: Any) -> Pictures:
    """The images of a split, as they are compared.

    Parameters
    ----------
    data : ImageSet, PhotoSet or MaskSet
        The split.
    """
    if isinstance(data, ImageSet):
        return ImagePictures(data)
    if isinstance(data, PhotoSet):
        photos = data.photos
        return FilePictures(len(data), photos.span, lambda number: photos.read(number)[1], photos.name)
    if isinstance(data, MaskSet):
        source = data.source
        return FilePictures(
            len(data),
            lambda number: file_span(source.files(number)[0]),
            lambda number: _digest(source.read_mask(number).tobytes()),
            lambda number: source.files(number)[0],
        )
    raise TypeError(f"{type(data).__name__}: no set of images")
