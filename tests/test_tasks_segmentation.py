"""The task segmentation: its figures by the number of classes, its settings, its advice and its pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from masked import write_bands, write_targets

from fusion.compat import mx
from fusion.data import load_dataset
from fusion.data.augment import Normalisation
from fusion.data.masks.labels import IGNORE
from fusion.errors import ConfigError
from fusion.tasks import find_task, settings_of_other_tasks, task_of
from fusion.tasks.segmentation.advice import LONG_PATIENCE, PATIENCE, dead_loss
from fusion.tasks.segmentation.picture import Answered, answer_some, colour_errors, draw_answers, frame
from fusion.tasks.segmentation.whole import resized_batches, whole_batches
from fusion.training.config import read_config
from fusion.training.preparation import build_network

CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "segmentation"
MASKS = ["model.name=fpn", "data.name=mask_folder", "data.dir=x", "augment.crop_padding=0"]
PLAIN = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def refusal(*words):
    with pytest.raises(ConfigError) as caught:
        read_config(None, [*MASKS, *words])
    return str(caught.value)


# --- Figures and settings --------------------------------------------------------------------------------------------


def test_headline_is_iou_of_one_class_and_miou_of_several():
    settings = read_config(None, MASKS)
    for classes, name in ((["target"], "IoU"), (["sky", "road"], "mIoU"), (["a", "b", "c"], "mIoU")):
        task = task_of(settings, classes)
        assert task.headline.title == name
        assert not task.headline.lower_is_better
        assert task.headline.is_better(0.7, 0.6)
        assert task.outputs(settings, len(classes)) == len(classes)
        assert name in task.best_note
        meter = task.evaluation_meter()
        assert {figure.name for figure in task.evaluation} <= set(meter.figures(np.zeros(len(meter.names))))


def test_loss_that_is_not_for_these_classes_is_refused():
    for loss, classes in (("bce", ["a", "b"]), ("cross_entropy", ["target"])):
        settings = read_config(None, [*MASKS, f"train.loss={loss}"])
        with pytest.raises(ConfigError, match=f"train.loss is '{loss}': {loss} is for"):
            task_of(settings, classes).loss(settings, None)


def test_impossible_settings_are_refused_where_they_stand():
    assert "train.loss is 'soft_uoi'; no loss is named 'soft_uoi'; did you mean 'soft_iou'" in refusal(
        "train.loss=soft_uoi"
    )
    assert "eval.overlap is 32; expected less than eval.tile, 32" in refusal("eval.tile=32")


def test_settings_of_the_other_task_are_refused():
    with pytest.raises(ConfigError, match=r"train.loss is 'dice'; it is for segmentation, and the task is classificat"):
        read_config(None, ["train.loss=dice"])
    with pytest.raises(ConfigError, match=r"eval.flips is True; it is for segmentation"):
        read_config(None, ["eval.flips=true"])
    assert "train.label_smoothing is 0.1; it is for classification" in refusal("train.label_smoothing=0.1")
    assert "train.teacher is 'runs/a'; it is for classification" in refusal("train.teacher=runs/a")
    with pytest.raises(ConfigError, match=r"model.prior is 0.01; it is for segmentation"):
        read_config(None, ["model.prior=0.01"])
    assert "eval.tile" in settings_of_other_tasks(read_config(None))
    assert find_task("segmentation").dense


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_config_says_what_it_is_and_its_network_answers(path):
    settings = read_config(path)
    header = path.read_text().split("\nbase:")[0].splitlines()
    assert all(line.startswith("# ") for line in header)
    net = build_network(settings, 11 if "camvid" in path.stem else 1)
    net.initialize()
    assert net(mx.nd.zeros((1, 3, 32, 48))).shape == (1, net.classes, 32, 48)
    assert task_of(settings, ["x"] * net.classes).loss(settings, None) is not None


def test_as_run_recipe_of_the_published_unet():
    settings = read_config(CONFIGS / "sirst_asymbi_unet.yaml")
    assert (settings.optimizer.name, settings.schedule.mode, settings.schedule.lr) == ("adagrad", "constant", 0.05)
    assert (settings.optimizer.weight_decay, settings.data.batch_size, settings.train.epochs) == (1e-4, 8, 300)
    assert (settings.model.initializer, settings.train.loss, settings.data.train_split) == (
        *("msraprelu", "soft_iou", "trainval"),
    )
    assert (settings.augment.long_side, settings.data.size, settings.augment.blur_probability) == (
        [256, 1024],
        480,
        0.5,
    )
    assert settings.eval.resize == 512


# --- Advice ----------------------------------------------------------------------------------------------------------


def rows(*ious):
    return [{"train_iou": iou, "train_loss": 0.999} for iou in ious]


def test_dead_loss_is_said_after_the_patience_and_not_again():
    dead = [0.0] * PATIENCE
    assert dead_loss(rows(*dead[1:]), ["soft_iou"]) is None
    found = dead_loss(rows(*dead), ["soft_iou"])
    assert f"background everywhere for {PATIENCE} epochs (training loss 0.9990, IoU 0.0000)" in found
    assert "model.prior=0.01" in found
    assert dead_loss(rows(*dead, 0.0), ["soft_iou"]) is None
    assert dead_loss(rows(0.5, *dead), ["soft_iou"]) is not None
    assert dead_loss(rows(*dead[1:], 0.01), ["soft_iou"]) is None


def test_losses_of_single_pixels_get_longer():
    assert dead_loss(rows(*[0.0] * PATIENCE), ["soft_iou", "bce"]) is None
    found = dead_loss(rows(*[0.0] * LONG_PATIENCE), ["soft_iou", "bce"])
    assert "0.5 bce" not in found
    assert "gradient" not in found


# --- Test images -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    folder = write_targets(tmp_path_factory.mktemp("set") / "data")
    return load_dataset("mask_folder", "test", folder)


def test_whole_images_come_once_as_they_are_and_by_size(targets):
    batches = list(whole_batches(targets, PLAIN, 3, (0, 1)))
    assert sum(len(batch.targets) for batch in batches) == len(targets)
    for batch in batches:
        assert batch.images.shape[2:] == batch.targets.shape[1:]
    first = targets.read(0)
    np.testing.assert_allclose(batches[0].images[0], first.image.transpose(2, 0, 1) / 255, rtol=1e-6)
    np.testing.assert_array_equal(batches[0].targets[0], first.mask)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_resized_images_of_all_workers_are_each_image_once(targets, size):
    found = [batch for rank in range(size) for batch in resized_batches(targets, PLAIN, 2, (rank, size), 24)]
    assert sum(len(batch.targets) for batch in found) == len(targets)
    assert {batch.images.shape[2:] for batch in found} == {(24, 24)}
    assert all(set(np.unique(batch.targets)) <= {0, 1} for batch in found)


# --- Pictures --------------------------------------------------------------------------------------------------------


def test_errors_are_coloured():
    truth = np.array([[1, 1, 0, 0, IGNORE]], np.uint8)
    answer = np.array([[1, 0, 1, 0, 1]], np.uint8)
    image = np.full((1, 5, 3), 100, np.uint8)
    found = colour_errors(Answered("a", image, truth, answer), True)[0]
    assert found.tolist() == [[0, 158, 115], [86, 180, 233], [213, 94, 0], [60, 60, 60], [225, 225, 225]]
    several = colour_errors(Answered("a", image, truth, answer), False)[0]
    assert several.tolist()[:4] == [[60, 60, 60], [213, 94, 0], [213, 94, 0], [60, 60, 60]]


def test_small_target_is_framed_and_a_large_one_is_not():
    truth = np.zeros((200, 300), np.uint8)
    assert frame(truth) == (slice(None), slice(None))
    truth[2:6, 290:298] = 1
    rows_, columns = frame(truth)
    assert (rows_, columns) == (slice(0, 48), slice(252, 300))
    truth[:100] = 1
    assert frame(truth) == (slice(None), slice(None))


def test_picture_of_answers_is_drawn(targets, tmp_path):
    found = answer_some(lambda images: images[:, :1] - 0.5, targets, PLAIN, mx.cpu(), 3)
    assert [one.name for one in found] == ["b0", "b2", "b4"]
    assert all(one.answer.shape == one.truth.shape for one in found)
    draw_answers(found, targets.labels, "squares", tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 20_000
    bands = load_dataset("mask_folder", "test", write_bands(tmp_path / "bands"), ignore=3)
    draw_answers(answer_some(lambda x: x, bands, PLAIN, mx.cpu(), 2), bands.labels, "bands", tmp_path / "b.png")
    assert (tmp_path / "b.png").stat().st_size > 20_000
