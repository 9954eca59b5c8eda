"""The training loop on tiny data: what a step does, what a run refuses, and what it leaves behind."""

from __future__ import annotations

import csv
import json
import logging
import math
import signal
import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fusion import data as datasets
from fusion.compat import mx, nn
from fusion.data import cifar, load_dataset
from fusion.data.imageset import ImageSet
from fusion.data.loader import Batch, TrainingBatches
from fusion.errors import DataError
from fusion.machine import Usable
from fusion.processors import Company, Threads
from fusion.progress import EpochProgress
from fusion.signals import Interruption
from fusion.tasks.base import StepOutput
from fusion.tasks.classification.meters import TrainingMeter
from fusion.training import checkpoint, engine, main, picture, preparation, step
from fusion.training.breakdown import BrokenOffError
from fusion.training.config import read_config
from fusion.training.divergence import DivergedError
from fusion.training.engine import train
from fusion.training.history import TIMINGS, read_metrics
from fusion.training.logbook import RunDirectory
from fusion.training.preparation import build_network, build_trainer, start_weights
from fusion.training.schedule import learning_rate
from fusion.training.step import take_step
from fusion.training.sums import RunningSums

QUICKSTART = Path(__file__).resolve().parents[1] / "configs" / "quickstart.yaml"
CPU, TWO = [mx.cpu()], [mx.cpu(0), mx.cpu(1)]
TINY = ("data.batch_size=8", "model.fusion=add", "train.epochs=2")
CONSTANT = ("schedule.mode=constant", "schedule.warmup_epochs=0")
PLAIN = ("augment.crop_padding=0", "train.label_smoothing=0")


def settings_of(*words):
    return read_config(QUICKSTART, [*TINY, *words])


def digits(split, count):
    """The first of the digits at 16 pixels."""
    whole = load_dataset("digits", split)
    images = np.ascontiguousarray(whole.images[:count, ::2, ::2])
    return ImageSet(images, whole.labels[:count], whole.classes, whole.title)


@pytest.fixture
def feed(monkeypatch):
    """Train on so many digits."""

    def use(train_images, test_images=20):
        sets = digits("train", train_images), digits("test", test_images)
        monkeypatch.setattr(engine, "load_data", lambda settings: sets)

    use(40)
    return use


@pytest.fixture
def toy(monkeypatch):
    """Train this network in place of the configured one."""

    def use(*layers):
        def build(name, classes, **arguments):
            net = nn.HybridSequential()
            net.add(*(layer() for layer in layers))
            net.classes = classes
            return net

        monkeypatch.setattr(preparation, "get_model", build)

    return use


def flatten_and_dense():
    return nn.Flatten, partial(nn.Dense, 10, in_units=768)


@pytest.fixture(autouse=True)
def quick_and_clean(monkeypatch):
    """No pictures, which take longer than these runs, and no log handlers left behind."""
    monkeypatch.setattr(picture, "draw_training_curves", lambda history, title, path: path.write_bytes(b"picture"))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs with Ctrl-C ignored
    logger = logging.getLogger("fusion")
    before = list(logger.handlers)
    yield
    for handler in set(logger.handlers) - set(before):
        logger.removeHandler(handler)
        handler.close()


def go(path, *words, resume=False):
    """Train in a folder, and return it."""
    run = RunDirectory(path)
    outcome = train(settings_of(*words), run, resume)
    assert outcome == engine.Outcome(True, settings_of(*words).train.epochs, 0)
    return run


def spied(monkeypatch, owner, name, note):
    """What `note` makes of the arguments of each call of a function."""
    notes, original = [], getattr(owner, name)

    def spy(*arguments):
        notes.append(note(*arguments))
        return original(*arguments)

    monkeypatch.setattr(owner, name, spy)
    return notes


def trained_batches(monkeypatch):
    return spied(monkeypatch, engine, "take_step", lambda net, trainer, loss, batch, *rest: batch)


