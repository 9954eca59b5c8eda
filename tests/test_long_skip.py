"""The join of a long skip connection: names, both gradients, every fusion, what is refused."""

from __future__ import annotations

import numpy as np
import parity
import pytest

import fusion
from fusion import get_long_skip, list_fusions
from fusion.compat import HybridBlock, mx, nn
from fusion.places import fusion_places, walk


def features(seed, channels, height=5, width=7):
    return mx.nd.array(parity.features(seed, (3, channels, height, width)))


@pytest.mark.parametrize("hybridized", [False, True], ids=["imperative", "hybridized"])
@pytest.mark.parametrize("reduce", [False, True], ids=["plain", "reduce"])
@pytest.mark.parametrize("name", list_fusions())
def test_every_fusion_joins_and_both_inputs_get_a_gradient(name, reduce, hybridized):
    join = get_long_skip(name, channels=8, high_channels=12 if reduce else None, reduce=reduce)
    parity.set_weights(join)
    if hybridized:
        join.hybridize(static_alloc=True, static_shape=True)
    for height, width in ((4, 6), (5, 7)):
        high, low = features(1, 12 if reduce else 8, height, width), features(2, 8, height, width)
        for value in (high, low):
            value.attach_grad()
        with mx.autograd.record():
            output = join(high, low)
        output.backward(features(3, 8, height, width))
        assert output.shape == low.shape
        assert all(float(np.abs(value.grad.asnumpy()).max()) > 1e-3 for value in (high, low))


@pytest.mark.parametrize("frozen", ["high", "low"])
@pytest.mark.parametrize("name", ["add", "aff", "iaff", "se", "AsymBi"])
def test_an_input_that_wants_no_gradient_is_left_alone(name, frozen):
    join = get_long_skip(name, channels=8, high_channels=12)
    parity.set_weights(join)
    join.hybridize(static_alloc=True, static_shape=True)
    inputs = {"high": features(1, 12), "low": features(2, 8)}
    other = next(value for key, value in inputs.items() if key != frozen)
    other.attach_grad()
    with mx.autograd.record():
        output = join(inputs["high"], inputs["low"])
    output.backward()
    assert float(np.abs(other.grad.asnumpy()).max()) > 1e-3


def test_high_level_is_x_and_low_level_is_y():
    join = get_long_skip("AYforXplusY", channels=8, reduce=False)
    parity.set_weights(join)
    high, low = features(1, 8), features(2, 8)
    np.testing.assert_array_equal(join(high, low).asnumpy(), join.post(join.fusion(high, low)).asnumpy())
    assert np.abs(join(high, low).asnumpy() - join(low, high).asnumpy()).max() > 0.1


def test_concat_is_the_concatenation_that_post_brings_back():
    join = get_long_skip("concat", channels=4, high_channels=6)
    assert [name for name in join._collect_params_with_prefix() if "fus" in name] == []
    assert join.post[0].weight.shape == (4, 8, 3, 3)


def test_reduction_and_norm_reach_the_fusion():
    join = get_long_skip("aff", channels=32, high_channels=64, r=8, norm="group")
    assert join.fusion.local_att[0].weight.shape[0] == 4
    assert join.fusion.global_att.norm == "group"


# --- Names -----------------------------------------------------------------------------------------------------------


class Holder(HybridBlock):
    """A network of a user's own, with a join somewhere in it."""

    def __init__(self):
        super().__init__()
        self.joins = nn.HybridSequential()
        self.joins.add(get_long_skip("aff", channels=8))

    def hybrid_forward(self, F, high, low):
        return self.joins[0](high, low)


def test_parameters_of_a_join_inside_a_network_are_saved_and_loaded_by_name(tmp_path):
    net, other = Holder(), Holder()
    parity.set_weights(net)
    names = set(net._collect_params_with_prefix())
    assert {"joins.0.local_att.0.weight", "joins.0.feature_high.0.weight", "joins.0.post.1.gamma"} <= names
    assert len(names) == len({*net.collect_params().values()})
    net.save_parameters(str(tmp_path / "net.params"))
    other.load_parameters(str(tmp_path / "net.params"))
    high, low = features(1, 8), features(2, 8)
    np.testing.assert_array_equal(net(high, low).asnumpy(), other(high, low).asnumpy())


def test_fusion_block_of_a_join_is_found():
    net = Holder()
    assert [(place.name, type(place.block).__name__) for place in fusion_places(net)] == [
        ("joins.0.fusion", "ASKCFuse")
    ]
    named = dict(walk(net))
    assert named["joins.0.local_att.0"] is net.joins[0].fusion.local_att[0]
    parameters = {f"{name}.weight" for name, block in named.items() if isinstance(block, nn.Conv2D)}
    assert parameters <= set(net._collect_params_with_prefix())


# --- What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("affe", 8), "no fusion block is named 'affe'"),
        (("mscam", 8), "MS-CAM takes a single input"),
        (("aff", 0), "channels=0: expected a positive integer"),
        (("aff", 8, 0), "high_channels=0: expected a positive integer"),
        (("aff", 8, True), "high_channels=True: expected a positive integer"),
        (("aff", 8, 16, False), "high_channels=16 and channels=8: with reduce=False"),
    ],
)
def test_impossible_join_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        fusion.get_long_skip(*arguments)


@pytest.mark.parametrize("option", [{"ndim": 1}, {"inputs": 3}, {"in_channels": (8, 8)}, {"resize": "nearest"}])
def test_what_a_long_skip_settles_itself_is_refused(option):
    with pytest.raises(ValueError, match="a long skip joins two maps of one size"):
        get_long_skip("aff", 8, **option)


def test_levels_of_other_sizes_are_refused():
    join = get_long_skip("aff", 8)
    join.initialize()
    with pytest.raises(ValueError, match="expected one size"):
        join(features(1, 8, 4, 4), features(2, 8, 8, 8))


def test_impossible_options_are_refused_as_by_get_fusion():
    with pytest.raises(ValueError, match="channels=8 is not divisible by r=3"):
        get_long_skip("aff", 8, r=3)
    with pytest.raises(ValueError, match="norm='x': expected one of"):
        get_long_skip("aff", 8, norm="x")
