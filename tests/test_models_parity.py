"""Every network against the original program's names, shapes, logits, loss and input gradient."""

from __future__ import annotations

import numpy as np
import parity
import pytest

import fusion
from fusion.compat import mx
from fusion.models.network import count_parameters

NAMES = parity.files("network")

#: With batch statistics over three images, this network multiplies rounding by 1e10 even in float64: the original's own
#: formula, operator by operator, is 1.9e-5 off its stored gradient here, and shifting the input by 1e-15 moves the
#: gradient by 1e-5. A wrong formula is off by the gradient itself.
GRADIENT_TOLERANCES = {"resnet50_iAFF": 1e-4}

#: `make test-long` has most of what is done with fifty layers, which takes some ten seconds each.
LARGE = pytest.mark.long
ALWAYS = "resnet50_ASKCFuse"
CASES = [
    pytest.param(
        name,
        hybridized,
        id=f"{name}-{'hybridized' if hybridized else 'imperative'}",
        marks=LARGE if "50" in name and (name, hybridized) != (ALWAYS, True) else [],
    )
    for name in NAMES
    for hybridized in (False, True)
]


def build(expected):
    call = dict(expected["call"])
    return fusion.get_model(call.pop("family"), **call)


def prepared(name, hybridized):
    expected = parity.read(name)
    net = build(expected)
    parity.set_weights(net)
    net.cast("float64")
    if hybridized:
        net.hybridize(static_alloc=True, static_shape=True)
    return expected, net, parity.double(parity.features(11, tuple(expected["input_shape"])))


def test_every_network_file_is_covered():
    assert len(NAMES) == 13
    assert {parity.read(name)["call"]["family"] for name in NAMES} == {
        "cifar_resnet",
        "cifar_resnext",
        "cifar_inception",
        "resnet",
        "resnext",
    }


@pytest.mark.parametrize("name", NAMES)
def test_names_shapes_and_counts(name):
    expected = parity.read(name)
    net = build(expected)
    assert parity.named_shapes(net) == expected["params"]
    assert count_parameters(net) == expected["trainable_params"]


@pytest.mark.parametrize(("name", "hybridized"), CASES)
def test_predict_and_train(name, hybridized):
    expected, net, x = prepared(name, hybridized)
    parity.assert_sampled(net(x).asnumpy(), expected["predict"], parity.OUTPUT_TOLERANCE, "predict")
    x.attach_grad()
    loss_function = mx.gluon.loss.SoftmaxCrossEntropyLoss()
    with mx.autograd.record():
        logits = net(x)
        loss = loss_function(logits, mx.nd.array(expected["labels"], dtype="float64"))
    loss.backward()
    parity.assert_sampled(logits.asnumpy(), expected["train_logits"], parity.OUTPUT_TOLERANCE, "train_logits")
    np.testing.assert_allclose(loss.asnumpy(), expected["loss"], rtol=1e-6)
    tolerance = GRADIENT_TOLERANCES.get(name, parity.GRADIENT_TOLERANCE)
    parity.assert_sampled(x.grad.asnumpy(), expected["grad_input"], tolerance, "grad_input")


@pytest.mark.parametrize("name", [pytest.param(name, marks=LARGE if "50" in name else []) for name in NAMES])
def test_predict_in_float32(name):
    expected = parity.read(name)
    net = build(expected)
    parity.set_weights(net)
    net.hybridize(static_alloc=True, static_shape=True)
    x = mx.nd.array(parity.features(11, tuple(expected["input_shape"])))
    parity.assert_sampled(net(x).asnumpy(), expected["predict"], 1e-3, "predict")
