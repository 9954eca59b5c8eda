#!/usr/bin/env python
"""How much memory an evaluation takes, depending on the number of images. It adds up batches and keeps no answers.

    python benchmarks/evaluation.py

Each number of images is evaluated in a process of its own, whose largest resident size is printed. The images are noise
of 16×16 pixels, made batch by batch, and the network has 1,000 outputs, as on ImageNet.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from typing import Any, Iterator, Tuple

import numpy as np

from fusion.compat import mx, nn
from fusion.data.augment import Normalisation
from fusion.tasks import find_task
from fusion.training.evaluation import evaluate

IMAGES = (1_000, 10_000, 50_000)
CLASSES, SIDE, BATCH = 1_000, 16, 100

#: The goal: the largest number of images takes at most this many megabytes more than the smallest.
MOST = 20


class Noise:
    """A data set of noise, of which only one batch exists at a time."""

    def __init__(self, images: int) -> None:
        self._images = images

    def in_order(self, batch_size: int, shard: Tuple[int, int] = (0, 1)) -> Iterator[Tuple[Any, Any]]:
        """See `fusion.data.imageset.DataSet`."""
        draw = np.random.default_rng(0)
        for _ in range(self._images // batch_size):
            yield (
                draw.integers(0, 256, size=(batch_size, SIDE, SIDE, 3), dtype=np.uint8),
                draw.integers(0, CLASSES, size=batch_size),
            )


def evaluate_noise(images: int) -> None:
    """Evaluate this number of images, and print the largest resident size of this process in megabytes."""
    net = nn.HybridSequential()
    net.add(nn.Flatten(), nn.Dense(CLASSES, in_units=3 * SIDE**2))
    net.initialize()
    task, normalise = find_task("classification"), Normalisation((0.5,) * 3, (0.25,) * 3)
    batches = task.evaluation_batches(Noise(images), normalise, BATCH, (0, 1))
    found = evaluate(net, batches, task.evaluation_meter(), [mx.cpu()])
    assert found.images == images
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--alone", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        evaluate_noise(arguments.alone)
        return 0
    sizes = []
    for images in IMAGES:
        command = [sys.executable, __file__, "--alone", str(images)]
        sizes.append(float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout))
        print(f"{images:>7,} images of {CLASSES:,} classes: {sizes[-1]:6.0f} MB", flush=True)
    grown = sizes[-1] - sizes[0]
    met = grown <= MOST
    print(
        f"{grown:.0f} MB more for {IMAGES[-1]:,} images than for {IMAGES[0]:,}, goal of at most {MOST} "
        f"{'met' if met else 'missed'}"
    )
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
