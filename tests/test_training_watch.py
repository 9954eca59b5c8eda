"""Faults that no step fails on, planted one by one: a run says each of them once, and says nothing of sound runs."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fusion.compat import mx, nn
from fusion.data import load_dataset
from fusion.data.augment import Normalisation
from fusion.data.imageset import ImageSet
from fusion.data.loader import Batch
from fusion.errors import CheckpointError
from fusion.models.parameter_file import read_parameters
from fusion.tasks import find_task
from fusion.tasks.base import IN_TURN, MANY_EPOCHS, MANY_STEPS, Seen
from fusion.tasks.classification.loss import Distillation, DistillationLoss
from fusion.training import checkpoint, engine, picture, preparation
from fusion.training.config import read_config
from fusion.training.engine import train
from fusion.training.inputs import FirstInputs
from fusion.training.logbook import RunDirectory
from fusion.training.movement import STEPS, Movement
from fusion.training.settings import CIFAR_MEAN, CIFAR_STD, IMAGENET_MEAN, IMAGENET_STD, AugmentSettings
from fusion.training.watch import Watch

CURVES = Path(__file__).resolve().parents[1] / "fusion" / "published" / "curves"


# --- Normalisation ----------------------------------------------------------------------------------------------------


def photos_like(mean=CIFAR_MEAN, std=CIFAR_STD, count=32):
    """Images whose pixels, between 0 and 1, have about this mean and deviation."""
    draw = np.random.default_rng(0).normal(mean, std, (count, 16, 16, 3))
    return np.rint(255 * draw.clip(0, 1)).astype(np.uint8).transpose(0, 3, 1, 2)


def doubts_about(images, mean, std):
    first = FirstInputs()
    first.add(Batch(Normalisation(mean, std)(images), np.zeros((len(images), 2), np.float32)))
    return first.doubts(AugmentSettings(mean=list(mean), std=list(std)))


@pytest.mark.parametrize(
    ("mean", "std"),
    [(CIFAR_MEAN, CIFAR_STD), (IMAGENET_MEAN, IMAGENET_STD), ((0.5,) * 3, (0.5,) * 3), ((0,) * 3, (1,) * 3)],
)
@pytest.mark.parametrize("of", [(CIFAR_MEAN, CIFAR_STD), ((0.1,) * 3, (0.1,) * 3), ((0.85,) * 3, (0.2,) * 3)])
def test_usual_normalisations_of_photos_dark_and_bright_ones_are_no_doubt(mean, std, of):
    assert doubts_about(photos_like(*of), mean, std) == []


def scaled(values, factor):
    return tuple(factor * value for value in values)


@pytest.mark.parametrize(
    ("mean", "std", "words"),
    [
        (scaled(CIFAR_MEAN, 255), scaled(CIFAR_STD, 255), "for pixels from 0 to 255: divide them by 255"),
        (CIFAR_MEAN, scaled(CIFAR_STD, 255), "for pixels from 0 to 255: divide them by 255"),
        (scaled(CIFAR_MEAN, 255), CIFAR_STD, "for pixels from 0 to 255: divide them by 255"),
        (scaled(CIFAR_MEAN, 1 / 255), scaled(CIFAR_STD, 1 / 255), "divided by 255 twice"),
        (CIFAR_STD, CIFAR_MEAN, "augment.mean and augment.std stand in each other's place"),
        (IMAGENET_STD, IMAGENET_MEAN, "augment.mean and augment.std stand in each other's place"),
    ],
)
def test_normalisation_off_by_255_or_swapped_is_named_with_the_values_that_fit(mean, std, words):
    (found,) = doubts_about(photos_like(), mean, std)
    assert words in found
    assert "augment.mean=[0.4" in found
    assert "augment.std=[0." in found


def test_images_saved_between_0_and_1_are_named():
    (found,) = doubts_about(photos_like() // 128, CIFAR_MEAN, CIFAR_STD)
    assert "the images are nearly black" in found


def test_inputs_that_are_all_alike_are_named():
    images = np.repeat(photos_like(count=1), 8, axis=0)
    (found,) = doubts_about(images, CIFAR_MEAN, CIFAR_STD)
    assert "the first 8 inputs of the network are all alike" in found


# --- Steps ------------------------------------------------------------------------------------------------------------


def dense():
    net = nn.Dense(10, in_units=50)
    net.initialize(mx.init.Normal(0.05))
    return net


def stepped(rate, steps=STEPS):
    """What is said of some steps with gradients of about 0.01."""
    net = dense()
    movement = Movement(net)
    trainer = mx.gluon.Trainer(net.collect_params(), "nag", {"learning_rate": rate, "momentum": 0.9})
    draw = np.random.default_rng(0)
    for _ in range(steps):
        with mx.autograd.record():
            loss = (net(mx.nd.array(draw.normal(size=(4, 50)))) * mx.nd.array(draw.normal(size=(4, 10)))).sum()
        loss.backward()
        trainer.step(400)
    return movement.doubt(steps, rate)


@pytest.mark.parametrize("rate", [1e-6, 1e-4, 0.1])
def test_steps_that_move_the_weights_are_no_doubt(rate):
    assert stepped(rate) is None


def test_learning_rate_at_the_size_of_rounding_is_said():
    found = stepped(1e-9)
    assert "at a learning rate of 1e-09 the others' steps are lost in the rounding of float32" in found
    assert "Raise schedule.lr" in found


# --- Epochs of a classifier -------------------------------------------------------------------------------------------


def rows_of(*figures):
    """Epochs with these (training loss, test error, test loss)."""
    names = ("train_loss", "val_top1_error", "val_loss")
    return [dict(zip(names, values), epoch=number) for number, values in enumerate(figures, start=1)]


def doubts(rows, steps, counts=(100,) * 10, test_images=1000, *words):
    task = find_task("classification").bound(read_config(None, list(words)), ())
    return task.doubts(rows, Seen(steps, test_images, np.array(counts)))


CHANCE = (2.301, 0.902, 2.304)


def test_loss_that_stays_at_ln_classes_is_said_after_enough_steps():
    found = doubts(rows_of(CHANCE, CHANCE), MANY_STEPS)["chance"]
    assert "after 2 epochs the test error is 90.20 %" in found
    assert "the training loss of 2.301 is that of a network which does not look at the image (2.303)" in found
    assert "The labels may not belong to the images" in found
    assert doubts(rows_of(CHANCE, CHANCE), MANY_STEPS - 1) == {}
    assert "chance" in doubts(rows_of(*[CHANCE] * MANY_EPOCHS), 200)


def test_shuffled_labels_that_are_learnt_by_heart_are_said_in_other_words():
    found = doubts(rows_of((0.4, 0.897, 5.1)), MANY_STEPS)["chance"]
    assert "the training loss has come down to 0.400 from 2.303" in found
    assert "by heart" in found


@pytest.mark.parametrize(
    ("figures", "counts"),
    [
        ((2.2, 0.8, 2.1), (100,) * 10),  # slow, but better than chance
        ((0.01, 0.001, 0.01), (990, 10)),  # few errors where one class is rare
        ((4.3, 0.96, 4.2), (50,) * 100),
    ],
)
def test_slow_networks_and_rare_classes_are_no_doubt(figures, counts):
    assert doubts(rows_of(*[figures] * 12), MANY_STEPS, counts) == {}


def test_chance_where_one_class_is_frequent_is_that_of_this_class():
    found = doubts(rows_of((0.325, 0.1, 0.33)), MANY_STEPS, (900, 100))["chance"]
    assert "no better than with the most frequent class as the answer to all images (10.00 %)" in found


def test_test_far_better_than_training_is_said_and_mixup_is_no_such_case():
    strange, mixed = (2.30, 0.05, 0.2), (1.7, 0.05, 0.4)
    assert "what it is trained on is not what it is tested on" in doubts(rows_of(*[strange] * IN_TURN), 50)["better"]
    assert doubts(rows_of(*[strange] * (IN_TURN - 1)), 50) == {}
    assert doubts(rows_of(*[mixed] * IN_TURN), 50) == {}
    assert doubts(rows_of(*[strange] * IN_TURN), 50, (100,) * 10, 1000, "train.teacher=x") == {}


@pytest.mark.parametrize("name", sorted(path.name for path in CURVES.glob("*.csv")))
def test_no_published_run_is_doubted_at_any_epoch(name):
    classes, images, steps = (1000, 50_000, 1251) if name.startswith("imagenet") else (100, 10_000, 390)
    classes = 10 if name.startswith("cifar10_") else 20 if "coarse" in name else classes
    with (CURVES / name).open() as stream:
        read = list(csv.DictReader(stream))
    rows = []
    for row in read[:20]:
        # Where the loss was not published it is taken to be as bad as it can be.
        rows += rows_of((float(row.get("train_loss") or 99), float(row["val_top1_error"]), 99.0))
        assert "chance" not in doubts(rows, len(rows) * steps, (10,) * classes, images)
    known = [row for row in rows if row["train_loss"] < 99]
    assert doubts(known, len(known) * steps, (10,) * classes, images) == {}


# --- Epochs of segmentation -------------------------------------------------------------------------------------------


def segmentation(classes, name, rows, steps, counts):
    rows = [{f"train_{name}": trained, f"val_{name}": tested} for trained, tested in rows]
    return find_task("segmentation").bound(None, classes).doubts(rows, Seen(steps, 50, np.array(counts)))


def test_masks_shuffled_against_images_are_said():
    found = segmentation(("target",), "iou", [(0.1, 0.098)], MANY_STEPS, (900, 100))["chance"]
    assert "0.0980, no better than one class for all pixels (0.1000)" in found
    assert "The masks may not belong to the images" in found
    assert segmentation(("target",), "iou", [(0.1, 0.2)], MANY_STEPS, (900, 100)) == {}
    assert segmentation(("target",), "iou", [(0.1, 0.098)], 10, (900, 100)) == {}
    assert "chance" in segmentation(("a", "b", "c"), "miou", [(0.2, 0.15)], MANY_STEPS, (60, 30, 10))
    assert segmentation(("a", "b", "c"), "miou", [(0.2, 0.25)], MANY_STEPS, (60, 30, 10)) == {}


def test_segmentation_far_better_on_the_test_set_is_said():
    assert "what the network is trained on" in segmentation(("t",), "iou", [(0.05, 0.6)] * IN_TURN, 9, (9, 1))["better"]
    assert segmentation(("t",), "iou", [(0.4, 0.6)] * IN_TURN, 9, (9, 1)) == {}


# --- Teachers ---------------------------------------------------------------------------------------------------------


def said_of_teacher(answers, labels):
    targets = mx.nd.one_hot(mx.nd.array(labels), 10)
    loss = Distillation(lambda images: mx.nd.array(answers), DistillationLoss(0.5, 4.0))
    loss(mx.nd.zeros((len(labels), 10)), targets, None)
    return loss.doubt()


def test_teacher_no_better_than_chance_is_said():
    draw = np.random.default_rng(0)
    labels = draw.integers(10, size=400)
    right = np.eye(10)[labels] + draw.normal(0, 0.5, (400, 10))
    assert said_of_teacher(right, labels) is None
    found = said_of_teacher(np.roll(right, 1, axis=1), labels)  # its classes in another order
    assert "% of the first 400 training images" in found
    assert "Its classes may be in another order" in found
    assert said_of_teacher(draw.normal(size=(400, 10)), labels) is not None


# --- Parameters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_parameters_that_are_not_finite_are_refused_by_name(tmp_path, value, dtype):
    sound, bad = np.full((3, 2), 6e4, dtype), np.ones((4, 2), dtype)  # large, but finite
    bad[1, 1] = value
    path = str(tmp_path / "net.params")
    mx.nd.save(path, {"a.weight": mx.nd.array(sound, dtype=dtype)})
    np.testing.assert_array_equal(read_parameters(path)["a.weight"], sound)
    mx.nd.save(path, {"a.weight": mx.nd.array(sound, dtype=dtype), "b.weight": mx.nd.array(bad, dtype=dtype)})
    with pytest.raises(CheckpointError, match=r"net\.params: b\.weight has 1 of 8 values that are infinite or not a"):
        read_parameters(path)


def test_large_parameters_whose_sum_overflows_are_read(tmp_path):
    mx.nd.save(str(tmp_path / "net.params"), {"a": mx.nd.full((4,), 3e38)})
    assert len(read_parameters(str(tmp_path / "net.params"))) == 1


def test_checkpoint_with_a_value_that_is_not_finite_is_refused_by_name(tmp_path):
    net = dense()
    trainer = mx.gluon.Trainer(net.collect_params(), "nag")
    net.weight.data()[2, 3] = np.nan
    path = tmp_path / "last.npz"
    checkpoint.save(path, net, trainer, checkpoint.TrainingState())
    with pytest.raises(CheckpointError, match=r"last\.npz: param/weight has 1 of 500 values"):
        checkpoint.restore(path, net, trainer)
    with pytest.raises(CheckpointError, match="param/weight"):
        checkpoint.network_arrays(path)


# --- The watch of a run -----------------------------------------------------------------------------------------------


def test_watch_says_each_finding_once(caplog):
    images = photos_like(count=16).transpose(0, 2, 3, 1)
    data = ImageSet(np.ascontiguousarray(images), np.arange(16) % 2, ("a", "b"), "pets")
    settings = read_config(None, ["train.epochs=30", "data.batch_size=8", "augment.mean=[125, 123, 114]"])
    task = find_task("classification").bound(settings, ())
    watch = Watch(task, settings, data, data)
    loss = SimpleNamespace(doubt=lambda: "the teacher knows nothing")
    batch = Batch(Normalisation((125, 123, 114), CIFAR_STD)(photos_like(count=8)), np.eye(2)[[0] * 8])
    with caplog.at_level(logging.WARNING, "fusion"):
        watch.begin(dense(), loss, 8, 0)
        history = []
        for epoch in range(30):
            for number in range(8):
                watch.step(batch, 8 * epoch + number + 1, 0.1)
            history += rows_of((0.69, 0.5, 0.70))
            watch.epoch(history)
    said = [record.getMessage() for record in caplog.records]
    parts = (
        "16 of 16 test images (100 %) are among",
        "divide them by 255",
        "all targets so far are of one class, number 0",
        "the teacher knows nothing",
        "20 steps have changed 0 % of the weights",
    )
    assert len(said) == len(parts)
    for part, line in zip(parts, said):
        assert part in line
        assert line.startswith("pets: ")


@pytest.fixture
def warnings_of(monkeypatch, tmp_path, caplog):
    """The warnings of a short run of one layer on some digits, which `spoil` may change first."""

    def run(spoil, *words):
        sets = [load_dataset("digits", split) for split in ("train", "test")]
        small = [
            ImageSet(each.images[:160, ::4, ::4].copy(), each.labels[:160].copy(), each.classes, "D") for each in sets
        ]
        spoil(*small)

        def build(name, classes, **arguments):
            net = nn.HybridSequential()
            net.add(nn.Flatten(), nn.Dense(10, in_units=192))
            net.classes = classes
            return net

        monkeypatch.setattr(engine, "load_data", lambda settings: tuple(small))
        monkeypatch.setattr(preparation, "get_model", build)
        monkeypatch.setattr(picture, "draw_training_curves", lambda history, title, path: path.write_bytes(b"picture"))
        digits = (
            "model.initializer=xavier",
            "augment.mean=[0.3,0.3,0.3]",
            "augment.std=[0.37,0.37,0.37]",
            "augment.crop_padding=0",
        )
        settings = read_config(None, [*digits, "data.batch_size=8", "train.epochs=10", "augment.flip=false", *words])
        with caplog.at_level(logging.WARNING, "fusion"):
            train(settings, RunDirectory(tmp_path / "run"))
        return [record.getMessage() for record in caplog.records]

    return run


def test_sound_run_warns_of_nothing(warnings_of):
    assert warnings_of(lambda train_set, test_set: None, "schedule.lr=0.01") == []


def test_run_on_shuffled_labels_says_so(warnings_of):
    def shuffle(*sets):
        for number, each in enumerate(sets):
            each.labels[:] = np.random.default_rng(number).permutation(each.labels)

    (found,) = warnings_of(shuffle, "schedule.lr=0.01")
    assert "no better than with the most frequent class as the answer to all images" in found
    assert "may not belong" in found


def test_run_whose_steps_are_lost_in_rounding_says_so(warnings_of):
    (found,) = warnings_of(lambda *sets: None, "schedule.lr=1e-10", "train.epochs=2")
    assert "lost in the rounding of float32" in found
