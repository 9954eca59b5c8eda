"""Gradient clipping: the length of the whole gradient, on one device and on several, and nothing below the limit."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.compat import mx, nn
from fusion.training.gradients import clip_gradients, update

CPU, TWO = [mx.cpu()], [mx.cpu(0), mx.cpu(1)]
RATE = 0.5


def network(ctx, seed=0):
    net = nn.HybridSequential()
    net.add(nn.Dense(5, in_units=3), nn.BatchNorm(in_channels=5), nn.Dense(2, in_units=5))
    mx.random.seed(seed)
    net.initialize(mx.init.Xavier(), ctx=ctx)
    return net


def moved(ctx, limit, images, scale=1.0):
    """How far a step of plain gradient descent moves each parameter on each device."""
    net = network(ctx)
    arguments = {"learning_rate": RATE, "momentum": 0.0, "wd": 0.0}
    trainer = mx.gluon.Trainer(net.collect_params(), "sgd", arguments, update_on_kvstore=False)
    trained = [parameter for parameter in net.collect_params().values() if parameter.grad_req != "null"]
    before = [[value.asnumpy() for value in parameter.list_data()] for parameter in trained]
    parts = mx.gluon.utils.split_and_load(mx.nd.array(images), ctx)
    with mx.autograd.record():
        losses = [scale * (net[2](net[0](part)) ** 2).sum() for part in parts]
    mx.autograd.backward(losses)
    update(trainer, len(images), limit, ignore_stale_grad=True)
    return [
        np.concatenate([(old[device] - parameter.list_data()[device].asnumpy()).ravel() for old, parameter in pairs])
        for device, pairs in ((device, list(zip(before, trained))) for device in range(len(ctx)))
    ]


@pytest.fixture
def images():
    return np.random.default_rng(1).normal(size=(8, 3)).astype(np.float32)


def test_long_gradient_is_shortened_to_the_limit_and_keeps_its_direction(images):
    (free,) = moved(CPU, 0, images)
    length = np.linalg.norm(free) / RATE
    for limit in (0.9 * length, 0.01 * length):
        (clipped,) = moved(CPU, limit, images)
        assert np.linalg.norm(clipped) / RATE == pytest.approx(limit, rel=1e-5)
        np.testing.assert_allclose(clipped, free * (limit / length), rtol=1e-4, atol=1e-7)


def test_short_gradient_is_left_as_it_is_to_the_bit(images):
    (free,) = moved(CPU, 0, images)
    (clipped,) = moved(CPU, 1.01 * np.linalg.norm(free) / RATE, images)
    np.testing.assert_array_equal(clipped, free)


def test_several_devices_clip_the_sum_of_their_gradients(images):
    """Each device's own gradient is below the limit or above it by another factor than the sum."""
    (one,) = moved(CPU, 0, images)
    limit = 0.3 * np.linalg.norm(one) / RATE
    (clipped,) = moved(CPU, limit, images)
    first, second = moved(TWO, limit, images)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, clipped, rtol=1e-4, atol=1e-7)


def test_limit_is_of_the_mean_over_the_batch(images):
    twice = np.concatenate([images, images])
    (free,) = moved(CPU, 0, images)
    limit = 0.3 * np.linalg.norm(free) / RATE
    np.testing.assert_allclose(moved(CPU, limit, twice)[0], moved(CPU, limit, images)[0], rtol=1e-4, atol=1e-7)


def test_gradient_of_zero_stays_zero(images):
    (still,) = moved(CPU, 0.1, images, scale=0.0)
    np.testing.assert_array_equal(still, 0)


def test_half_precision_gradients_are_measured_in_single_precision():
    """The square of 300 is more than float16 has."""
    half, single = (mx.gluon.Parameter(name, shape=(2,), dtype=name) for name in ("float16", "float32"))
    for parameter in (half, single):
        parameter.initialize(ctx=CPU)
        parameter.grad()[:] = 300
    clip_gradients([half, single], 6.0)
    for parameter in (half, single):
        assert parameter.grad().dtype == np.dtype(parameter.dtype)
        np.testing.assert_allclose(parameter.grad().asnumpy(), 3.0, rtol=1e-3)


def test_parameters_without_gradient_are_left_out(images):
    net = network(CPU)
    with mx.autograd.record():
        loss = net(mx.nd.array(images)).sum()
    loss.backward()
    clip_gradients(list(net.collect_params().values()), 0.5)
    trained = [p.grad().asnumpy().ravel() for p in net.collect_params().values() if p.grad_req != "null"]
    assert np.linalg.norm(np.concatenate(trained)) <= 0.5 * (1 + 1e-5)