def signalled(monkeypatch, batch, *numbers):
    """Send signals to this process once so many batches are done."""
    original, done = EpochProgress.advance, []

    def advance(self, loss):
        done.append(self)
        for number in numbers if len(done) == batch else ():
            signal.raise_signal(number)
        original(self, loss)

    monkeypatch.setattr(EpochProgress, "advance", advance)


def command(*words):
    return main("", [str(word) for word in ("--config", QUICKSTART, *TINY, *words)])


def table(run):
    with run.metrics.open(newline="", encoding="utf-8") as stream:
        return [{key: text for key, text in row.items() if key not in TIMINGS} for row in csv.DictReader(stream)]


def arrays(run, prefix="param/"):
    with np.load(run.last, allow_pickle=False) as stored:
        return {name[len(prefix) :]: stored[name] for name in stored.files if name.startswith(prefix)}


def assert_identical(one, other):
    assert table(one) == table(other)
    for prefix in ("param/", "optimizer/"):
        left, right = arrays(one, prefix), arrays(other, prefix)
        assert left.keys() == right.keys()
        assert not [name for name in left if not np.array_equal(left[name], right[name])]


# --- It learns -------------------------------------------------------------------------------------------------------


def test_loss_and_error_fall(feed, tmp_path):
    feed(320, 60)
    rows = read_metrics(go(tmp_path, "train.epochs=3", "augment.crop_padding=1").metrics)
    losses = [row["train_loss"] for row in rows]
    assert losses[0] > losses[1] > losses[2]
    assert losses[2] < 0.7 * math.log(10)
    assert rows[2]["train_rmse"] < rows[0]["train_rmse"]
    assert rows[2]["val_loss"] < math.log(10)
    assert rows[2]["val_top5_error"] <= rows[2]["val_top1_error"] < 0.6


def test_seed_decides(feed, tmp_path):
    runs = [go(tmp_path / str(number), f"train.seed={seed}") for number, seed in enumerate((0, 0, 1))]
    assert_identical(runs[0], runs[1])
    assert table(runs[0])[0]["train_loss"] != table(runs[2])[0]["train_loss"]
    assert arrays(runs[0])["output.weight"].std() != arrays(runs[2])["output.weight"].std()


def test_each_image_is_used_once_an_epoch(feed, tmp_path, monkeypatch):
    feed(45)
    batches = trained_batches(monkeypatch)
    go(tmp_path, *PLAIN)
    assert [len(batch.images) for batch in batches] == [8] * 10
    seen = [np.concatenate([batch.images for batch in half]) for half in (batches[:5], batches[5:])]
    assert [len(np.unique(images.reshape(40, -1), axis=0)) for images in seen] == [40, 40]
    assert not np.array_equal(*seen)


def test_rate_of_each_step_is_the_schedules(feed, tmp_path, monkeypatch):
    rates = spied(monkeypatch, engine, "take_step", lambda net, trainer, *rest: trainer.learning_rate)
    words = ("schedule.mode=cosine", "schedule.lr=0.1", "schedule.warmup_epochs=0.5")
    rows = read_metrics(go(tmp_path, *words).metrics)
    schedule = settings_of(*words).schedule
    assert rates == [learning_rate(schedule, 2, 5, step) for step in range(10)]
    assert [row["learning_rate"] for row in rows] == [rates[4], rates[9]]


# --- What is trained on ----------------------------------------------------------------------------------------------


