"""A task is one module: a toy task, which reads the value of a digit, trains, resumes, evaluates and is drawn."""

from __future__ import annotations

import csv
import json
import logging
import signal
import sys

import numpy as np
import pytest

import fusion.tasks
from fusion.__main__ import main as command
from fusion.errors import ConfigError
from fusion.progress import EpochProgress
from fusion.tasks import find_task, list_tasks
from fusion.training import main
from fusion.training.history import TIMINGS

#: All that is written for the task.
TOY = '''
"""Regression: the network says the value of a digit."""

import math

import numpy as np

from fusion.compat import mx
from fusion.data.loader import Batch
from fusion.tasks.base import Figure, Meter, Task
from fusion.tasks.classification.batches import training_batches

LOSS = Figure("loss", "squared error", "loss")
ERROR = Figure("absolute_error", "mean absolute error", "absolute error", unit="digits", decimals=3)


class Sums(Meter):
    names = ("loss", "absolute_error", "batches", "images")

    def of_step(self, step):
        values = np.concatenate([part.asnumpy() for part in step.outputs]).astype(np.float64)
        losses = np.concatenate([part.asnumpy() for part in step.losses]).astype(np.float64)
        return np.array([losses.sum(), np.abs(values - step.targets).sum(), 1.0, len(losses)])

    def of_batch(self, outputs, targets):
        off = outputs[:, 0].astype(np.float64) - targets
        return np.array([(off**2 / 2).sum(), np.abs(off).sum(), 1.0, len(targets)])

    def figures(self, sums):
        return {name: sums[i] / sums[3] if sums[3] else math.nan for i, name in enumerate(self.names[:2])}


class Values:
    """Batches of classification with the value of the digit in place of its class."""

    def __init__(self, batches):
        self._batches = batches
        self.data, self.batch_size, self.part_size = batches.data, batches.batch_size, batches.part_size

    def __len__(self):
        return len(self._batches)

    def epoch(self, epoch, start=0):
        for batch in self._batches.epoch(epoch, start):
            yield Batch(batch.images, batch.targets @ np.arange(10, dtype=np.float32)[:, None])


class DigitValue(Task):
    title = "the value of a digit"
    training = (LOSS, ERROR)
    evaluation = (LOSS, ERROR)
    headline = ERROR
    best_note = "best is the epoch with the lowest mean absolute error"

    def outputs(self, settings, classes):
        return 1

    def batches(self, *arguments):
        return Values(training_batches(*arguments))

    def loss(self, settings, teacher):
        return mx.gluon.loss.L2Loss()

    def training_meter(self):
        return Sums()

    evaluation_meter = training_meter


TASK = DigitValue()
'''

CONFIG = """
task: digit_value
model: {name: cifar_resnet, fusion: add, blocks: 1, channel_times: 1}
data: {name: digits, batch_size: 64}
augment: {crop_padding: 0, flip: false}
schedule: {mode: constant, lr: 0.002}
train: {epochs: 3}
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The task's module in the folder of tasks, and a config."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "digit_value.py").write_text(TOY)
    monkeypatch.setattr(fusion.tasks, "__path__", [*fusion.tasks.__path__, str(folder)])
    (tmp_path / "toy.yaml").write_text(CONFIG)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs with Ctrl-C ignored
    logger = logging.getLogger("fusion")
    before = list(logger.handlers)
    yield tmp_path / "toy.yaml"
    logger.handlers[:] = before
    sys.modules.pop("fusion.tasks.digit_value", None)


def train(config, run):
    return main("", ["--config", str(config), "--run-dir", str(run)])


def table(run):
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as stream:
        return [{name: cell for name, cell in row.items() if name not in TIMINGS} for row in csv.DictReader(stream)]


def test_task_is_found_beside_classification(toy):
    assert list_tasks() == ["classification", "digit_value", "segmentation"]
    assert find_task("digit_value").headline.title == "mean absolute error"


def test_task_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="'clasification' is unknown; did you mean 'classification'"):
        find_task("clasification")


def test_toy_task_trains_evaluates_and_is_drawn(toy, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(toy, run) == 0
    printed = capsys.readouterr().out
    assert "epoch 3/3: train loss" in printed
    assert "test mean absolute error" in printed
    assert "digits at epoch" in printed
    assert list(table(run)[0]) == [
        *("epoch", "train_loss", "train_absolute_error", "val_loss", "val_absolute_error", "learning_rate")
    ]
    errors = [float(row["val_absolute_error"]) for row in table(run)]
    assert errors[-1] < 2.5 < errors[0] + 2.5  # guessing 4.5 is off by 2.5 in the mean
    result = json.loads((run / "result.json").read_text())
    assert result["best"]["val_absolute_error"] == min(errors)
    assert "mean absolute error" in result["note"]
    assert (run / "curves.png").stat().st_size > 10_000
    assert command(["evaluate", "--run", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["absolute_error"] == pytest.approx(min(errors), rel=1e-5)
    assert found["images"] == 360
    assert command(["curves", str(run), "--output", str(tmp_path / "curves.png")]) == 0
    assert command(["evaluate", "--run", str(run)]) == 0
    assert "mean absolute error" in capsys.readouterr().out


def test_toy_task_resumes_to_the_last_bit(toy, tmp_path, monkeypatch):
    assert train(toy, tmp_path / "whole") == 0
    advance, done = EpochProgress.advance, []

    def interrupt(self, loss):
        done.append(loss)
        if len(done) == 30:
            signal.raise_signal(signal.SIGINT)
        advance(self, loss)

    with monkeypatch.context() as patch:
        patch.setattr(EpochProgress, "advance", interrupt)
        assert train(toy, tmp_path / "stopped") == 130
    assert main("", ["--resume", str(tmp_path / "stopped")]) == 0
    assert table(tmp_path / "stopped") == table(tmp_path / "whole")
    paths = [tmp_path / name / "checkpoints" / "last.npz" for name in ("stopped", "whole")]
    with np.load(paths[0]) as one, np.load(paths[1]) as other:
        assert all(one[name].tobytes() == other[name].tobytes() for name in one.files if name != "state")


def test_task_that_is_not_there_is_refused_with_its_place(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("task: clasification\ndata: {name: digits}\n")
    assert train(tmp_path / "a.yaml", tmp_path / "run") == 2
    message = capsys.readouterr().err
    assert "a.yaml, line 1: task is 'clasification'; did you mean 'classification'" in message
    assert not (tmp_path / "run").exists()
