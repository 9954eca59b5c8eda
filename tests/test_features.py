"""Features of any number of dimensions, of unequal channels and sizes: what blocks make of them, and refuse."""

from __future__ import annotations

import itertools

import numpy as np
import parity
import pytest

import fusion
from fusion.compat import HybridBlock, mx
from fusion.features import FeatureBlock, projection
from fusion.fuse import get_fusion, list_fusions

CHANNELS = 8
#: The sizes of features after batch and channels, by `ndim`.
SIZES = {0: (), 1: (7,), 2: (5, 4), 3: (3, 4, 5)}


def block_of(name, channels=CHANNELS, **arguments):
    """A block in float64 with weights that are neither zero nor one."""
    block = get_fusion(name, channels, **arguments)
    parity.set_weights(block)
    block.cast("float64")
    return block


def random_features(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def double(*arrays):
    return [mx.nd.array(array, dtype="float64") for array in arrays]


def answers(block, *arrays, training=False, hybridized=False):
    """The output, and the gradients by each input and each parameter under a fixed output gradient."""
    block.hybridize(hybridized, static_alloc=True, static_shape=True)
    inputs = double(*arrays)
    for one in inputs:
        one.attach_grad()
    with mx.autograd.record(train_mode=training):
        output = block(*inputs)
    up = mx.nd.array(random_features(9, output.size).reshape(output.shape), dtype="float64")
    output.backward(up, train_mode=training)
    parameters = {
        name: parameter.grad().asnumpy()
        for name, parameter in block._collect_params_with_prefix().items()
        if parameter.grad_req != "null"
    }
    return output.asnumpy(), [one.grad.asnumpy() for one in inputs], parameters


# --- Dimensions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hybridized", [False, True])
@pytest.mark.parametrize("name", list_fusions())
def test_one_dimension_is_a_map_of_one_column_with_the_same_weights(name, hybridized):
    x, y = random_features(1, 3, CHANNELS, 6), random_features(2, 3, CHANNELS, 6)
    line = answers(block_of(name, ndim=1), x, y, training=True, hybridized=hybridized)
    column = answers(block_of(name), x[..., None], y[..., None], training=True, hybridized=hybridized)
    assert line[0].shape == (3, CHANNELS, 6)
    np.testing.assert_allclose(line[0], column[0][..., 0], rtol=1e-10, atol=1e-12)
    for found, expected in zip(line[1], column[1]):
        np.testing.assert_allclose(found, expected[..., 0], rtol=1e-8, atol=1e-10)
    assert {key: value.shape for key, value in line[2].items()} == {k: v.shape for k, v in column[2].items()}
    for key, value in line[2].items():
        np.testing.assert_allclose(value, column[2][key], rtol=1e-8, atol=1e-9, err_msg=key)


@pytest.mark.parametrize("name", [*list_fusions(), "mscam"])
@pytest.mark.parametrize("ndim", [0, 1, 3])
def test_a_file_of_weights_fits_every_number_of_dimensions(name, ndim, tmp_path):
    path = str(tmp_path / "block.params")
    block_of(name).save_parameters(path)
    get_fusion(name, CHANNELS, ndim=ndim).load_parameters(path, cast_dtype=True, dtype_source="saved")


@pytest.mark.parametrize("hybridized", [False, True])
@pytest.mark.parametrize("name", list_fusions())
def test_volumes_are_maps_of_their_planes_and_vectors_are_single_pixels(name, hybridized):
    x, y = random_features(1, 2, CHANNELS, 3, 4, 5), random_features(2, 2, CHANNELS, 3, 4, 5)
    block = block_of(name)
    volume = answers(block_of(name, ndim=3), x, y, training=True, hybridized=hybridized)
    plane = answers(block, x.reshape(2, CHANNELS, 12, 5), y.reshape(2, CHANNELS, 12, 5), training=True)
    np.testing.assert_allclose(volume[0], plane[0].reshape(x.shape), rtol=1e-10, atol=1e-12)
    for found, expected in zip(volume[1], plane[1]):
        np.testing.assert_allclose(found, expected.reshape(x.shape), rtol=1e-8, atol=1e-10)
    x, y = x[:, :, 0, 0, 0], y[:, :, 0, 0, 0]
    vector = answers(block_of(name, ndim=0), x, y, hybridized=hybridized)
    pixel = answers(block_of(name), x[..., None, None], y[..., None, None])
    assert vector[0].shape == (2, CHANNELS)
    np.testing.assert_allclose(vector[0], pixel[0][..., 0, 0], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("ndim", [0, 1, 2, 3])
def test_ms_cam_of_any_dimensions(ndim):
    x = random_features(1, 2, CHANNELS, *SIZES[ndim])
    found = answers(block_of("mscam", ndim=ndim), x)[0]
    flat = answers(block_of("mscam"), x.reshape(2, CHANNELS, -1, 1))[0]
    np.testing.assert_allclose(found, flat.reshape(x.shape), rtol=1e-10, atol=1e-12)


def sigmoid(value):
    return 1 / (1 + np.exp(-value))


def by_hand(weights, x, y):
    """AFF in NumPy on features (B, C, M), in inference: equation 4."""

    def layer(value, prefix, convolution, norm):
        weight, bias = weights[f"{prefix}.{convolution}.weight"][:, :, 0, 0], weights[f"{prefix}.{convolution}.bias"]
        value = np.einsum("oc,bcm->bom", weight, value) + bias[:, None]
        gamma, beta, mean, variance = (
            weights[f"{prefix}.{norm}.{key}"][:, None] for key in ("gamma", "beta", "running_mean", "running_var")
        )
        return (value - mean) / np.sqrt(variance + 1e-5) * gamma + beta

    both = x + y
    pooled = both.mean(axis=2, keepdims=True)
    local = layer(np.maximum(layer(both, "local_att", 0, 1), 0), "local_att", 3, 4)
    glob = layer(np.maximum(layer(pooled, "global_att", 1, 2), 0), "global_att", 4, 5)
    w = sigmoid(local + glob)
    return 2 * x * w + 2 * y * (1 - w)


@pytest.mark.parametrize("ndim", [0, 1, 2, 3])
def test_aff_is_its_formula_in_any_dimensions(ndim):
    x, y = (random_features(seed, 2, CHANNELS, *SIZES[ndim]) for seed in (1, 2))
    block = block_of("aff", ndim=ndim)
    weights = {name: p.data().asnumpy() for name, p in block._collect_params_with_prefix().items()}
    expected = by_hand(weights, x.reshape(2, CHANNELS, -1), y.reshape(2, CHANNELS, -1)).reshape(x.shape)
    np.testing.assert_allclose(answers(block, x, y)[0], expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("ndim", "resize", "channels"), [(1, None, (8, 8)), (3, "bilinear", (8, 6)), (2, "nearest", (4, 8))]
)
def test_gradients_are_the_finite_differences(ndim, resize, channels):
    shapes = [(2, channels[0], *SIZES[ndim]), (2, channels[1], *(size + 2 if resize else size for size in SIZES[ndim]))]
    arrays = [random_features(seed, *shape) for seed, shape in enumerate(shapes)]
    block = block_of("aff", ndim=ndim, in_channels=channels, resize=resize)
    _, gradients, _ = answers(block, *arrays)
    up = random_features(9, int(np.prod(shapes[0][:1] + (CHANNELS,) + SIZES[ndim]))).reshape(2, CHANNELS, *SIZES[ndim])
    for number, place in itertools.product((0, 1), (0, 17, 40)):
        step = np.zeros(arrays[number].size)
        step[place] = 1e-5
        moved = []
        for sign in (1, -1):
            changed = list(arrays)
            changed[number] = arrays[number] + sign * step.reshape(arrays[number].shape)
            moved.append((block(*double(*changed)).asnumpy() * up).sum())
        assert gradients[number].ravel()[place] == pytest.approx((moved[0] - moved[1]) / 2e-5, rel=1e-4, abs=1e-6)


# --- Unequal inputs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list_fusions())
def test_only_the_input_that_differs_is_projected(name):
    block = block_of(name, in_channels=(12, CHANNELS))
    assert "feature1" in block._children
    assert "feature2" not in block._children
    x, y = random_features(1, 3, 12, 5, 4), random_features(2, 3, CHANNELS, 5, 4)
    found, gradients, _ = answers(block, x, y, training=True)
    plain = block_of(name)
    layers = projection(12, CHANNELS)
    parity.set_weights(layers)
    for own, other in zip(layers.collect_params().values(), block.feature1.collect_params().values()):
        own.set_data(other.data().astype("float32"))
    layers.cast("float64")
    with mx.autograd.record():
        expected = plain(layers(*double(x)), *double(y)).asnumpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert all(np.abs(gradient).max() > 1e-3 for gradient in gradients)


def test_projection_is_the_convolution_batch_norm_and_relu():
    block = block_of("add", in_channels=(12, CHANNELS))
    weights = {name: p.data().asnumpy() for name, p in block._collect_params_with_prefix().items()}
    x, y = random_features(1, 3, 12, 5, 4), random_features(2, 3, CHANNELS, 5, 4)
    value = np.einsum("oc,bchw->bohw", weights["feature1.0.weight"][:, :, 0, 0], x)
    value = value + weights["feature1.0.bias"].reshape(1, -1, 1, 1)
    gamma, beta, mean, variance = (
        weights[f"feature1.1.{key}"].reshape(1, -1, 1, 1) for key in ("gamma", "beta", "running_mean", "running_var")
    )
    expected = np.maximum((value - mean) / np.sqrt(variance + 1e-5) * gamma + beta, 0) + y
    np.testing.assert_allclose(answers(block, x, y)[0], expected, rtol=1e-9, atol=1e-11)


def nearest(array, sizes):
    for axis, to in enumerate(sizes, start=2):
        own = array.shape[axis]
        array = np.take(array, [(i * own) // to for i in range(to)], axis=axis)
    return array


def bilinear(array, sizes):
    """Corners aligned."""
    for axis, to in enumerate(sizes, start=2):
        own = array.shape[axis]
        at = np.arange(to) * ((own - 1) / (to - 1) if to > 1 else 0)
        below = np.minimum(np.floor(at).astype(int), own - 1)
        above, share = np.minimum(below + 1, own - 1), at - below
        share = share.reshape([-1 if a == axis else 1 for a in range(array.ndim)])
        array = np.take(array, below, axis=axis) * (1 - share) + np.take(array, above, axis=axis) * share
    return array


@pytest.mark.parametrize("hybridized", [False, True])
@pytest.mark.parametrize(
    ("ndim", "own", "to"),
    [(1, (4,), (9,)), (1, (9,), (4,)), (2, (3, 5), (7, 9)), (2, (7, 6), (3, 4)), (3, (2, 3, 4), (3, 5, 7))],
)
@pytest.mark.parametrize(("resize", "direct"), [("nearest", nearest), ("bilinear", bilinear)])
def test_second_input_is_brought_to_the_size_of_the_first(resize, direct, ndim, own, to, hybridized):
    x, y = random_features(1, 2, CHANNELS, *to), random_features(2, 2, 6, *own)
    block = block_of("aff", ndim=ndim, in_channels=(CHANNELS, 6), resize=resize)
    found, gradients, _ = answers(block, x, y, hybridized=hybridized)
    # The projection is per pixel, and its ReLU is not linear: it comes before the resizing.
    projected = block.feature2(*double(y.reshape(2, 6, -1, 1))).asnumpy().reshape(2, CHANNELS, *own)
    expected = block_of("aff", ndim=ndim)(*double(x, direct(projected, to))).asnumpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)  # MXNet has the scale in float32
    assert found.shape == x.shape
    assert np.abs(gradients[1]).max() > 1e-3


@pytest.mark.parametrize("resize", ["nearest", "bilinear"])
def test_equal_sizes_are_left_as_they_are(resize):
    x, y = random_features(1, 2, CHANNELS, 5, 4), random_features(2, 2, CHANNELS, 5, 4)
    found = answers(block_of("aff", resize=resize), x, y)[0]
    np.testing.assert_allclose(found, answers(block_of("aff"), x, y)[0], rtol=1e-9, atol=1e-11)


class Fused(HybridBlock):
    """A network of a user, which fuses two inputs."""

    def __init__(self, **arguments):
        super().__init__()
        with self.name_scope():
            self.fuse = get_fusion(**arguments)

    def hybrid_forward(self, F, x, y):
        return self.fuse(x, y)


# --- What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hybridized", [False, True])
@pytest.mark.parametrize("name", list_fusions())
@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((2, 1, 4, 4), r"input 2 has the shape \(2, 1, 4, 4\), which is 1 channels; expected 8.*in_channels=\(8, 1\)"),
        ((2, 8, 1, 1), r"input 2 has the shape \(2, 8, 1, 1\) and input 1 \(2, 8, 4, 4\).*resize='bilinear'"),
        ((2, 8, 3, 4), r"\(2, 8, 3, 4\)"),
        ((3, 8, 4, 4), r"a batch of 3, input 1 one of 2"),
        ((2, 8, 16), r"\(2, 8, 16\); expected \(B, C, H, W\): make the block with ndim=1"),
        ((2, 8, 2, 2, 2, 2), r"\(2, 8, 2, 2, 2, 2\); expected \(B, C, H, W\): reshape"),
    ],
)
def test_unequal_shapes_are_one_clear_error(name, shape, said, hybridized):
    block = get_fusion(name, 8)
    block.initialize()
    block.hybridize(hybridized)
    with pytest.raises(ValueError, match=said):
        block(mx.nd.ones((2, 8, 4, 4)), mx.nd.ones(shape))


@pytest.mark.parametrize("name", ["add", "se", "aff", "iaff", "gau", "AsymBi"])
@pytest.mark.parametrize("shape", [(2, 1, 4, 4), (2, 8, 1, 1), (2, 8, 3, 4)])
def test_inside_a_compiled_network_the_place_is_named(name, shape):
    net = Fused(name=name, channels=8)
    net.initialize()
    net.hybridize()
    with pytest.raises((ValueError, mx.MXNetError), match="inputs_of_one_shape|expected \\[2,8,4,4\\]"):
        net(mx.nd.ones((2, 8, 4, 4)), mx.nd.ones(shape)).wait_to_read()


def test_a_wrong_number_of_inputs():
    block = get_fusion("aff", 8)
    block.initialize()
    one = mx.nd.ones((2, 8, 4, 4))
    with pytest.raises(ValueError, match="ASKCFuse takes 2 inputs; it was given 3"):
        block(one, one, one)
    with pytest.raises(ValueError, match="ASKCFuse takes 2 inputs; it was given 1"):
        block(one)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"ndim": 4}, "ndim=4: expected 0 for"),
        ({"ndim": True}, "ndim=True"),
        ({"ndim": "1"}, "ndim='1'"),
        ({"resize": "cubic"}, "resize='cubic': expected one of bilinear, nearest, or None"),
        ({"resize": "nearest", "ndim": 0}, "vectors"),
        ({"in_channels": (8,)}, "expected 2 numbers"),
        ({"in_channels": 8}, "expected 2 numbers"),
        ({"in_channels": (8, 0)}, "expected positive integers"),
        ({"in_channels": (8, 2.0)}, "expected positive integers"),
    ],
)
def test_what_no_block_can_be(arguments, said):
    with pytest.raises(ValueError, match=said):
        get_fusion("aff", 8, **arguments)


