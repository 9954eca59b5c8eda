"""Three inputs and more, other contexts and integrations, and the weights that blocks show."""

from __future__ import annotations

import numpy as np
import parity
import pytest
from test_features import answers, block_of, double, random_features, sigmoid

from fusion import get_model
from fusion.compat import mx
from fusion.errors import ConfigError
from fusion.explain.fusion_maps import fusion_maps
from fusion.explain.weight_log import watch_weights
from fusion.fuse import get_fusion, list_fusions
from fusion.several import PairwiseFusion, SoftmaxFusion
from fusion.weights import role_of

CHANNELS = 8
SHAPE = (3, CHANNELS, 5, 4)
#: Blocks whose weight selects, and whose attention looks at the sum.
SELECTING = [name for name in list_fusions() if role_of(get_fusion(name, 8)) == "selects"]


def maps(count):
    return [random_features(seed, *SHAPE) for seed in range(1, count + 1)]


def weights_of(block):
    return {name: p.data().asnumpy() for name, p in block._collect_params_with_prefix().items()}


# --- The softmax, by hand --------------------------------------------------------------------------------------------


def normalised(weights, prefix, value, training):
    gamma, beta, mean, variance = (
        weights[f"{prefix}.{key}"].reshape(1, -1, 1, 1) for key in ("gamma", "beta", "running_mean", "running_var")
    )
    if training:
        mean, variance = value.mean(axis=(0, 2, 3), keepdims=True), value.var(axis=(0, 2, 3), keepdims=True)
    return (value - mean) / np.sqrt(variance + 1e-5) * gamma + beta


def convolved(weights, prefix, value):
    bias = weights[f"{prefix}.bias"].reshape(1, -1, 1, 1)
    return np.einsum("oc,bchw->bohw", weights[f"{prefix}.weight"][:, :, 0, 0], value) + bias


def bottleneck(weights, name, first, value, training):
    """The branch L2 (first=0) or G2 (first=1, of means)."""
    value = value.mean(axis=(2, 3), keepdims=True) if first else value
    value = normalised(weights, f"{name}.{first + 1}", convolved(weights, f"{name}.{first}", value), training)
    value = convolved(weights, f"{name}.{first + 3}", np.maximum(value, 0))
    return normalised(weights, f"{name}.{first + 4}", value, training)


def shares(weights, looked_at, inputs, training, suffix=""):
    """The softmax over the inputs, (B, N, C, H, W)."""
    logits = bottleneck(weights, f"local_att{suffix}", 0, looked_at, training)
    logits = logits + bottleneck(weights, f"global_att{suffix}", 1, looked_at, training)
    logits = logits.reshape(logits.shape[0], inputs, -1, *logits.shape[2:])
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("hybridized", [False, True])
@pytest.mark.parametrize("integrate", ["sum", "concat"])
@pytest.mark.parametrize("inputs", [3, 4])
def test_aff_of_several_inputs_is_its_formula(inputs, integrate, hybridized, training):
    block = block_of("aff", inputs=inputs, integrate=integrate)
    arrays = maps(inputs)
    weights = weights_of(block)
    looked_at = sum(arrays) if integrate == "sum" else np.concatenate(arrays, axis=1)
    w = shares(weights, looked_at, inputs, training)
    expected = inputs * sum(w[:, number] * array for number, array in enumerate(arrays))
    found = answers(block, *arrays, training=training, hybridized=hybridized)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("training", [False, True])
