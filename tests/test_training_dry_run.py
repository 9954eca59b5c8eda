"""A run that is only tried: what it checks and says, and that it leaves nothing behind."""

from __future__ import annotations

import logging
import re
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from fusion.data import load_dataset
from fusion.data.imageset import ImageSet
from fusion.training import dry_run, main, tensorboard

QUICKSTART = Path(__file__).resolve().parents[1] / "configs" / "quickstart.yaml"
TINY = ("data.batch_size=8", "model.fusion=add", "train.epochs=3")


def digits(split, count):
    """The first of the digits at 16 pixels."""
    whole = load_dataset("digits", split)
    images = np.ascontiguousarray(whole.images[:count, ::2, ::2])
    return ImageSet(images, whole.labels[:count], whole.classes, whole.title)


@pytest.fixture(autouse=True)
def feed(monkeypatch, tmp_path):
    """Few digits, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def use(train_images, test_images=20):
        sets = digits("train", train_images), digits("test", test_images)
        monkeypatch.setattr(dry_run, "load_data", lambda settings: sets)

    use(100)
    logger = logging.getLogger("fusion")
    before = list(logger.handlers)
    yield use
    logger.handlers[:] = before


def tried(capsys, *words, status=0):
    assert main("", ["--config", str(QUICKSTART), "--dry-run", *TINY, *words]) == status
    return capsys.readouterr()


def test_it_says_what_a_run_takes_and_leaves_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(dry_run, "_SECONDS", 0.0)
    clock = count()
    monkeypatch.setattr(dry_run.time, "perf_counter", lambda: float(next(clock)))
    steps, real = [], dry_run.take_step
    monkeypatch.setattr(dry_run, "take_step", lambda *given: steps.append(given[3]) or real(*given))
    out = tried(capsys).out
    assert len(steps) == 6  # of twelve: the one that compiles, and the fewest that are timed
    assert "12 batches of 8 on cpu(0)" in out
    parameters = int(re.search(r"([\d,]+) parameters", out)[1].replace(",", ""))
    assert parameters == 77_850
    assert re.search(r"trained +6 batches, mean loss [1-9]\.\d{4}; the first took \d+ s, as it compiles", out)
    assert re.search(r"one epoch +about \d+ s for 12 batches of \d+ ms \(from 5 batches after the first\)", out)
    assert "to evaluate 20 test images (from 12)" in out  # three batches of which the first compiles
    assert re.search(r"all epochs +about \d+ (s|min) for 3 epochs", out)
    assert re.search(r"memory +[\d,]+ MB at the peak", out)
    assert "Nothing was written; without --dry-run the run goes to runs/quickstart" in out
    assert not list(tmp_path.iterdir())


def test_times_add_up(capsys, monkeypatch):
    def report(step, ema=0.0, every=1):
        settings = dry_run.Settings()
        settings.train.epochs, settings.train.ema_decay, settings.train.evaluate_every = 4, ema, every
        parts = dry_run.Parts(None, range(50), None, None)
        trial = dry_run.Trial(9.0, step, 20, 1.25)
        return list(dry_run._report(settings, parts, trial, (10.0, 96, 300), []))

    assert "about 50 s for 50 batches of 1000 ms (from 20 batches" in report(1.0)[1]
    assert "30 s to evaluate 300 test images" in report(1.0)[1]
    assert "about 5 min for 4 epochs" in report(1.0)[2]  # 4 * (50 + 30) s
    assert "about 7 min for 4 epochs" in report(1.0, ema=0.9)[2]  # 4 * (50 + 60) s
    assert "about 4 min for 4 epochs" in report(1.0, every=3)[2]  # 4 * 50 + 2 * 30 s


def test_epoch_of_one_batch_is_measured_by_it(feed, capsys):
    feed(8)
    out = tried(capsys, "--run-dir", "here").out
    assert "trained     1 batch, mean loss" in out
    assert "(from the first alone)" in out
    assert "the run goes to here" in out
    assert not Path("here").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("data.batch_size=500",), "a batch of 500 is more than the 100 training images"),
        (("train.initial_parameters=nowhere.params",), "nowhere.params"),
        (("schedule.lr=1e30", "schedule.warmup_epochs=0"), "lower schedule.lr or add schedule.warmup_epochs"),
        (("--run-dir", "file/run"), "is a file; expected a folder"),
        (("model.fusion=nonsense",), "nonsense"),
    ],
)
def test_what_would_end_a_run_ends_it(words, message, capsys, tmp_path):
    (tmp_path / "file").touch()
    assert message in tried(capsys, *words, status=2).err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_initial_weights_are_loaded_and_tensorboard_is_asked_for(capsys, monkeypatch):
    loaded = []
    monkeypatch.setattr(dry_run, "load_initial_parameters", lambda *given: loaded.append(given))
    tried(capsys)
    assert len(loaded) == 1
    assert loaded[0][0].classes == 10
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    assert "tensorboardX" in tried(capsys, "runtime.tensorboard=true", status=2).err


def test_run_that_is_there_is_not_tried(capsys):
    assert main("", ["--resume", "run", "--dry-run"]) == 2
    assert "--dry-run tries a run that is not there yet" in capsys.readouterr().err
