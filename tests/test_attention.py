"""MS-CAM, its branches and their pieces against float64 NumPy, and what they refuse."""

from __future__ import annotations

import numpy as np
import parity
import pytest

import fusion
from fusion.attention import MSCAM, GlobalContext, LocalContext, bottleneck_width, normalises_over_images
from fusion.compat import mx, nn
from fusion.operators import GlobalAveragePool, GroupNorm, as_equations, repeat_over_pixels

CHANNELS = 8
SIZES = [(1, 1), (1, 7), (5, 3), (4, 4), (7, 7), (9, 2)]


@pytest.fixture(params=["imperative", "hybridized"])
def compiled(request):
    return request.param == "hybridized"


def features(seed, *shape):
    return parity.features(seed, shape).astype(np.float64)


def prepared(block, compiled=False):
    """In float64 with weights that are neither zero nor one, and those by structural name."""
    parity.set_weights(block)
    block.cast("float64")
    block.hybridize(compiled)
    return block, {name: value.data().asnumpy() for name, value in parity.each_structural(block)}


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def convolve(weights, name, x):
    return np.einsum("oi,bihw->bohw", weights[f"{name}.weight"][:, :, 0, 0], x) + per_channel(weights[f"{name}.bias"])


def per_channel(values):
    return values.reshape(1, -1, 1, 1)


def batch_norm(weights, name, x, training):
    if training:
        mean, variance = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
    else:
        mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
    normal = (x - per_channel(mean)) / np.sqrt(per_channel(variance) + 1e-5)
    return normal * per_channel(weights[f"{name}.gamma"]) + per_channel(weights[f"{name}.beta"])


def group_norm(x, groups, gamma, beta):
    grouped = x.reshape(len(x), groups, -1)
    normal = (grouped - grouped.mean(axis=2, keepdims=True)) / np.sqrt(grouped.var(axis=2, keepdims=True) + 1e-5)
    return normal.reshape(x.shape) * per_channel(gamma) + per_channel(beta)


def bottleneck(weights, branch, first, x, training):
    """Convolution, batch norm, ReLU, convolution, batch norm: children `first` and on of a branch."""
    names = [f"{branch}.{first + position}" for position in (0, 1, 3, 4)]
    inner = batch_norm(weights, names[1], convolve(weights, names[0], x), training)
    return batch_norm(weights, names[3], convolve(weights, names[2], np.maximum(inner, 0)), training)


# --- MS-CAM ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("r", [1, 2, 4])
def test_ms_cam_is_equation_two(r, training, compiled):
    block, weights = prepared(MSCAM(CHANNELS, r), compiled)
    x = features(1, 5, CHANNELS, 3, 4)
    with mx.autograd.record(train_mode=training):
        found = block(parity.double(x)).asnumpy()
    local_logits = bottleneck(weights, "local_att", 0, x, training)
    global_logits = bottleneck(weights, "global_att", 1, x.mean(axis=(2, 3), keepdims=True), training)
    assert np.abs(local_logits).max() > 0.3 < np.abs(global_logits).max()
    np.testing.assert_allclose(found, x * sigmoid(local_logits + global_logits), rtol=1e-9, atol=1e-9)


def test_ms_cam_predicts_unless_it_records():
    block, weights = prepared(MSCAM(CHANNELS))
    x = features(1, 3, CHANNELS, 4, 4)
    first, second = (block(parity.double(x)).asnumpy() for _ in range(2))
    np.testing.assert_array_equal(first, second)
    after = {name: value.data().asnumpy() for name, value in parity.each_structural(block)}
    assert all((after[name] == weights[name]).all() for name in weights)


def test_ms_cam_by_name_takes_one_input():
    for name in ("mscam", "MSCAM", "MsCam"):
        assert type(fusion.get_fusion(name, CHANNELS)) is MSCAM is fusion.MSCAM
    assert "MSCAM" not in fusion.list_fusions()
    block = fusion.get_fusion("mscam", CHANNELS, r=2, norm="none")
    block.initialize()
    assert block(mx.nd.ones((2, CHANNELS, 3, 5))).shape == (2, CHANNELS, 3, 5)
    assert block.local_att[0].weight.shape == block.global_att[1].weight.shape == (4, CHANNELS, 1, 1)
    assert block.global_att.norm == "none"


def test_ms_cam_reduces_by_four_by_default():
    assert MSCAM(16).local_att[0].weight.shape == (4, 16, 1, 1)
    assert parity.named_shapes(fusion.get_fusion("mscam", 16)) == parity.named_shapes(MSCAM(16, r=4, norm="batch"))


