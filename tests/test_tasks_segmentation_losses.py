"""The losses of segmentation against their formulas in NumPy, and their gradients against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax

from fusion.compat import mx
from fusion.tasks.segmentation.losses import IGNORE, LOSSES, build_loss, parse_loss

SHAPE = (3, 5, 4)
OVERLAP = {"soft_iou": True, "soft_iou_per_image": False, "dice": False}


def draw(classes, ignored=True, seed=0):
    """Logits (B, C, H, W) and targets (B, H, W), in which some pixels do not count and one image has no foreground."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (SHAPE[0], classes, *SHAPE[1:]))
    targets = rng.integers(0, max(classes, 2), SHAPE).astype(np.float64)
    targets[2] = 0
    if ignored:
        targets[rng.random(SHAPE) < 0.3] = IGNORE
    return logits, targets


def cross_entropies(logits, targets):
    """Of each pixel that counts, in a list per image."""
    found = []
    for own, truth in zip(logits, targets):
        counted = truth != IGNORE
        wanted = truth[counted].astype(int)
        if len(own) == 1:
            scores = own[0][counted]
            found.append(-np.where(wanted == 1, np.log(expit(scores)), np.log(1 - expit(scores))))
        else:
            found.append(-log_softmax(own[:, counted], axis=0)[wanted, np.arange(len(wanted))])
    return found


def overlaps(name, logits, targets):
    """Of each region and class: a batch for soft_iou, else an image."""
    chances = expit(logits) if logits.shape[1] == 1 else softmax(logits, axis=1)
    groups = [slice(None)] if name == "soft_iou" else [slice(i, i + 1) for i in range(len(logits))]
    for group in groups:
        counted = targets[group] != IGNORE
        losses = []
        for number in range(logits.shape[1]):
            truth = targets[group][counted] == (1 if logits.shape[1] == 1 else number)
            own = chances[group, number][counted]
            both = (own * truth).sum()
            if name == "dice":
                losses.append(1 - (2 * both + 1) / (own.sum() + truth.sum() + 1))
            else:
                losses.append(1 - (both + 1) / (own.sum() + truth.sum() - both + 1))
        yield np.mean(losses)


def expected(name, logits, targets):
    """The mean over images of the loss, by its formula."""
    if name in OVERLAP:
        return np.mean(list(overlaps(name, logits, targets)))
    pixels = np.concatenate(cross_entropies(logits, targets))
    return np.mean((1 - np.exp(-pixels)) ** 2 * pixels if name == "focal" else pixels)


def names(classes):
    return [name for name in LOSSES if name != ("cross_entropy" if classes == 1 else "bce")]


CASES = [(name, classes) for classes in (1, 2, 4) for name in names(classes)]


@pytest.mark.parametrize("hybrid", [False, True])
@pytest.mark.parametrize(("name", "classes"), CASES)
def test_loss_is_its_formula(name, classes, hybrid):
    logits, targets = draw(classes)
    loss = build_loss(name, classes)
    loss.hybridize(hybrid)
    found = loss(mx.nd.array(logits), mx.nd.array(targets)).asnumpy()
    assert found.shape == (SHAPE[0],)
    assert found.dtype == np.float32
    assert found.mean() == pytest.approx(expected(name, logits, targets), rel=2e-6)


@pytest.mark.parametrize(("name", "classes"), CASES)
def test_gradient_is_that_of_finite_differences(name, classes):
    logits, targets = draw(classes, seed=1)
    loss = build_loss(name, classes, dtype="float64")
    loss.hybridize()
    given, truth = mx.nd.array(logits, dtype="float64"), mx.nd.array(targets, dtype="float64")
    given.attach_grad()
    with mx.autograd.record():
        value = loss(given, truth)
    value.backward()
    found, step, numeric = given.grad.asnumpy(), 1e-5, np.zeros_like(logits)
    for place in np.ndindex(*logits.shape):
        around = []
        for sign in (1, -1):
            moved = logits.copy()
            moved[place] += sign * step
            around.append(loss(mx.nd.array(moved, dtype="float64"), truth).asnumpy().sum())
        numeric[place] = (around[0] - around[1]) / (2 * step)
    np.testing.assert_allclose(found, numeric, rtol=1e-6, atol=1e-8)
    ignored = np.broadcast_to((targets == IGNORE)[:, None], found.shape)
    assert np.all(found[ignored] == 0)
    assert np.abs(found[~ignored]).max() > 1e-3


