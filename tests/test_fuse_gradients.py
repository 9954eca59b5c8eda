"""Gradients of every block in users' networks: plain and hybrid, compiled in each way, an input without gradient.

MXNet's own operators fail here in two ways: `w * x + y` in a compiled graph dies in backward where x wants no gradient,
and `x + y` compiled with `static_alloc=True` gives y a wrong gradient, silently, where x wants none.
"""

from __future__ import annotations

import numpy as np
import parity
import pytest

from fusion.compat import HybridBlock, mx
from fusion.fuse import get_fusion, list_fusions

CHANNELS = 8
SHAPE = (3, CHANNELS, 5, 4)


class PlainParent(mx.gluon.Block):
    """A network of a user that cannot be compiled as a whole."""

    def __init__(self, fuse):
        super().__init__()
        self.fuse = fuse

    def forward(self, *features):
        return self.fuse(*features)


class HybridParent(HybridBlock):
    """A network of a user that is compiled as a whole."""

    def __init__(self, fuse):
        super().__init__()
        self.fuse = fuse

    def hybrid_forward(self, F, x, *others):
        return self.fuse(x, *others)


def gradients(parent, make, inputs, frozen=None, compiled=None):
    """Gradients of the inputs, None for the frozen one, and of the parameters, of two steps with the same values."""
    block = make()
    parity.set_weights(block)
    net = parent(block)
    if compiled is not None:
        net.hybridize(**compiled)
    arrays = [mx.nd.array(parity.features(seed, SHAPE)) for seed in range(1, inputs + 1)]
    for number, array in enumerate(arrays):
        if number != frozen:
            array.attach_grad()
    up = mx.nd.array(parity.features(9, SHAPE))
    for _ in range(2):  # the second step reuses the memory of the first
        with mx.autograd.record():
            output = net(*arrays)
        output.backward(up)
    found = {f"input {number + 1}": a.grad.asnumpy() for number, a in enumerate(arrays) if number != frozen}
    for name, parameter in block._collect_params_with_prefix().items():
        if parameter.grad_req != "null":
            found[name] = parameter.grad().asnumpy()
    return found


COMPILED = {"compiled": {}, "static": {"static_alloc": True, "static_shape": True}}
MAKERS = {
    **{name: (lambda name=name: get_fusion(name, CHANNELS), 2) for name in list_fusions()},
    **{
        f"{name} of 3": (lambda name=name: get_fusion(name, CHANNELS, inputs=3), 3)
        for name in ("add", "concat", "aff", "iaff", "sk")
    },
    "aff of 3 in pairs": (lambda: get_fusion("aff", CHANNELS, inputs=3, iterate="pairwise"), 3),
    "aff by concatenation": (lambda: get_fusion("aff", CHANNELS, integrate="concat"), 2),
    "aff, local": (lambda: get_fusion("aff", CHANNELS, contexts=("local",)), 2),
}


@pytest.mark.parametrize("mode", list(COMPILED))
@pytest.mark.parametrize("parent", [PlainParent, HybridParent])
@pytest.mark.parametrize("name", list(MAKERS))
def test_an_input_without_gradient_changes_no_other_gradient(name, parent, mode):
    make, inputs = MAKERS[name]
    expected = gradients(PlainParent, make, inputs)
    for frozen in (None, *range(inputs)):
        found = gradients(parent, make, inputs, frozen, COMPILED[mode])
        assert found.keys() == expected.keys() - {f"input {frozen + 1}" if frozen is not None else None}
        for key, value in found.items():
            scale = max(np.abs(expected[key]).max(), 1e-2)
            np.testing.assert_allclose(value / scale, expected[key] / scale, atol=1e-3, err_msg=f"{key}, {frozen}")
