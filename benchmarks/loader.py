#!/usr/bin/env python
"""Whether the network ever waits for data: images per second of the batches, and of training beside its bare step.

First, one process makes batches by crop, flip and normalisation, by this package and by Gluon's `DataLoader` with its
`transforms`, which take turns on the same arrays. Then whole training runs alternate with the bare step, which repeats
forward, backward and update on one batch that is already on the device.

    python benchmarks/loader.py
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
from pathlib import Path
from typing import Any, List

import numpy as np
from bare_step import training_beside

from fusion.compat import mx
from fusion.data.augment import Augmentation, Normalisation
from fusion.data.imageset import ImageSet
from fusion.data.loader import TrainingBatches
from fusion.training.config import read_config
from fusion.training.settings import CIFAR_MEAN, CIFAR_STD

ROOT = Path(__file__).parents[1]
LOADER_GOAL, TRAINING_GOAL = 20, 0.9
BATCH, STEPS = 128, 30

#: Settings that give the quickstart's small run the augmentations of the recipe.
RECIPES = {
    "crop, flip, mixup": ["augment.flip=true", "augment.crop_padding=4", "augment.mixup_alpha=1"],
    "the same after AutoAugment": [
        "augment.flip=true",
        "augment.crop_padding=4",
        "augment.mixup_alpha=1",
        "augment.auto_augment=cifar10",
    ],
}


def random_images(count: int) -> ImageSet:
    """Random images of CIFAR's size; their content does not matter for the speed."""
    draw = np.random.default_rng(0)
    images = draw.integers(256, size=(count, 32, 32, 3), dtype=np.uint8)
    labels = draw.integers(10, size=count)
    return ImageSet(images=images, labels=labels, classes=tuple("abcdefghij"), title="random images")


def gluon_loader(data: ImageSet) -> Any:
    """The same batches by Gluon. The padded crop is GluonCV's, as in the original program: Gluon 1.9.1 has none."""
    from gluoncv.data.transforms import RandomCrop

    vision = mx.gluon.data.vision.transforms
    transform = vision.Compose(
        [
            RandomCrop(32, pad=4),
            vision.RandomFlipLeftRight(),
            vision.ToTensor(),
            vision.Normalize(CIFAR_MEAN, CIFAR_STD),
        ]
    )
    arrays = mx.gluon.data.ArrayDataset(mx.nd.array(data.images, dtype="uint8"), data.labels)
    dataset = arrays.transform_first(transform, lazy=True)
    return mx.gluon.data.DataLoader(dataset, BATCH, shuffle=True, last_batch="discard")


def images_a_second(batches: Any, limit: int) -> float:
    """The rate of the first `limit` batches."""
    start = time.perf_counter()
    for count, batch in enumerate(batches, start=1):
        del batch
        if count == limit:
            break
    mx.nd.waitall()
    return count * BATCH / (time.perf_counter() - start)


def compare_loaders(rounds: int) -> bool:
    """Compare batches of this package with Gluon's, which take turns; return whether the goal is met."""
    data = random_images(20_000)
    augmentation = Augmentation(Normalisation(CIFAR_MEAN, CIFAR_STD), classes=10, crop_padding=4, flip=True)
    mine = TrainingBatches(data, augmentation, BATCH, seed=0)
    order = np.random.default_rng(0).permutation(len(data))
    theirs = gluon_loader(data)
    found: List[List[float]] = [[], []]
    for number in range(rounds):
        found[0].append(images_a_second((mine.make(number, i, order) for i in range(len(mine))), len(mine)))
        found[1].append(images_a_second(theirs, 10))
    here, gluon = map(statistics.median, found)
    print("Images per second of one process: crop, flip and normalise, in batches of", BATCH)
    print(f"  here {here:,.0f}   gluon DataLoader with transforms {gluon:,.0f}   ratio {here / gluon:.1f}", flush=True)
    return here / gluon >= LOADER_GOAL


def compare_training(title: str, overrides: List[str], rounds: int) -> bool:
    """Compare the training script's loop with the bare step, which take turns; return whether the goal is met."""
    settings = read_config(
        ROOT / "configs" / "quickstart.yaml", [f"data.batch_size={BATCH}", "train.epochs=4", *overrides]
    )
    found = training_beside(settings, STEPS, rounds)
    print(f"Images per second of training, {title}")
    print(
        f"  bare step {found.bare:,.0f}   train_cifar.py {found.whole:,.0f}   share {100 * found.share:.0f} %",
        flush=True,
    )
    return found.share >= TRAINING_GOAL


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each comparison (default: 3)")
    rounds = parser.parse_args().rounds
    logging.getLogger("fusion").setLevel(logging.WARNING)
    met = [compare_loaders(rounds)]
    met += [compare_training(title, overrides, rounds) for title, overrides in RECIPES.items()]
    print("every goal is met" if all(met) else f"{met.count(False)} of {len(met)} goals are missed")
    return 0 if all(met) else 1


if __name__ == "__main__":
    raise SystemExit(main())
