#!/usr/bin/env python
"""What training gains from several devices and processes: by calculation, and with two processes on this machine.

    python benchmarks/scaling.py plan                     the tables of docs/scaling.md
    python benchmarks/scaling.py plan --photos DIR        also with the rate at which this machine decodes photographs
    python benchmarks/scaling.py measure --picture FILE   one core against two contexts and two processes

`measure` trains the same network on the embedded digits in every way that is installed. The ways take turns for several
rounds, so that a busy machine slows all of them. Rates are medians over epochs and rounds; the first epoch of each run
does not count. All ways take steps of the same total batch at the same learning rate.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

import numpy as np

import fusion
from fusion.data.augment import POLICIES, Augmentation, Normalisation, named_policy
from fusion.data.imageset import ImageSet
from fusion.data.loader import TrainingBatches
from fusion.data.photos.photo import PhotoAugmentation
from fusion.models.network import count_parameters
from fusion.processors import with_threads
from fusion.training.history import read_metrics
from fusion.training.settings import CIFAR_MEAN, CIFAR_STD, IMAGENET_MEAN, IMAGENET_STD

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "quickstart.yaml"

# --- By calculation ---------------------------------------------------------------------------------------------------

GPUS = (1, 8, 64)
LINKS = (10, 25, 100)  # Gbit/s per GPU, in each direction
BYTES = 4  # per float32 gradient
BACKWARD = 2 / 3  # the share of a step that computes gradients, during which they can be exchanged

MODELS = (
    ("aff_resnet32", 100),
    ("iaff_resnet32", 100),
    ("aff_resnext38_32x4d", 100),
    ("aff_resnext47_32x4d", 100),
    ("aff_resnet50", 1000),
    ("iaff_resnet50", 1000),
    ("aff_resnext50_32x4d", 1000),
    ("iaff_resnext50_32x4d", 1000),
    ("aff_resnet101", 1000),
    ("aff_resnext101_32x4d", 1000),
)


@dataclass(frozen=True)
class Published:
    """A published run's speed: images of the set, images per GPU and step, GPUs, images per second on all GPUs."""

    model: str
    title: str
    images: int
    batch: int
    gpus: int
    rate: float
    bytes: int = BYTES

    @property
    def rate_of_one(self) -> float:
        return self.rate / self.gpus

    @property
    def step(self) -> float:
        """Seconds per step on one GPU."""
        return self.batch / self.rate_of_one


#: Medians over the epochs of the published logs. Those of CIFAR are of whole epochs, with the evaluation. ImageNet runs
#: trained in float16, whose gradients have two bytes.
RUNS = (
    Published("aff_resnet32", "AFF-ResNet-32, CIFAR-100", 50_000, 128, 2, 50_000 / 27.54),
    Published("aff_resnext47_32x4d", "AFF-ResNeXt-47-32x4d, CIFAR-100", 50_000, 128, 2, 50_000 / 79.63),
    Published("aff_resnet50", "AFF-ResNet-50, ImageNet", 1_281_167, 128, 4, 2163, 2),
    Published("iaff_resnet50", "iAFF-ResNet-50, ImageNet", 1_281_167, 128, 4, 1643, 2),
    Published("aff_resnext50_32x4d", "AFF-ResNeXt-50-32x4d, ImageNet", 1_281_167, 128, 4, 1304, 2),
)


def parameters_of(model: str, classes: int) -> int:
    return count_parameters(fusion.get_model(model, classes=classes))


def ring(size: float, gpus: int) -> float:
    """How many bytes each GPU sends, and also receives, to add up arrays of this size over a ring."""
    return 2 * (gpus - 1) / gpus * size


