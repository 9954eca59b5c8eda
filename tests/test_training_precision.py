"""Float16: what can be seen of it without a GPU, and float32 with a word about it on CPUs."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import numpy as np
import pytest

from fusion import get_model
from fusion.compat import mx, nn
from fusion.training.config import read_config
from fusion.training.precision import cast_network, input_dtype, training_dtype
from fusion.training.preparation import build_trainer, build_twin, copy_parameters, split_over, start_weights

CPU = [mx.cpu()]
HALF = read_config(None, ["train.dtype=float16", "model.name=cifar_resnet", "model.blocks=1", "model.channel_times=1"])
GPU = SimpleNamespace(device_type="gpu")


def network():
    return get_model("cifar_resnet", blocks=1, channel_times=1, classes=4)


def types(net):
    return {name: np.dtype(p.dtype).name for name, p in net._collect_params_with_prefix().items()}


@pytest.mark.parametrize(
    ("words", "devices", "expected"),
    [
        ([], [GPU], "float32"),
        (["train.dtype=float16"], [GPU, GPU], "float16"),
        (["train.dtype=float16"], CPU, "float32"),
        (["train.dtype=float16"], [GPU, mx.cpu()], "float32"),
    ],
)
def test_half_precision_is_for_gpus(words, devices, expected):
    assert training_dtype(read_config(None, words), devices) == expected


def test_run_on_a_cpu_says_that_it_is_in_single_precision(caplog):
    net = network()
    with caplog.at_level(logging.WARNING, logger="fusion"):
        start_weights(net, HALF, CPU)
    assert set(types(net).values()) == {"float32"}
    assert input_dtype(net) == "float32"
    (record,) = caplog.records
    assert "train.dtype is float16, which needs a GPU" in record.getMessage()
    assert "cpu" in record.getMessage()


def test_run_in_single_precision_says_nothing(caplog):
    with caplog.at_level(logging.WARNING, logger="fusion"):
        start_weights(network(), read_config(None), CPU)
    assert not caplog.records


def test_weights_and_inputs_are_half_and_batch_norm_is_single():
    net = network()
    net.initialize()
    cast_network(net, HALF, [GPU])
    assert input_dtype(net) == net.dtype == "float16"
    for name, dtype in types(net).items():
        is_norm = name.endswith(("gamma", "beta", "running_mean", "running_var"))
        assert dtype == ("float32" if is_norm else "float16"), name
    (images,) = split_over(CPU, np.ones((2, 3, 8, 8), np.float32), input_dtype(net))
    assert images.dtype == np.float16


def test_twin_stays_single_and_takes_half_parameters():
    net = network()
    net.initialize()
    cast_network(net, HALF, [GPU])
    twin = build_twin(net, HALF, CPU)
    copy_parameters(net, twin)
    assert set(types(twin).values()) == {"float32"}
    stored = net._collect_params_with_prefix()
    for name, parameter in twin._collect_params_with_prefix().items():
        np.testing.assert_array_equal(parameter.data().asnumpy(), stored[name].data().asnumpy().astype(np.float32))


def test_optimizer_moves_half_weights_by_steps_below_their_precision():
    """2000 steps of 1e-5 on a weight of 1, each of which float16 would round away."""
    layer = nn.Dense(1, in_units=1, use_bias=False)
    layer.classes = 1
    layer.initialize(mx.init.One())
    layer.cast("float16")
    words = ["schedule.lr=1e-5", "optimizer.momentum=0", "optimizer.weight_decay=0"]
    trainer = build_trainer(layer, read_config(None, words))
    for _ in range(2000):
        layer.weight.grad()[:] = 1
        layer.weight.data()._fresh_grad = True
        trainer.step(1)
    assert layer.weight.data().dtype == np.float16
    assert layer.weight.data().asscalar() == pytest.approx(0.98, abs=1e-3)