def test_image_folder_is_trained_on(tmp_path):
    """Two classes that a single pixel tells apart."""
    draw = np.random.default_rng(0)
    for split, count in (("train", 32), ("val", 10)):
        for number in range(count):
            pixels = draw.integers(0, 256, size=(12, 12, 3), dtype=np.uint8)
            pixels[..., number % 2] = 255
            path = tmp_path / "pictures" / split / ("red", "green")[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    words = ("data.name=image_folder", f"data.dir={tmp_path / 'pictures'}", "data.size=12", "train.epochs=4")
    run = go(tmp_path / "run", *words)
    result = json.loads(run.result.read_text())
    assert (result["data"], result["classes"]) == ("image folder pictures", 2)
    assert (result["train_images"], result["test_images"]) == (32, 10)
    assert result["best"]["val_top1_error"] < 0.5
    assert result["last"]["val_top5_error"] == 0
    assert arrays(run)["output.weight"].shape == (2, 64)


@pytest.mark.parametrize(
    ("labels", "title", "classes"),
    [("coarse", "CIFAR-100 (20 superclasses)", 20), ("fine", "CIFAR-100 (100 fine labels)", 100)],
)
def test_cifar100_says_which_labels(tmp_path, monkeypatch, capsys, labels, title, classes):
    small = replace(cifar.CIFAR100, records={"train": 8, "test": 4})
    source = replace(cifar.CIFAR100_DESCRIPTION, load=lambda **options: cifar.load(small, **options))
    monkeypatch.setitem(datasets.DESCRIPTIONS, "cifar100", source)
    draw = np.random.default_rng(0)
    for name, count in (("train.bin", 8), ("test.bin", 4)):
        records = draw.integers(0, 20, size=(count, small.record_bytes), dtype=np.uint8)
        (tmp_path / name).write_bytes(records.tobytes())
    words = ("data.name=cifar100", f"data.dir={tmp_path}", f"data.labels={labels}", "train.epochs=1")
    run = RunDirectory(tmp_path / "run")
    assert command("--run-dir", run.path, "schedule.warmup_epochs=0", *words) == 0
    printed = capsys.readouterr().out
    assert f"cifar_resnet (add) on {title}: " in printed
    assert f"{title}: epoch 1/1: train loss" in printed
    result = json.loads(run.result.read_text())
    assert (result["data"], result["classes"]) == (title, classes)
    assert arrays(run)["output.weight"].shape == (classes, 64)


@pytest.mark.parametrize("smoothing", [0, 0.2])
@pytest.mark.parametrize("alpha", [0, 1.0])
def test_label_smoothing_and_mixup_act_alone_and_together(feed, tmp_path, monkeypatch, smoothing, alpha):
    batches = trained_batches(monkeypatch)
    words = (f"train.label_smoothing={smoothing}", f"augment.mixup_alpha={alpha}", "augment.mixup_off_epochs=1")
    go(tmp_path, *words)
    targets = np.array([batch.targets for batch in batches])  # (10 batches, 8, 10)
    np.testing.assert_allclose(targets.sum(axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(targets.min(axis=-1), smoothing / 10, atol=1e-6)
    mixed = (targets.max(axis=-1) < 1 - 0.9 * smoothing - 1e-3).any(axis=1)
    assert mixed.tolist() == [alpha > 0] * 5 + [False] * 5
    assert len({batch.max(axis=-1).min() for batch in targets[:5]}) == (5 if alpha else 1)
    rows = read_metrics(tmp_path / "metrics.csv")
    assert all(math.isfinite(value) for row in rows for value in row.values())


# --- A step ----------------------------------------------------------------------------------------------------------


def dense_net(ctx=CPU):
    net = nn.HybridSequential()
    net.add(nn.Dense(3, in_units=4))
    mx.random.seed(1)
    net.initialize(mx.init.Normal(0.5), ctx=ctx)
    return net


@pytest.mark.parametrize("name", ["nag", "sgd"])
@pytest.mark.parametrize("momentum", [0.9, 0])
def test_steps_follow_the_formula(name, momentum):
    """Momentum v <- m v - lr (g + wd w), w <- w + v; Nesterov's w <- w + m v - lr (g + wd w).

    MXNet's Nesterov keeps in v the decay of the weight after the step, since it writes that first.
    """
    decay, batch = 0.1, 4
    words = (f"optimizer.name={name}", f"optimizer.momentum={momentum}", f"optimizer.weight_decay={decay}")
    net = dense_net()
    trainer = build_trainer(net, settings_of(*words))
    draw = np.random.default_rng(0)
    weight = net[0].weight.data().asnumpy().astype(np.float64)
    velocity = np.zeros_like(weight)
    for rate in (0.1, 0.03, 0.2):
        images = draw.normal(size=(batch, 4)).astype(np.float32)
        with mx.autograd.record():
            loss = net(mx.nd.array(images)).sum()
        loss.backward()
        trainer.set_learning_rate(rate)
        trainer.step(batch)
        gradient = np.repeat(images.mean(axis=0, keepdims=True), 3, axis=0)
        fall = momentum * velocity - rate * (gradient + decay * weight)
        if name == "nag":
            weight += momentum * fall - rate * (gradient + decay * weight)
            velocity = momentum * velocity - rate * (gradient + decay * weight)
        else:
            weight += fall
            velocity = fall
        np.testing.assert_allclose(net[0].weight.data().asnumpy(), weight, rtol=1e-5, atol=1e-6)


def test_step_over_two_contexts_is_that_over_one(toy, feed, tmp_path):
    """But for rounding, where nothing depends on the other images of a device's part."""
    toy(*flatten_and_dense())
    one, two = go(tmp_path / "1", *PLAIN), go(tmp_path / "2", *PLAIN, "runtime.device=cpu:2", "data.batch_size=4")
    for left, right in zip(read_metrics(one.metrics), read_metrics(two.metrics)):
        assert [left[key] for key in left if key not in TIMINGS] == pytest.approx(
            [right[key] for key in right if key not in TIMINGS], rel=1e-5
        )
    for prefix in ("param/", "optimizer/"):
        left, right = arrays(one, prefix), arrays(two, prefix)
        for name, array in left.items():
            np.testing.assert_allclose(right[name], array, rtol=1e-4, atol=1e-5)


def test_two_contexts_hold_the_same_weights_and_average_what_they_saw(feed, tmp_path, monkeypatch):
    nets = spied(monkeypatch, checkpoint, "save", lambda path, net, *rest: net)
    stored = arrays(go(tmp_path, "runtime.device=cpu:2"))
    running = 0
    for name, parameter in nets[-1]._collect_params_with_prefix().items():
        left, right = (part.asnumpy() for part in parameter.list_data())
        np.testing.assert_allclose(stored[name], (left + right) / 2, rtol=1e-5, atol=1e-6)
        if parameter.grad_req == "null":
            running += not np.array_equal(left, right)
        else:
            np.testing.assert_array_equal(left, right)
    assert running > 4


def test_step_takes_the_mean_over_the_whole_batch():
    gradients = []
    for ctx in (CPU, TWO):
        net = dense_net(ctx)
        trainer = build_trainer(net, settings_of("optimizer.momentum=0", "optimizer.weight_decay=0"))
        trainer.set_learning_rate(1.0)
        before = net[0].weight.data(ctx[0]).asnumpy()
        draw = np.random.default_rng(0)
        images = draw.normal(size=(6, 4)).astype(np.float32)
        batch = Batch(images, np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 0]])
        output = take_step(net, trainer, mx.gluon.loss.SoftmaxCrossEntropyLoss(sparse_label=False), batch, ctx)
        assert [part.context for part in output.outputs] == ctx
        gradients.append(before - net[0].weight.data(ctx[-1]).asnumpy())
        scores = np.exp(images @ before.T)
        expected = (scores / scores.sum(axis=1, keepdims=True) - batch.targets).T @ images / 6
        np.testing.assert_allclose(gradients[-1], expected, rtol=1e-4, atol=1e-6)


# --- Weight decay ----------------------------------------------------------------------------------------------------

SPARED = ("gamma", "beta", "bias")


def first_weights(*words):
    """The weights before the first step, of what is trained."""
    settings = settings_of(*words)
    net = build_network(settings, 10)
    start_weights(net, settings, CPU)
    parameters = net._collect_params_with_prefix()
    return {name: p.data().asnumpy() for name, p in parameters.items() if p.grad_req != "null" and p.lr_mult > 0}


@pytest.mark.parametrize("mode", ["step", "cosine", "poly", "constant"])
def test_decay_spares_norm_and_bias_under_every_schedule(feed, tmp_path, mode):
    """One step with and without decay, whose gradients are the same; decay's share is lr (1 + m) wd w by Nesterov."""
    feed(8, 4)
    words = (
        f"schedule.mode={mode}",
        "schedule.lr=0.1",
        "schedule.warmup_epochs=0",
        "train.epochs=1",
        "model.fusion=aff",
    )
    none = arrays(go(tmp_path / "none", *words, "optimizer.weight_decay=0"))
    words = (*words, "optimizer.weight_decay=0.5")
    full = arrays(go(tmp_path / "full", *words, "optimizer.decay_norm_and_bias=true"))
    spared = arrays(go(tmp_path / "spared", *words, "optimizer.decay_norm_and_bias=false"))
    start = first_weights(*words)
    for name, initial in start.items():
        share = 0.1 * 1.9 * 0.5 * initial
        np.testing.assert_allclose(none[name] - full[name], share, rtol=1e-3, atol=1e-5, err_msg=name)
        expected = none if name.endswith(SPARED) else full
        np.testing.assert_array_equal(spared[name], expected[name], err_msg=name)
    gammas = [name for name in start if name.endswith("gamma")]
    assert len(gammas) > 5
    assert all((abs(full[name] - spared[name]) > 0.09).all() for name in gammas)
    assert all((full[name] != none[name]).any() for name in start if name.endswith("weight"))


def test_only_norm_and_bias_have_no_decay():
    settings = settings_of("optimizer.decay_norm_and_bias=false", "model.fusion=iaff")
    net = build_network(settings, 10)
    start_weights(net, settings, CPU)
    build_trainer(net, settings)
    found = {name: parameter.wd_mult for name, parameter in net._collect_params_with_prefix().items()}
    assert {name for name, multiplier in found.items() if multiplier == 0} == {n for n in found if n.endswith(SPARED)}
    assert {multiplier for name, multiplier in found.items() if name.endswith("weight")} == {1.0}


def test_decay_is_on_everything_unless_told_otherwise():
    settings = settings_of()
    net = build_network(settings, 10)
    start_weights(net, settings, CPU)
    trainer = build_trainer(net, settings)
    assert {p.wd_mult for p in net.collect_params().values() if p.lr_mult > 0} == {1.0}
    assert trainer._optimizer.wd == 1e-4


# --- Refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cpu", "cpu:2"])
def test_batch_of_one_a_device_is_refused_with_batch_norm(feed, tmp_path, capsys, device):
    words = ("model.fusion=aff", "data.batch_size=1", "--device", device)
    assert command("--run-dir", tmp_path / "run", *words) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: data.batch_size is 1 per device")
    assert "model.norm=group" in message
    assert "model.norm=none" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", [("aff", "model.norm=group"), ("aff", "model.norm=none"), ("add",)])
def test_batch_of_one_works_without_batch_norm_over_images(feed, tmp_path, words):
    feed(6, 3)
    run = go(tmp_path, f"model.fusion={words[0]}", *words[1:], "data.batch_size=1")
    assert all(math.isfinite(value) for row in read_metrics(run.metrics) for value in row.values())


def test_diverging_run_ends_with_advice(toy, feed, tmp_path, capsys):
    toy(*flatten_and_dense())
    words = (*CONSTANT, "schedule.lr=1e30", "optimizer.momentum=0")
    assert command("--run-dir", tmp_path / "run", *words) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: the loss is ")
    assert "diverged" in message
    assert "lower schedule.lr" in message
    assert message.count("\n") == 1


def test_diverging_run_keeps_its_last_checkpoint(toy, feed, tmp_path, monkeypatch):
    toy(*flatten_and_dense())
    monkeypatch.setattr(engine, "learning_rate", lambda schedule, epochs, length, step: 1e30 if step == 6 else 0.01)
    with pytest.raises(DivergedError, match="at batch [345] of the epoch"):
        go(tmp_path)
    run = RunDirectory(tmp_path)
    assert len(table(run)) == 1
    assert all(np.isfinite(array).all() for array in arrays(run).values())


def test_network_that_diverged_in_the_last_step_of_an_epoch_is_not_saved(toy, feed, tmp_path, monkeypatch):
    toy(*flatten_and_dense())
    monkeypatch.setattr(engine, "learning_rate", lambda schedule, epochs, length, step: 1e38 if step == 9 else 0.01)
    with pytest.raises(DivergedError):
        go(tmp_path, "train.epochs=3")
    run = RunDirectory(tmp_path)
    assert len(table(run)) == 1
    assert all(
        np.isfinite(array).all() for prefix in ("param/", "optimizer/") for array in arrays(run, prefix).values()
    )


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "not enough memory"),
        (OSError(5, "Input/output error", "a.png"), "a.png: Input/output error"),
        (DataError("a.png is damaged"), "a.png is damaged"),
        (KeyError("mistake"), "KeyError: 'mistake' (test_training_engine.py, line "),
        (SystemExit(0), "SystemExit: 0 ("),
    ],
)
def test_batch_that_cannot_be_made_ends_the_run_with_its_position_saved(
    toy, feed, tmp_path, monkeypatch, error, reason
):
    toy(*flatten_and_dense())
    whole = go(tmp_path / "whole")
    make = TrainingBatches.make

    def fail(self, epoch, number, order):
        if (epoch, number) == (1, 3):
            raise error
        return make(self, epoch, number, order)

    with monkeypatch.context() as broken:
        broken.setattr(TrainingBatches, "make", fail)
        with pytest.raises(BrokenOffError) as ended:
            go(tmp_path / "run")
    assert str(ended.value).startswith("batch 4 of epoch 2 cannot be made: ")
    assert reason in str(ended.value)
    assert str(ended.value).endswith(f"The last checkpoint is whole: continue with --resume {tmp_path / 'run'}")
    assert not (tmp_path / "run" / "run.lock").exists()
    seen = trained_batches(monkeypatch)
    run = go(tmp_path / "run", resume=True)
    assert len(seen) == 2  # of the five
    assert_identical(run, whole)