def test_ms_cam_refuses_what_its_branches_cannot_have():
    with pytest.raises(ValueError, match="channels=6 is not divisible by r=4: choose r among 1, 2, 3, 6"):
        fusion.get_fusion("mscam", 6)
    with pytest.raises(ValueError, match="norm='instance': expected one of batch, group, layer, none"):
        fusion.get_fusion("mscam", 8, norm="instance")
    with pytest.raises(ValueError, match="channels=0"):
        fusion.get_fusion("mscam", 0)
    with pytest.raises(ValueError, match="'rr'.*'r'"):
        fusion.get_fusion("mscam", 8, rr=4)


# --- Branches --------------------------------------------------------------------------------------------------------


def test_local_branch_without_bottleneck_is_a_convolution_and_batch_norm(compiled):
    branch, weights = prepared(LocalContext(CHANNELS), compiled)
    x = features(1, 2, CHANNELS, 3, 4)
    expected = batch_norm(weights, "1", convolve(weights, "0", x), False)
    np.testing.assert_allclose(branch(parity.double(x)).asnumpy(), expected, rtol=1e-9, atol=1e-9)


def test_global_branch_without_bottleneck_is_the_same_of_the_mean(compiled):
    branch, weights = prepared(GlobalContext(CHANNELS), compiled)
    x = features(1, 2, CHANNELS, 3, 4)
    expected = batch_norm(weights, "2", convolve(weights, "1", x.mean(axis=(2, 3), keepdims=True)), False)
    np.testing.assert_allclose(branch(parity.double(x)).asnumpy(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("training", [False, True])
def test_global_branch_without_norm_is_two_convolutions(training, compiled):
    branch, weights = prepared(GlobalContext(CHANNELS, 2, norm="none", out_channels=6), compiled)
    x = features(1, 1, CHANNELS, 3, 4)
    with mx.autograd.record(train_mode=training):
        found = branch(parity.double(x)).asnumpy()
    inner = np.maximum(convolve(weights, "1", x.mean(axis=(2, 3), keepdims=True)), 0)
    assert found.shape == (1, 6, 1, 1)
    np.testing.assert_allclose(found, convolve(weights, "4", inner), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("training", [False, True])
def test_global_branch_with_group_norm_normalises_each_image(training, compiled):
    branch, weights = prepared(GlobalContext(32, 2, norm="group"), compiled)
    x = features(1, 3, 32, 3, 4)
    with mx.autograd.record(train_mode=training):
        found = branch(parity.double(x)).asnumpy()
    inner = convolve(weights, "1", x.mean(axis=(2, 3), keepdims=True))
    inner = np.maximum(group_norm(inner, 1, weights["2.gamma"], weights["2.beta"]), 0)
    expected = group_norm(convolve(weights, "4", inner), 2, weights["5.gamma"], weights["5.beta"])
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("training", [False, True])
def test_global_branch_with_layer_norm_normalises_all_channels_of_an_image(training, compiled):
    branch, weights = prepared(GlobalContext(32, 2, norm="layer"), compiled)
    x = features(1, 3, 32, 3, 4)
    with mx.autograd.record(train_mode=training):
        found = branch(parity.double(x)).asnumpy()
    inner = convolve(weights, "1", x.mean(axis=(2, 3), keepdims=True))
    inner = np.maximum(group_norm(inner, 1, weights["2.gamma"], weights["2.beta"]), 0)
    expected = group_norm(convolve(weights, "4", inner), 1, weights["5.gamma"], weights["5.beta"])
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9)


def test_unknown_norm_is_refused_by_those_known():
    with pytest.raises(ValueError, match="norm='instance': expected one of batch, group, layer, none"):
        GlobalContext(CHANNELS, norm="instance")


def test_network_normalises_over_images_where_a_block_deep_inside_does():
    outer, inner = nn.HybridSequential(), nn.HybridSequential()
    outer.add(nn.Conv2D(4, 1), inner)
    assert not normalises_over_images(outer)
    inner.add(nn.BatchNorm(), LocalContext(CHANNELS), GlobalContext(CHANNELS, norm="group"))
    assert normalises_over_images(outer) is False
    inner.add(MSCAM(CHANNELS))
    assert normalises_over_images(outer) is True


# --- Pieces ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_spread_repeats_the_vector_with_broadcasting_s_gradient(size):
    vector, like, head = features(1, 3, 4, 1, 1), features(2, 3, 4, *size), features(3, 3, 4, *size)
    gradients = []
    for repeat in (
        lambda v, m: repeat_over_pixels(mx.nd, v, m),
        lambda v, m: mx.nd.broadcast_add(v, mx.nd.zeros_like(m)),
    ):
        given = parity.double(vector)
        given.attach_grad()
        with mx.autograd.record():
            found = repeat(given, parity.double(like))
        found.backward(parity.double(head))
        np.testing.assert_array_equal(found.asnumpy(), np.broadcast_to(vector, like.shape))
        gradients.append(given.grad.asnumpy())
    np.testing.assert_allclose(gradients[0], head.sum(axis=(2, 3), keepdims=True), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(gradients[0], gradients[1], rtol=1e-10, atol=1e-10)


def test_spread_takes_nothing_but_the_shape_of_its_pattern():
    vector, like = parity.double(features(1, 2, 4, 1, 1)), parity.double(np.full((2, 4, 3, 3), np.nan))
    like.attach_grad()
    with mx.autograd.record():
        found = repeat_over_pixels(mx.nd, vector, like)
    found.backward()
    assert np.isfinite(found.asnumpy()).all()
    assert (like.grad.asnumpy() == 0).all()


def test_spread_is_half_precision_where_its_inputs_are():
    found = repeat_over_pixels(mx.sym, mx.sym.Variable("vector"), mx.sym.Variable("like"))
    assert found.infer_type(vector="float16", like="float16")[1] == [np.float16]
    assert found.infer_shape(vector=(2, 4, 1, 1), like=(2, 4, 3, 5))[1] == [(2, 4, 3, 5)]


@pytest.mark.parametrize("size", SIZES)
def test_pooled_features_are_the_mean_over_all_pixels(size, compiled):
    pool, x, head = GlobalAveragePool(), features(1, 3, 4, *size), features(2, 3, 4, 1, 1)
    pool.hybridize(compiled)
    given = parity.double(x)
    given.attach_grad()
    with mx.autograd.record():
        found = pool(given)
    found.backward(parity.double(head))
    assert found.shape == (3, 4, 1, 1)
    np.testing.assert_allclose(found.asnumpy(), x.mean(axis=(2, 3), keepdims=True), rtol=1e-10, atol=1e-10)
    expected = np.broadcast_to(head / (size[0] * size[1]), x.shape)
    np.testing.assert_allclose(given.grad.asnumpy(), expected, rtol=1e-10, atol=1e-12)


def test_pooling_runs_in_half_precision():
    found = GlobalAveragePool()(mx.nd.full((1, 2, 3, 5), 1.5, dtype="float16"))
    assert found.dtype == np.float16
    assert (found.asnumpy() == 1.5).all()


@pytest.mark.parametrize(
    ("channels", "groups"),
    [(2, 1), (6, 1), (7, 1), (4, 1), (12, 3), (8, 1), (24, 3), (16, 1), (20, 5), (32, 2), (48, 3), (64, 4)],
)
def test_group_norm_is_numpy_s_over_groups_of_sixteen_where_they_fit(channels, groups, compiled):
    block, weights = prepared(GroupNorm(channels), compiled)
    for x in (features(1, 3, channels, 1, 1), features(2, 2, channels, 5, 3)):
        expected = group_norm(x, groups, weights["gamma"], weights["beta"])
        np.testing.assert_allclose(block(parity.double(x)).asnumpy(), expected, rtol=1e-7, atol=1e-9)


def naive_group_norm(x, gamma, beta, groups):
    """As its equation reads, on arrays that record."""
    grouped = mx.nd.reshape(x, shape=(0, -4, groups, -1, -2)).reshape((0, 0, -1))
    centred = mx.nd.broadcast_sub(grouped, grouped.mean(axis=2, keepdims=True))
    deviation = mx.nd.sqrt((centred**2).mean(axis=2, keepdims=True) + 1e-5)
    normal = mx.nd.broadcast_div(centred, deviation).reshape((x.shape[0], x.shape[1], -1))
    scaled = mx.nd.broadcast_mul(normal, gamma.reshape((1, -1, 1)))
    return mx.nd.broadcast_add(scaled, beta.reshape((1, -1, 1))).reshape(x.shape)


@pytest.mark.parametrize("channels", [2, 7, 12, 32, 48])
@pytest.mark.parametrize("size", [(), (1, 1), (3,), (5, 3), (2, 3, 2)])
def test_group_norm_has_the_gradients_of_its_equation(channels, size, compiled):
    block, _ = prepared(GroupNorm(channels), compiled)
    pixels = int(np.prod(size))
    drawn = (features(seed, 3, channels, pixels, 1).reshape((3, channels, *size)) for seed in (1, 2))
    x, head = map(parity.double, drawn)
    x = x + 5  # a mean that matters
    groups = block._groups
    found, expected = [], []
    for gradients, norm in (
        (found, lambda x, gamma, beta: block(x)),
        (expected, lambda x, gamma, beta: naive_group_norm(x, gamma, beta, groups)),
    ):
        gamma, beta = block.gamma.data(), block.beta.data()
        x.attach_grad()
        with mx.autograd.record():
            output = norm(x, gamma, beta)
        output.backward(head)
        gradients += [output.asnumpy(), x.grad.asnumpy(), gamma.grad.asnumpy(), beta.grad.asnumpy()]
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-11)


def test_group_norm_is_exact_far_from_zero():
    block = GroupNorm(32)
    block.initialize()
    x = (1000 + features(1, 2, 32, 16, 16)).astype(np.float32)
    expected = group_norm(x.astype(np.float64), 2, np.ones(32), np.zeros(32))
    np.testing.assert_allclose(block(mx.nd.array(x)).asnumpy(), expected, atol=2e-3)


def test_group_norm_is_the_same_within_equations():
    block, _ = prepared(GroupNorm(32))
    x = parity.double(features(1, 2, 32, 3, 5))
    with as_equations():
        expected = block(x).asnumpy()
        assert "mean" in block(mx.sym.Variable("x")).tojson()
    assert "mean" not in block(mx.sym.Variable("x")).tojson()
    np.testing.assert_allclose(block(x).asnumpy(), expected, rtol=1e-10, atol=1e-10)


def test_group_norm_starts_as_normalisation_alone():
    block = GroupNorm(32)
    block.initialize(mx.init.Normal(5))
    found = block(mx.nd.array(features(1, 2, 32, 6, 6))).asnumpy().reshape(2, 2, -1)
    np.testing.assert_allclose(found.mean(axis=2), 0, atol=1e-5)
    np.testing.assert_allclose(found.var(axis=2), 1, rtol=1e-4)


def test_group_norm_is_the_same_in_training():
    block, _ = prepared(GroupNorm(32))
    x = parity.double(features(1, 2, 32, 3, 3))
    with mx.autograd.record():
        training = block(x).asnumpy()
    np.testing.assert_array_equal(training, block(x).asnumpy())


def test_group_norm_runs_in_half_precision():
    block = GroupNorm(32)
    block.initialize()
    x = features(1, 2, 32, 3, 3)
    expected = group_norm(x, 2, np.ones(32), np.zeros(32))
    block.cast("float16")
    found = block(mx.nd.array(x, dtype="float16"))
    assert found.dtype == np.float16
    np.testing.assert_allclose(found.asnumpy(), expected, atol=2e-2)


def test_group_norm_of_one_channel_is_refused():
    with pytest.raises(ValueError, match="group norm over 1 channel .* always 0: .*smaller r, or norm='none'"):
        GroupNorm(1)
    with pytest.raises(ValueError, match="group norm over 1 channel"):
        fusion.get_fusion("aff", 4, r=4, norm="group")


# --- The width of a bottleneck ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("channels", "r", "width"), [(64, 4, 16), (64, 16, 4), (8, 8, 1), (6, 1, 6), (6, 3, 2)])
def test_bottleneck_is_the_channels_over_r(channels, r, width):
    assert bottleneck_width(channels, r) == width


@pytest.mark.parametrize("value", [0, -4, True, False, "64", 4.0, None, [4]])
def test_sizes_that_are_no_count_are_refused_by_name(value):
    for name, sizes in (("channels", (value, 4)), ("r", (64, value))):
        with pytest.raises(ValueError) as caught:
            bottleneck_width(*sizes)
        assert str(caught.value) == f"{name}={value!r}: expected a positive integer"


def test_r_above_the_channels_is_refused():
    with pytest.raises(ValueError) as caught:
        bottleneck_width(8, 9)
    assert str(caught.value) == "r=9 leaves no channel of 8: choose r of at most 8"


@pytest.mark.parametrize(("channels", "r", "divisors"), [(20, 3, "1, 2, 4, 5, 10, 20"), (7, 2, "1, 7")])
def test_r_that_does_not_divide_is_refused_by_those_that_do(channels, r, divisors):
    with pytest.raises(ValueError) as caught:
        bottleneck_width(channels, r)
    assert str(caught.value) == f"channels={channels} is not divisible by r={r}: choose r among {divisors}"


@pytest.mark.parametrize("shape", [(2, 8), (2, 8, 3), (2, 8, 3, 3)])
def test_group_norm_of_any_rank(shape):
    block = GroupNorm(8)
    block.initialize()
    assert block(mx.nd.ones(shape)).shape == shape
