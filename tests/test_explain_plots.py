"""Training pictures: curves of runs, what a network is fed, and what it confuses."""

from __future__ import annotations

import csv
import json

import numpy as np
import photos
import pytest
from PIL import Image
from run_folders import write_run

from fusion.__main__ import main
from fusion.data import load_dataset
from fusion.data.imageset import ImageSet
from fusion.errors import ConfigError, DataError
from fusion.explain.answers import Answers, answer_all, images_at, settings_with
from fusion.explain.browse_picture import (
    describe_augmentation,
    draw_contact_sheet,
    fed_images,
    target_in_words,
    to_pixels,
)
from fusion.explain.confusion_picture import draw_confused_pairs, draw_confusion, in_rows
from fusion.explain.curves_picture import draw_run_curves
from fusion.explain.plots import read_run_curve
from fusion.inference.trained import load_pretrained
from fusion.tasks.classification.batches import count_outputs
from fusion.training.config import read_config
from fusion.training.loading import load_split
from fusion.training.preparation import build_batches

TINY = ["model.name=cifar_resnet", "model.blocks=1", "model.channel_times=1"]
DIGITS = ["data.name=digits", "data.batch_size=16", "augment.crop_padding=2", "train.epochs=3"]


def pixels(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def run_of(path, errors, fusion="aff", **facts):
    return write_run(path, None, errors, [*TINY, f"model.fusion={fusion}"], model=f"cifar_resnet ({fusion})", **facts)


# --- Curves ----------------------------------------------------------------------------------------------------------


def test_curve_is_the_run_s(tmp_path):
    run_of(tmp_path / "a", [50, 40.5, 45])
    curve = read_run_curve(tmp_path / "a")
    assert curve.epochs == (1, 2, 3)
    assert curve.errors == pytest.approx((50, 40.5, 45))
    assert curve.losses == (0.5, 0.5, 0.5)


def test_command_draws_runs_as_wide_as_a_readme(tmp_path, capsys):
    runs = [run_of(tmp_path / name, [50, 40, errors], name) for name, errors in (("aff", 30), ("add", 35), ("se", 33))]
    output = tmp_path / "curves.png"
    words = ["curves", *map(str, runs), "--output", str(output)]
    assert main(words) == 0
    assert capsys.readouterr().out == f"{output}: 3 runs\n"
    assert pixels(output).shape[1] == 990
    first = output.read_bytes()
    assert main(words) == 2
    assert "write over it with --force" in capsys.readouterr().err
    run_of(tmp_path / "new", [20, 10], "iaff")
    assert main(["curves", str(tmp_path / "new"), "--output", str(output), "--force"]) == 0
    assert output.read_bytes() != first
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["curves.png"]


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"data": "CIFAR-100 (20 superclasses)"}, "their errors cannot be compared"),
        ({"test_images": 360}, r"CIFAR-10 \(10 classes, 360 test images\)"),
    ],
)
def test_runs_on_other_data_are_refused(tmp_path, facts, message):
    curves = [read_run_curve(run_of(tmp_path / "a", [50])), read_run_curve(run_of(tmp_path / "b", [50], **facts))]
    with pytest.raises(ConfigError, match=message):
        draw_run_curves(curves, tmp_path / "curves.png")


def test_runs_that_cannot_be_drawn_leave_no_file(tmp_path, capsys):
    unfinished = run_of(tmp_path / "unfinished", [])
    many = [run_of(tmp_path / f"{number}", [50]) for number in range(9)]
    for runs, message in (
        ([unfinished], "no epoch of this run is finished"),
        ([tmp_path], "not the folder of a run"),
        (many, "9 runs; expected at most 8"),
    ):
        assert main(["curves", *map(str, runs), "--output", str(tmp_path / "c.png")]) == 2
        assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("*.png*")) + list(tmp_path.glob(".*"))
    assert main(["curves", str(many[0]), "--output", str(tmp_path)]) == 2
    assert "is a folder; expected a file" in capsys.readouterr().err


# --- What a network is fed -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", [[], ["augment.mixup_alpha=1", "train.label_smoothing=0.1"]])
def test_fed_images_are_the_training_s_own(extra):
    settings = read_config(None, [*TINY, *DIGITS, *extra])
    data = load_split(settings, "train")
    found = fed_images(settings, data, 40, epoch=1)
    batches = build_batches(settings, data, ["cpu"]).epoch(1)
    parts = [next(batches) for _ in range(3)]
    for name in ("images", "targets"):
        expected = np.concatenate([getattr(part, name) for part in parts])[:40]
        np.testing.assert_array_equal(getattr(found, name), expected)
    assert found.targets.shape[1] == count_outputs(settings, 10)