def test_iaff_of_three_inputs_is_its_formula(training):
    block = block_of("iaff", inputs=3)
    arrays, weights = maps(3), weights_of(block)
    first = shares(weights, sum(arrays), 3, training)
    middle = sum(first[:, number] * array for number, array in enumerate(arrays))
    second = shares(weights, middle, 3, training, suffix="2")
    expected = sum(second[:, number] * array for number, array in enumerate(arrays))
    np.testing.assert_allclose(answers(block, *arrays, training=training)[0], expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", [*SELECTING, "add", "concat"])
def test_gradients_of_three_inputs_are_the_finite_differences(name):
    block, arrays = block_of(name, inputs=3), maps(3)
    _, gradients, _ = answers(block, *arrays)
    up = random_features(9, int(np.prod(SHAPE))).reshape(SHAPE)
    for number, gradient in enumerate(gradients):
        for place in (3, 77):
            step = np.zeros(SHAPE)
            step.ravel()[place] = 1e-5
            above, below = (
                (
                    block(*double(*arrays[:number], arrays[number] + sign * step, *arrays[number + 1 :])).asnumpy() * up
                ).sum()
                for sign in (1, -1)
            )
            assert gradient.ravel()[place] == pytest.approx((above - below) / 2e-5, rel=1e-4, abs=1e-6)


# --- Two inputs: the paper's block reparametrised --------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", [name for name in SELECTING if name != "SKFuse" and "Average" not in name])
def test_softmax_of_two_is_the_paper_s_block_where_the_second_logits_are_zero(name, training):
    two, block = block_of(name, iterate="joint"), block_of(name)
    assert isinstance(two, SoftmaxFusion)
    own, other = two._collect_params_with_prefix(), block._collect_params_with_prefix()
    for key, parameter in other.items():
        value = parameter.data().asnumpy()
        if own[key].shape != parameter.shape:  # the last layers of a branch: logits of x, then of y
            rest = np.zeros(parameter.shape) if "running_var" not in key else np.ones(parameter.shape)
            value = np.concatenate([value, rest])
        own[key].set_data(mx.nd.array(value, dtype="float64"))
    arrays = maps(2)
    found, expected = (answers(each, *arrays, training=training) for each in (two, block))
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-9, atol=1e-10)
    for mine, wanted in zip(found[1], expected[1]):
        np.testing.assert_allclose(mine, wanted, rtol=1e-7, atol=1e-9)


def test_any_softmax_of_two_is_an_aff_whose_logits_are_the_differences():
    two, block = block_of("aff", iterate="joint"), block_of("aff")
    own, other = weights_of(two), block._collect_params_with_prefix()
    arrays = maps(2)
    for branch, conv, norm in (("local_att", 3, 4), ("global_att", 4, 5)):
        gamma, beta, mean, variance = (
            own[f"{branch}.{norm}.{key}"].reshape(2, -1) for key in ("gamma", "beta", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(variance + 1e-5)
        weight = own[f"{branch}.{conv}.weight"].reshape(2, CHANNELS, -1) * scale[:, :, None]
        bias = (own[f"{branch}.{conv}.bias"].reshape(2, -1) - mean) * scale + beta
        ones = np.full(CHANNELS, np.sqrt(1 + 1e-5))
        for key, value in {
            f"{branch}.{conv}.weight": (weight[0] - weight[1])[:, :, None, None],
            f"{branch}.{conv}.bias": bias[0] - bias[1],
            f"{branch}.{norm}.gamma": ones,
            f"{branch}.{norm}.beta": np.zeros(CHANNELS),
            f"{branch}.{norm}.running_mean": np.zeros(CHANNELS),
            f"{branch}.{norm}.running_var": np.ones(CHANNELS),
        }.items():
            other[key].set_data(mx.nd.array(value, dtype="float64"))
        for key in own:
            if key.startswith(branch) and own[key].shape == other[key].shape:
                other[key].set_data(mx.nd.array(own[key], dtype="float64"))
    np.testing.assert_allclose(answers(two, *arrays)[0], answers(block, *arrays)[0], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("training", [False, True])
def test_selective_kernels_are_the_softmax_of_two(training):
    arrays = maps(2)
    two, block = block_of("sk", iterate="joint"), block_of("sk")
    assert parity.named_shapes(two) == parity.named_shapes(block)
    found, expected = (answers(each, *arrays, training=training)[0] for each in (two, block))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)


# --- Pairs and sums --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list_fusions())
def test_pairs_are_fused_one_after_the_other(name):
    block, arrays = block_of(name, inputs=3, iterate="pairwise"), maps(3)
    assert isinstance(block, PairwiseFusion)
    expected = block.fuse2(block.fuse1(*double(*arrays[:2])), *double(arrays[2])).asnumpy()
    np.testing.assert_allclose(answers(block, *arrays)[0], expected, rtol=1e-9, atol=1e-10)
    assert type(block.fuse1) is type(get_fusion(name, CHANNELS))


def test_one_pair_is_the_block_itself():
    assert type(get_fusion("aff", 8, iterate="pairwise")) is type(get_fusion("aff", 8))


def test_sum_and_concatenation_of_four():
    arrays = maps(4)
    np.testing.assert_allclose(answers(block_of("add", inputs=4), *arrays)[0], sum(arrays), rtol=1e-10)
    block = block_of("concat", inputs=4)
    weights = weights_of(block)
    both = normalised(weights, "fuse.0", np.concatenate(arrays, axis=1), False)
    np.testing.assert_allclose(answers(block, *arrays)[0], convolved(weights, "fuse.1", both), rtol=1e-7, atol=1e-9)


def test_three_levels_of_other_channels_and_sizes():
    block = block_of("aff", inputs=3, in_channels=(8, 16, 24), resize="bilinear")
    arrays = [random_features(s, 2, c, h, w) for s, c, h, w in ((1, 8, 9, 7), (2, 16, 5, 4), (3, 24, 3, 2))]
    found, gradients, _ = answers(block, *arrays, training=True, hybridized=True)
    assert found.shape == arrays[0].shape
    assert [*block._children] == ["feature2", "feature3", "local_att", "global_att"]
    assert all(np.abs(gradient).max() > 1e-3 for gradient in gradients)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("se", {"inputs": 3}, "SEFuse does not select among its inputs.*iterate='pairwise'"),
        ("AsymBi", {"inputs": 3}, "AsymBi does not select"),
        ("aff", {"inputs": 1}, "inputs=1: expected an integer of at least 2"),
        ("aff", {"inputs": True}, "inputs=True"),
        ("aff", {"inputs": 3, "iterate": "twice"}, "iterate='twice': expected one of joint, pairwise"),
        ("aff", {"inputs": 3, "in_channels": (8, 8)}, "expected 3 numbers"),
        ("mscam", {"inputs": 3}, "MSCAM has no parameter 'inputs'"),
    ],
)
def test_what_several_inputs_cannot_be(name, arguments, said):
    with pytest.raises(ValueError, match=said):
        get_fusion(name, 8, **arguments)