def test_full_disk_ends_the_run_with_one_message(toy, feed, tmp_path, monkeypatch):
    toy(*flatten_and_dense())

    def fill(*arguments, **keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.np, "savez", fill)
    with pytest.raises(BrokenOffError) as ended:
        go(tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.npz"
    assert str(ended.value) == (
        f"{last}: No space left on device; free some room on this disk, or write to another. "
        f"There is no checkpoint yet: start again with --resume {tmp_path / 'run'}"
    )
    assert [path.name for path in last.parent.iterdir()] == ["best.params"]


def test_folder_that_holds_a_run_is_left_alone(feed, tmp_path):
    run = go(tmp_path)
    before = run.metrics.read_bytes(), run.last.read_bytes()
    with pytest.raises(ValueError, match="holds a run already"):
        go(tmp_path, "train.seed=1")
    assert (run.metrics.read_bytes(), run.last.read_bytes()) == before


# --- Interrupted -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_takes_note_once_and_restores_the_handlers(number):
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
    with Interruption() as interruption:
        assert not interruption.requested
        assert signal.getsignal(number) != before[number]
        signal.raise_signal(number)
        assert interruption.requested
        assert {name: signal.getsignal(name) for name in before} == before  # so that a second one ends at once
    assert {name: signal.getsignal(name) for name in before} == before


def test_handlers_are_restored_without_a_signal_and_after_an_error():
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
    with Interruption():
        pass
    assert {name: signal.getsignal(name) for name in before} == before
    with pytest.raises(ZeroDivisionError), Interruption():
        raise ZeroDivisionError
    assert {name: signal.getsignal(name) for name in before} == before


def test_interruption_outside_the_main_thread_leaves_signals_alone():
    before, found = signal.getsignal(signal.SIGINT), []

    def enter():
        with Interruption() as interruption:
            found.append((signal.getsignal(signal.SIGINT), interruption.requested))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [(before, False)]


def test_second_ctrl_c_ends_at_once_and_loses_only_its_epoch(feed, tmp_path, monkeypatch, capsys):
    whole = go(tmp_path / "whole")
    run = RunDirectory(tmp_path / "run")
    with monkeypatch.context() as context:
        signalled(context, 7, signal.SIGINT, signal.SIGINT)
        assert command("--run-dir", run.path) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert table(run) == table(whole)[:1]
    assert_identical(go(run.path, resume=True), whole)


@pytest.mark.parametrize("batch", [1, 3, 5, 6, 9])
def test_dropout_of_a_resumed_run_is_that_of_the_unbroken(toy, feed, tmp_path, monkeypatch, batch):
    flatten, dense = flatten_and_dense()
    norm = partial(nn.BatchNorm, in_channels=3)
    toy(norm, partial(nn.Dropout, 0.5), flatten, partial(nn.Dropout, 0.2), dense)
    whole = go(tmp_path / "whole")
    run = RunDirectory(tmp_path / "run")
    with monkeypatch.context() as context:
        signalled(context, batch, signal.SIGINT)
        outcome = train(settings_of(), run)
    assert outcome == engine.Outcome(False, *divmod(batch, 5))
    assert_identical(go(run.path, resume=True), whole)


def test_dropout_depends_on_seed_epoch_and_batch_and_nothing_else():
    def noise(*key):
        step.seed_network(*key)
        with mx.autograd.record():
            return mx.nd.Dropout(mx.nd.ones(200), p=0.5).asnumpy().tobytes()

    keys = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 1, 1)]
    first = {key: noise(*key) for key in keys}
    assert len(set(first.values())) == len(keys)
    assert {key: noise(*key) for key in reversed(keys)} == first


