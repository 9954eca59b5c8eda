"""The moving average of the weights against its formula in plain arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.compat import mx, nn
from fusion.training.averaging import WeightAverage, build_average
from fusion.training.config import read_config

CPU, TWO = [mx.cpu()], [mx.cpu(0), mx.cpu(1)]


def network(ctx=CPU):
    net = nn.HybridSequential()
    net.add(nn.Dense(4, in_units=3), nn.BatchNorm(in_channels=4))
    net.initialize(mx.init.Normal(1.0), ctx=ctx)
    return net


def change(net, seed):
    """Give every parameter another value; running statistics another one on each device."""
    draw = np.random.default_rng(seed)
    for parameter in net._collect_params_with_prefix().values():
        values = draw.normal(size=(2, *parameter.shape))
        for device, array in enumerate(parameter.list_data()):
            array[:] = mx.nd.array(values[device if parameter.grad_req == "null" else 0])


def mean_values(net):
    return {
        name: np.mean([array.asnumpy() for array in parameter.list_data()], axis=0)
        for name, parameter in net._collect_params_with_prefix().items()
    }


def test_average_starts_as_the_parameters_and_is_a_copy():
    net = network()
    average, before = WeightAverage(net, 0.5), mean_values(net)
    change(net, 0)
    assert average.arrays().keys() == before.keys()
    for name, array in average.arrays().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("ctx", [CPU, TWO], ids=["one", "two"])
@pytest.mark.parametrize("decay", [0.3, 0.9])
def test_average_keeps_its_share_which_rises_to_the_decay(ctx, decay):
    net = network(ctx)
    average, expected = WeightAverage(net, decay), mean_values(net)
    for step in range(40):
        change(net, step)
        average.update(step)
        share = min(decay, (1 + step) / (10 + step))
        values = mean_values(net)
        expected = {name: share * expected[name] + (1 - share) * values[name] for name in expected}
    assert share == (decay if decay == 0.3 else 40 / 49)
    for name, array in average.arrays().items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-5, atol=1e-5)


def test_step_counts_and_not_the_calls():
    one, other = (WeightAverage(network(), 0.999) for _ in range(2))
    change_to = network()
    for average, step in ((one, 0), (other, 10_000)):
        average._parameters = change_to._collect_params_with_prefix()
        before = average.arrays()
        average.update(step)
        value = mean_values(change_to)["0.weight"]
        share = {0: 0.1, 10_000: 0.999}[step]
        expected = share * before["0.weight"] + (1 - share) * value
        np.testing.assert_allclose(average.arrays()["0.weight"], expected, rtol=1e-5, atol=1e-6)


def test_average_is_copied_to_a_network_on_all_its_devices():
    net, target = network(), network(TWO)
    average = WeightAverage(net, 0.5)
    change(net, 1)
    average.update(3)
    average.copy_to(target)
    for name, parameter in target._collect_params_with_prefix().items():
        for array in parameter.list_data():
            np.testing.assert_array_equal(array.asnumpy(), average.arrays()[name])


def test_loaded_average_goes_on_as_the_saved_to_the_bit():
    net = network()
    one, other = WeightAverage(net, 0.9), WeightAverage(net, 0.9)
    for step in range(3):
        change(net, step)
        one.update(step)
    other.load(one.arrays())
    change(net, 3)
    for average in (one, other):
        average.update(3)
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(array, other.arrays()[name])


def test_average_is_off_by_default():
    assert build_average(network(), read_config(None)) is None
    assert build_average(network(), read_config(None, ["train.ema_decay=0.99"])).decay == 0.99
