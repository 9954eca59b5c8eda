"""How long a run is: more epochs than it began with, an early end, and checkpoints that stay."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from classified import noise_folder

from fusion.errors import CheckpointError, ConfigError
from fusion.training import picture
from fusion.training.config import read_config
from fusion.training.engine import Outcome, train
from fusion.training.evaluation import evaluate_run
from fusion.training.history import TIMINGS, is_finished, read_metrics
from fusion.training.logbook import RunDirectory, read_result
from fusion.training.main import main

#: Those with one, two and two arrays of state, of which the last has norms of whole weights.
OPTIMIZERS = ("nag", "adamw", "lamb")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(picture, "draw_training_curves", lambda history, title, path: path.write_bytes(b"picture"))


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """Settings of a run of two steps per epoch."""
    return (
        *noise_folder(tmp_path_factory.mktemp("folder"), ("cat", "newt"), count=4, side=8),
        *("model.name=cifar_resnet", "model.fusion=aff", "model.blocks=1", "model.channel_times=1"),
        *("schedule.mode=constant", "schedule.lr=0.01"),
    )


def go(path, *words):
    """Train in a new folder to the end."""
    run = RunDirectory(path)
    assert train(read_config(None, list(words)), run).finished
    return run


def resume(run, *words):
    """Go on as the command does; its exit status."""
    return main("", ["--resume", str(run.path), *words])


def rows_of(run):
    return [{key: value for key, value in row.items() if key not in TIMINGS} for row in read_metrics(run.metrics)]


def assert_same(one, other):
    assert rows_of(one) == rows_of(other)
    with np.load(one.last) as a, np.load(other.last) as b:
        assert sorted(a.files) == sorted(b.files)
        for name in set(a.files) - {"state"}:
            np.testing.assert_array_equal(a[name], b[name], name)
    assert one.best.read_bytes() == other.best.read_bytes()


# --- More epochs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_run_that_goes_on_for_more_epochs_is_that_of_as_many_from_the_start(words, tmp_path, optimizer):
    words = (*words, f"optimizer.name={optimizer}", "optimizer.accumulate=2", "optimizer.layer_decay=0.7")
    whole = go(tmp_path / "whole", *words, "train.epochs=3")
    run = go(tmp_path / "run", *words, "train.epochs=1")
    assert resume(run, "train.epochs=3") == 0
    assert_same(run, whole)
    assert run.settings().train.epochs == 3
    assert resume(run) == 0  # its config is sealed, and has the new number
    assert is_finished(read_result(run), run.settings())


def test_only_the_length_is_written_into_the_config_of_a_run_that_goes_on(words, tmp_path):
    run = go(tmp_path / "run", *words, "train.epochs=1")
    before = run.config.read_text().splitlines()[1:]
    assert resume(run, "train.epochs=2", "runtime.log_every=7", "data.workers=2") == 0
    changed = [line for old, line in zip(before, run.config.read_text().splitlines()[1:]) if line != old]
    assert changed == ["  epochs: 2"]


@pytest.mark.parametrize(
    ("of_run", "reason"),
    [
        ("schedule.mode=cosine", "the learning rate falls over all epochs (schedule.mode=cosine)"),
        ("schedule.mode=poly", "the learning rate falls over all epochs (schedule.mode=poly)"),
        ("augment.mixup_off_epochs=1", "the last 1 are without mixup (augment.mixup_off_epochs)"),
    ],
)
def test_other_number_of_epochs_is_refused_where_it_would_have_changed_those_that_are_done(
    words, tmp_path, capsys, of_run, reason
):
    run = go(tmp_path / "run", *words, of_run, "train.epochs=1")
    before = run.config.read_bytes()
    assert resume(run, "train.epochs=2") == 2
    message = capsys.readouterr().err
    assert reason in message
    assert f"train.initial_parameters={run.path}" in message
    assert run.config.read_bytes() == before


def test_fewer_epochs_than_are_done_are_refused(words, tmp_path, capsys):
    run = go(tmp_path / "run", *words, "train.epochs=3")
    before = run.config.read_bytes()
    assert resume(run, "train.epochs=2") == 2
    assert "train.epochs=2: the run is in its epoch 3" in capsys.readouterr().err
    assert run.config.read_bytes() == before


def test_other_settings_stay_refused_beside_a_number_of_epochs(words, tmp_path, capsys):
    run = go(tmp_path / "run", *words, "train.epochs=1")
    assert resume(run, "train.epochs=2", "schedule.lr=0.1") == 2
    assert "schedule.lr differs" in capsys.readouterr().err


# --- An early end ----------------------------------------------------------------------------------------------------

#: A rate at which no test figure changes.
STILL = ("schedule.lr=1e-10", "optimizer.momentum=0", "optimizer.weight_decay=0")


@pytest.mark.parametrize(("every", "last"), [(1, 3), (2, 4), (3, 6)])
def test_run_ends_once_no_evaluation_of_so_many_epochs_was_better(words, tmp_path, caplog, every, last):
    caplog.set_level(logging.INFO, "fusion")
    run = RunDirectory(tmp_path / "run")
    settings = read_config(
        None, [*words, *STILL, "train.epochs=20", "train.patience=2", f"train.evaluate_every={every}"]
    )
    assert train(settings, run) == Outcome(True, last, 0)
    assert f"ended at epoch {last} of 20" in caplog.text
    assert is_finished(read_result(run), run.settings())
    assert [row["epoch"] for row in rows_of(run)] == list(range(1, last + 1))


def test_run_that_ended_early_stays_ended_and_goes_on_with_more_patience(words, tmp_path):
    of_run = (*words, *STILL)
    run = go(tmp_path / "run", *of_run, "train.epochs=3", "train.patience=1")
    assert len(rows_of(run)) == 2
    assert resume(run) == 0
    assert len(rows_of(run)) == 2
    assert resume(run, "train.patience=0") == 0
    assert_same(run, go(tmp_path / "whole", *of_run, "train.epochs=3"))


def test_patience_changes_nothing_while_figures_get_better(words, tmp_path):
    plain, patient = (
        go(tmp_path / f"patience{patience}", *words, "train.epochs=3", f"train.patience={patience}")
        for patience in (0, 3)
    )
    assert_same(plain, patient)


# --- Checkpoints that stay -------------------------------------------------------------------------------------------


def test_every_nth_checkpoint_stays_as_it_was(words, tmp_path):
    run = go(tmp_path / "run", *words, "train.epochs=4", "runtime.keep_every=2")
    assert sorted(path.name for path in run.last.parent.glob("epoch_*")) == ["epoch_0002.npz", "epoch_0004.npz"]
    assert run.kept(4).read_bytes() == run.last.read_bytes()
    short = go(tmp_path / "short", *words, "train.epochs=2")
    found = evaluate_run(run.path, "2", "cpu")
    expected = evaluate_run(short.path, "last", "cpu")
    assert found["loss"] == expected["loss"] != evaluate_run(run.path, "last", "cpu")["loss"]
    with pytest.raises(CheckpointError, match=r"epoch_0003.npz: no such file; expected best.*runtime.keep_every"):
        run.weights("3")


def test_kept_checkpoints_may_be_asked_for_when_a_run_is_resumed(words, tmp_path):
    run = go(tmp_path / "run", *words, "train.epochs=1")
    assert resume(run, "train.epochs=2", "runtime.keep_every=1") == 0
    assert [path.name for path in run.last.parent.glob("epoch_*")] == ["epoch_0002.npz"]


# --- Settings that cannot be -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("optimizer.betas=[0.9]", "expected two numbers of at least 0 and below 1"),
        ("optimizer.betas=[0.9,1]", "expected two numbers of at least 0 and below 1"),
        ("optimizer.epsilon=0", "expected more than 0"),
        ("optimizer.layer_decay=1.1", "expected at most 1"),
        ("optimizer.layer_decay=0", "expected more than 0"),
        ("optimizer.accumulate=3", "add optimizer.accumulate=2, or another data.batch_size"),
        ("optimizer.name=adamW", "did you mean 'adamw'"),
        ("train.patience=-1", "expected at least 0"),
        ("runtime.keep_every=-1", "expected at least 0"),
    ],
)
def test_impossible_values_say_what_is_expected(words, word, message):
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
        read_config(None, [*words, word])


def test_parts_of_one_image_are_refused_where_batch_norm_would_see_a_single_value(words, tmp_path):
    settings = read_config(None, [*words, "optimizer.accumulate=4"])
    with pytest.raises(ConfigError, match=r"data.batch_size is 4 per device, in 4 parts of one image"):
        train(settings, RunDirectory(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
