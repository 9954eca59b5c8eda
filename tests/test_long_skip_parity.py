"""Every join of a long skip against the original's names, shapes, outputs, gradients and running statistics."""

from __future__ import annotations

import numpy as np
import parity
import pytest

import fusion
from fusion.compat import mx

NAMES = parity.files("long_skip")


def prepared(name, hybridized):
    """A parity file's join in float64 with its weights, beside the file and its inputs."""
    expected = parity.read(name)
    join = fusion.get_long_skip(**expected["call"])
    parity.set_weights(join)
    join.cast("float64")
    if hybridized:
        join.hybridize(static_alloc=True, static_shape=True)
    high = parity.double(parity.features(1, tuple(expected["high_shape"])))
    low = parity.double(parity.features(2, tuple(expected["low_shape"])))
    return expected, join, high, low


def test_the_files():
    assert len(NAMES) == 15
    named = {parity.read(name)["call"]["fusion"] for name in NAMES}
    assert {"AsymBi", "BiLocal", "BiGlobal", "TopDownLocal", "ASKCFuse", "Concat", "DirectAdd"} <= named


@pytest.mark.parametrize("name", NAMES)
def test_names_and_shapes(name):
    expected = parity.read(name)
    join = fusion.get_long_skip(**expected["call"])
    assert sorted(parity.named_shapes(join)) == sorted(expected["params"])


@pytest.mark.parametrize("hybridized", [False, True], ids=["imperative", "hybridized"])
@pytest.mark.parametrize("name", NAMES)
def test_predict_and_train(name, hybridized):
    expected, join, high, low = prepared(name, hybridized)
    parity.assert_sampled(join(high, low).asnumpy(), expected["predict"], parity.OUTPUT_TOLERANCE, "predict")
    high.attach_grad()
    low.attach_grad()
    with mx.autograd.record():
        output = join(high, low)
    output.backward(parity.double(parity.features(3, output.shape)))
    parity.assert_sampled(output.asnumpy(), expected["train"], parity.OUTPUT_TOLERANCE, "train")
    for what, value in (("grad_high", high), ("grad_low", low)):
        parity.assert_sampled(value.grad.asnumpy(), expected[what], parity.GRADIENT_TOLERANCE, what)
    parameters = dict(parity.each_structural(join))
    scale = max(expected["param_grads"].values())
    for key, value in expected["param_grads"].items():
        found = float(np.abs(parameters[key].grad().asnumpy()).sum())
        tolerance = parity.GRADIENT_TOLERANCE
        assert found == pytest.approx(value, rel=tolerance, abs=tolerance * scale), key
    for key, value in expected["running_after_train"].items():
        assert float(np.abs(parameters[key].data().asnumpy()).sum()) == pytest.approx(value, rel=1e-7), key


@pytest.mark.parametrize("name", NAMES)
def test_predict_in_float32(name):
    expected = parity.read(name)
    join = fusion.get_long_skip(**expected["call"])
    parity.set_weights(join)
    join.hybridize(static_alloc=True, static_shape=True)
    high = mx.nd.array(parity.features(1, tuple(expected["high_shape"])))
    low = mx.nd.array(parity.features(2, tuple(expected["low_shape"])))
    parity.assert_sampled(join(high, low).asnumpy(), expected["predict"], 1e-3, "predict")