def test_pixels_come_back_from_normalised_images():
    settings = read_config(None, [*TINY, *DIGITS, "augment.crop_padding=0", "augment.flip=false"])
    data = load_split(settings, "train")
    found = to_pixels(fed_images(settings, data, 16).images, settings.augment.mean, settings.augment.std)
    known = {image.tobytes() for image in data.images}
    assert found.dtype == np.uint8
    assert all(image.tobytes() in known for image in found)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ([0, 1, 0, 0], "b"),
        ([0.025, 0.925, 0.025, 0.025], "b: 0.93"),
        ([0.3, 0, 0.7, 0], "c: 0.70\na: 0.30"),
        ([0, 0, 0.4, 0.6], "3: 0.60\nc: 0.40"),
        ([0.25, 0.25, 0.25, 0.25], "all alike"),
    ],
)
def test_targets_in_words(target, words):
    assert target_in_words(np.array(target, np.float32), ("a", "b", "c")) == words


def test_augmentation_in_words():
    words = ["augment.mixup_alpha=0.2", "augment.auto_augment=cifar10", "train.label_smoothing=0.1"]
    found = describe_augmentation(read_config(None, [*TINY, *DIGITS, *words]))
    assert found == ("random crop after padding by 2, flip, AutoAugment: cifar10, mixup α=0.2, label smoothing 0.1")
    plainly = ["augment.crop_padding=0", "augment.flip=false"]
    assert describe_augmentation(read_config(None, [*DIGITS, *plainly])) == "no augmentation"


