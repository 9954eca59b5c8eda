"""The figures of segmentation against direct computations, GluonCV's metric among them."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.compat import mx
from fusion.tasks.base import StepOutput
from fusion.tasks.segmentation.losses import IGNORE, build_loss
from fusion.tasks.segmentation.meters import EvaluationMeter, TrainingMeter
from fusion.tasks.segmentation.metrics import confusion_matrix, find_targets, mean_iou


def draw(classes, images=5, size=(9, 7), seed=0):
    """Logits (B, C, H, W) and truths (B, H, W) with ignored pixels."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(images, 1 if classes == 2 else classes, *size)).astype(np.float32)
    truth = rng.integers(0, classes, (images, *size)).astype(np.uint8)
    truth[rng.random(truth.shape) < 0.2] = IGNORE
    return logits, truth


def said(logits):
    return (logits[:, 0] > 0).astype(int) if logits.shape[1] == 1 else logits.argmax(axis=1)


def evaluate(logits, truth, classes, batch=2):
    meter = EvaluationMeter(logits.shape[1], IGNORE, build_loss("dice", logits.shape[1]))
    parts = [meter.of_batch(logits[i : i + batch], truth[i : i + batch]) for i in range(0, len(logits), batch)]
    return meter.figures(np.sum(parts, axis=0))


def by_hand(answer, truth, label):
    """Intersection and union of one class over the pixels that count."""
    counted = truth != IGNORE
    one, other = (answer == label) & counted, (truth == label) & counted
    return (one & other).sum(), (one | other).sum()


@pytest.mark.parametrize("classes", [2, 3, 11])
def test_figures_are_those_of_direct_computation(classes):
    logits, truth = draw(classes)
    truth[3] = np.where(truth[3] == IGNORE, IGNORE, 0)
    answer = said(logits)
    found = evaluate(logits, truth, classes)
    ious = [np.divide(*by_hand(answer, truth, label)) for label in range(classes)]
    assert found["miou"] == pytest.approx(np.mean(ious))
    if classes == 2:
        assert found["iou"] == pytest.approx(ious[1])
    counted = truth != IGNORE
    assert found["pixel_accuracy"] == pytest.approx((answer == truth)[counted].mean())
    each = []
    for own, wanted in zip(answer, truth):
        pairs = [by_hand(own, wanted, label) for label in ([1] if classes == 2 else range(classes))]
        each.append(np.mean([both / union for both, union in pairs if union]))
    assert found["niou"] == pytest.approx(np.mean(each))
    loss = build_loss("dice", logits.shape[1])
    losses = [
        loss(mx.nd.array(logits[i : i + 1]), mx.nd.array(truth[i : i + 1])).asscalar() for i in range(len(logits))
    ]
    assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-6)


@pytest.mark.parametrize("classes", [3, 11])
def test_miou_and_pixel_accuracy_are_those_of_gluoncv(classes):
    metrics = pytest.importorskip("gluoncv.utils.metrics.segmentation")
    logits, truth = draw(classes, seed=3)
    metric = metrics.SegmentationMetric(classes)
    labels = np.where(truth == IGNORE, -1, truth.astype(int))
    metric.update([mx.nd.array(labels)], [mx.nd.array(logits)])
    accuracy, miou = metric.get()
    found = evaluate(logits, truth, classes)
    assert found["miou"] == pytest.approx(miou, rel=1e-9)
    assert found["pixel_accuracy"] == pytest.approx(accuracy, rel=1e-9)


def test_miou_leaves_out_a_class_that_occurs_nowhere():
    confusion = confusion_matrix(np.array([0, 0, 1, 3]), np.array([0, 0, 0, 3]), 4, IGNORE)
    both, union = np.diagonal(confusion), confusion.sum(0) + confusion.sum(1) - np.diagonal(confusion)
    assert list(union) == [3, 1, 0, 1]  # class 1 is only said, class 2 is nowhere
    assert mean_iou(both, union) == pytest.approx(np.mean([2 / 3, 0, 1]))


def test_niou_of_an_image_without_foreground_in_truth_and_answer_is_zero():
    logits, truth = np.full((2, 1, 4, 4), -1.0, np.float32), np.zeros((2, 4, 4), np.uint8)
    logits[0, 0, 1, 1] = 1.0
    truth[0, 1, 1] = 1
    assert evaluate(logits, truth, 2)["niou"] == pytest.approx(0.5)


def test_evaluation_of_nothing_is_zero():
    meter = EvaluationMeter(1, IGNORE, build_loss("soft_iou", 1))
    assert set(meter.figures(np.zeros(len(meter.names))).values()) == {0.0}