# --- Contexts and the first integration ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("contexts", "name"), [(("local", "local"), "ResLocaLocaCha"), (("global", "global"), "ResGlobGlobCha")]
)
def test_contexts_of_aff_are_the_ablation(contexts, name):
    own, other = block_of("aff", contexts=contexts), block_of(name)
    assert parity.named_shapes(own) == parity.named_shapes(other)
    np.testing.assert_allclose(answers(own, *maps(2))[0], answers(other, *maps(2))[0], rtol=1e-10)


@pytest.mark.parametrize("name", ["aff", "iaff", "AXYforXY", "ResGlobLocaCha"])
@pytest.mark.parametrize("context", ["local", "global"])
def test_one_context_has_its_own_branch_alone(name, context):
    block = get_fusion(name, CHANNELS, contexts=(context,))
    assert {child.rstrip("2") for child in block._children} == {f"{context}_att"}
    assert len(block._children) == (2 if name == "iaff" else 1)
    parity.set_weights(block)
    whole = get_fusion(name, CHANNELS)
    parity.set_weights(whole)
    for key, branch in whole._children.items():  # silence the other branch
        if not key.startswith(context):
            last = branch[len(branch) - 1]
            last.gamma.set_data(mx.nd.zeros(last.gamma.shape))
            last.beta.set_data(mx.nd.zeros(last.beta.shape))
    for each in (block, whole):
        each.cast("float64")
    np.testing.assert_allclose(answers(block, *maps(2))[0], answers(whole, *maps(2))[0], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("training", [False, True])
def test_concatenation_first_is_its_formula(training):
    block, (x, y) = block_of("aff", integrate="concat"), maps(2)
    weights = weights_of(block)
    assert weights["local_att.0.weight"].shape == (2, 2 * CHANNELS, 1, 1)
    both = np.concatenate([x, y], axis=1)
    logits = bottleneck(weights, "local_att", 0, both, training) + bottleneck(weights, "global_att", 1, both, training)
    w = sigmoid(logits)
    found = answers(block, x, y, training=training)[0]
    np.testing.assert_allclose(found, 2 * x * w + 2 * y * (1 - w), rtol=1e-8, atol=1e-9)


def test_only_the_first_pass_looks_at_the_concatenation():
    shapes = dict(
        map(tuple, ((n, tuple(s)) for n, s in parity.named_shapes(get_fusion("iaff", 8, integrate="concat"))))
    )
    assert shapes["local_att.0.weight"] == (2, 16, 1, 1)
    assert shapes["local_att2.0.weight"] == (2, 8, 1, 1)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("aff", {"contexts": "local"}, "contexts='local': expected one of"),
        ("aff", {"contexts": ("global", "local", "local")}, "expected one of"),
        ("se", {"contexts": ("local",)}, "SEFuse has one context by its definition"),
        ("add", {"contexts": ("local",)}, "DirectAdd has no parameter 'contexts'"),
        ("aff", {"integrate": "product"}, "integrate='product': expected one of sum, concat"),
        ("se", {"integrate": "concat"}, "SEFuse does not look at the sum"),
        ("AsymBi", {"integrate": "concat"}, "AsymBi has no parameter 'integrate'"),
    ],
)
def test_what_a_block_cannot_look_at(name, arguments, said):
    with pytest.raises(ValueError, match=said):
        get_fusion(name, 8, **arguments)


