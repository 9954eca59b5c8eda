"""AutoAugment's CIFAR-10 and ImageNet policies, and RandAugment, on Pillow images.

Source: Cubuk et al., "AutoAugment: Learning Augmentation Policies from Data", arXiv 1805.09501: table 6 has the
operations and their ranges, table 7 the policy of CIFAR-10 and table 9 that of ImageNet. A policy is a list of
sub-policies of two (operation, probability, magnitude) each; one sub-policy is drawn per image. A magnitude is 0 to 9,
ten even steps through its range.

Cubuk et al., "RandAugment: Practical Automated Data Augmentation with a Reduced Search Space", arXiv 1909.13719: N
operations in a row, each drawn evenly from fourteen, all at one magnitude M. At 10 an operation is at the end of its
range; the paper's larger networks go beyond, up to 30, where the range is extended in proportion, as far as the
operation allows.

Where the papers are silent this follows what AutoGluon, which the original used, did: the sign of a signed magnitude
is drawn, translation is a share of the image's side (the paper's 150 pixels are of 331), and corners fill with
mid-grey.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

import numpy as np
from PIL import Image, ImageEnhance

#: (name, probability, magnitude 0 to 9; of no effect on operations without one)
Operation = Tuple[str, float, int]
SubPolicies = Tuple[Tuple[Operation, Operation], ...]

#: What is to be done to one image: (name, strength as in `operate`, sign).
_Drawn = Tuple[str, float, int]

MAGNITUDES = 10
_GREY = (128, 128, 128)

CIFAR10_POLICY: SubPolicies = (
    (("Invert", 0.1, 7), ("Contrast", 0.2, 6)),
    (("Rotate", 0.7, 2), ("TranslateX", 0.3, 9)),
    (("Sharpness", 0.8, 1), ("Sharpness", 0.9, 3)),
    (("ShearY", 0.5, 8), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.5, 8), ("Equalize", 0.9, 2)),
    (("ShearY", 0.2, 7), ("Posterize", 0.3, 7)),
    (("Color", 0.4, 3), ("Brightness", 0.6, 7)),
    (("Sharpness", 0.3, 9), ("Brightness", 0.7, 9)),
    (("Equalize", 0.6, 5), ("Equalize", 0.5, 1)),
    (("Contrast", 0.6, 7), ("Sharpness", 0.6, 5)),
    (("Color", 0.7, 7), ("TranslateX", 0.5, 8)),
    (("Equalize", 0.3, 7), ("AutoContrast", 0.4, 8)),
    (("TranslateY", 0.4, 3), ("Sharpness", 0.2, 6)),
    (("Brightness", 0.9, 6), ("Color", 0.2, 8)),
    (("Solarize", 0.5, 2), ("Invert", 0.0, 3)),
    (("Equalize", 0.2, 0), ("AutoContrast", 0.6, 0)),
    (("Equalize", 0.2, 8), ("Equalize", 0.6, 4)),
    (("Color", 0.9, 9), ("Equalize", 0.6, 6)),
    (("AutoContrast", 0.8, 4), ("Solarize", 0.2, 8)),
    (("Brightness", 0.1, 3), ("Color", 0.7, 0)),
    (("Solarize", 0.4, 5), ("AutoContrast", 0.9, 3)),
    (("TranslateY", 0.9, 9), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.9, 2), ("Solarize", 0.8, 3)),
    (("Equalize", 0.8, 8), ("Invert", 0.1, 3)),
    (("TranslateY", 0.7, 9), ("AutoContrast", 0.9, 1)),
)

IMAGENET_POLICY: SubPolicies = (
    (("Posterize", 0.4, 8), ("Rotate", 0.6, 9)),
    (("Solarize", 0.6, 5), ("AutoContrast", 0.6, 5)),
    (("Equalize", 0.8, 8), ("Equalize", 0.6, 3)),
    (("Posterize", 0.6, 7), ("Posterize", 0.6, 6)),
    (("Equalize", 0.4, 7), ("Solarize", 0.2, 4)),
    (("Equalize", 0.4, 4), ("Rotate", 0.8, 8)),
    (("Solarize", 0.6, 3), ("Equalize", 0.6, 7)),
    (("Posterize", 0.8, 5), ("Equalize", 1.0, 2)),
    (("Rotate", 0.2, 3), ("Solarize", 0.6, 8)),
    (("Equalize", 0.6, 8), ("Posterize", 0.4, 6)),
    (("Rotate", 0.8, 8), ("Color", 0.4, 0)),
    (("Rotate", 0.4, 9), ("Equalize", 0.6, 2)),
    (("Equalize", 0.0, 7), ("Equalize", 0.8, 8)),
    (("Invert", 0.6, 4), ("Equalize", 1.0, 8)),
    (("Color", 0.6, 4), ("Contrast", 1.0, 8)),
    (("Rotate", 0.8, 8), ("Color", 1.0, 2)),
    (("Color", 0.8, 8), ("Solarize", 0.8, 7)),
    (("Sharpness", 0.4, 7), ("Invert", 0.6, 8)),
    (("ShearX", 0.6, 5), ("Equalize", 1.0, 9)),
    (("Color", 0.4, 0), ("Equalize", 0.6, 3)),
    (("Equalize", 0.4, 7), ("Solarize", 0.2, 4)),
    (("Solarize", 0.6, 5), ("AutoContrast", 0.6, 5)),
    (("Invert", 0.6, 4), ("Equalize", 1.0, 8)),
    (("Color", 0.6, 4), ("Contrast", 1.0, 8)),
    (("Equalize", 0.8, 8), ("Equalize", 0.6, 3)),
)

POLICIES: Dict[str, SubPolicies] = {"cifar10": CIFAR10_POLICY, "imagenet": IMAGENET_POLICY}

#: What RandAugment draws from: section 3 of arXiv 1909.13719.
RANDAUGMENT_OPERATIONS = (
    "Identity",
    "AutoContrast",
    "Equalize",
    "Rotate",
    "Solarize",
    "Color",
    "Posterize",
    "Contrast",
    "Brightness",
    "Sharpness",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
)

#: The magnitude of RandAugment at which an operation is at the end of its range, and the highest one of the paper.
RANDAUGMENT_FULL = 10
RANDAUGMENT_HIGHEST = 30


@dataclass(frozen=True)
class RandAugment:
    """N operations one after another, each drawn evenly, all at one magnitude.

    Parameters
    ----------
    layers : int
        N, at least 1.
    magnitude : int
        M, from 0 to 30; 10 is the end of each operation's range.
    """

    layers: int = 2
    magnitude: int = 9


Policy = Union[SubPolicies, RandAugment]

#: The names that a setting may have.
POLICY_NAMES = ("none", *POLICIES, "randaugment")


def named_policy(name: str, layers: int, magnitude: int) -> Optional[Policy]:
    """A policy of `POLICY_NAMES`; None for "none".

    Parameters
    ----------
    name : str
        One of `POLICY_NAMES`.
    layers, magnitude : int
        Of RandAugment, for "randaugment".
    """
    return RandAugment(layers, magnitude) if name == "randaugment" else POLICIES.get(name)


def _affine(image: Any, matrix: Tuple[float, ...], resample: Any = Image.Resampling.NEAREST) -> Any:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, resample, fillcolor=_GREY)


def _enhance(kind: Any) -> Callable[[Any, float], Any]:
    return lambda image, value: kind(image).enhance(max(0.0, 1 + value))


# The next five give the same bits as those of `PIL.ImageOps`, which spend most of their time on Python lists where an
# image is small.


def _posterize(image: Any, value: float) -> Any:
    step = 1 << (8 - max(1, round(value)))
    return _look_up(image, _LEVELS // step * step)


def _solarize(image: Any, value: float) -> Any:
    return _look_up(image, np.where(max(0, int(value)) > _LEVELS, _LEVELS, 255 - _LEVELS))


def _invert(image: Any, value: float) -> Any:
    return _look_up(image, 255 - _LEVELS)


def _auto_contrast(image: Any, value: float) -> Any:
    lowest, highest = np.array(image.getextrema(), dtype=float).T[..., None]
    scale = 255.0 / np.where(highest > lowest, highest - lowest, 255.0)
    tables = (_LEVELS * scale + -lowest * scale).clip(0, 255)
    return _look_up_bands(image, np.where(highest > lowest, tables, _LEVELS))


def _equalize(image: Any, value: float) -> Any:
    counts = np.array(image.histogram()).reshape(3, 256)
    brightest = [band[np.flatnonzero(band)[-1]] for band in counts]
    step = (counts.sum(axis=1) - brightest)[:, None] // 255
    below = np.cumsum(counts, axis=1) - counts
    tables = ((below + step // 2) // np.maximum(step, 1)).clip(0, 255)
    return _look_up_bands(image, np.where(step > 0, tables, _LEVELS))


def _look_up(image: Any, table: np.ndarray) -> Any:
    """An image whose pixels are replaced by a table of 256 entries, the same for all its bands."""
    translated = image.tobytes().translate(table.astype(np.uint8).tobytes())
    return Image.frombytes(image.mode, image.size, translated)


def _look_up_bands(image: Any, tables: np.ndarray) -> Any:
    """An image whose pixels are replaced by a table of 256 entries for each of its bands."""
    return Image.merge("RGB", [_look_up(band, table) for band, table in zip(image.split(), tables)])


_LEVELS = np.arange(256)

#: Each operation from (image, value), the two ends of its range, and whether a sign is drawn.
OPERATIONS: Dict[str, Tuple[Callable[[Any, float], Any], float, float, bool]] = {
    "Identity": (lambda image, v: image, 0, 0, False),
    "ShearX": (lambda image, v: _affine(image, (1, v, 0, 0, 1, 0), Image.Resampling.BICUBIC), 0, 0.3, True),
    "ShearY": (lambda image, v: _affine(image, (1, 0, 0, v, 1, 0), Image.Resampling.BICUBIC), 0, 0.3, True),
    "TranslateX": (lambda image, v: _affine(image, (1, 0, v * image.size[0], 0, 1, 0)), 0, 150 / 331, True),
    "TranslateY": (lambda image, v: _affine(image, (1, 0, 0, 0, 1, v * image.size[1])), 0, 150 / 331, True),
    "Rotate": (lambda image, v: image.rotate(v, fillcolor=_GREY), 0, 30, True),
    "Color": (_enhance(ImageEnhance.Color), 0, 0.9, True),
    "Contrast": (_enhance(ImageEnhance.Contrast), 0, 0.9, True),
    "Brightness": (_enhance(ImageEnhance.Brightness), 0, 0.9, True),
    "Sharpness": (_enhance(ImageEnhance.Sharpness), 0, 0.9, True),
    "Posterize": (_posterize, 8, 4, False),
    "Solarize": (_solarize, 256, 0, False),
    "AutoContrast": (_auto_contrast, 0, 0, False),
    "Equalize": (_equalize, 0, 0, False),
    "Invert": (_invert, 0, 0, False),
}


def operate(image: Any, name: str, strength: float, sign: int = 1) -> Any:
    """Apply one operation.

    Parameters
    ----------
    image : PIL.Image.Image
        RGB.
    name : str
        A key of `OPERATIONS`.
    strength : float
        Where in the operation's range: 0 is the weak end, 1 the strong one. A higher strength extends the range at the
        same rate, as far as the operation allows (a colour has at least one bit, a brightness is at least 0).
    sign : {1, -1}
        Direction, for the operations that have one.

    Returns
    -------
    PIL.Image.Image
        Of the same size.
    """
    function, low, high, signed = OPERATIONS[name]
    value = low + (high - low) * strength
    return function(image, sign * value if signed else value)


def apply_operation(image: Any, name: str, magnitude: int, sign: int = 1) -> Any:
    """Apply one operation at a magnitude of AutoAugment, 0 to 9; the rest is as in `operate`."""
    return operate(image, name, magnitude / (MAGNITUDES - 1), sign)


def auto_augment(images: np.ndarray, policy: Policy, draw: np.random.Generator) -> np.ndarray:
    """Apply operations to each image, which are drawn for each on its own.

    Parameters
    ----------
    images : ndarray
        (B, H, W, 3) uint8.
    policy : Policy
        Such as `CIFAR10_POLICY`, or a `RandAugment`.
    draw : numpy.random.Generator
        Source of the random numbers, of which each image takes a fixed number.

    Returns
    -------
    ndarray
        The same shape and type.
    """
    count = len(images)
    drawn = _draw_layers(policy, count, draw) if isinstance(policy, RandAugment) else _draw_pairs(policy, count, draw)
    augmented = np.empty_like(images)
    for row, operations in enumerate(drawn):
        picture = Image.fromarray(images[row])
        for name, strength, sign in operations:
            picture = operate(picture, name, strength, sign)
        augmented[row] = picture
    return augmented


def _draw_pairs(policy: SubPolicies, count: int, draw: np.random.Generator) -> List[List[_Drawn]]:
    """One sub-policy per image, and which of its two operations act."""
    chosen = draw.integers(len(policy), size=count)
    chances = draw.random((count, 2))
    signs = _draw_signs((count, 2), draw)
    return [
        [
            (name, magnitude / (MAGNITUDES - 1), int(sign))
            for (name, probability, magnitude), chance, sign in zip(policy[number], chances[row], signs[row])
            if chance < probability
        ]
        for row, number in enumerate(chosen)
    ]


def _draw_layers(policy: RandAugment, count: int, draw: np.random.Generator) -> List[List[_Drawn]]:
    """For each image, the operations that are applied one after another."""
    size = (count, policy.layers)
    chosen = draw.integers(len(RANDAUGMENT_OPERATIONS), size=size)
    signs = _draw_signs(size, draw)
    strength = policy.magnitude / RANDAUGMENT_FULL
    return [
        [(RANDAUGMENT_OPERATIONS[number], strength, int(sign)) for number, sign in zip(numbers, row_signs)]
        for numbers, row_signs in zip(chosen, signs)
    ]


def _draw_signs(size: Tuple[int, int], draw: np.random.Generator) -> np.ndarray:
    return np.where(draw.random(size) < 0.5, -1, 1)
