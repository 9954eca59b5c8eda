"""Every network with an answer per pixel against the original's names, shapes, logits and input gradient."""

from __future__ import annotations

import parity
import pytest

import fusion
from fusion.compat import mx
from fusion.models.network import count_parameters

NAMES = parity.files("segmentation")


def build(expected):
    call = dict(expected["call"])
    return fusion.get_model(call.pop("family"), **call)


def test_the_files():
    assert len(NAMES) == 6
    assert {parity.read(name)["call"]["family"] for name in NAMES} == {"fpn", "unet"}


@pytest.mark.parametrize("name", NAMES)
def test_names_shapes_and_counts(name):
    expected = parity.read(name)
    net = build(expected)
    assert sorted(parity.named_shapes(net)) == sorted(expected["params"])
    assert count_parameters(net) == expected["trainable_params"]


@pytest.mark.parametrize("hybridized", [False, True], ids=["imperative", "hybridized"])
@pytest.mark.parametrize("name", NAMES)
def test_predict_and_train(name, hybridized):
    expected = parity.read(name)
    net = build(expected)
    parity.set_weights(net)
    net.cast("float64")
    if hybridized:
        net.hybridize(static_alloc=True, static_shape=True)
    x = parity.double(parity.features(11, tuple(expected["input_shape"])))
    predicted = net(x)
    assert list(predicted.shape) == expected["output_shape"]
    parity.assert_sampled(predicted.asnumpy(), expected["predict"], parity.OUTPUT_TOLERANCE, "predict")
    x.attach_grad()
    with mx.autograd.record():
        logits = net(x)
    logits.backward(parity.double(parity.features(12, logits.shape)))
    parity.assert_sampled(logits.asnumpy(), expected["train"], parity.OUTPUT_TOLERANCE, "train")
    parity.assert_sampled(x.grad.asnumpy(), expected["grad_input"], parity.GRADIENT_TOLERANCE, "grad_input")


@pytest.mark.parametrize("name", NAMES)
def test_predict_in_float32(name):
    expected = parity.read(name)
    net = build(expected)
    parity.set_weights(net)
    net.hybridize(static_alloc=True, static_shape=True)
    x = mx.nd.array(parity.features(11, tuple(expected["input_shape"])))
    parity.assert_sampled(net(x).asnumpy(), expected["predict"], 1e-3, "predict")
