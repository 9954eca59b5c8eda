"""Fusion blocks by name, what they refuse, their formulas by hand, small batches, float16, and files."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import parity
import pytest

import fusion
from fusion import attentional, combination, fuse
from fusion.attention import NORMS, GlobalContext, normalises_over_images
from fusion.compat import mx, nn
from fusion.fuse import AttentionalFusion, find_fusion, fusion_aliases, get_fusion, list_fusions, register
from fusion.operators import as_equations, in_equations

CHANNELS = 16
SHAPE = (2, CHANNELS, 5, 4)
ALIASES = {
    "add": "DirectAdd",
    "concat": "Concat",
    "iaff": "ResGlobLocaforGlobLocaCha",
    "se": "SEFuse",
    "gau": "GAUFuse",
    "aff": "ASKCFuse",
    "sk": "SKFuse",
    "concat_aff": "ConcatAFF",
}
#: Blocks with a branch over the pooled features, and of these the ones without a local branch beside it.
GLOBAL_ONLY = ("ResGlobCha", "ResGlobGlobCha", "ResGlobforGlobCha", "SEFuse", "GAUFuse", "SKFuse")
GLOBAL = (
    *GLOBAL_ONLY,
    "ResGlobLocaCha",
    "ResGlobLocaforGlobLocaCha",
    "AYforXplusY",
    "XplusAYforY",
    "AXYforXplusY",
    "AXYforXY",
    "ASKCFuse",
    "ConcatAFF",
    "GlobLocaAverage",
    "GlobLocaforGlobLocaAverage",
    "AsymBi",
    "BiGlobal",
)
WITH_R = (
    "ConcatAFF",
    "AsymBi",
    "BiLocal",
    "BiGlobal",
    "ResLocaLocaCha",
    "ResGlobGlobCha",
    "ResGlobLocaforGlobLocaCha",
    "SEFuse",
    "ASKCFuse",
)


def block_of(name, **arguments):
    """A block in float64 with weights that are neither zero nor one."""
    block = get_fusion(name, CHANNELS, **arguments)
    parity.set_weights(block)
    block.cast("float64")
    return block


def features(seed, count):
    return parity.double(parity.features(seed, (count, *SHAPE[1:])))


def global_branches(block):
    return [child for child in block._children.values() if isinstance(child, GlobalContext)]


def refusal(name, channels=CHANNELS, **arguments):
    with pytest.raises(ValueError) as caught:
        get_fusion(name, channels, **arguments)
    return str(caught.value)


# --- Names -----------------------------------------------------------------------------------------------------------


def test_fusions_are_all_there_in_order():
    assert list_fusions() == [
        "DirectAdd",
        "Concat",
        "ResGlobCha",
        "ResLocaCha",
        "ResGlobLocaCha",
        "ResLocaLocaCha",
        "ResGlobGlobCha",
        "ResGlobforGlobCha",
        "ResLocaforLocaCha",
        "ResGlobLocaforGlobLocaCha",
        "AYforXplusY",
        "XplusAYforY",
        "AXYforXplusY",
        "AXYforXY",
        "SEFuse",
        "GAUFuse",
        "ASKCFuse",
        "ConcatAFF",
        "GlobLocaAverage",
        "GlobLocaforGlobLocaAverage",
        "TopDownLocal",
        "AsymBi",
        "BiLocal",
        "BiGlobal",
        "SKFuse",
    ]


def test_aliases_of_each_block():
    found = fusion_aliases()
    assert list(found) == list_fusions()
    assert {alias: name for name, aliases in found.items() for alias in aliases} == ALIASES


@pytest.mark.parametrize("name", [*list_fusions(), *ALIASES])
def test_every_name_makes_its_block_in_any_case(name):
    expected = ALIASES.get(name, name)
    for written in (name, name.lower(), name.upper(), name.swapcase()):
        assert type(get_fusion(written, CHANNELS)).__name__ == expected


def test_paper_s_names():
    assert fusion.AFF is fuse.AFF is fuse.ASKCFuse is find_fusion("aff")
    assert fusion.iAFF is fuse.iAFF is fuse.ResGlobLocaforGlobLocaCha is find_fusion("iaff")
    assert fusion.get_fusion is get_fusion
    assert fusion.list_fusions is list_fusions


def test_unknown_name_is_refused_by_the_nearest():
    message = refusal("af")
    assert "no fusion block is named 'af'" in message
    assert message.index("did you mean") < message.index("'aff'")
    assert "'SEFuse'" in refusal("SEFusee")


@pytest.mark.parametrize("name", ["zzzzzzzz", "", 3, None])
def test_name_like_no_other_is_refused_by_the_whole_list(name):
    message = refusal(name)
    assert repr(name) in message
    assert all(known in message for known in [*list_fusions(), *ALIASES])


def test_block_of_a_few_lines_is_known_by_its_names(monkeypatch):
    monkeypatch.setattr(fuse, "_REGISTRY", dict(fuse._REGISTRY))

    @register("half")
    class HalfOfTheSum(AttentionalFusion):
        passes = ({"local_att": fuse.L2},)
        combine = staticmethod(lambda x, y, w: (x + y) * w)

    assert list_fusions()[-1] == "HalfOfTheSum"
    assert fusion_aliases()["HalfOfTheSum"] == ["half"]
    block = get_fusion("HALF", 4, r=2)
    assert type(block) is HalfOfTheSum
    block.initialize(mx.init.Zero())
    assert block(mx.nd.full((1, 4, 2, 2), 3), mx.nd.full((1, 4, 2, 2), 5)).asnumpy() == pytest.approx(4)
    net = fusion.get_model("cifar_resnet", fusion="half", blocks=1, channel_times=1)
    assert type(net.features[2][0].attention) is HalfOfTheSum


# --- What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list_fusions())
@pytest.mark.parametrize("channels", [0, -16, True, "64", 16.0, None])
def test_channels_that_are_no_count_are_refused(name, channels):
    assert f"channels={channels!r}: expected a positive integer" in refusal(name, channels)


def test_unknown_parameter_is_refused_by_the_nearest():
    assert "ASKCFuse has no parameter 'ratio'" in refusal("aff", ratio=2)
    assert "did you mean 'norm'?" in refusal("iaff", norms="batch")
    assert "DirectAdd has no parameter 'channel'" in refusal("add", channel=3)


@pytest.mark.parametrize("name", WITH_R)
def test_r_that_does_not_divide_the_channels_is_refused_by_those_that_do(name):
    message = refusal(name, 12, r=8)
    assert "channels=12 is not divisible by r=8" in message
    assert message.endswith("choose r among 1, 2, 3, 4, 6, 12")


@pytest.mark.parametrize("name", WITH_R)
def test_r_that_leaves_no_channel_is_refused(name):
    assert refusal(name, 8, r=16) == "r=16 leaves no channel of 8: choose r of at most 8"


@pytest.mark.parametrize("name", WITH_R)
@pytest.mark.parametrize("r", [0, -4, True, "4", 2.0])
def test_r_that_is_no_count_is_refused(name, r):
    assert f"r={r!r}: expected a positive integer" in refusal(name, r=r)


@pytest.mark.parametrize("name", WITH_R)
def test_r_is_the_width_of_the_bottlenecks(name):
    for branch in get_fusion(name, 24, r=3)._children.values():
        layers = [layer for layer in branch if isinstance(layer, nn.Conv2D)]
        looked_at = 48 if name == "ConcatAFF" else 24
        assert [layer.weight.shape for layer in layers] == [(8, looked_at, 1, 1), (24, 8, 1, 1)]


@pytest.mark.parametrize("name", sorted({*list_fusions()} - {*WITH_R}))
def test_r_is_nothing_to_the_other_blocks(name):
    assert parity.named_shapes(get_fusion(name, 12, r=8)) == parity.named_shapes(get_fusion(name, 12))


def test_selective_kernels_need_channels_that_four_divides():
    assert "channels=6 is not divisible by r=4" in refusal("sk", 6)


@pytest.mark.parametrize("name", GLOBAL)
def test_unknown_norm_is_refused(name):
    assert "norm='instance': expected one of batch, group, layer, none" in refusal(name, norm="instance")


# --- Formulas by hand ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("combine", "expected"),
    [
        (combination.soft_selection, 2 * 3 * 0.25 + 2 * 10 * 0.75),
        (combination.weighted_mean, 3 * 0.25 + 10 * 0.75),
        (combination.gated_y_plus_x, 0.25 * 10 + 3),
        (combination.gated_x_plus_y, 0.25 * 3 + 10),
        (combination.gated_sum, 0.25 * (3 + 10)),
        (combination.swapped_mean, 10 * 0.25 + 3 * 0.75),
        (combination.twice_y, 2 * 0.25 * 10),
        (combination.twice_x, 2 * 0.25 * 3),
    ],
)
def test_combination_of_three_ten_and_a_quarter(combine, expected):
    assert combine(3.0, 10.0, 0.25) == expected
    x, y, w = np.array([3.0, -1.0]), np.array([10.0, -1.0]), np.array([0.25, 0.5])
    assert combine(x, y, w)[0] == expected
    assert combine(mx.nd.array(x), mx.nd.array(y), mx.nd.array(w)).asnumpy()[0] == expected


def test_attention_looks_at_x_or_at_the_sum():
    assert attentional.x_alone(3.0, 10.0) == 3.0
    assert attentional.x_plus_y(3.0, 10.0) == 13.0


def choose_three_quarters(block):
    """Make every weight w of a block 3/4: convolutions of zero, and log 3 added to one branch of each pass."""
    block.initialize(mx.init.Zero())
    for branches in block.passes:
        branch = getattr(block, next(iter(branches)))
        beta = branch[len(branch) - 1].beta
        beta.set_data(mx.nd.full(beta.shape, np.log(3)))


@pytest.mark.parametrize("hybridized", [False, True])
@pytest.mark.parametrize(
    ("name", "of_x", "of_y"),
    [
        *((name, 1.5, 0.5) for name in ("ResGlobCha", "ResLocaCha", "ResGlobLocaCha", "ResLocaLocaCha", "ASKCFuse")),
        *((name, 1.5, 0.5) for name in ("ResGlobGlobCha", "ResGlobforGlobCha", "ResLocaforLocaCha")),
        ("ResGlobLocaforGlobLocaCha", 0.75, 0.25),
        ("AYforXplusY", 1, 0.75),
        ("XplusAYforY", 0.75, 1),
        ("AXYforXplusY", 1, 0.75),
        ("AXYforXY", 0.75, 0.75),
        ("SEFuse", 0.75, 1),
        ("GAUFuse", 1, 0.75),
        ("TopDownLocal", 1, 0.75),
        ("GlobLocaAverage", 0.25, 0.75),
        ("GlobLocaforGlobLocaAverage", 0.25, 0.75),
    ],
)
def test_output_where_every_weight_is_three_quarters(name, of_x, of_y, hybridized):
    block = get_fusion(name, CHANNELS)
    choose_three_quarters(block)
    block.hybridize(hybridized)
    x, y = parity.features(1, SHAPE), parity.features(2, SHAPE)
    found = block(mx.nd.array(x), mx.nd.array(y)).asnumpy()
    np.testing.assert_allclose(found, of_x * x + of_y * y, rtol=1e-5, atol=1e-5)


def test_first_half_of_the_selective_kernels_logits_is_of_x():
    block = get_fusion("sk", CHANNELS)
    block.initialize(mx.init.Zero())
    logits = np.repeat([np.log(3), 0], CHANNELS)
    block.global_att[5].beta.set_data(mx.nd.array(logits))
    x, y = parity.features(1, SHAPE), parity.features(2, SHAPE)
    found = block(mx.nd.array(x), mx.nd.array(y)).asnumpy()
    np.testing.assert_allclose(found, 1.5 * x + 0.5 * y, rtol=1e-5, atol=1e-5)


def test_addition_is_the_sum():
    x, y = mx.nd.array([[1.0, 2.0]]), mx.nd.array([[10.0, 20.0]])
    assert get_fusion("add", 2, ndim=0)(x, y).asnumpy().tolist() == [[11, 22]]


def test_concatenation_weighs_x_by_the_first_half_and_y_by_the_second():
    block = get_fusion("concat", 2)
    block.initialize()
    block.fuse[1].weight.set_data(mx.nd.array([[1, 10, 100, 1000], [0, 0, 0, 1]]).reshape((2, 4, 1, 1)))
    block.fuse[1].bias.set_data(mx.nd.array([0.5, 0]))
    x, y = mx.nd.array([[[[1]], [[2]]]]), mx.nd.array([[[[3]], [[4]]]])
    assert block(x, y).asnumpy().ravel() == pytest.approx([4321.5, 4], rel=1e-4)  # batch norm divides by √(1 + 1e-5)


# --- Norms of the global branch --------------------------------------------------------------------------------------


def train_step(block, seed, count):
    """The output of a training step on `count` images, and what the global branches said, with gradients left."""
    logits = []
    hooks = [branch.register_forward_hook(lambda *call: logits.append(call[2])) for branch in global_branches(block)]
    x, y = features(seed, count), features(seed + 100, count)
    with mx.autograd.record():
        output = block(x, y)
    output.backward(parity.double(parity.features(3, output.shape)))
    for hook in hooks:
        hook.detach()
    return output.asnumpy(), [value.asnumpy() for value in logits]


def weight_gradients(block):
    layers = [layer for branch in global_branches(block) for layer in branch if isinstance(layer, nn.Conv2D)]
    return [layer.weight.grad().asnumpy() for layer in layers]


def test_blocks_with_a_global_branch_are_listed():
    assert {name for name in list_fusions() if global_branches(get_fusion(name, CHANNELS))} == {*GLOBAL}


@pytest.mark.parametrize("norm", ["group", "none"])
@pytest.mark.parametrize("name", GLOBAL)
def test_one_image_trains_the_global_branches_without_batch_norm(name, norm):
    block = block_of(name, norm=norm)
    one, logits = train_step(block, 1, 1)
    gradients = weight_gradients(block)
    other, other_logits = train_step(block, 2, 1)
    assert np.isfinite(one).all()
    assert not np.allclose(one, other)
    assert len(logits) == len(global_branches(block))
    for value, changed in zip(logits, other_logits):
        assert np.abs(value - changed).max() > 1e-2
    # Both images, for the few units of a bottleneck can all be below 0 for one.
    for gradient, other_gradient in zip(gradients, weight_gradients(block)):
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() + np.abs(other_gradient).max() > 1e-3


@pytest.mark.parametrize("name", GLOBAL)
def test_batch_norm_over_one_image_is_blind_to_it(name):
    block = block_of(name)
    _, logits = train_step(block, 1, 1)
    assert len(logits) == len(global_branches(block))
    for value, branch in zip(logits, global_branches(block)):
        beta = branch[len(branch) - 1].beta.data().asnumpy()
        np.testing.assert_allclose(value.ravel(), beta, atol=1e-9)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", list_fusions())
def test_block_that_needs_two_images_is_told(name, norm):
    assert normalises_over_images(get_fusion(name, CHANNELS, norm=norm)) is (name in GLOBAL and norm == "batch")


@pytest.mark.parametrize("name", GLOBAL_ONLY)
@pytest.mark.parametrize("norm", NORMS)
def test_only_batch_norm_mixes_the_images_of_a_batch(name, norm):
    alone, _ = train_step(block_of(name, norm=norm), 1, 1)
    x = mx.nd.concat(features(1, 1), features(7, 3), dim=0)
    y = mx.nd.concat(features(101, 1), features(8, 3), dim=0)
    with mx.autograd.train_mode():
        among_others = block_of(name, norm=norm)(x, y)[:1].asnumpy()
    assert np.allclose(alone, among_others, rtol=1e-9, atol=1e-9) is (norm != "batch")


@pytest.mark.parametrize("name", GLOBAL)
@pytest.mark.parametrize("norm", NORMS)
def test_only_batch_norm_mixes_the_images_in_a_global_branch(name, norm):
    images = features(1, 4)
    if name == "ConcatAFF":
        images = mx.nd.concat(images, features(2, 4), dim=1)
    for branch in global_branches(block_of(name, norm=norm)):
        with mx.autograd.train_mode():
            alone, among_others = branch(images[:1]).asnumpy(), branch(images)[:1].asnumpy()
        assert np.allclose(alone, among_others, rtol=1e-9, atol=1e-9) is (norm != "batch")


# --- Float16 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", list_fusions())
def test_half_precision_block_is_half_precision_throughout(name, norm):
    # Inferred, not run: MXNet's CPU kernels have no matrix product of float16.
    block = get_fusion(name, CHANNELS, norm=norm)
    block.initialize()
    block.cast("float16")
    output = block(mx.sym.Variable("x"), mx.sym.Variable("y"))
    types, found, _ = output.infer_type(x="float16", y="float16")
    _, shapes, _ = output.infer_shape(x=SHAPE, y=SHAPE)
    assert found == [np.float16]
    assert shapes == [SHAPE]
    kept = {argument for argument, dtype in zip(output.list_arguments(), types) if dtype != np.float16}
    assert all("batchnorm" in argument for argument in kept)  # Gluon keeps batch norm in float32


def test_half_precision_addition_runs():
    x = mx.nd.full(SHAPE, 1.5, dtype="float16")
    found = get_fusion("add", CHANNELS)(x, x)
    assert found.dtype == np.float16
    assert (found.asnumpy() == 3).all()


# --- Files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("name", [name for name in list_fusions() if name != "DirectAdd"])
def test_saved_block_is_read_back_by_structural_names(name, norm, tmp_path):
    path = str(tmp_path / "block.params")
    block = block_of(name, norm=norm)
    block.save_parameters(path)
    assert {*mx.nd.load(path)} == {parameter for parameter, _ in parity.named_shapes(block)}
    other = get_fusion(name, CHANNELS, norm=norm)
    other.cast("float64")
    other.load_parameters(path)
    inputs = features(1, 2), features(2, 2)
    np.testing.assert_array_equal(other(*inputs).asnumpy(), block(*inputs).asnumpy())


@pytest.mark.filterwarnings("ignore:Cannot decide type for the following arguments")
@pytest.mark.parametrize("name", list_fusions())
def test_exported_block_computes_the_same_without_this_package_s_classes(name, tmp_path):
    block = get_fusion(name, CHANNELS, norm="group")
    parity.set_weights(block)
    block.hybridize()
    x, y = mx.nd.array(parity.features(1, SHAPE)), mx.nd.array(parity.features(2, SHAPE))
    expected = block(x, y).asnumpy()
    block.export(str(tmp_path / "block"))
    symbol, parameters = str(tmp_path / "block-symbol.json"), str(tmp_path / "block-0000.params")
    imported = mx.gluon.SymbolBlock.imports(symbol, ["data0", "data1"], parameters)
    np.testing.assert_allclose(imported(x, y).asnumpy(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["add", "concat", "ResLocaCha", "ResLocaLocaCha", "ResLocaforLocaCha"])
def test_norm_is_checked_in_every_block(name):
    with pytest.raises(ValueError, match="norm='bogus'"):
        fusion.get_fusion(name, 8, norm="bogus")


# --- Two formulations ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("combination", [v for v in vars(fuse).values() if isinstance(v, combination.Combination)])
def test_a_combination_is_its_base_and_what_it_gates(combination):
    draw = np.random.default_rng(0)
    x, y, w = draw.standard_normal((3, 50))
    base, gated = (counts[0] * x + counts[1] * y for counts in (combination.base, combination.gated))
    expected = base + combination.factor * (w - combination.shift) * gated
    np.testing.assert_allclose(combination(x, y, w), expected, rtol=1e-12, atol=1e-12)


def outcome(block, as_written):
    """Output and gradients of a training step in one formulation."""
    x, y = features(1, 3), features(2, 3)
    for value in (x, y):
        value.attach_grad()
    with as_equations() if as_written else nullcontext(), mx.autograd.record():
        output = block(x, y)
    output.backward(features(3, 3))
    return [value.asnumpy() for value in (output, x.grad, y.grad)]


@pytest.mark.parametrize("name", list_fusions())
def test_equations_and_fast_operators_are_the_same_function(name):
    fast, written = (outcome(block_of(name), as_written) for as_written in (False, True))
    for found, expected in zip(fast, written):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


def test_the_formulation_is_as_it_was_after_an_error():
    with pytest.raises(RuntimeError), as_equations():
        assert in_equations()
        raise RuntimeError
    assert not in_equations()


@pytest.mark.parametrize("name", ["aff", "iaff", "sk", "se", "AYforXplusY", "XplusAYforY"])
@pytest.mark.parametrize("without", [0, 1])
@pytest.mark.parametrize("mode", ["imperative", "hybridized"])
def test_an_input_may_want_no_gradient(name, without, mode):
    """A frozen backbone's features, given to a block that trains."""
    expected = outcome(block_of(name), False)[2 - without]
    block = block_of(name)
    block.hybridize(mode == "hybridized", static_alloc=True, static_shape=True)
    inputs = [features(1, 3), features(2, 3)]
    inputs[1 - without].attach_grad()
    with mx.autograd.record():
        output = block(*inputs)
    output.backward(features(3, 3))
    found = inputs[1 - without].grad.asnumpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


def test_gluon_s_own_export_takes_the_fast_formulation_at_any_size(tmp_path):
    block = get_fusion("aff", CHANNELS)
    parity.set_weights(block)
    block.hybridize()
    inputs = [mx.nd.array(parity.features(seed, (2, CHANNELS, 6, 6))) for seed in (1, 2)]
    block(*inputs)
    block.export(str(tmp_path / "block"))
    files = [str(tmp_path / f"block-{name}") for name in ("symbol.json", "0000.params")]
    again = mx.gluon.SymbolBlock.imports(files[0], ["data0", "data1"], files[1])
    for size in ((6, 6), (5, 7)):
        inputs = [mx.nd.array(parity.features(seed, (3, CHANNELS, *size))) for seed in (1, 2)]
        np.testing.assert_allclose(again(*inputs).asnumpy(), block(*inputs).asnumpy(), rtol=1e-5, atol=1e-5)
