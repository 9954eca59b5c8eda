"""Reads the files of a sample as the commands do that users run on them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, List

from photos import AS_THEY_ARE

from fusion.compat import mx
from fusion.data import cifar, image_folder, imagenet
from fusion.data.masks import coco
from fusion.data.masks import folder as mask_folder
from fusion.data.photos import sources
from fusion.data.photos.batches import PhotoBatches, Targets
from fusion.data.photos.native import NativeBatches
from fusion.data.photos.photo import PhotoAugmentation
from fusion.data.photos.prepare import check
from fusion.deploy.optimise import load_optimised
from fusion.errors import FusionError
from fusion.explain import report_sections
from fusion.explain.report_facts import Known
from fusion.inference.trained import Preparation, load_run
from fusion.models.network import Network
from fusion.published.command import format_rows
from fusion.published.compare import best_run, compare, find_runs, read_run, refusal
from fusion.published.rows import ROWS
from fusion.tasks import find_task
from fusion.training import checkpoint
from fusion.training.averaging import WeightAverage
from fusion.training.config import read_config, to_yaml
from fusion.training.engine import first_batch
from fusion.training.history import History
from fusion.training.logbook import RunDirectory, read_result
from fusion.training.sums import RunningSums

#: Height and width of what networks are fed here, in pixels.
SIZE = 16

CLASSES = ("a", "b", "c")
TASK = find_task("classification")


class Small(Network):
    """A network of a few numbers."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(len(CLASSES), prefix="small_", **kwargs)
        with self.name_scope():
            self.features = mx.gluon.nn.HybridSequential(prefix="features_")
            self.features.add(mx.gluon.nn.BatchNorm(in_channels=2))
            self.output = mx.gluon.nn.Dense(len(CLASSES), in_units=2, prefix="output_")

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return self.output(self.features(x))


def learner() -> Any:
    """A small network that is being trained: with its trainer, and the average of its weights."""
    net = Small()
    net.initialize(mx.init.One())
    arguments = {"learning_rate": 0.1, "momentum": 0.9}
    trainer = mx.gluon.Trainer(net.collect_params(), "nag", arguments, update_on_kvstore=False)
    return net, trainer, WeightAverage(net, 0.9)


# --- Networks --------------------------------------------------------------------------------------------------------


def read_parameters(folder: Path) -> None:
    """As `evaluate --model` and `train.initial_parameters` do."""
    net = Small()
    net.load_parameters(str(folder / "net.params"), cast_dtype=True)
    path = folder / "net.params"
    checkpoint.load_arrays(path, net, checkpoint.network_arrays(path))


def read_graph(folder: Path) -> None:
    """As whoever has an optimised or exported network does, who then shows it an image."""
    block = load_optimised(folder / "net")
    # The block is MXNet's, and takes images of its own shape: what counts is that it ends in an error.
    with suppress(mx.MXNetError, ValueError, AssertionError, TypeError, AttributeError):
        block(mx.nd.zeros((1, 3, SIZE, SIZE))).wait_to_read()


def read_checkpoint(averaged: bool, folder: Path) -> None:
    """As `--resume` does until the first step, and `evaluate --checkpoint`."""
    path = folder / "last.npz"
    net, trainer, average = learner()
    state = checkpoint.restore(path, net, trainer, average if averaged else None, TASK)
    first_batch(state, 4)
    assert state.epoch >= 0
    RunningSums(TASK.training_meter(), state.sums)
    if state.history:
        history = History(TASK, state.history)
        history.write(folder / "metrics.csv")
        json.dumps(history.result({}))
        sum(done["seconds"] for done in history.rows)
    checkpoint.load_network(path, Small())


# --- Images ----------------------------------------------------------------------------------------------------------

_AUGMENTATION = PhotoAugmentation(SIZE)


def read_batches(folder: Path) -> None:
    """Photos or records by the Python pipeline, to train and to test."""
    data = imagenet.load(folder, "train", SIZE)
    for _ in PhotoBatches(data, _AUGMENTATION, AS_THEY_ARE, Targets(len(data.classes)), 2, 0, max_bad=10).epoch(0):
        pass
    for _ in imagenet.load(folder, "test", SIZE).in_order(2):
        pass


def read_natively(folder: Path) -> None:
    """Records by MXNet's own iterator."""
    data = imagenet.load(folder, "train", SIZE, source="record")
    for _ in NativeBatches(data, _AUGMENTATION, AS_THEY_ARE, Targets(len(data.classes)), 2, 0).epoch(0):
        pass