@pytest.mark.parametrize("batch", [2, 4])
def test_other_devices_go_on_with_the_images_that_are_left(feed, tmp_path, monkeypatch, batch):
    feed(40)
    run = RunDirectory(tmp_path)
    batches = trained_batches(monkeypatch)
    with monkeypatch.context() as context:
        signalled(context, batch, signal.SIGINT)
        train(settings_of(*PLAIN, "train.epochs=1", "schedule.warmup_epochs=0", "data.batch_size=4"), run)
    go(
        tmp_path,
        *PLAIN,
        "train.epochs=1",
        "schedule.warmup_epochs=0",
        "data.batch_size=4",
        "runtime.device=cpu:2",
        resume=True,
    )
    images = np.concatenate([batch.images for batch in batches])
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images) == 40


def test_second_run_of_a_process_does_not_write_into_the_log_of_the_first(feed, tmp_path):
    first = tmp_path / "first"
    assert command("--run-dir", first) == 0
    before = (first / "run.log").read_text()
    assert "epoch 2/2" in before
    assert command("--run-dir", tmp_path / "second") == 0
    assert (first / "run.log").read_text() == before


# --- Progress --------------------------------------------------------------------------------------------------------


def test_log_has_a_line_every_so_many_batches(feed, tmp_path, caplog):
    caplog.set_level(logging.INFO, "fusion")
    go(tmp_path, "runtime.log_every=2")
    lines = [line.split(", loss")[0].split(":")[1] for line in caplog.messages if "batch " in line]
    assert lines == [f" epoch {epoch}/2, batch {batch}/5" for epoch in (1, 2) for batch in (2, 4)]


