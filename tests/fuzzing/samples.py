"""Small valid files of every kind, from which inputs are made, and what reads them."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, NamedTuple, Tuple

import numpy as np
from masks import annotation, box, make_coco, make_folder
from photos import encoded, make_folders, smooth, write_records
from PIL import Image
from run_folders import write_run

from fusion.compat import mx, nn
from fusion.data import cifar
from fusion.deploy.optimise import halve, optimise, quantise
from fusion.training import checkpoint
from fusion.training.checkpoint import TrainingState
from fusion.training.config import read_config
from fusion.training.preparation import build_network

from . import readers
from .readers import CLASSES, SIZE, TASK, learner

_CONFIGS = Path(__file__).resolve().parents[2] / "configs"


class Sample(NamedTuple):
    """Valid files.

    Attributes
    ----------
    write : callable
        Writes them into a folder.
    read : callable
        Reads them as a user's command does.
    """

    write: Callable[[Path], None]
    read: Callable[[Path], None]


# --- Networks --------------------------------------------------------------------------------------------------------


def _saved(folder: Path) -> None:
    learner()[0].save_parameters(str(folder / "net.params"))


def _exported(folder: Path) -> None:
    arrays = {name: parameter.data() for name, parameter in learner()[0]._collect_params_with_prefix().items()}
    marked = {("aux:" if "running" in name else "arg:") + name: array for name, array in arrays.items()}
    mx.nd.save(str(folder / "net.params"), marked)


def _of_other_types(folder: Path) -> None:
    types = ("float16", "float64", "uint8", "int8", "int32", "int64")
    names = learner()[0]._collect_params_with_prefix()
    arrays = {name: mx.nd.ones(parameter.shape, dtype=kind) for (name, parameter), kind in zip(names.items(), types)}
    mx.nd.save(str(folder / "net.params"), arrays)


def _convolutions() -> mx.gluon.HybridBlock:
    """A network with the layers that are joined when one is optimised."""
    mx.random.seed(1)
    net = nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(nn.Conv2D(4, 3, padding=1, in_channels=3, prefix="conv_"), nn.BatchNorm(in_channels=4, prefix="norm_"))
        net.add(nn.Activation("relu", prefix="relu_"), nn.MaxPool2D(2, prefix="pool_"))
        net.add(nn.Conv2D(4, 1, in_channels=4, prefix="second_"), nn.GlobalAvgPool2D(prefix="mean_"))
        net.add(nn.Flatten(prefix="flat_"), nn.Dense(3, in_units=4, prefix="output_"))
    net.initialize(mx.init.Xavier())
    return net


def _plain_graph(folder: Path) -> None:
    halve(_convolutions(), SIZE).save(folder / "net")


def _joined_graph(folder: Path) -> None:
    optimise(_convolutions(), SIZE).save(folder / "net")


def _eight_bit_graph(folder: Path) -> None:
    images = np.random.default_rng(0).standard_normal((2, 3, SIZE, SIZE)).astype(np.float32)
    quantise(_convolutions(), images, SIZE).save(folder / "net")


def _checkpoint(averaged: bool, folder: Path) -> None:
    net, trainer, average = learner()
    for _ in range(2):
        with mx.autograd.record():
            loss = net(mx.nd.ones((4, 2))).sum()
        loss.backward()
        trainer.step(4)
    row = {"epoch": 1, "train_loss": 0.5, "train_rmse": 0.1, "learning_rate": 0.1}
    row.update({figure.column(): 0.25 for figure in TASK.evaluation}, images_per_second=9.5, seconds=2.5)
    sums = {"loss": 0.5, "rmse": 0.25, "batches": 1.0, "seconds": 1.5, "images": 4} if averaged else {}
    state = TrainingState(2, 1 if averaged else 0, sums, [row, {**row, "epoch": 2}])
    checkpoint.save(folder / "last.npz", net, trainer, state, average if averaged else None)


# --- Images ----------------------------------------------------------------------------------------------------------


def _photos(folder: Path) -> None:
    make_folders(folder, (2, 2, 1))
    small = encoded(smooth(20, 30, 9))
    (folder / "train" / "b" / "002.png").write_bytes(small)
    (folder / "val" / "b" / "001.png").write_bytes(small)


def _records(folder: Path) -> None:
    for part, count in (("train", 5), ("val", 3)):
        files = [encoded(smooth(20 + number, 24, number), ".jpg") for number in range(count)]
        write_records(folder / f"{part}.rec", [*files, encoded(smooth(20, 20, 9))], [0, 1, 2, 0, 1, 2][: count + 1])
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))


def _small_images(folder: Path) -> None:
    for split in ("train", "test"):
        for number, name in enumerate(CLASSES):
            (folder / split / name).mkdir(parents=True)
            for suffix in (".jpg", ".png"):
                (folder / split / name / f"0{suffix}").write_bytes(encoded(smooth(SIZE, SIZE, number), suffix))


#: The formats that Pillow decodes, with files of more than one sort each.
_RARER: Dict[str, Tuple[Dict[str, Any], ...]] = {
    "webp": ({"lossless": True}, {"quality": 80}),
    "bmp": ({},),
    "gif": ({}, {"transparency": 0}),
    "tif": ({}, {"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}),
}


def _rarer_images(folder: Path) -> None:
    """One class with a file of each sort, some with an orientation, and 16 bits; and another class."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for split in ("train", "test"):
        for name in ("a", "b"):
            (folder / split / name).mkdir(parents=True)
        (folder / split / "b" / "0.png").write_bytes(encoded(smooth(SIZE, SIZE)))
        for suffix, sorts in _RARER.items():
            for number, options in enumerate(sorts):
                image = Image.fromarray(smooth(SIZE, SIZE, number))
                more = {"exif": exif.tobytes()} if suffix == "webp" and number else {}
                more = {"exif": exif} if suffix == "tif" and number else more
                image = image.quantize(16) if suffix == "gif" else image
                image.save(folder / split / "a" / f"{number}.{suffix}", **options, **more)
        levels = np.linspace(0, 65535, SIZE * SIZE).astype(np.uint16).reshape(SIZE, SIZE)
        Image.fromarray(levels).save(folder / split / "a" / "9.tif")
        Image.fromarray(levels).save(folder / split / "a" / "9.png", transparency=levels[3, 3].item())


