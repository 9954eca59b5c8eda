"""Whole runs with each part of the recipe, alone and together: resumed exactly, and what they leave behind."""

from __future__ import annotations

import csv
import json
import logging
import math
import signal
from pathlib import Path

import numpy as np
import pytest
from classified import AVERAGE_COLUMNS, COLUMNS, history

from fusion.compat import mx
from fusion.data import load_dataset
from fusion.data.imageset import ImageSet
from fusion.data.loader import Batch
from fusion.errors import ConfigError
from fusion.tasks.classification.loss import CrossEntropy
from fusion.training import engine, picture
from fusion.training.config import read_config
from fusion.training.evaluation import evaluate_run
from fusion.training.history import TIMINGS, read_metrics
from fusion.training.logbook import RunDirectory, read_result
from fusion.training.preparation import build_network, build_trainer, start_weights

QUICKSTART = Path(__file__).resolve().parents[1] / "configs" / "quickstart.yaml"
TINY = ("data.batch_size=8", "model.fusion=add", "train.epochs=2", "schedule.warmup_epochs=0")
LENGTH = 5

PARTS = {
    "randaugment": ("augment.auto_augment=randaugment", "augment.randaugment_layers=1"),
    "imagenet policy": ("augment.auto_augment=imagenet",),
    "cutmix": ("augment.cutmix_alpha=1",),
    "mixup or cutmix": ("augment.cutmix_alpha=1", "augment.mixup_alpha=0.4", "augment.mixup_off_epochs=1"),
    "clipping": ("optimizer.clip_gradient_norm=0.2",),
    "average": ("train.ema_decay=0.9",),
    "dropout": ("model.final_drop=0.5",),
    "seldom": ("train.evaluate_every=2",),
    "half": ("train.dtype=float16",),
    "group": ("model.norm_layer=group",),
    "teacher": ("train.distillation_weight=0.7", "train.distillation_temperature=2"),
    "se": ("model.name=cifar_resnext", "model.use_se=true", "model.bottleneck_width=8", "model.cardinality=2"),
}
TOGETHER = tuple(word for name, part in PARTS.items() if name not in ("imagenet policy", "cutmix") for word in part)


def settings_of(*words):
    return read_config(QUICKSTART, [*TINY, *words])


def digits(split, count):
    """The first of the digits at 16 pixels."""
    whole = load_dataset("digits", split)
    images = np.ascontiguousarray(whole.images[:count, ::2, ::2])
    return ImageSet(images, whole.labels[:count], whole.classes, whole.title)


@pytest.fixture(autouse=True)
def small_and_clean(monkeypatch):
    """Few images, no pictures, and no log handlers left behind."""
    sets = digits("train", 8 * LENGTH), digits("test", 20)
    monkeypatch.setattr(engine, "load_data", lambda settings: sets)
    monkeypatch.setattr(picture, "draw_training_curves", lambda history, title, path: path.write_bytes(b"picture"))
    logger = logging.getLogger("fusion")
    before = list(logger.handlers)
    yield
    for handler in set(logger.handlers) - set(before):
        logger.removeHandler(handler)
        handler.close()


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """The folder of a run that has a best network."""
    run = RunDirectory(tmp_path_factory.mktemp("teacher") / "run")
    settings = settings_of("model.fusion=aff", "augment.mean=[0.5, 0.5, 0.5]")
    run.create(settings)
    net = build_network(settings, 10)
    start_weights(net, settings, [mx.cpu()])
    net(mx.nd.zeros((1, 3, 16, 16)))
    net.save_parameters(str(run.best))
    return run.path


def go(path, *words, resume=False):
    run = RunDirectory(path)
    outcome = engine.train(settings_of(*words), run, resume)
    return run, outcome


def interrupted(monkeypatch, path, *words, after):
    """Start a run and stop it after so many batches."""
    original, done = engine.EpochProgress.advance, []

    def advance(self, loss):
        done.append(self)
        if len(done) == after:
            signal.raise_signal(signal.SIGINT)
        original(self, loss)

    with monkeypatch.context() as patch:
        patch.setattr(engine.EpochProgress, "advance", advance)
        _, outcome = go(path, *words)
    assert outcome == engine.Outcome(False, *divmod(after, LENGTH))


def table(run):
    with run.metrics.open(newline="", encoding="utf-8") as stream:
        return [{key: text for key, text in row.items() if key not in TIMINGS} for row in csv.DictReader(stream)]


def arrays(run):
    with np.load(run.last, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files if name != "state"}


