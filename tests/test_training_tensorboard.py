"""What a run writes for TensorBoard: figures, fusion weights and pictures, and nothing of it changes the run."""

from __future__ import annotations

import csv
import logging
import signal

import numpy as np
import pytest
from events import shown
from masked import BANDS, write_bands

from fusion.compat import mx
from fusion.data import load_dataset
from fusion.data.imageset import ImageSet
from fusion.errors import ConfigError
from fusion.training import engine, main, picture, tensorboard
from fusion.training.config import read_config
from fusion.training.engine import train
from fusion.training.history import TIMINGS, read_metrics
from fusion.training.logbook import RunDirectory
from fusion.training.preparation import build_network
from fusion.weights import mean_weights, weighted_places

TINY = (
    *("data.batch_size=8", "model.name=cifar_resnet", "model.fusion=iaff", "model.blocks=1", "model.channel_times=1"),
    *("augment.crop_padding=2", "train.epochs=2", "schedule.mode=constant", "schedule.lr=0.02"),
)
BOARD = "runtime.tensorboard=true"


def digits(split, count):
    """The first of the digits at 16 pixels."""
    whole = load_dataset("digits", split)
    images = np.ascontiguousarray(whole.images[:count, ::2, ::2])
    return ImageSet(images, whole.labels[:count], whole.classes, whole.title)


@pytest.fixture(autouse=True)
def quick_and_clean(monkeypatch):
    sets = digits("train", 40), digits("test", 20)
    monkeypatch.setattr(engine, "load_data", lambda settings: sets)
    monkeypatch.setattr(picture, "draw_training_curves", lambda history, title, path: path.write_bytes(b"picture"))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    logger = logging.getLogger("fusion")
    before = list(logger.handlers)
    yield
    logger.handlers[:] = before


def go(path, *words, resume=False):
    run = RunDirectory(path)
    train(read_config(None, [*TINY, *words]), run, resume)
    return run


def table(run):
    with run.metrics.open(newline="", encoding="utf-8") as stream:
        return [{key: text for key, text in row.items() if key not in TIMINGS} for row in csv.DictReader(stream)]


def arrays(run):
    with np.load(run.last) as stored:
        return {name: stored[name].tobytes() for name in stored.files if name != "state"}


def test_run_is_the_same_to_the_last_bit_with_and_without(tmp_path):
    plain = go(tmp_path / "plain", "model.final_drop=0.3")
    watched = go(tmp_path / "watched", "model.final_drop=0.3", BOARD)
    assert watched.board.is_dir()
    assert not plain.board.exists()
    assert table(watched) == table(plain)
    assert arrays(watched) == arrays(plain)
    assert watched.best.read_bytes() == plain.best.read_bytes()


def test_figures_of_metrics_and_fusion_weights_are_written_for_each_epoch(tmp_path):
    run = go(tmp_path / "run", BOARD)
    found, rows = shown(run.board), read_metrics(run.metrics)
    assert len(rows) == 2
    names = {"train/loss": "train_loss", "val/top1_error": "val_top1_error", "schedule/learning_rate": "learning_rate"}
    for tag, column in {**names, "time/seconds": "seconds"}.items():
        assert found[tag] == pytest.approx({row["epoch"]: row[column] for row in rows}, rel=1e-6)
    assert len([tag for tag in found if not tag.startswith("fusion_weight/")]) == len(rows[0]) - 1
    weights = {tag: steps for tag, steps in found.items() if tag.startswith("fusion_weight/")}
    assert len(weights) == 6  # three blocks of two passes
    assert all(set(steps) == {1, 2} for steps in weights.values())
    assert any(steps[1] != steps[2] for steps in weights.values())