@pytest.mark.parametrize(("name", "classes"), CASES)
def test_what_the_network_says_of_ignored_pixels_changes_nothing(name, classes):
    logits, targets = draw(classes)
    other = np.where((targets == IGNORE)[:, None], 7.0, logits)
    one, two = (build_loss(name, classes)(mx.nd.array(x), mx.nd.array(targets)).asnumpy() for x in (logits, other))
    assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize(("name", "classes"), CASES)
def test_batch_without_a_pixel_that_counts_has_a_finite_loss_and_no_gradient(name, classes):
    logits, _ = draw(classes)
    given = mx.nd.array(logits)
    given.attach_grad()
    with mx.autograd.record():
        value = build_loss(name, classes)(given, mx.nd.full(SHAPE, IGNORE))
    value.backward()
    assert np.isfinite(value.asnumpy()).all()
    assert np.all(given.grad.asnumpy() == 0)


@pytest.mark.parametrize(("name", "classes"), CASES)
def test_float16_logits_of_any_size_have_a_finite_loss_and_gradient(name, classes):
    logits, targets = draw(classes)
    given = mx.nd.array(logits * 2000, dtype="float16")
    given.attach_grad()
    with mx.autograd.record():
        value = build_loss(name, classes)(given, mx.nd.array(targets))
    value.backward()
    assert value.dtype == np.float32
    assert np.isfinite(value.asnumpy()).all()
    assert np.isfinite(given.grad.asnumpy()).all()


def test_sum_of_losses_weighs_each():
    logits, targets = draw(1)
    found = build_loss("soft_iou + 0.5 bce", 1)(mx.nd.array(logits), mx.nd.array(targets)).asnumpy().mean()
    assert found == pytest.approx(expected("soft_iou", logits, targets) + 0.5 * expected("bce", logits, targets))


def test_soft_iou_is_that_of_the_release():
    """Without ignored pixels, 1 - (Σpt + 1) / (Σp + Σt - Σpt + 1) over the whole batch, and one gradient of it."""
    logits, targets = draw(1, ignored=False)
    p, t = expit(logits[:, 0]), targets
    by_hand = 1 - ((p * t).sum() + 1) / (p.sum() + t.sum() - (p * t).sum() + 1)
    found = build_loss("soft_iou", 1)(mx.nd.array(logits), mx.nd.array(targets)).asnumpy()
    np.testing.assert_allclose(found, np.full(SHAPE[0], by_hand), rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("soft_iou", [(1.0, "soft_iou")]),
        ("soft_iou + 0.5 bce", [(1.0, "soft_iou"), (0.5, "bce")]),
        ("2*dice+.25*focal", [(2.0, "dice"), (0.25, "focal")]),
    ],
)
def test_loss_is_read_from_a_text(text, terms):
    assert parse_loss(text) == terms


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("soft_uoi", "did you mean 'soft_iou'"),
        ("soft_iou +", "expected a loss"),
        ("soft_iou + soft_iou", "each loss once"),
        ("0 dice", "a weight above 0"),
        ("-1 dice", "expected a loss"),
    ],
)
def test_text_that_is_no_loss_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        parse_loss(text)


def test_cross_entropy_of_the_wrong_number_of_classes_is_refused():
    with pytest.raises(ValueError, match="use cross_entropy"):
        build_loss("bce", 3)
    with pytest.raises(ValueError, match="use bce"):
        build_loss("cross_entropy", 1)