def assert_identical(one, other):
    assert table(one) == table(other)
    left, right = arrays(one), arrays(other)
    assert left.keys() == right.keys()
    assert not [name for name in left if left[name].tobytes() != right[name].tobytes()]


# --- Resuming --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [*(pytest.param(part, marks=pytest.mark.long) for part in PARTS), "together"])
def test_resumed_run_is_the_unbroken_one_to_the_bit(tmp_path, monkeypatch, teacher, part):
    words = TOGETHER if part == "together" else PARTS[part]
    if part in ("teacher", "together"):
        words = (*words, f"train.teacher={teacher}")
    unbroken, outcome = go(tmp_path / "unbroken", *words)
    assert outcome.finished
    assert all(math.isfinite(float(row["train_loss"])) for row in table(unbroken))
    for after in (3, 7):
        path = tmp_path / str(after)
        interrupted(monkeypatch, path, *words, after=after)
        resumed, outcome = go(path, *words, resume=True)
        assert outcome.finished
        assert_identical(unbroken, resumed)


@pytest.mark.parametrize("part", sorted(set(PARTS) - {"half", "seldom", "average"}))
def test_part_changes_the_training(tmp_path, teacher, part):
    extra = (f"train.teacher={teacher}",) if part == "teacher" else ()
    plain, _ = go(tmp_path / "plain")
    changed, _ = go(tmp_path / "changed", *PARTS[part], *extra)
    assert table(plain)[0]["train_loss"] != table(changed)[0]["train_loss"]


@pytest.mark.parametrize("part", ["half", "seldom", "average"])
def test_part_leaves_the_training_as_it_is(tmp_path, part):
    plain, _ = go(tmp_path / "plain")
    changed, _ = go(tmp_path / "changed", *PARTS[part])
    left, right = arrays(plain), arrays(changed)
    assert all(right[name].tobytes() == array.tobytes() for name, array in left.items())
    assert [row["train_loss"] for row in table(plain)] == [row["train_loss"] for row in table(changed)]


# --- Averaged weights ------------------------------------------------------------------------------------------------


def test_averaged_weights_are_evaluated_and_saved_besides(tmp_path):
    run, _ = go(tmp_path / "run", *PARTS["average"])
    rows = read_metrics(run.metrics)
    assert list(rows[0]) == [*COLUMNS, *AVERAGE_COLUMNS]
    best = min(rows, key=lambda row: row["ema_top1_error"])
    assert read_result(run)["best_average"]["epoch"] == best["epoch"]
    stored = arrays(run)
    names = [name[len("param/") :] for name in stored if name.startswith("param/")]
    assert any((stored[f"param/{name}"] != stored[f"average/{name}"]).any() for name in names)
    assert rows[-1]["ema_loss"] != rows[-1]["val_loss"]


def test_averaged_weights_of_the_best_epoch_evaluate_to_its_figures(tmp_path, monkeypatch):
    run, _ = go(tmp_path / "run", *PARTS["average"])
    from fusion.training import evaluation

    monkeypatch.setattr(evaluation, "load_split_for", lambda *_: digits("test", 20))
    best = read_result(run)["best_average"]
    found = evaluate_run(run.path, "average", "cpu")
    assert found["top1_error"] == pytest.approx(best["ema_top1_error"])
    assert found["loss"] == pytest.approx(best["ema_loss"], rel=1e-4)


def test_run_without_an_average_has_neither_columns_nor_file(tmp_path):
    run, _ = go(tmp_path / "run")
    assert list(read_metrics(run.metrics)[0]) == list(COLUMNS)
    assert not run.best_average.exists()
    assert "best_average" not in read_result(run)
    assert not [name for name in arrays(run) if name.startswith("average/")]


# --- Evaluation every N epochs ---------------------------------------------------------------------------------------


def test_epochs_between_evaluations_have_empty_cells_and_the_last_is_evaluated(tmp_path):
    run, _ = go(tmp_path / "run", "train.epochs=5", "train.evaluate_every=2")
    with run.metrics.open(newline="", encoding="utf-8") as stream:
        cells = list(csv.DictReader(stream))
    measured = ("val_loss", "val_top1_error", "val_top5_error")
    assert [[bool(row[name]) for name in measured] for row in cells] == [
        [epoch in (2, 4, 5)] * 3 for epoch in range(1, 6)
    ]
    assert all(row["train_loss"] and row["learning_rate"] for row in cells)
    rows = read_metrics(run.metrics)
    assert [math.isnan(row["val_loss"]) for row in rows] == [True, False, True, False, False]
    result = read_result(run)
    assert result["epochs"] == 5
    assert result["last"]["epoch"] == 5
    assert result["best"]["val_top1_error"] == min(rows[i]["val_top1_error"] for i in (1, 3, 4))