# --- Weights out -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hybridized", [False, True])
@pytest.mark.parametrize("name", list_fusions()[2:])
def test_weights_are_what_makes_the_output(name, hybridized):
    block, (x, y) = block_of(name), maps(2)
    block.hybridize(hybridized)
    found = [w.asnumpy() for w in block.weights(*double(x, y))]
    kinds = block.weight_kinds()
    assert len(found) == len(kinds)
    assert all(w.shape == SHAPE and (w > 0).all() and (w < 1).all() for w in found)
    output = block(*double(x, y)).asnumpy()
    if len(kinds) == 2 and kinds[0].title == "of y":
        expected = 2 * found[0] * y + 2 * found[1] * x
    else:
        expected = kinds[-1].combination(x, y, found[-1])
    np.testing.assert_allclose(output, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("ndim", "size"), [(0, ()), (1, (6,)), (3, (2, 3, 4))])
def test_weights_have_the_shape_of_the_output(ndim, size):
    block = block_of("iaff", ndim=ndim)
    x, y = (random_features(seed, 2, CHANNELS, *size) for seed in (1, 2))
    assert [w.shape for w in block.weights(*double(x, y))] == [x.shape] * 2


def test_weights_of_three_inputs_add_up_to_one():
    block = block_of("aff", inputs=3)
    assert [kind.title for kind in block.weight_kinds()] == ["of input 1", "of input 2", "of input 3"]
    found = [w.asnumpy() for w in block.weights(*double(*maps(3)))]
    np.testing.assert_allclose(sum(found), 1, rtol=1e-9)
    np.testing.assert_allclose(
        block(*double(*maps(3))).asnumpy(), 3 * sum(w * x for w, x in zip(found, maps(3))), rtol=1e-7, atol=1e-9
    )


def test_recorded_weights_have_gradients_and_use_the_batch():
    block, (x, y) = block_of("aff"), double(*maps(2))
    x.attach_grad()
    with mx.autograd.record():
        (w,) = block.weights(x, y)
    w.backward()
    assert np.abs(x.grad.asnumpy()).max() > 1e-6
    assert not np.allclose(w.asnumpy(), block.weights(x, y)[0].asnumpy())  # batch statistics against running ones


def small(**changes):
    net = get_model("cifar_resnet", **{"blocks": 1, "channel_times": 1, "classes": 5, "fusion": "iaff", **changes})
    net.initialize()
    return net


def images(count=2):
    return mx.nd.array(random_features(3, count, 3, 16, 16))


@pytest.mark.parametrize("compiled", [None, {}, {"static_alloc": True, "static_shape": True}])
def test_training_is_logged_every_so_many_batches(compiled):
    net, seen = small(), []
    if compiled is not None:
        net.hybridize(**compiled)
    handle = watch_weights(net, lambda number, means: seen.append((number, means)), every=2, images=2)
    trainer = mx.gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
    for _ in range(3):
        with mx.autograd.record():
            loss = net(images(4)).sum()
        loss.backward()
        trainer.step(4)
        net(images(4))  # an evaluation, which does not count
    assert [number for number, _ in seen] == [0, 2]
    expected = {f"{found.place.name}, {found.kind.title}": found.mean.mean() for found in fusion_maps(net, images(2))}
    assert seen[-1][1].keys() == expected.keys()
    assert seen[0][1] != seen[1][1]
    handle.detach()
    with mx.autograd.record():
        net(images(4))
    assert len(seen) == 2


def test_logging_changes_no_step():
    results = []
    for watched in (False, True):
        mx.random.seed(0)
        net = small()
        net.hybridize()
        if watched:
            watch_weights(net, lambda number, means: None, every=1, images=1)
        with mx.autograd.record():
            loss = net(images(4)).sum()
        loss.backward()
        results.append([p.grad().asnumpy() for p in net.collect_params().values() if p.grad_req != "null"])
        results[-1] += [p.data().asnumpy() for p in net.collect_params().values() if p.grad_req == "null"]
    for one, other in zip(*results):
        np.testing.assert_array_equal(one, other)


def test_logging_needs_weights_and_positive_numbers():
    with pytest.raises(ConfigError, match="no weight to show"):
        watch_weights(small(fusion="add"), print)
    with pytest.raises(ConfigError, match="every=0"):
        watch_weights(small(), print, every=0)


def test_maps_of_a_crossed_block_say_which_input():
    net = small(fusion="AsymBi")
    found = fusion_maps(net, images())
    assert [one.title for one in found[:2]] == ["stage 1, block 1, of y", "stage 1, block 1, of x"]
    assert [one.role for one in found[:2]] == ["gates y", "gates x"]
