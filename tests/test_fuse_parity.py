"""Every fusion block against the original program's names, shapes, outputs, gradients and running statistics."""

from __future__ import annotations

import numpy as np
import parity
import pytest

import fusion
from fusion.compat import mx


@pytest.fixture(params=["imperative", "hybridized"])
def mode(request):
    return request.param


def prepared(name, mode):
    """A parity file's block in float64 with its weights, beside the file."""
    expected = parity.read(name)
    block = fusion.get_fusion(expected["name"], **expected["args"])
    parity.set_weights(block)
    block.cast("float64")
    if mode == "hybridized":
        block.hybridize(static_alloc=True, static_shape=True)
    inputs = [parity.double(parity.features(seed, tuple(expected["input_shape"]))) for seed in (1, 2)]
    return expected, block, inputs


#: Blocks of the scenarios, whose files are those of the networks and long skips that have them.
OF_SCENARIOS = {
    *("AsymBi", "BiGlobal", "BiLocal", "TopDownLocal"),
    *("GlobLocaAverage", "GlobLocaforGlobLocaAverage", "ConcatAFF"),
}


def test_a_parity_file_for_each_fusion():
    named = {parity.read(name)["name"] for name in parity.files("fusion")}
    assert named | OF_SCENARIOS == set(fusion.list_fusions())


@pytest.mark.parametrize("name", parity.files("fusion"))
def test_names_and_shapes(name):
    expected, block, _ = prepared(name, "imperative")
    assert parity.named_shapes(block) == expected["params"]


@pytest.mark.parametrize("name", parity.files("fusion"))
def test_predict(name, mode):
    expected, block, inputs = prepared(name, mode)
    parity.assert_sampled(block(*inputs).asnumpy(), expected["predict"], parity.OUTPUT_TOLERANCE, "predict")


@pytest.mark.parametrize("name", parity.files("fusion"))
def test_train_step(name, mode):
    expected, block, inputs = prepared(name, mode)
    for value in inputs:
        value.attach_grad()
    with mx.autograd.record():
        output = block(*inputs)
    output.backward(parity.double(parity.features(3, output.shape)))
    parity.assert_sampled(output.asnumpy(), expected["train"], parity.OUTPUT_TOLERANCE, "train")
    parity.assert_sampled(inputs[0].grad.asnumpy(), expected["grad_x"], parity.GRADIENT_TOLERANCE, "grad_x")
    parity.assert_sampled(
        inputs[1].grad.asnumpy(), expected["grad_residual"], parity.GRADIENT_TOLERANCE, "grad_residual"
    )
    parameters = dict(parity.each_structural(block))
    scale = max(expected["param_grads"].values(), default=0)
    found = {n: float(np.abs(parameters[n].grad().asnumpy()).sum()) for n in expected["param_grads"]}
    for n, value in expected["param_grads"].items():
        assert found[n] == pytest.approx(value, rel=parity.GRADIENT_TOLERANCE, abs=parity.GRADIENT_TOLERANCE * scale), n
    for n, value in expected["running_after_train"].items():
        assert float(np.abs(parameters[n].data().asnumpy()).sum()) == pytest.approx(value, rel=1e-7), n


@pytest.mark.parametrize("name", parity.files("fusion"))
def test_predict_in_float32(name, mode):
    expected = parity.read(name)
    block = fusion.get_fusion(expected["name"], **expected["args"])
    parity.set_weights(block)
    if mode == "hybridized":
        block.hybridize(static_alloc=True, static_shape=True)
    inputs = [mx.nd.array(parity.features(seed, tuple(expected["input_shape"]))) for seed in (1, 2)]
    parity.assert_sampled(block(*inputs).asnumpy(), expected["predict"], 1e-3, "predict")