def test_run_that_was_never_evaluated_has_metrics_and_no_result(tmp_path, monkeypatch):
    run = RunDirectory(tmp_path / "run")
    run.create(settings_of())
    row = dict.fromkeys(("epoch", "train_loss", "train_rmse", "learning_rate", "images_per_second", "seconds"), 1.0)
    run.write_epoch(history([row]), "title", {})
    assert math.isnan(read_metrics(run.metrics)[0]["val_loss"])
    assert run.picture.exists()
    with pytest.raises(ConfigError, match="no epoch of this run is finished"):
        read_result(run)


def test_picture_is_drawn_with_and_without_evaluations(tmp_path):
    from importlib import reload

    plain = reload(picture)  # without the stand-in of these tests
    row = {"epoch": 1, "train_loss": 1.0, "learning_rate": 0.1}
    evaluated = {**row, "epoch": 2, "val_loss": 1.2, "val_top1_error": 0.5, "val_top5_error": 0.1}
    averaged = {**evaluated, "epoch": 3, "ema_loss": 1.1, "ema_top1_error": 0.4, "ema_top5_error": 0.1}
    read_back = {**row, "epoch": 4, "val_loss": math.nan, "val_top1_error": math.nan, "val_top5_error": math.nan}
    for count in range(1, 5):
        rows = [row, evaluated, averaged, read_back][:count]
        plain.draw_training_curves(history(rows), "title", tmp_path / f"{count}.png")
        assert (tmp_path / f"{count}.png").stat().st_size > 1000


# --- Float16, several devices, teachers ------------------------------------------------------------------------------


def test_half_precision_on_a_cpu_is_said_in_the_log_of_the_run(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="fusion"):
        go(tmp_path / "run", "train.epochs=1", *PARTS["half"])
    assert "This run trains in float32" in caplog.text


def test_first_step_on_two_devices_keeps_batch_norms_first_update():
    """Each device's running statistics are those of a run on its part of the batch alone."""
    images = np.random.default_rng(0).normal(size=(8, 3, 16, 16)).astype(np.float32)
    targets = np.full((8, 10), 0.1, np.float32)

    def running(devices, part):
        settings = settings_of()
        net = build_network(settings, 10)
        start_weights(net, settings, devices)
        trainer = build_trainer(net, settings)
        engine.take_step(net, trainer, CrossEntropy(), Batch(images[part], targets[part]), devices)
        mx.nd.waitall()
        parameters = net._collect_params_with_prefix().items()
        inner = [p for name, p in parameters if name.endswith("running_var") and "features.0." not in name]
        return [[array.asnumpy() for array in p.list_data()] for p in inner]

    both = running([mx.cpu(0), mx.cpu(1)], slice(0, 8))
    assert len(both) == 7
    for device, part in enumerate((slice(0, 4), slice(4, 8))):
        for found, (expected,) in zip(both, running([mx.cpu()], part)):
            np.testing.assert_allclose(found[device], expected, rtol=1e-4)
            assert abs(expected - 1).max() > 1e-3


def test_two_devices_clip_average_and_distil_as_one(tmp_path, teacher):
    words = ("train.epochs=1", "train.ema_decay=0.9", "optimizer.clip_gradient_norm=0.2", f"train.teacher={teacher}")
    words = (*words, *PARTS["se"], "model.norm_layer=group", "augment.crop_padding=0", "schedule.lr=0.001")
    one, _ = go(tmp_path / "one", *words)
    two, _ = go(tmp_path / "two", *words, "runtime.device=cpu:2", "data.batch_size=4")
    left, right = arrays(one), arrays(two)
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_allclose(right[name], left[name], rtol=0, atol=1e-3 * abs(left[name]).max() + 1e-6)


def test_teacher_with_other_classes_is_refused_before_anything_is_written(tmp_path, teacher, monkeypatch):
    sets = tuple(ImageSet(s.images, s.labels, (*s.classes, "ten"), s.title) for s in engine.load_data(None))
    monkeypatch.setattr(engine, "load_data", lambda settings: sets)
    with pytest.raises(ConfigError, match="tells 10 classes apart, and .* has 11"):
        go(tmp_path / "run", f"train.teacher={teacher}")
    assert not (tmp_path / "run").exists()


def test_run_that_ended_is_recorded_with_its_recipe(tmp_path):
    run, _ = go(tmp_path / "run", "train.epochs=1", "augment.cutmix_alpha=0.5")
    assert read_config(run.config).augment.cutmix_alpha == 0.5
    assert json.loads(run.result.read_text())["epochs"] == 1