def test_command_browses_photos_and_digits(tmp_path, capsys):
    config = tmp_path / "config.yaml"
    config.write_text("data:\n  name: digits\n  batch_size: 8\n")
    output = tmp_path / "sheet.png"
    assert main(["browse", "--config", str(config), "--output", str(output), "--images", "12"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{output}: 12 images"
    small = pixels(output)
    photos.make_folders(tmp_path / "data")
    words = ["data.name=imagenet", f"data.dir={tmp_path / 'data'}", "data.size=64", "augment.crop_padding=0"]
    words += ["model.name=aff_resnet50", "augment.colour_jitter=0.4"]
    assert main(["browse", "--config", str(config), "--output", str(output), "--force", *words]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{output}: 8 images"  # an epoch has one full batch
    large = pixels(output)
    assert small.shape[1] == large.shape[1] == 990
    assert (np.ptp(small.astype(int), axis=2) > 30).sum() < 100 < (np.ptp(large.astype(int), axis=2) > 30).sum()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--images", "0"], "--images 0: expected from 1 to"),
        (["--epoch", "11"], "--epoch 11: expected from 1 to the 10 of the config"),
        (["data.name=image_folder", "data.dir=nowhere"], "nowhere"),
        (["data.batch_size=5000"], "more than the 1,437 training images"),
    ],
)
def test_browse_refuses(tmp_path, capsys, words, message):
    config = tmp_path / "config.yaml"
    config.write_text("data:\n  name: digits\n")
    assert main(["browse", "--config", str(config), "--output", str(tmp_path / "sheet.png"), *words]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_sheet_of_any_number(tmp_path):
    for count in (1, 9):
        draws = np.zeros((count, 32, 32, 3), np.uint8)
        draw_contact_sheet(draws, ["$x$"] * count, "title", tmp_path / "sheet.png")
        assert pixels(tmp_path / "sheet.png").shape[1] == 990


# --- Confusion -------------------------------------------------------------------------------------------------------

LABELS = [0, 0, 0, 0, 1, 1, 2, 2, 2]
ANSWERS = [0, 1, 1, 2, 1, 1, 0, 0, 2]
SURE = [0.9, 0.6, 0.8, 0.5, 0.9, 0.9, 0.7, 0.9, 0.4]


def small_answers(answers=ANSWERS):
    return Answers(np.array(LABELS), np.array(answers), np.array(SURE), ("ant", "bee", "cat"))


def test_matrix_pairs_and_examples():
    answers = small_answers()
    assert answers.matrix().tolist() == [[1, 2, 1], [0, 2, 0], [2, 0, 1]]
    assert answers.error == pytest.approx(5 / 9)
    found = [(pair.label, pair.answer, pair.count, pair.total) for pair in answers.pairs()]
    assert found == [(0, 1, 2, 4), (2, 0, 2, 3), (0, 2, 1, 4)]
    assert [answers.examples(pair).tolist() for pair in answers.pairs()] == [[2, 1], [7, 6], [3]]
    assert len(answers.pairs(1)) == 1


def test_pretrained_network_is_confused_as_its_card_says(tmp_path):
    trained = load_pretrained("aff_resnet8_digits")
    data = load_dataset("digits", "test")
    answers = answer_all(trained, data)
    assert round(answers.error * 360) == 6
    np.testing.assert_array_equal(answers.labels, data.labels)
    assert answers.confidence.min() > 1 / 10 and answers.confidence.max() <= 1
    draw_confusion(answers, "digits", tmp_path / "matrix.png")
    draw_confused_pairs(answers, data, "digits", tmp_path / "pairs.png")
    assert pixels(tmp_path / "matrix.png").shape[1] == pixels(tmp_path / "pairs.png").shape[1] == 990


def test_wrong_cells_are_blue_and_right_ones_grey(tmp_path):
    draw_confusion(small_answers(), "three", tmp_path / "some.png")
    draw_confusion(small_answers(LABELS), "three", tmp_path / "none.png")
    # The colour bar aside: dark blue cells are there only where something is wrong.
    dark = [
        ((image[..., 2] > image[..., 0] + 60) & (image[..., 0] < 60))[:, :780].sum()
        for image in (pixels(tmp_path / f"{name}.png") for name in ("some", "none"))
    ]
    assert dark[0] > 1000 > dark[1]


def test_many_classes_have_a_readable_matrix(tmp_path):
    draw = np.random.default_rng(0)
    names = tuple(f"class {number}" for number in range(120))
    answers = Answers(np.arange(120).repeat(3), draw.integers(0, 120, 360), np.ones(360), names)
    draw_confusion(answers, "many", tmp_path / "matrix.png")
    assert pixels(tmp_path / "matrix.png").shape[1] == 990


def test_pairs_with_few_images_share_a_row():
    assert in_rows([8, 8], 8) == [[0], [1]]
    assert in_rows([1, 1, 1, 1, 1, 1], 8) == [[0, 1, 2, 3, 4, 5]]
    assert in_rows([5, 1, 2, 1, 8, 3, 4], 8) == [[0, 1, 2], [3], [4], [5, 6]]


def test_page_of_pairs_is_as_large_as_what_is_shown(tmp_path):
    data = ImageSet(np.full((9, 4, 4, 3), 7, np.uint8), np.array(LABELS), ("ant", "bee", "cat"), "three")
    draw_confused_pairs(small_answers(), data, "three", tmp_path / "pairs.png")
    picture = pixels(tmp_path / "pairs.png")
    assert picture.shape[1] == 990
    assert picture.shape[0] < 330  # five images side by side; a row for each of the three pairs would be higher
    shown = (picture < 60).all(axis=2)
    assert shown.mean() > 0.3  # most of the page are the images


def test_nothing_confused_is_said(tmp_path):
    data = ImageSet(np.zeros((9, 4, 4, 3), np.uint8), np.array(LABELS), ("ant", "bee", "cat"), "three")
    assert small_answers(LABELS).pairs() == []
    with pytest.raises(DataError, match="every answer is right"):
        draw_confused_pairs(small_answers(LABELS), data, "three", tmp_path / "pairs.png")


def test_images_by_number_in_memory_and_on_disk(tmp_path):
    photos.make_folders(tmp_path)
    on_disk = load_dataset("imagenet", "test", tmp_path, size=32)
    every = np.concatenate([images for images, _ in on_disk.in_order(4)])
    in_memory = ImageSet(every, np.zeros(len(every), np.int64), on_disk.classes, "the same")
    for data in (on_disk, in_memory):
        found = images_at(data, [7, 2])
        assert sorted(found) == [2, 7]
        np.testing.assert_array_equal(found[7], every[7])


def test_command_writes_matrix_and_pairs(tmp_path, capsys):
    output = tmp_path / "confusion"
    words = ["confusion", "--model", "aff_resnet8_digits", "--output", str(output)]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    with (output / "confusion.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["class", *"0123456789"]
    assert [[int(cell) for cell in row[1:]] for row in rows[1:]] == found["matrix"]
    assert np.trace(found["matrix"]) == 354 and np.sum(found["matrix"]) == 360
    assert sum(pair["count"] for pair in found["pairs"]) <= 6
    assert {path.name for path in output.iterdir()} == {
        *("confusion.png", "confused_pairs.png", "confusion.csv", "by_class.csv", "calibration.csv", "calibration.png")
    }
    assert found["calibration"]["negative_log_likelihood"] > 0
    assert sum(each["images"] for each in found["calibration"]["bins"]) == 360
    assert len(found["by_class"]) == 10
    assert main(words) == 2
    assert "write over them with --force" in capsys.readouterr().err


def test_confusion_refuses_what_has_no_test_set(tmp_path, capsys):
    output = ["--output", str(tmp_path / "confusion")]
    missing = f"data.dir={tmp_path / 'nowhere'}"
    assert main(["confusion", "--model", "aff_resnet8_cifar10", *output, missing]) == 2
    assert "nowhere" in capsys.readouterr().err
    trained = load_pretrained("aff_resnet8_digits")
    with pytest.raises(ConfigError, match="only data.key=value"):
        settings_with(trained, ["model.fusion=se"])
    assert not (tmp_path / "confusion").exists()
