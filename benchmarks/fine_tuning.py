#!/usr/bin/env python
"""What the weights from CIFAR-10 gain for two classes of an image folder with few images, over starting from nothing.

The folder is made of the scans of digits that come with the package: a few threes and eights to train on, the threes
and eights of the test part to test on. Neither the classes nor any of the images are in CIFAR-10. Each way trains the
same network on the same images with the same settings, once per seed; the images to train on differ by seed as well.

    python benchmarks/fine_tuning.py                        a minute or two
    python benchmarks/fine_tuning.py --images 5 --seeds 10
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
from pathlib import Path
from typing import List, Sequence

import numpy as np
from PIL import Image

from fusion.data import load_dataset
from fusion.tables import text_table
from fusion.training.config import read_config
from fusion.training.engine import train
from fusion.training.history import read_metrics
from fusion.training.logbook import RunDirectory

CLASSES = ("3", "8")
NAME = "aff_resnet8_cifar10"

_BEGINS = (f"train.initial_parameters={NAME}", "train.fresh=[classifier]")

#: Of each way: its name, and the settings that it adds.
WAYS = {
    "from nothing": (),
    "from CIFAR-10, the last layer new": _BEGINS,
    "the same, all others frozen": (*_BEGINS, "train.freeze=[features]"),
}

RECIPE = (
    f"model.name={NAME}",
    "data.name=image_folder",
    "data.batch_size=8",
    "augment.crop_padding=2",
    "schedule.mode=cosine",
    "runtime.log_every=1000",
)


def make_folder(folder: Path, images: int, seed: int) -> None:
    """Write so many training images of each class, drawn by the seed, and all test images, as PNG files."""
    for split in ("train", "test"):
        data = load_dataset("digits", split, None)
        for name in CLASSES:
            places = np.flatnonzero(data.labels == data.classes.index(name))
            if split == "train":
                places = np.random.default_rng(seed).choice(places, images, replace=False)
            target = folder / split / name
            target.mkdir(parents=True)
            for place in places:
                Image.fromarray(np.asarray(data.images[place])).save(target / f"{place}.png")


def error(folder: Path, run: Path, words: Sequence[str]) -> float:
    """The top-1 error after the last epoch, in percent."""
    settings = read_config(None, [*RECIPE, f"data.dir={folder}", *words])
    train(settings, RunDirectory(run))
    return 100 * read_metrics(run / "metrics.csv")[-1]["val_top1_error"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=20, help="training images of each class (default: 20)")
    parser.add_argument("--epochs", type=int, default=20, help="default: 20")
    parser.add_argument("--rate", type=float, default=0.02, help="learning rate (default: 0.02)")
    parser.add_argument("--seeds", type=int, default=5, help="default: 5")
    arguments = parser.parse_args()
    logging.getLogger("fusion").setLevel(logging.ERROR)
    rows: List[List[str]] = []
    with tempfile.TemporaryDirectory() as place:
        for seed in range(arguments.seeds):
            make_folder(Path(place, f"data{seed}"), arguments.images, seed)
        for way, words in WAYS.items():
            common = [*words, f"train.epochs={arguments.epochs}", f"schedule.lr={arguments.rate}"]
            errors = [
                error(Path(place, f"data{seed}"), Path(place, f"{way} {seed}"), [*common, f"train.seed={seed}"])
                for seed in range(arguments.seeds)
            ]
            spread = statistics.stdev(errors) if len(errors) > 1 else 0.0
            rows.append([way, f"{statistics.mean(errors):.2f} ± {spread:.2f}", ", ".join(f"{e:.1f}" for e in errors)])
    print(
        f"{arguments.images} training images of each of the classes {' and '.join(CLASSES)}, {arguments.epochs} epochs,"
    )
    print(f"learning rate {arguments.rate:g}; top-1 error in %, mean ± deviation over {arguments.seeds} seeds\n")
    print(text_table(["begins", "error, %", "each seed"], rows))


if __name__ == "__main__":
    main()