def read_photos(folder: Path) -> None:
    """As `predict`, then as training does: a photo that one of them refuses is no business of the others."""
    _read_each(folder, [Preparation(SIZE, 0.875, (0,) * 3, (1,) * 3, photos=True)])
    read_batches(folder)


def read_small_images(folder: Path) -> None:
    """A folder of images that training holds in memory, at their own size and at another."""
    _read_each(folder, [Preparation(SIZE, 1.0, (0,) * 3, (1,) * 3, photos=False)])
    for split in ("train", "test"):
        image_folder.load(folder, split, SIZE // 2, fit="resize", workers=1)
        image_folder.load(folder, split, SIZE, workers=1)


def read_rarer_images(folder: Path) -> None:
    """Folders as photos, and then as images that are held in memory."""
    with suppress(FusionError):
        read_photos(folder)
    read_small_images(folder)


def read_masks(folder: Path) -> None:
    """A folder of images with masks."""
    _read_each(folder / "images", [Preparation(SIZE, 1.0, (0,) * 3, (1,) * 3, photos=False, whole=True)])
    for split in ("train", "test"):
        for _ in mask_folder.load(folder, split).samples():
            pass


def read_annotations(folder: Path) -> None:
    """A folder of COCO's layout."""
    for split in ("train", "test"):
        for _ in coco.load(folder, split).samples():
            pass


def _read_each(folder: Path, preparations: List[Preparation]) -> None:
    """Every image as it is shown to a trained network, by commands that go on after one that cannot be read."""
    for path in sorted(folder.rglob("*.*")):
        for preparation in preparations:
            with suppress(FusionError):
                preparation.read(path)


# --- Archives --------------------------------------------------------------------------------------------------------


def read_cifar(archive: cifar.Archive, folder: Path) -> None:
    """Both parts, of an archive with the right sum: whoever publishes it may mean harm."""
    path = folder / archive.file_name
    small = dataclasses.replace(archive, records={"train": 2, "test": 3})
    if path.exists():
        small = dataclasses.replace(small, md5=hashlib.md5(path.read_bytes()).hexdigest())
    for split in ("train", "test"):
        cifar.load(small, split, folder, download=False)


def read_imagenet_archives(folder: Path) -> None:
    """As `prepare imagenet` does before it writes."""
    _, parts = sources.list_parts(folder, folder / "val.csv")
    for entries in parts.values():
        for entry in entries:
            check(entry)


# --- Text ------------------------------------------------------------------------------------------------------------


def read_experiment(folder: Path) -> None:
    """A config, and what is written of it."""
    text = to_yaml(read_config(folder / "experiment.yaml"))
    (folder / "again.yaml").write_text(text, encoding="utf-8")
    assert to_yaml(read_config(folder / "again.yaml")) == text


def read_words(folder: Path) -> None:
    """The words of a command line, one to a line."""
    words = (folder / "line.words").read_bytes().decode("utf-8", "surrogateescape").split("\n")
    to_yaml(read_config(None, [word for word in words if word]))


#: Two of the published rows, with which a run of CIFAR-10 can be compared.
_ROWS = [row for row in ROWS if row.configs and row.test_set.dataset == "cifar10"][:2]


def read_finished_run(folder: Path) -> None:
    """A run as `reproduce`, `curves`, `report`, `predict` and `--resume` read it, without what they draw."""
    runs = list(find_runs(folder))
    format_rows(_ROWS, {row.id: best_run(row, runs) for row in _ROWS})
    run = RunDirectory.existing(folder / "run")
    settings = run.settings()
    history = run.history(settings)
    assert len(history.headlines) == len(history.epochs)
    json.dumps([history.best, history.last, history.best_average, history.result({}), read_result(run)])
    own = read_run(run.path)
    for row in _ROWS:
        if refusal(own, row) is None:
            compare(row, own).as_dict()
    network: Any = SimpleNamespace(file=Path("best.params"), task=history.task)
    known = Known(run, network, settings)
    report_sections.result_section(known)
    report_sections.environment_section(known)
    run.write_environment(settings)
    load_run(run.path)


def read_val_classes(folder: Path) -> None:
    """The classes of photos whose names do not say them."""
    for path in sorted(folder.iterdir()):
        sources.read_val_classes(path, [f"photo_{number}.JPEG" for number in range(5)], CLASSES)


def read_record_classes(folder: Path) -> None:
    """The names beside records."""
    data = imagenet.load(folder, "test", SIZE)
    assert len(set(data.classes)) == len(data.classes)