def test_weights_are_those_of_the_network_on_test_images(tmp_path):
    run = go(tmp_path / "run", BOARD, "train.epochs=1", "train.ema_decay=0.9")
    settings, test = read_config(None, TINY), digits("test", 20)
    net = build_network(settings, 10)
    net.load_parameters(str(run.best))
    mean, std = (np.array(part, np.float32)[:, None, None] for part in (settings.augment.mean, settings.augment.std))
    images = (test.images[:16].transpose(0, 3, 1, 2).astype(np.float32) / 255 - mean) / std
    expected = mean_weights(net, weighted_places(net), lambda: net(mx.nd.array(images)))
    found = {tag: steps[1] for tag, steps in shown(run.board).items() if tag.startswith("fusion_weight/")}
    assert found == pytest.approx({f"fusion_weight/{name}": mean for name, mean in expected.items()}, abs=1e-5)


def test_resumed_run_goes_on_and_takes_back_what_it_repeats(tmp_path):
    run = go(tmp_path / "run", BOARD, "train.epochs=1")
    kept = run.last.read_bytes()
    go(tmp_path / "run", BOARD, resume=True)
    before = shown(run.board)
    assert set(before["train/loss"]) == {1, 2}
    run.last.write_bytes(kept)  # as if it had been killed before the second checkpoint
    train(read_config(None, [*TINY, BOARD, "train.epochs=3"]), run, True)
    after = shown(run.board)
    assert len(list(run.board.iterdir())) == 3
    for tag, steps in after.items():
        assert set(steps) == {1, 2, 3}, tag
        if not tag.startswith("time/"):
            assert {step: steps[step] for step in (1, 2)} == before[tag]


def test_epochs_that_a_resumed_run_has_not_reached_are_taken_back(tmp_path):
    run = go(tmp_path / "run", BOARD, "train.epochs=1")
    kept = run.last.read_bytes()
    go(tmp_path / "run", BOARD, resume=True)
    run.last.write_bytes(kept)
    run.metrics.unlink()
    board = tensorboard.Board(read_config(None, [BOARD]), run, None, None, None, [], 1)
    board.begin([{"epoch": 1.0}])
    assert len(list(run.board.iterdir())) == 2  # another worker than the first writes nothing
    tensorboard._Events(run).forget_from(2)
    assert {step for steps in shown(run.board).values() for step in steps} <= {1, 2}


def test_run_that_had_none_gets_the_figures_of_the_epochs_before(tmp_path):
    run = go(tmp_path / "run", "train.epochs=1")
    go(tmp_path / "run", BOARD, resume=True)
    found = shown(run.board)
    assert set(found["val/loss"]) == {1, 2}
    assert found["val/loss"] == pytest.approx({row["epoch"]: row["val_loss"] for row in read_metrics(run.metrics)})


def test_network_without_weights_and_epochs_without_evaluation_have_no_such_figures(tmp_path):
    run = go(tmp_path / "run", BOARD, "model.fusion=add", "train.evaluate_every=2")
    found = shown(run.board)
    assert set(found["train/loss"]) == {1, 2}
    assert set(found["val/loss"]) == {2}
    assert not [tag for tag in found if tag.startswith("fusion_weight/")]


def test_missing_library_is_one_error_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"tensorboardX, which writes the files, is not installed: python -m pip"):
        go(tmp_path / "run", BOARD)
    assert not list(tmp_path.iterdir())
    go(tmp_path / "run", "train.epochs=1")  # and without the setting nobody asks for it


def test_disk_that_is_full_ends_the_run_with_what_is_left(tmp_path, monkeypatch):
    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensorboard._Events, "add", full)
    with pytest.raises(Exception, match="No space left on device"):
        go(tmp_path / "run", BOARD)
    monkeypatch.undo()


def test_pictures_of_segmentation_are_shown_as_they_were_drawn(tmp_path, monkeypatch):
    monkeypatch.undo()
    config = tmp_path / "b.yaml"
    config.write_text(BANDS.format(folder=write_bands(tmp_path / "data")))
    words = ["train.epochs=2", "runtime.pictures_every=2", BOARD]
    assert main("", ["--config", str(config), "--run-dir", str(tmp_path / "run"), *words]) == 0
    run = RunDirectory(tmp_path / "run")
    found = shown(run.board)
    assert found["answers"] == {2: run.picture_of(2).read_bytes()}
    assert set(found["val/miou"]) == {1, 2}
    assert any(tag.startswith("fusion_weight/") for tag in found)
