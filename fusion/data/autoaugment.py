"""AutoAugment's CIFAR-10 policy on Pillow images.

Source: Cubuk et al., "AutoAugment: Learning Augmentation Policies from Data", arXiv 1805.09501: table 6 has the
operations and their ranges, table 7 the policy. A policy is a list of sub-policies of two (operation, probability,
magnitude) each; one sub-policy is drawn an image. A magnitude is 0 to 9, ten even steps through its range.

Where the paper is silent this follows what AutoGluon, which the original used, did: the sign of a signed magnitude is
drawn, translation is a share of the image's side (the paper's 150 pixels are of 331), and corners fill with mid-grey.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Tuple

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

#: (name, probability, magnitude 0 to 9; of no effect on operations without one)
Operation = Tuple[str, float, int]
Policy = Tuple[Tuple[Operation, Operation], ...]

MAGNITUDES = 10
_GREY = (128, 128, 128)

CIFAR10_POLICY: Policy = (
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

POLICIES: Dict[str, Policy] = {"cifar10": CIFAR10_POLICY}


def _affine(image: Any, matrix: Tuple[float, ...], resample: Any = Image.Resampling.NEAREST) -> Any:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, resample, fillcolor=_GREY)


def _enhance(kind: Any) -> Callable[[Any, float], Any]:
    return lambda image, value: kind(image).enhance(1 + value)


#: Each operation from (image, value), the end of its range at magnitudes 0 and 9, and whether a sign is drawn.
OPERATIONS: Dict[str, Tuple[Callable[[Any, float], Any], float, float, bool]] = {
    "ShearX": (lambda image, v: _affine(image, (1, v, 0, 0, 1, 0), Image.Resampling.BICUBIC), 0, 0.3, True),
    "ShearY": (lambda image, v: _affine(image, (1, 0, 0, v, 1, 0), Image.Resampling.BICUBIC), 0, 0.3, True),
    "TranslateX": (lambda image, v: _affine(image, (1, 0, v * image.size[0], 0, 1, 0)), 0, 150 / 331, True),
    "TranslateY": (lambda image, v: _affine(image, (1, 0, 0, 0, 1, v * image.size[1])), 0, 150 / 331, True),
    "Rotate": (lambda image, v: image.rotate(v, fillcolor=_GREY), 0, 30, True),
    "Color": (_enhance(ImageEnhance.Color), 0, 0.9, True),
    "Contrast": (_enhance(ImageEnhance.Contrast), 0, 0.9, True),
    "Brightness": (_enhance(ImageEnhance.Brightness), 0, 0.9, True),
    "Sharpness": (_enhance(ImageEnhance.Sharpness), 0, 0.9, True),
    "Posterize": (lambda image, v: ImageOps.posterize(image, round(v)), 8, 4, False),
    "Solarize": (lambda image, v: ImageOps.solarize(image, int(v)), 256, 0, False),
    "AutoContrast": (lambda image, v: ImageOps.autocontrast(image), 0, 0, False),
    "Equalize": (lambda image, v: ImageOps.equalize(image), 0, 0, False),
    "Invert": (lambda image, v: ImageOps.invert(image), 0, 0, False),
}


def apply_operation(image: Any, name: str, magnitude: int, sign: int = 1) -> Any:
    """Apply one operation.

    Parameters
    ----------
    image : PIL.Image.Image
        RGB.
    name : str
        A key of `OPERATIONS`.
    magnitude : int
        0 to 9.
    sign : {1, -1}
        Direction, for the operations that have one.

    Returns
    -------
    PIL.Image.Image
        Of the same size.
    """
    operate, low, high, signed = OPERATIONS[name]
    value = low + (high - low) * magnitude / (MAGNITUDES - 1)
    return operate(image, sign * value if signed else value)


def auto_augment(images: np.ndarray, policy: Policy, draw: np.random.Generator) -> np.ndarray:
    """Apply a sub-policy of its own to each image.

    Parameters
    ----------
    images : ndarray
        (B, H, W, 3) uint8.
    policy : Policy
        Such as `CIFAR10_POLICY`.
    draw : numpy.random.Generator
        What decides; a fixed number of draws an image.

    Returns
    -------
    ndarray
        The same shape and type.
    """
    chosen = draw.integers(len(policy), size=len(images))
    chances = draw.random((len(images), 2))
    signs = np.where(draw.random((len(images), 2)) < 0.5, -1, 1)
    augmented = np.empty_like(images)
    for row, image in enumerate(images):
        picture = Image.fromarray(image)
        for position, (name, probability, magnitude) in enumerate(policy[chosen[row]]):
            if chances[row, position] < probability:
                picture = apply_operation(picture, name, magnitude, int(signs[row, position]))
        augmented[row] = picture
    return augmented
