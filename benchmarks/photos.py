#!/usr/bin/env python
"""How many photos per second one core decodes, crops and augments: by this package, MXNet's C++ iterator, and Gluon.

The process uses one core. The three take turns on the same files, and turn their bytes into normalised float32 numbers
by random resized crop, flip, colour jitter and lighting. Gluon's way is that of the original program for image folders:
`mx.image.imdecode` and `gluon.data.vision.transforms`. MXNet's iterator decodes in a thread of its own, on the same
core.

    python benchmarks/photos.py                     synthetic photos, of ImageNet's usual size, and large ones
    python benchmarks/photos.py --folder PATH       real photos, in one folder per class
"""

# ruff: noqa: E402  the process must be on one core before MXNet counts them
from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, List

os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import numpy as np

from fusion.compat import mx
from fusion.data.augment import Normalisation
from fusion.data.imagenet import load
from fusion.data.photos.batches import PhotoBatches, Targets
from fusion.data.photos.decoding import opencv
from fusion.data.photos.native import NativeBatches
from fusion.data.photos.photo import PhotoAugmentation

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GOAL = 2.0
BATCH = 16

#: Height, width and number of synthetic photos.
USUAL, LARGE = (375, 500, 64), (3000, 4000, 16)


def made_up(height: int, width: int, count: int) -> List[bytes]:
    """JPEG files with about as many bytes per pixel as photos have: smooth forms with noise."""
    cv2 = opencv()
    draw = np.random.default_rng(0)
    files = []
    for _ in range(count):
        coarse = draw.integers(0, 256, size=(height // 40, width // 40, 3)).astype(np.float32)
        picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        picture += draw.normal(0, 8, size=picture.shape)
        files.append(cv2.imencode(".jpg", picture.clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90])[1])
    return [file.tobytes() for file in files]


def write_records(folder: Path, files: List[bytes]) -> None:
    writer = mx.recordio.MXIndexedRecordIO(str(folder / "train.idx"), str(folder / "train.rec"), "w")
    for number, data in enumerate(files):
        writer.write_idx(number, mx.recordio.pack(mx.recordio.IRHeader(0, 0, number, 0), data))
    writer.close()


def gluon_way(files: List[bytes], size: int) -> Callable[[], None]:
    """Gluon's transforms, in the order of the original program."""
    vision = mx.gluon.data.vision.transforms
    transform = vision.Compose(
        [
            vision.RandomResizedCrop(size),
            vision.RandomFlipLeftRight(),
            vision.RandomColorJitter(brightness=0.4, contrast=0.4, saturation=0.4),
            vision.RandomLighting(0.1),
            vision.ToTensor(),
            vision.Normalize(MEAN, STD),
        ]
    )

    def run() -> None:
        for data in files:
            transform(mx.image.imdecode(data)).wait_to_read()

    return run


def our_way(kind: Any, data: Any, size: int) -> Callable[[], None]:
    """One epoch of the batches of this package."""
    batches = kind(data, PhotoAugmentation(size), Normalisation(MEAN, STD), Targets(1), BATCH, seed=0)
    epochs = iter(range(1_000_000))

    def run() -> None:
        for batch in batches.epoch(next(epochs)):
            del batch

    return run


def compare(title: str, files: List[bytes], size: int, rounds: int) -> float:
    """Print the images per second of each way; return the ratio of the default way to Gluon's. The ways take turns."""
    files = files[: len(files) // BATCH * BATCH]
    with tempfile.TemporaryDirectory() as folder:
        write_records(Path(folder), files)
        data = load(folder, "train", classes=1)
        ways = {
            "here, python": our_way(PhotoBatches, data, size),
            "here, native": our_way(NativeBatches, data, size),
            "gluon": gluon_way(files, size),
        }
        seconds: Dict[str, List[float]] = {name: [] for name in ways}
        for number in range(rounds + 1):
            for name, run in ways.items():
                start = time.perf_counter()
                run()
                if number:  # the first round is a warm-up
                    seconds[name].append(time.perf_counter() - start)
    print(f"{title}: {len(files)} files of {sum(map(len, files)) / len(files) / 1000:.0f} kB, to {size}x{size}")
    for name, found in seconds.items():
        ratio = statistics.median(theirs / mine for mine, theirs in zip(found, seconds["gluon"]))
        rate = len(files) / statistics.median(found)
        print(f"  {name:<13} {rate:6.0f} images/s per core   {ratio:.2f} times gluon", flush=True)
    return statistics.median(theirs / mine for mine, theirs in zip(seconds["here, python"], seconds["gluon"]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, help="real photos, in one folder per class")
    parser.add_argument("--size", type=int, default=224, help="height and width of the crops (default: 224)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, in which each way takes one turn (default: 5)")
    arguments = parser.parse_args()
    if arguments.folder:
        files = [path.read_bytes() for path in sorted(arguments.folder.glob("*/*")) if path.is_file()]
        sets = {f"photos of {arguments.folder.name}": files}
    else:
        sets = {"synthetic photos, 500x375": made_up(*USUAL), "synthetic photos, 4000x3000": made_up(*LARGE)}
    met = [compare(title, files, arguments.size, arguments.rounds) >= GOAL for title, files in sets.items()]
    print(f"goal, python at {GOAL} times gluon: {'met' if all(met) else 'missed'}")
    return 0 if all(met) else 1


if __name__ == "__main__":
    raise SystemExit(main())