def test_a_block_of_ones_own_states_what_it_computes():
    class Difference(FeatureBlock):
        def combine_maps(self, F, *maps):
            return maps[0] - maps[1]

    block = Difference(4, ndim=1, resize="nearest")
    found = block(mx.nd.full((1, 4, 6), 3), mx.nd.full((1, 4, 2), 1))
    assert found.shape == (1, 4, 6)
    assert (found.asnumpy() == 2).all()
    with pytest.raises(NotImplementedError):
        FeatureBlock(4)(mx.nd.ones((1, 4, 2, 2)), mx.nd.ones((1, 4, 2, 2)))


# --- Shipped ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [{"ndim": 1}, {"ndim": 3}, {"ndim": 0}, {"ndim": 2}])
@pytest.mark.parametrize("resize", [None, "nearest", "bilinear"])
def test_exported_block_answers_the_same_at_other_sizes(arguments, resize, tmp_path):
    ndim = arguments["ndim"]
    if resize and ndim == 0:
        pytest.skip("vectors have no size")
    net = Fused(name="aff", channels=8, in_channels=(8, 6), resize=resize, **arguments)
    net.initialize(mx.init.Xavier())
    net.hybridize()

    def inputs(grow):
        own = tuple(size + grow for size in SIZES[ndim])
        other = tuple(size + 2 for size in own) if resize else own
        return [mx.nd.random.normal(shape=(2, c, *size)) for c, size in ((8, own), (6, other))]

    net(*inputs(0))
    net.export(str(tmp_path / "net"))
    again = mx.gluon.SymbolBlock.imports(
        str(tmp_path / "net-symbol.json"), ["data0", "data1"], str(tmp_path / "net-0000.params")
    )
    for grow in (0, 3):
        x, y = inputs(grow)
        np.testing.assert_allclose(again(x, y).asnumpy(), net(x, y).asnumpy(), rtol=1e-4, atol=1e-5)


def test_public_names():
    assert fusion.get_fusion is get_fusion