def test_log_names_devices_and_threads(feed, tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "fusion")
    monkeypatch.setattr(engine, "chosen", lambda: Threads(2, "2 physical cores"))
    go(tmp_path)
    assert sum(" on cpu(0), 2 threads (2 physical cores)" in line for line in caplog.messages) == 1


@pytest.mark.parametrize(("others", "job", "told"), [(1.0, {}, 1), (0.4, {}, 0), (1.0, {"HOROVOD_LOCAL_SIZE": "2"}, 0)])
def test_company_is_told_of_once_a_run(feed, tmp_path, caplog, monkeypatch, others, job, told):
    caplog.set_level(logging.INFO, "fusion")
    monkeypatch.setattr(engine, "chosen", lambda: Threads(2, "2 physical cores"))
    monkeypatch.setattr(engine, "usable", lambda: Usable(frozenset({0, 1}), 2))
    begun = spied(monkeypatch, Company, "begin", lambda company: company)
    monkeypatch.setattr(Company, "busy", lambda company: others)
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    go(tmp_path)
    assert len(begun) == 1 + 2  # of which there are two epochs
    lines = [line for line in caplog.messages if "other programs kept 1.0 of 2 processors busy" in line]
    assert len(lines) == told
    assert all(line.endswith(f"OMP_NUM_THREADS=1 and --resume {tmp_path}") for line in lines)


