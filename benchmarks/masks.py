#!/usr/bin/env python
"""How many crops a second the loader of images with masks makes, and whether training waits for it.

The crops are those of the recipe for small targets: the longer side drawn from 256 to 1024 pixels, a crop of 480, half
of them blurred. `--crop` and settings change that. Whole epochs are timed, each number of threads in turn, and the
median of the rounds is printed, once with images that are decoded again in every epoch, and once with those that a set
keeps in memory, as far as they fit in there. Files are read once before, so that the disk is not measured.

With --train the whole of train_segmentation.py takes turns with the bare step of the same config, which repeats
forward, backward and update on one batch that is already on the device. The exit status is 1 if training has less than
nine tenths of its images per second.

    python benchmarks/masks.py --folder PATH
    python benchmarks/masks.py --folder PATH --train segmentation/sirst_small
    python benchmarks/masks.py --folder PATH --crop 160 augment.long_side=[] augment.scale=[0.5,2] data.ignore=11
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
from typing import Any, Dict, List, Sequence

from bare_step import training_beside

from fusion.data.masks.maskset import MaskSet
from fusion.machine import processors
from fusion.tasks.segmentation.batches import training_batches
from fusion.training.config import read_config
from fusion.training.configs import find_config
from fusion.training.loading import build_normalisation, load_split
from fusion.training.settings import Settings

#: What training is to have at least of the bare step's images per second.
GOAL = 0.9

#: Epochs of a run of `--train`, and steps of the bare one.
EPOCHS, STEPS = 3, 60

RECIPE = (
    "model.name=fpn",
    "data.name=mask_folder",
    "augment.crop_padding=0",
    "augment.long_side=[256, 1024]",
    "augment.blur_probability=0.5",
)


def crops_a_second(settings: Settings, data: Any, threads: int, epoch: int) -> float:
    """Of one epoch, or of several where one is short."""
    settings.data.workers = threads
    batches = training_batches(settings, data, build_normalisation(settings), settings.data.batch_size, (0, 1))
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < 1.0:
        for batch in batches.epoch(epoch):
            count += len(batch.images)
        epoch += 1
    return count / (time.perf_counter() - start)


def compare_training(config: str, words: Sequence[str], rounds: int) -> bool:
    """Compare the training loop with the bare step, which take turns; return whether the goal is met."""
    own = [f"train.epochs={EPOCHS}", f"train.evaluate_every={EPOCHS}", "schedule.warmup_epochs=1"]
    settings = read_config(find_config(config), [*words, *own])
    found = training_beside(settings, STEPS, rounds)
    print(
        f"{config}: bare step {found.bare:.1f} images per second, train_segmentation.py {found.whole:.1f}, "
        f"share {100 * found.share:.0f} %"
    )
    return found.share >= GOAL


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", required=True, metavar="DIR", help="images/, masks/ and lists of names")
    parser.add_argument("--crop", type=int, default=480, help="height and width of the crops (default: 480)")
    parser.add_argument("--batch", type=int, default=8, help="crops per batch (default: 8)")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--threads", type=int, nargs="+", help="default: 1, and one per processor")
    parser.add_argument("--train", metavar="CONFIG", help="compare training by this config with its bare step instead")
    parser.add_argument("settings", nargs="*", metavar="section.key=value", help="over the recipe's")
    arguments = parser.parse_intermixed_args()
    logging.getLogger("fusion").setLevel(logging.ERROR)
    if arguments.train:
        words = [f"data.dir={arguments.folder}", *arguments.settings]
        return 0 if compare_training(arguments.train, words, arguments.rounds) else 1
    words = [
        *RECIPE,
        f"data.dir={arguments.folder}",
        f"data.size={arguments.crop}",
        f"data.batch_size={arguments.batch}",
    ]
    settings = read_config(None, [*words, *arguments.settings])
    loaded: Any = load_split(settings, "train")
    decoding = MaskSet(loaded.source, loaded.labels, loaded.title, loaded.mismatch, kept_bytes=0)
    for sample in loaded.samples():
        del sample  # it is kept now
    threads = arguments.threads or sorted({1, processors()})
    found: Dict[int, List[List[float]]] = {count: [[], []] for count in threads}
    for number in range(arguments.rounds):
        for count, rates in found.items():
            for data, rate in zip((decoding, loaded), rates):
                rate.append(crops_a_second(settings, data, count, number))
    print(f"{loaded.title}: {len(loaded)} images, crops of {arguments.crop} in batches of {arguments.batch}")
    for count, (decoded, kept) in found.items():
        print(
            f"  {count} threads: {statistics.median(decoded):7,.0f} crops a second decoded each time, "
            f"{statistics.median(kept):7,.0f} from memory"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