def test_sums_of_parts_are_the_sums_of_the_whole():
    logits, truth = draw(2, images=6)
    assert evaluate(logits, truth, 2, batch=1) == evaluate(logits, truth, 2, batch=6)


@pytest.mark.parametrize("classes", [2, 5])
def test_training_meter_counts_what_the_network_was_trained_on(classes):
    logits, truth = draw(classes)
    meter = TrainingMeter(logits.shape[1], IGNORE)
    halves = [mx.nd.array(logits[:2]), mx.nd.array(logits[2:])]
    losses = [mx.nd.array([0.25, 0.75]), mx.nd.array([0.5, 0.5, 1.0])]
    sums = meter.of_step(StepOutput(losses, halves, truth.astype(np.float32)))
    found = meter.figures(sums + sums)
    ious = [np.divide(*by_hand(said(logits), truth, label)) for label in range(classes)]
    assert found["loss"] == pytest.approx(0.6)
    assert found["miou"] == pytest.approx(np.mean(ious))
    assert np.isnan(found["iou"]) if classes > 2 else found["iou"] == pytest.approx(ious[1])
    assert np.isnan(meter.figures(np.zeros(len(meter.names)))["loss"])


# --- Targets ---------------------------------------------------------------------------------------------------------


def masks(*pixels, size=(20, 20)):
    mask = np.zeros(size, bool)
    for row, column in pixels:
        mask[row, column] = True
    return mask


def targets_by_hand(answer, truth):
    """The same rule without SciPy: a flood fill, then each target takes the first free region that is near."""

    def regions(mask):
        left, found = {tuple(place) for place in np.argwhere(mask)}, []
        for start in [tuple(place) for place in np.argwhere(mask)]:
            if start not in left:
                continue
            queue, own = [start], []
            left.discard(start)
            while queue:
                row, column = queue.pop()
                own.append((row, column))
                around = [(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
                queue += [place for place in around if place in left]
                left.difference_update(around)
            found.append(own)
        return found

    free, found = regions(answer), 0
    for target in regions(truth):
        centre = np.mean(target, axis=0)
        near = [own for own in free if np.linalg.norm(np.mean(own, axis=0) - centre) < 3]
        if near:
            free.remove(near[0])
            found += 1
    return len(regions(truth)), found, sum(map(len, free))


def test_pixels_that_touch_at_a_corner_are_one_target():
    truth = masks((1, 1), (2, 2), (3, 1))
    assert find_targets(masks((2, 1)), truth) == (1, 1, 0)


@pytest.mark.parametrize(("column", "found"), [(5, 1), (7, 1), (8, 0)])
def test_target_is_found_nearer_than_three_pixels(column, found):
    assert find_targets(masks((5, column)), masks((5, 5))) == (1, found, 1 - found)


def test_region_is_taken_once():
    assert find_targets(masks((5, 5)), masks((5, 4), (5, 6))) == (2, 1, 0)


def test_second_region_at_a_target_is_a_false_alarm():
    assert find_targets(masks((5, 4), (5, 6), (15, 15), (15, 16)), masks((5, 5))) == (1, 1, 3)


def test_images_without_targets_or_answers():
    nothing = masks()
    assert find_targets(nothing, nothing) == (0, 0, 0)
    assert find_targets(nothing, masks((1, 1))) == (1, 0, 0)
    assert find_targets(masks((1, 1), (1, 2)), nothing) == (0, 0, 2)


@pytest.mark.parametrize("seed", range(4))
def test_targets_are_those_of_a_flood_fill(seed):
    rng = np.random.default_rng(seed)
    answer, truth = (rng.random((30, 40)) < share for share in (0.08, 0.03))
    assert find_targets(answer, truth) == targets_by_hand(answer, truth)


def test_pd_and_fa_are_shares_of_targets_and_of_pixels():
    truth = np.zeros((2, 10, 10), np.uint8)
    truth[0, 2, 2] = truth[1, 5, 5] = 1
    truth[1, 0, :] = IGNORE
    logits = np.full((2, 1, 10, 10), -1.0, np.float32)
    logits[0, 0, 2, 3] = logits[1, 0, 8, 8] = logits[1, 0, 8, 9] = logits[1, 0, 0, 0] = 1.0  # the last is ignored
    found = evaluate(logits, truth, 2)
    assert found["pd"] == pytest.approx(0.5)
    assert found["fa"] == pytest.approx(2 / 190)
