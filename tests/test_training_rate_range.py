"""The learning-rate range test: what it trains, when it ends, and what it suggests of losses whose shape is known."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.data import load_dataset
from fusion.data.imageset import ImageSet
from fusion.errors import ConfigError
from fusion.training import engine, rate_range
from fusion.training.config import read_config
from fusion.training.rate_range import RateRange, find_range, smooth

WORDS = (
    *("data.batch_size=8", "model.name=cifar_resnet", "model.fusion=add", "model.blocks=1", "model.channel_times=1"),
    *("augment.crop_padding=2", "schedule.lr=0.05", "train.epochs=2", "schedule.steps=[]"),
)


@pytest.fixture(autouse=True)
def few_digits(monkeypatch):
    whole = load_dataset("digits", "train")
    images = np.ascontiguousarray(whole.images[:40, ::2, ::2])
    data = ImageSet(images, whole.labels[:40], whole.classes, whole.title)
    monkeypatch.setattr(rate_range, "load_data", lambda settings: (data, data))
    monkeypatch.setattr(engine, "load_data", lambda settings: (data, data))


def settings_of(*words):
    return read_config(None, [*WORDS, *words])


def curve(losses, rates=None, blown_up=False, width=3.0):
    losses = np.asarray(losses, float)
    rates = np.geomspace(1e-4, 10, len(losses)) if rates is None else rates
    return RateRange("a net", rates, losses, smooth(losses, width), width, len(losses), blown_up)


# --- What it suggests -------------------------------------------------------------------------------------------------


def valley(count=200, noise=0.05):
    """A loss that falls from 2.3 to 1 around a rate of 0.01, is lowest at about 0.1, and explodes near 1."""
    exponents = np.linspace(-4, 0.5, count)
    fall = 2.3 - 1.3 / (1 + np.exp(-6 * (exponents + 2)))
    return 10**exponents, fall + np.exp(4 * exponents) + np.random.default_rng(0).normal(0, noise, count)


def test_rates_of_a_known_curve_are_found():
    rates, losses = valley()
    found = curve(losses, rates)
    assert found.has_fallen
    assert found.steepest == pytest.approx(0.01, rel=0.5)
    assert 0.05 < found.growing_from < 0.5


def test_noise_alone_suggests_nothing():
    for seed in range(20):
        losses = 2.3 + np.random.default_rng(seed).normal(0, 0.2, 200)
        found = curve(losses)
        assert found.steepest is None, seed
        assert found.growing_from is None, seed


def test_loss_that_still_falls_at_the_end_grows_nowhere():
    rates, losses = valley()
    half = rates < 0.02
    found = curve(losses[half], rates[half])
    assert found.steepest is not None
    assert found.growing_from is None
    rising = curve(np.linspace(1, 3, 100))
    assert rising.steepest is None


def test_smoothing_is_not_late_and_keeps_a_constant():
    step = np.repeat([2.0, 1.0], 50)
    assert smooth(step, 3)[49:51].mean() == pytest.approx(1.5)
    np.testing.assert_allclose(smooth(np.full(7, 0.3), 3), 0.3)


# --- What it trains ---------------------------------------------------------------------------------------------------


def test_steps_are_those_of_training_but_for_the_rate(monkeypatch):
    """With the rates of the range, `train` itself takes the same steps."""
    seen, taken, real = [], [], rate_range.take_step

    def spy(net, trainer, loss, batch, *rest):
        taken.append((trainer.learning_rate, batch.images.copy()))
        output = real(net, trainer, loss, batch, *rest)
        seen.append(float(output.losses[0].mean().asscalar()))
        return output

    monkeypatch.setattr(rate_range, "take_step", spy)
    found = find_range(settings_of(), 1e-4, 1e-2, 20)
    rates = np.geomspace(1e-4, 1e-2, 20)
    assert [rate for rate, _ in taken] == pytest.approx(list(rates))
    np.testing.assert_allclose(found.losses, seen, rtol=1e-6)
    expected = rate_range.build_parts(
        settings_of(), rate_range.task_of(settings_of()), rate_range.load_data(None)[0], rate_range.contexts("cpu")
    ).batches
    fed = [batch.images for epoch in (0, 1, 0, 1) for batch in expected.epoch(epoch)]
    assert len(fed) == len(taken) == 20
    assert all(np.array_equal(one, other) for one, (_, other) in zip(fed, taken))
    assert found.title == "cifar_resnet (add) on UCI digits"
    assert not found.blown_up


def test_it_ends_where_the_loss_explodes():
    found = find_range(settings_of(), 1e-3, 1e4, 40)
    assert found.blown_up
    assert len(found.losses) < 40
    assert len(found.rates) == len(found.smoothed) == len(found.losses)
    assert np.isfinite(found.losses).all()
    seen = [smooth(found.losses[:count], found.width) for count in range(1, len(found.losses) + 1)]
    exceeds = [part[-1] > rate_range.TIMES_BEST * part.min() for part in seen]
    assert not any(exceeds[:-1])  # it ends with the first one that does, or where the next loss is no number
    np.testing.assert_array_equal(seen[-1], found.smoothed)


@pytest.mark.parametrize(
    ("numbers", "words", "message"),
    [
        ((0.1, 0.1, 100), (), "expected two rates"),
        ((0.0, 0.1, 100), (), "--from 0 --to 0.1"),
        ((1e-4, float("nan"), 100), (), "--to nan"),
        ((1e-4, 1.0, 5), (), "--steps 5: expected from 20 to 2,000"),
        ((1e-4, 1.0, 50), ("runtime.distributed=dist_sync",), "the range test runs in one process"),
    ],
)
def test_impossible_numbers_are_refused(numbers, words, message):
    with pytest.raises(ConfigError, match=message):
        find_range(settings_of(*words), *numbers)