def _masked(classes: bool, folder: Path) -> None:
    names = ("background", "cat", "dog") if classes else ()
    make_folder(folder, 2, 2, values=(0, 1, 2) if classes else (0, 255), classes=names, sizes=((18, 20),))


def _annotated(folder: Path) -> None:
    crowd = {"size": [20, 24], "counts": [100, 30, 350]}
    first = [annotation(1, box(2, 2, 9, 9)), annotation(7, crowd, crowd=True)]
    last = [annotation(1, box(1, 1, 9, 9)), annotation(7, box(10, 10, 15, 15))]
    parts = {"train2017": [first, [annotation(7, box(0, 0, 5, 5))]], "val2017": [last]}
    make_coco(folder, parts, {1: "cat", 7: "dog"}, size=(20, 24))


# --- Archives --------------------------------------------------------------------------------------------------------


def _tar(members: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def _cifar_files(archive: cifar.Archive) -> Dict[str, bytes]:
    draw = np.random.RandomState(0)
    files = {}
    for split, count in (("train", 2), ("test", 3)):
        for name in archive.members[split]:
            records = draw.randint(0, 256, (count, archive.record_bytes)).astype(np.uint8)
            records[:, : len(archive.label_bytes)] = draw.randint(0, 10, (count, len(archive.label_bytes)))
            files[name] = records.tobytes()
    return files


def _cifar_archive(archive: cifar.Archive, folder: Path) -> None:
    members = {f"{archive.folder}/{name}": content for name, content in _cifar_files(archive).items()}
    whole = _tar({f"{archive.folder}/readme.html": b"<html>", **members})
    (folder / archive.file_name).write_bytes(gzip.compress(whole, 1, mtime=0))


def _cifar_folder(archive: cifar.Archive, folder: Path) -> None:
    for name, content in _cifar_files(archive).items():
        (folder / name).write_bytes(content)


def _imagenet_archives(folder: Path) -> None:
    def photo(number: int) -> bytes:
        return encoded(smooth(20, 24, number), ".jpg", 60)

    classes = {f"{name}.tar": _tar({f"{name}_{k}.JPEG": photo(k) for k in range(2)}) for name in CLASSES}
    (folder / "ILSVRC2012_img_train.tar").write_bytes(_tar(classes))
    val = {f"ILSVRC2012_val_{k}.JPEG": photo(k) for k in range(3)}
    (folder / "ILSVRC2012_img_val.tar").write_bytes(_tar(val))
    (folder / "val.csv").write_text("".join(f"{name[:-5]},{key}\n" for name, key in zip(val, CLASSES)))


# --- Text ------------------------------------------------------------------------------------------------------------


def _experiment(folder: Path) -> None:
    shutil.copy(_CONFIGS / "quickstart.yaml", folder / "above.yaml")
    (folder / "experiment.yaml").write_text(
        '# of two files\nbase: [above.yaml]\ndata:\n  batch_size: 0x10\n  workers: "2"\nschedule:\n  lr: 1e-2\n'
        "  mode: step\n  steps: [3, 5]\naugment: {flip: true, mean: [.5, 0.5, 5e-1]}\ntrain:\n  teacher: ~\n"
    )


def _words(folder: Path) -> None:
    lines = ("model.fusion=iaff", "schedule.lr=1e-2", "data.dir=~/a b", "augment.mean=[.5, 0.5, 0.5]", "data.workers=2")
    (folder / "line.words").write_text("\n".join(lines))


def _run(folder: Path) -> None:
    words = ["model.fusion=add", "data.name=cifar10", "data.dir=data", "train.epochs=3"]
    path = write_run(folder / "run", _CONFIGS / "quickstart.yaml", [50.0, None, 40.0], words, classes=len(CLASSES))
    last = {**dict.fromkeys((figure.column() for figure in TASK.evaluation), 0.4), "epoch": 3.0, "train_loss": 0.5}
    stored = json.loads((path / "result.json").read_text())
    stored.update(best=last, last=last, note="chosen on the test set")
    (path / "result.json").write_text(json.dumps(stored))
    (path / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    threads = {"count": 1, "why": "OMP_NUM_THREADS"}
    facts = {"command": "python train_cifar.py", "versions": {"mxnet": "1.9.1"}, "threads": threads, "cpus": 2}
    (path / "environment.json").write_text(json.dumps({**facts, "threads_resumed": [threads]}))
    (path / "checkpoints").mkdir()
    mx.random.seed(1)
    net = build_network(read_config(path / "config.yaml"), len(CLASSES))
    net.initialize()
    net(mx.nd.zeros((1, 3, 32, 32)))
    net.save_parameters(str(path / "checkpoints" / "best.params"))


def _val_classes(folder: Path) -> None:
    names = [f"photo_{number}" for number in range(5)]
    labels = [CLASSES[number % 3] for number in range(5)]
    (folder / "kaggle.csv").write_text(
        "ImageId,PredictionString\n" + "".join(f"{name},{label} 1 2 3 4\n" for name, label in zip(names, labels))
    )
    (folder / "pairs.txt").write_text("".join(f"{name}.JPEG {label}\n" for name, label in zip(names, labels)))
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels))