def efficiency(step: float, exchange: float) -> Tuple[float, float]:
    """The share of perfect scaling if gradients are exchanged after the backward pass, and if during it."""
    hidden = (1 - BACKWARD) * step + max(BACKWARD * step, exchange)
    return step / (step + exchange), step / hidden


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print("| " + " | ".join(head) + " |")
    print("| --- |" + " ---: |" * (len(head) - 1))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def plan(photos: str) -> None:
    counts = {model: parameters_of(model, classes) for model, classes in MODELS}
    print("Bytes per step, float32, in MB (10^6), that each worker sends; it receives as many\n")
    table(
        ["Network", "Parameters", "Gradients", "Parameter server", *(f"Ring of {gpus}" for gpus in GPUS[1:])],
        [
            [f"`{model}`", f"{count:,}", *(f"{size / 1e6:.1f}" for size in sizes)]
            for model, count in counts.items()
            for own in [BYTES * count]
            for sizes in [[own, own, *(ring(own, gpus) for gpus in GPUS[1:])]]
        ],
    )
    print("Time and bandwidth at the published speed of one GPU, batch 128 per GPU\n")
    rows = []
    for run in RUNS:
        own = run.bytes * counts[run.model]
        for gpus in GPUS:
            exchanged = ring(own, gpus)
            ways = [efficiency(run.step, exchanged * 8 / (link * 1e9)) for link in LINKS]
            rows.append(
                [
                    f"{run.title} × {gpus}",
                    f"{1000 * run.step:.0f}",
                    f"{run.images / (run.rate_of_one * gpus):.0f}",
                    f"{run.images // (run.batch * gpus):,}",
                    f"{exchanged / 1e6:.1f}",
                    f"{8 * exchanged / (BACKWARD * run.step) / 1e9:.2f}",
                    *(f"{100 * after:.0f} to {100 * hidden:.0f} %" for after, hidden in ways),
                    f"{run.rate_of_one * gpus:,.0f}",
                ]
            )
    links = (f"at {link} Gbit/s" for link in LINKS)
    table(
        ["Run × GPUs", "Step, ms", "Epoch, s", "Steps", "MB per step", "Gbit/s to hide it", *links, "Images/s to feed"],
        rows,
    )
    feeding(photos)


def feeding(photos: str) -> None:
    """Print how many cores are needed to prepare the images that the GPUs train on."""
    rates = {"CIFAR, crop, flip, mixup": cifar_rate(None), "CIFAR, AutoAugment as well": cifar_rate("cifar10")}
    if photos:
        rates["ImageNet, decode, crop, flip, colours"] = photo_rate(Path(photos), "none")
        rates["ImageNet, AutoAugment as well"] = photo_rate(Path(photos), "imagenet")
    print("Images per second that one core of this machine prepares\n")
    for name, rate in rates.items():
        print(f"- {name}: {rate:,.0f}")
    print("\nCores that are needed for the GPUs\n")
    rows = []
    for run in RUNS:
        kind = "ImageNet" if "ImageNet" in run.title else "CIFAR"
        for name, rate in rates.items():
            if name.startswith(kind):
                cores = [f"{run.rate_of_one * gpus / rate:.1f}" for gpus in GPUS]
                rows.append([f"{run.title}; {name.split(', ', 1)[1]}", *cores])
    table(["Run", *(f"{gpus} GPUs" if gpus > 1 else "1 GPU" for gpus in GPUS)], rows)


def cifar_rate(policy: str | None) -> float:
    """Images per second of one core's own time, in batches of the recipe with mixup."""
    draw = np.random.default_rng(0)
    images = draw.integers(256, size=(4096, 32, 32, 3), dtype=np.uint8)
    data = ImageSet(images, draw.integers(10, size=4096), tuple("abcdefghij"), "random images")
    normalise = Normalisation(CIFAR_MEAN, CIFAR_STD)
    augmentation = Augmentation(normalise, 10, 4, True, POLICIES[policy] if policy else None, 1.0, 1, 0.1)
    batches = TrainingBatches(data, augmentation, 128, 0)
    order = np.arange(4096)
    times = []
    for number in range(len(batches)):
        start = time.thread_time()
        batches.make(0, number, order)
        times.append(time.thread_time() - start)
    return 128 / statistics.median(times)


