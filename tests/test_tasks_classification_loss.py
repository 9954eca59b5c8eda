"""The losses against NumPy: cross-entropy with soft targets, and distillation."""

from __future__ import annotations

import numpy as np
import pytest
from classified import TASK

from fusion.compat import mx
from fusion.tasks.base import part_losses
from fusion.tasks.classification.loss import CrossEntropy, Distillation, DistillationLoss
from fusion.training.config import read_config

DRAW = np.random.default_rng(0)
LOGITS, TEACHER = (DRAW.normal(scale=3, size=(6, 5)).astype(np.float32) for _ in range(2))
TARGETS = DRAW.dirichlet(np.ones(5), size=6).astype(np.float32)


def log_softmax(logits):
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def cross_entropy(logits, targets):
    return -(log_softmax(logits) * targets).sum(axis=1)


def divergence(teacher, student):
    """KL(teacher || student) of logits."""
    wanted = log_softmax(teacher)
    return (np.exp(wanted) * (wanted - log_softmax(student))).sum(axis=1)


def value(loss, *arrays):
    return loss(*map(mx.nd.array, arrays)).asnumpy()


def gradient(loss, logits, *others):
    logits = mx.nd.array(logits)
    logits.attach_grad()
    with mx.autograd.record():
        found = loss(logits, *map(mx.nd.array, others))
    found.backward()
    return logits.grad.asnumpy()


def test_cross_entropy_is_that_of_soft_targets():
    found = value(CrossEntropy(), LOGITS, TARGETS)
    assert found.shape == (6,)
    np.testing.assert_allclose(found, cross_entropy(LOGITS, TARGETS), rtol=1e-5)


def test_half_precision_logits_have_a_single_precision_loss_and_their_own_gradient():
    half = mx.nd.array(LOGITS, dtype="float16")
    half.attach_grad()
    with mx.autograd.record():
        loss = CrossEntropy()(half, mx.nd.array(TARGETS))
    loss.backward()
    assert loss.dtype == np.float32
    assert half.grad.dtype == np.float16
    expected = cross_entropy(LOGITS.astype(np.float16).astype(np.float32), TARGETS)
    np.testing.assert_allclose(loss.asnumpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_distillation_is_the_weighted_sum_of_both_parts(weight, temperature):
    found = value(DistillationLoss(weight, temperature), LOGITS, TARGETS, TEACHER)
    part = temperature**2 * divergence(TEACHER / temperature, LOGITS / temperature)
    np.testing.assert_allclose(found, (1 - weight) * cross_entropy(LOGITS, TARGETS) + weight * part, rtol=1e-4)


def test_student_that_equals_its_teacher_has_nothing_to_learn_from_it():
    np.testing.assert_allclose(value(DistillationLoss(1.0, 3.0), LOGITS, TARGETS, LOGITS), 0, atol=1e-5)
    np.testing.assert_allclose(gradient(DistillationLoss(1.0, 3.0), LOGITS, TARGETS, LOGITS), 0, atol=1e-5)


def test_gradient_keeps_its_size_at_high_temperatures():
    """Section 2.1 of the paper: at a high temperature the gradient is that of the logits' distance over the classes."""
    found = gradient(DistillationLoss(1.0, 1000.0), LOGITS, TARGETS, TEACHER)
    own, wanted = (logits - logits.mean(axis=1, keepdims=True) for logits in (LOGITS, TEACHER))
    np.testing.assert_allclose(found, (own - wanted) / 5, atol=0.01)


def test_run_without_a_teacher_has_the_plain_loss_and_never_looks_at_images():
    loss = TASK.loss(read_config(None), None)
    found = part_losses(loss, [mx.nd.array(LOGITS)], [mx.nd.array(TARGETS)], [None])
    np.testing.assert_array_equal(found[0].asnumpy(), value(CrossEntropy(), LOGITS, TARGETS))


def test_run_with_a_teacher_asks_it_about_each_part():
    settings = read_config(
        None, ["train.teacher=x", "train.distillation_weight=0.25", "train.distillation_temperature=2"]
    )
    seen = []

    def teacher(images):
        seen.append(images)
        return mx.nd.array(TEACHER[len(seen) * 2 - 2 : len(seen) * 2])

    loss = TASK.loss(settings, teacher)
    assert isinstance(loss, Distillation)
    parts = [slice(0, 2), slice(2, 4), slice(4, 6)]
    found = part_losses(
        loss, [mx.nd.array(LOGITS[p]) for p in parts], [mx.nd.array(TARGETS[p]) for p in parts], ["a", "b", "c"]
    )
    assert seen == ["a", "b", "c"]
    expected = value(DistillationLoss(0.25, 2.0), LOGITS, TARGETS, TEACHER)
    np.testing.assert_allclose(np.concatenate([part.asnumpy() for part in found]), expected, rtol=1e-5)