# --- All of them -----------------------------------------------------------------------------------------------------

SAMPLES: Dict[str, Dict[str, Sample]] = {
    "parameters": {
        "saved": Sample(_saved, readers.read_parameters),
        "exported": Sample(_exported, readers.read_parameters),
        "types": Sample(_of_other_types, readers.read_parameters),
    },
    "graphs": {
        "plain": Sample(_plain_graph, readers.read_graph),
        "joined": Sample(_joined_graph, readers.read_graph),
        "eight_bits": Sample(_eight_bit_graph, readers.read_graph),
    },
    "checkpoints": {
        "epoch": Sample(partial(_checkpoint, False), partial(readers.read_checkpoint, False)),
        "averaged": Sample(partial(_checkpoint, True), partial(readers.read_checkpoint, True)),
    },
    "records": {
        "python": Sample(_records, readers.read_batches),
        "native": Sample(_records, readers.read_natively),
    },
    "photos": {
        "photos": Sample(_photos, readers.read_photos),
        "small": Sample(_small_images, readers.read_small_images),
        "rarer": Sample(_rarer_images, readers.read_rarer_images),
        "masks": Sample(partial(_masked, True), readers.read_masks),
    },
    "archives": {
        "cifar10": Sample(partial(_cifar_archive, cifar.CIFAR10), partial(readers.read_cifar, cifar.CIFAR10)),
        "cifar100": Sample(partial(_cifar_archive, cifar.CIFAR100), partial(readers.read_cifar, cifar.CIFAR100)),
        "unpacked": Sample(partial(_cifar_folder, cifar.CIFAR100), partial(readers.read_cifar, cifar.CIFAR100)),
        "imagenet": Sample(_imagenet_archives, readers.read_imagenet_archives),
    },
    "yaml": {
        "experiment": Sample(_experiment, readers.read_experiment),
        "words": Sample(_words, readers.read_words),
    },
    "runs": {"finished": Sample(_run, readers.read_finished_run)},
    "lists": {
        "val_classes": Sample(_val_classes, readers.read_val_classes),
        "masks": Sample(partial(_masked, True), readers.read_masks),
        "binary": Sample(partial(_masked, False), readers.read_masks),
        "records": Sample(_records, readers.read_record_classes),
        "coco": Sample(_annotated, readers.read_annotations),
    },
}


def write_samples(folder: Path, kind: str) -> None:
    """Write the valid files of a kind, each sample into a folder of its own."""
    for name, sample in SAMPLES[kind].items():
        (folder / kind / name).mkdir(parents=True)
        sample.write(folder / kind / name)