def test_terminal_gets_a_bar_in_place_of_lines(feed, tmp_path, caplog, capsys, monkeypatch):
    caplog.set_level(logging.INFO, "fusion")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    go(tmp_path, "runtime.log_every=1")
    assert not [line for line in caplog.messages if ", batch " in line]
    printed = capsys.readouterr().err
    assert "UCI digits: epoch 1/2:   0%" in printed
    assert "UCI digits: epoch 2/2:   0%" in printed


# --- Sums ------------------------------------------------------------------------------------------------------------


def sums_from(earlier):
    return RunningSums(TrainingMeter(), earlier)


def output_of(losses, logits, targets):
    """A step over as many devices as there are parts."""
    return StepOutput([mx.nd.array(part) for part in losses], [mx.nd.array(part) for part in logits], np.array(targets))


FIRST = output_of([[1.0, 2.0], [6.0]], [[[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0]]], [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
SECOND = output_of([[4.0]], [[[math.log(3.0), 0.0]]], [[0.0, 1.0]])
FIRST_RMSE = math.sqrt(4 * 0.25 / 6)
SECOND_RMSE = 0.75


def test_sums_are_of_batch_means_and_read_one_step_late():
    sums = sums_from({})
    assert math.isnan(sums.mean_loss)
    sums.later(FIRST)
    assert math.isnan(sums.mean_loss)
    sums.later(SECOND)
    assert sums.mean_loss == 3.0
    found = sums.finish()
    assert sums.mean_loss == 3.5
    assert (found["loss"], found["batches"]) == (7.0, 2)
    assert found["rmse"] == pytest.approx(FIRST_RMSE + SECOND_RMSE, rel=1e-6)
    assert found["seconds"] > 0
    again = sums.finish()
    assert {**again, "seconds": 0} == {**found, "seconds": 0}


def test_sums_go_on_where_they_were():
    straight, before = sums_from({}), sums_from({})
    straight.later(FIRST)
    straight.later(SECOND)
    before.later(FIRST)
    after = sums_from(json.loads(json.dumps({**before.finish(), "seconds": 1000.0})))
    after.later(SECOND)
    found, expected = after.finish(), straight.finish()
    assert {**found, "seconds": 0} == {**expected, "seconds": 0}
    assert 1000 < found["seconds"] < 2000
    assert after.seconds >= found["seconds"]


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_loss_that_is_no_number_is_told_with_its_batch(loss):
    sums = sums_from({"loss": 1.0, "rmse": 1.0, "batches": 4, "seconds": 1.0})
    sums.later(FIRST)
    sums.later(output_of([[loss]], [[[0.0, 0.0]]], [[1.0, 0.0]]))
    with pytest.raises(DivergedError, match=f"the loss is {loss} at batch 6 of the epoch"):
        sums.finish()
