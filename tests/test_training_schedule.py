"""The learning rate of every step against the formulas: warm-up, steps at epoch boundaries, cosine, poly, constant."""

from __future__ import annotations

import math

import pytest

from fusion.training.schedule import learning_rate
from fusion.training.settings import ScheduleSettings

EPOCHS, LENGTH = 10, 7
MODES = ("step", "cosine", "poly", "constant")


def rates(epochs=EPOCHS, length=LENGTH, **settings):
    schedule = ScheduleSettings(**settings)
    return [learning_rate(schedule, epochs, length, step) for step in range(epochs * length)]


def test_recipe_of_the_published_runs():
    """0.2, times 0.1 at the start of epochs 300 and 450 of 500; a CIFAR epoch has 390 batches of 128."""
    schedule = ScheduleSettings(mode="step", lr=0.2, steps=[300, 450], factor=0.1)

    def rate(epoch, batch):
        return learning_rate(schedule, 500, 390, epoch * 390 + batch)

    assert rate(0, 0) == 0.2
    assert rate(299, 389) == 0.2
    assert rate(300, 0) == pytest.approx(0.02, rel=1e-12)
    assert rate(449, 389) == pytest.approx(0.02, rel=1e-12)
    assert rate(450, 0) == pytest.approx(0.002, rel=1e-12)
    assert rate(499, 389) == pytest.approx(0.002, rel=1e-12)


def test_steps_act_at_the_first_batch_of_their_epochs():
    found = rates(mode="step", lr=1.0, steps=[3, 4, 9], factor=0.5)
    assert found == [1.0] * 3 * LENGTH + [0.5] * LENGTH + [0.25] * 5 * LENGTH + [0.125] * LENGTH


def test_without_steps_the_step_mode_is_constant():
    assert rates(mode="step", lr=0.3, steps=[]) == [0.3] * (EPOCHS * LENGTH)


def test_constant_ignores_steps_factor_and_final_rate():
    assert rates(mode="constant", lr=0.3, steps=[2], factor=0.5, final_lr=0.1) == [0.3] * (EPOCHS * LENGTH)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("start", [0.0, 0.05, 0.9])
def test_warmup_is_linear_from_its_start_to_the_rate(mode, start):
    found = rates(mode=mode, lr=0.4, warmup_epochs=2, warmup_lr=start)
    steps = 2 * LENGTH
    assert found[0] == start
    assert found[:steps] == pytest.approx([start + (0.4 - start) * k / steps for k in range(steps)], rel=1e-12)
    assert found[steps] == 0.4


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("warmup", "length"), [(0.5, 8), (0.5, 7), (1.3, 10), (0.01, 10)])
def test_warmup_of_a_part_of_an_epoch_rises_by_the_same_slope(mode, warmup, length):
    found = rates(length=length, mode=mode, lr=0.4, warmup_epochs=warmup)
    steps = warmup * length
    rising = math.ceil(steps)
    assert found[:rising] == pytest.approx([0.4 * k / steps for k in range(rising)], rel=1e-12)
    first_fall = (1 - 1 / (EPOCHS * length - steps)) ** 2  # of the steepest mode, poly
    assert 0.4 * first_fall <= found[rising] == max(found) <= 0.4


@pytest.mark.parametrize("mode", MODES)
def test_without_warmup_the_first_step_has_the_full_rate(mode):
    assert rates(mode=mode, lr=0.4, warmup_lr=0.1)[0] == 0.4


@pytest.mark.parametrize("warmup", [0, 3])
@pytest.mark.parametrize("final", [0.0, 0.02])
def test_cosine_is_half_a_wave_from_the_rate_to_the_final_rate(warmup, final):
    found = rates(mode="cosine", lr=0.4, final_lr=final, warmup_epochs=warmup)[warmup * LENGTH :]
    total = len(found)
    expected = [final + (0.4 - final) * 0.5 * (1 + math.cos(math.pi * k / total)) for k in range(total)]
    assert found == pytest.approx(expected, rel=1e-12)
    assert found[0] == 0.4
    if total % 2 == 0:
        assert found[total // 2] == pytest.approx((0.4 + final) / 2, rel=1e-12)


@pytest.mark.parametrize("mode", ["cosine", "poly"])
@pytest.mark.parametrize("final", [0.0, 0.02])
def test_end_of_the_run_is_at_the_final_rate(mode, final):
    schedule = ScheduleSettings(mode=mode, lr=0.4, final_lr=final, warmup_epochs=1.5)
    assert learning_rate(schedule, EPOCHS, LENGTH, EPOCHS * LENGTH) == pytest.approx(final, abs=1e-15)


@pytest.mark.parametrize("mode", ["cosine", "poly"])
@pytest.mark.parametrize("warmup", [0, 0.5, 3])
def test_rate_falls_at_every_step_after_the_warmup_and_stays_above_its_end(mode, warmup):
    found = rates(mode=mode, lr=0.4, final_lr=0.01, warmup_epochs=warmup)[math.ceil(warmup * LENGTH) :]
    assert all(later < earlier for earlier, later in zip(found, found[1:]))
    assert 0.01 < found[-1] < 0.03


@pytest.mark.parametrize("power", [0.9, 1.0, 2.0])
def test_poly_is_a_power_of_what_is_left(power):
    found = rates(mode="poly", lr=0.4, final_lr=0.1, power=power, warmup_epochs=2)[2 * LENGTH :]
    total = len(found)
    assert found == pytest.approx([0.1 + 0.3 * (1 - k / total) ** power for k in range(total)], rel=1e-12)


def test_a_step_under_warmup_still_acts_after_it():
    found = rates(mode="step", lr=1.0, steps=[5], factor=0.5, warmup_epochs=2)
    assert found[2 * LENGTH : 5 * LENGTH] == [1.0] * 3 * LENGTH
    assert found[5 * LENGTH :] == [0.5] * 5 * LENGTH
