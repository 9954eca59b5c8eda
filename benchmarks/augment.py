#!/usr/bin/env python
"""What AutoAugment and the other augmentations cost: images per second on one core, beside crop, flip and normalise.

In each round all augmentations take turns on the same images, in one thread of one process. Only the thread's own
processor time counts, so that other programs matter little. Each ratio is to the plain augmentation of the same round.

    python benchmarks/augment.py
    python benchmarks/augment.py --size 224 --batch 16
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Dict, List

import numpy as np

from fusion.data.augment import Augmentation, Normalisation, named_policy
from fusion.data.loader import generator
from fusion.training.settings import CIFAR_MEAN, CIFAR_STD

CLASSES = 10


def augmentations() -> Dict[str, Augmentation]:
    """The augmentations as in the recipes, each after the same crop and flip."""
    base = {"normalise": Normalisation(CIFAR_MEAN, CIFAR_STD), "classes": CLASSES, "crop_padding": 4, "flip": True}
    made = {
        "crop, flip, normalise": Augmentation(**base),
        "+ mixup": Augmentation(**base, mixup_alpha=1.0, mixup_epochs=1),
        "+ CutMix": Augmentation(**base, cutmix_alpha=1.0, mixup_epochs=1),
    }
    for title, name in (
        ("CIFAR-10 policy", "cifar10"),
        ("ImageNet policy", "imagenet"),
        ("RandAugment", "randaugment"),
    ):
        made[f"+ AutoAugment, {title}".replace("AutoAugment, Rand", "Rand")] = Augmentation(
            **base, policy=named_policy(name, 2, 9)
        )
    return made


def pictures(count: int, size: int) -> np.ndarray:
    """Images of smooth colours with some noise. Their content matters only to operations that count colours."""
    draw = np.random.default_rng(0)
    coarse = draw.integers(256, size=(count, 5, 5, 3)).repeat(-(-size // 5), axis=1).repeat(-(-size // 5), axis=2)
    noise = draw.integers(-20, 20, size=(count, size, size, 3))
    return (coarse[:, :size, :size] + noise).clip(0, 255).astype(np.uint8)


def images_per_second(augmentation: Augmentation, images: np.ndarray, seconds: float, key: int) -> float:
    """The rate of augmenting batch after batch for this number of seconds."""
    labels = np.arange(len(images)) % CLASSES
    start, done = time.thread_time(), 0
    while time.thread_time() - start < seconds:
        augmentation(images, labels, generator(0, key, done), 0)
        done += 1
    return done * len(images) / (time.thread_time() - start)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=32, metavar="PIXELS", help="side of the images (default: 32)")
    parser.add_argument("--batch", type=int, default=128, help="images per batch (default: 128)")
    parser.add_argument("--rounds", type=int, default=5, help="turns per augmentation (default: 5)")
    parser.add_argument("--seconds", type=float, default=1.0, help="seconds per turn (default: 1)")
    arguments = parser.parse_args()
    images, made = pictures(arguments.batch, arguments.size), augmentations()
    rates: Dict[str, List[float]] = {title: [] for title in made}
    for key in range(arguments.rounds):
        for title, augmentation in made.items():
            rates[title].append(images_per_second(augmentation, images, arguments.seconds, key))
    plain = next(iter(rates.values()))
    print(f"Images per second on one core, of {arguments.size} pixels, in batches of {arguments.batch}")
    for title, found in rates.items():
        share = statistics.median(rate / base for rate, base in zip(found, plain))
        print(f"  {title:<32} {statistics.median(found):>9,.0f}   {share:.2f} of the first")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
