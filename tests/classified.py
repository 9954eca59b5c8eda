"""Classification as tests ask of it: columns and histories of its runs, and an evaluation of a network."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
from PIL import Image

from fusion.tasks import find_task
from fusion.tasks.base import AVERAGED
from fusion.training.evaluation import evaluate
from fusion.training.history import History, columns

TASK = find_task("classification")
COLUMNS = columns(TASK)
AVERAGE_COLUMNS = tuple(figure.column(AVERAGED) for figure in TASK.evaluation)


def history(rows):
    return History(TASK, rows)


def evaluated(net, data, normalise, batch_size, devices, shard=(0, 1)):
    """The figures of a network on a data set, or on the part of it that one of several processes has."""
    batches = TASK.evaluation_batches(data, normalise, batch_size, shard)
    found = evaluate(net, batches, TASK.evaluation_meter(), devices)
    return SimpleNamespace(**found.figures, images=found.images, images_per_second=found.images_per_second)


def noise_folder(path, names, count, side):
    """A folder of images without meaning, so many of each class to train and to test on, and the settings of it."""
    draw = np.random.default_rng(0)
    for split, name, number in itertools.product(("train", "test"), names, range(count)):
        (path / split / name).mkdir(parents=True, exist_ok=True)
        pixels = draw.integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path / split / name / f"{number}.png")
    settings = (f"data.dir={path}", f"data.size={side}", "data.batch_size=4", "augment.crop_padding=2")
    return ("data.name=image_folder", *settings)