def photo_rate(folder: Path, policy: str) -> float:
    """Normalised training crops of 224 pixels as in the recipe, per second of one core's own time."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))[:100]
    files = [path.read_bytes() for path in paths]
    augment = PhotoAugmentation(224, policy=named_policy(policy, 2, 9))
    normalise = Normalisation(IMAGENET_MEAN, IMAGENET_STD)
    draw = np.random.default_rng(0)
    augment(files[0], draw)
    start = time.thread_time()
    for file in files:
        normalise(augment(file, draw)[None].transpose(0, 3, 1, 2))
    return len(files) / (time.thread_time() - start)


# --- On this machine --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """One way to train: the command before the script, the words after it, parts of the batch, threads per process."""

    name: str
    before: Tuple[str, ...]
    words: Tuple[str, ...]
    parts: int
    threads: int


def ways() -> List[Way]:
    python = (sys.executable,)
    found = [
        Way("one process, one core", python, (), 1, 1),
        Way("one process, two threads", python, (), 1, 2),
        Way("two contexts (cpu:2)", python, ("--device", "cpu:2"), 2, 1),
        Way("two processes, dist_sync", (*python, "-m", "fusion.launch", "-n", "2"), _distributed("dist_sync"), 2, 1),
    ]
    if find_spec("horovod"):
        runner = shutil.which("horovodrun") or str(Path(sys.executable).with_name("horovodrun"))
        before = (runner, "-np", "2", "--gloo", *python)
        found.append(Way("two processes, Horovod", before, _distributed("horovod"), 2, 1))
    return found


def _distributed(engine: str) -> Tuple[str, ...]:
    return (f"runtime.distributed={engine}",)


def run(way: Way, folder: Path, arguments: argparse.Namespace) -> List[Dict[str, float]]:
    words = (
        *("--config", str(CONFIG), "--run-dir", str(folder), f"train.epochs={arguments.epochs}"),
        *(f"data.batch_size={arguments.batch // way.parts}", *arguments.settings, *way.words),
    )
    environment = {**with_threads(os.environ, way.threads), "PYTHONPATH": str(ROOT)}
    command = [*way.before, str(ROOT / "train_cifar.py"), *words]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"{way.name}: {done.stdout[-2000:]}")
    return read_metrics(folder / "metrics.csv")


def measure(arguments: argparse.Namespace) -> None:
    rates: Dict[str, List[float]] = {}
    curves: Dict[str, List[Dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as place:
        for number in range(arguments.rounds):
            for way in ways():
                rows = run(way, Path(place) / f"{number}-{way.threads}-{len(rates)}-{way.name}", arguments)
                curves.setdefault(way.name, rows)
                rates.setdefault(way.name, []).extend(row["images_per_second"] for row in rows[1:])
    medians = {name: statistics.median(values) for name, values in rates.items()}
    first = medians["one process, one core"]
    print(f"{os.cpu_count()} cores; total batch {arguments.batch}; {' '.join(arguments.settings)}\n")
    head = ["Way", "Images/s", "Of one core", "Efficiency on two", "Last training loss", "Last test error"]
    table(
        head,
        [
            [
                name,
                f"{rate:.0f}",
                f"{rate / first:.2f}",
                "–" if name == "one process, one core" else f"{50 * rate / first:.0f} %",
                f"{curves[name][-1]['train_loss']:.4f}",
                f"{100 * curves[name][-1]['val_top1_error']:.2f} %",
            ]
            for name, rate in medians.items()
        ],
    )
    if arguments.picture:
        draw(curves, arguments.picture)


def draw(curves: Dict[str, List[Dict[str, float]]], path: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    colours = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#666666")
    for axes, key, label, scale in zip(
        figure.subplots(1, 2),
        ("train_loss", "val_top1_error"),
        ("training loss (nats)", "top-1 error on the test set (%)"),
        (1, 100),
    ):
        for colour, marker, (name, rows) in zip(colours, "osv^D", curves.items()):
            found = [scale * row[key] for row in rows]
            axes.plot([row["epoch"] for row in rows], found, marker + "-", color=colour, label=name, ms=4, lw=1)
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110, format="png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    planning = commands.add_parser("plan", help="calculate bytes, bandwidth and cores")
    planning.add_argument("--photos", default="", metavar="DIR", help="a folder of photographs to decode")
    measuring = commands.add_parser("measure", help="measure two processes on this machine")
    measuring.add_argument("--rounds", type=int, default=3)
    measuring.add_argument("--epochs", type=int, default=5)
    measuring.add_argument("--batch", type=int, default=64, help="images per step over all devices")
    measuring.add_argument("--picture", help="where to draw the curves of the first round")
    measuring.add_argument("settings", nargs="*", metavar="section.key=value")
    arguments = parser.parse_args()
    if arguments.command == "plan":
        plan(arguments.photos)
    else:
        measure(arguments)


if __name__ == "__main__":
    main()
