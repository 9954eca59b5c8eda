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
import tempfile
import time
from pathlib import Path
from typing import Any, List

import numpy as np

from fusion.compat import mx
from fusion.data.augment import Augmentation, Normalisation
from fusion.data.imageset import ImageSet
from fusion.data.loader import TrainingBatches
from fusion.devices import contexts
from fusion.training.config import read_config
from fusion.training.engine import train
from fusion.training.history import read_metrics
from fusion.training.loading import load_data
from fusion.training.logbook import RunDirectory
from fusion.training.preparation import build_batches, build_network, build_trainer, split_over, start_weights
from fusion.training.settings import CIFAR_MEAN, CIFAR_STD

ROOT = Path(__file__).parents[1]
LOADER_GOAL, TRAINING_GOAL = 20, 0.9
BATCH = 128

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
    bare, whole = [], []
    for _ in range(rounds):
        bare.append(bare_step(settings, 30))
        with tempfile.TemporaryDirectory() as folder:
            run = RunDirectory(Path(folder) / "run")
            train(settings, run)
            rows = read_metrics(run.metrics)[1:]  # the first epoch compiles the network
        whole.append(statistics.median(row["images_per_second"] for row in rows))
    share = statistics.median(w / b for w, b in zip(whole, bare))
    print(f"Images per second of training, {title}")
    print(
        f"  bare step {statistics.median(bare):,.0f}   train_cifar.py {statistics.median(whole):,.0f}   "
        f"share {100 * share:.0f} %",
        flush=True,
    )
    return share >= TRAINING_GOAL


def bare_step(settings: Any, steps: int) -> float:
    """Images per second of forward, backward and update alone."""
    devices = contexts("cpu")
    train_set, _ = load_data(settings)
    net = build_network(settings, len(train_set.classes))
    start_weights(net, settings, devices)
    trainer = build_trainer(net, settings)
    loss_function = mx.gluon.loss.SoftmaxCrossEntropyLoss(sparse_label=False)
    loss_function.hybridize(static_alloc=True, static_shape=True)
    batch = next(build_batches(settings, train_set, devices).epoch(0))
    (images,), (targets,) = split_over(devices, batch.images), split_over(devices, batch.targets)
    for step in range(steps + 3):
        if step == 3:  # compiled and allocated by now
            mx.nd.waitall()
            start = time.perf_counter()
        with mx.autograd.record():
            loss = loss_function(net(images), targets)
        loss.backward()
        trainer.step(len(batch.images))
    mx.nd.waitall()
    return steps * BATCH / (time.perf_counter() - start)


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
