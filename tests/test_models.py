"""Networks by name: their fusions and first weights, what they refuse, and their files."""

from __future__ import annotations

import numpy as np
import parity
import pytest

import fusion
from fusion import get_model, list_fusions, list_models, list_pretrained
from fusion.compat import mx, nn
from fusion.errors import CheckpointError
from fusion.fuse import find_fusion
from fusion.models.cifar_inception import InceptionBlock
from fusion.models.network import Network, count_parameters
from fusion.models.zoo import FAMILIES, family_of, model_arguments

NAMED = {
    "aff_resnet32": ("cifar_resnet", "aff"),
    "iaff_resnet32": ("cifar_resnet", "iaff"),
    "resnet32": ("cifar_resnet", "add"),
    "aff_resnext38_32x4d": ("cifar_resnext", "aff"),
    "aff_resnext47_32x4d": ("cifar_resnext", "aff"),
    "iaff_resnext38_32x4d": ("cifar_resnext", "iaff"),
    "resnext38_32x4d": ("cifar_resnext", "add"),
    "resnext47_32x4d": ("cifar_resnext", "add"),
    "inception20": ("cifar_inception", "add"),
    "aff_inception20": ("cifar_inception", "aff"),
    "iaff_inception20": ("cifar_inception", "iaff"),
    "aff_resnet50": ("resnet", "aff"),
    "iaff_resnet50": ("resnet", "iaff"),
    "resnet50": ("resnet", "add"),
    "aff_resnet101": ("resnet", "aff"),
    "resnet101": ("resnet", "add"),
    "aff_resnext50_32x4d": ("resnext", "aff"),
    "iaff_resnext50_32x4d": ("resnext", "iaff"),
    "resnext50_32x4d": ("resnext", "add"),
    "aff_resnext101_32x4d": ("resnext", "aff"),
    "resnext101_32x4d": ("resnext", "add"),
}
CIFAR = ("cifar_resnet", "cifar_resnext", "cifar_inception")
IMAGENET = ("resnet", "resnext")
CLASSIFIERS = tuple(family for family in FAMILIES if not FAMILIES[family].dense)
WITH_LAST_GAMMA = ("cifar_resnext", "resnet", "resnext")


def bare(family="cifar_resnet", **changes):
    """A network as small as its family has."""
    small = {"blocks": 1, "channel_times": 1} if family in CIFAR else {}
    return get_model(family, **{**small, "classes": 5, **changes})


def network(**changes):
    """A small network that has started, with weights that are neither zero nor one."""
    net = bare(**changes)
    parity.set_weights(net)
    return net


def images(count=2, size=16):
    return mx.nd.array(parity.features(11, (count, 3, size, size)))


def stages(net):
    if isinstance(net, FAMILIES["resnet"]):
        return [net.layer1, net.layer2, net.layer3, net.layer4]
    return [child for child in net.features if isinstance(child, nn.HybridSequential)]


def fusions(net):
    """Class names of the fusion blocks, a list a stage."""
    return [[type(block).__name__ for residual in stage for block in fusion_blocks(residual)] for stage in stages(net)]


def fusion_blocks(residual):
    """Those of a residual block: its own, or those of its two units."""
    if isinstance(residual, InceptionBlock):
        return [residual.conv1.fuse, residual.conv2.fuse]
    return [residual.attention]


def refusal(name, **arguments):
    with pytest.raises(ValueError) as caught:
        get_model(name, **arguments)
    return str(caught.value)


# --- Names -----------------------------------------------------------------------------------------------------------


def test_models_are_named_with_plain_addition_beside_them():
    assert {*NAMED} <= {*list_models()}
    assert len(list_models()) == len({*list_models()}) == 24 + len(list_pretrained())
    assert fusion.get_model is get_model
    assert fusion.list_models is list_models


@pytest.mark.parametrize("name", NAMED)
def test_name_is_its_family_with_its_fusion(name):
    family, expected = NAMED[name]
    assert family_of(name)[0] == family
    assert model_arguments(name)["fusion"] == expected


@pytest.mark.parametrize("name", [name for name in list_models() if name not in list_pretrained()])
def test_cifar_models_have_a_hundred_classes_and_imagenet_s_a_thousand(name):
    family, _ = family_of(name)
    net = get_model(name)
    assert type(net) is FAMILIES[family]
    assert (net.classes, net.input_size) == ((100, 32) if family in CIFAR else (1000, 224))
    parameters = net._collect_params_with_prefix()
    weight, bias = (parameters[f"{'fc' if family == 'resnet' else 'output'}.{which}"] for which in ("weight", "bias"))
    assert weight.shape[0] == bias.shape[0] == net.classes


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("aff_resnet32", [5, 5, 5]),
        ("aff_resnext38_32x4d", [4, 4, 4]),
        ("aff_resnext47_32x4d", [5, 5, 5]),
        ("iaff_inception20", [3, 3, 3]),
        ("aff_resnet50", [3, 4, 6, 3]),
        ("aff_resnet101", [3, 4, 23, 3]),
        ("aff_resnext50_32x4d", [3, 4, 6, 3]),
        ("aff_resnext101_32x4d", [3, 4, 23, 3]),
    ],
)
def test_depth_is_in_the_name(name, blocks):
    assert [len(stage) for stage in stages(get_model(name))] == blocks


def test_resnet_152_is_the_real_one():
    assert [len(stage) for stage in stages(get_model("resnet", layers=152, fusion="add"))] == [3, 8, 36, 3]


def test_arguments_win_over_the_name():
    net = get_model("aff_resnet32", blocks=1, channel_times=1, classes=7, fusion="iaff", start_layer=3, norm="none")
    assert fusions(net) == [["DirectAdd"], ["DirectAdd"], ["ResGlobLocaforGlobLocaCha"]]
    assert net.classes == 7
    assert net.output.weight.shape == (7, 64)
    assert net.features[4][0].attention.global_att.norm == "none"


def test_prefix_names_the_parameters():
    net = bare(prefix="mine_")
    assert all(name.startswith("mine_") for name in net.collect_params())


# --- Fusions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list_fusions())
@pytest.mark.parametrize("family", CIFAR)
def test_every_fusion_trains_in_the_cifar_families_at_any_size(family, name):
    """Compiled, on images of an even and an odd size: every parameter has a share in the logits."""
    net = bare(family, fusion=name, **({"last_gamma": False} if family in WITH_LAST_GAMMA else {}))
    net.initialize()
    net.hybridize(static_alloc=True)
    assert fusions(net) == [[name] * (2 if family == "cifar_inception" else 1)] * 3
    for size in ((16, 16), (13, 11)):
        x = mx.nd.array(parity.features(11, (3, 3, *size)))
        with mx.autograd.record():
            output = net(x)
            loss = output.square().sum()
        loss.backward()
        assert output.shape == (3, 5)
        gradients = {name: p.grad().asnumpy() for name, p in parity.each_structural(net) if p.grad_req != "null"}
        assert all(np.isfinite(value).all() for value in gradients.values())
        # That of a bias before a batch norm is rounding, which may be 0.
        without = [n for n, value in gradients.items() if np.abs(value).sum() < 1e-9 and not n.endswith(".bias")]
        assert without == [name for name in gradients if name == "features.0.gamma"]  # the images' own norm


def test_inner_width_of_an_inception_block_is_its_own_unless_as_released():
    for as_released, inner in ((False, [16, 32, 64]), (True, [16, 16, 32])):
        net = bare("cifar_inception", blocks=2, as_released=as_released)
        for stage, channels in zip(stages(net), inner):
            assert [block.bn2.gamma.shape for block in stage] == [(channels,)] * 2


@pytest.mark.parametrize("name", list_fusions())
def test_branches_of_an_inception_unit_are_normalised_unless_they_are_added(name):
    net = bare("cifar_inception", fusion=name, start_layer=2)
    for unit, own in (
        (net.features[1], "DirectAdd"),
        (net.features[2][0].conv1, "DirectAdd"),
        (net.features[3][0].conv2, name),
    ):
        layers = ["Conv2D"] if own == "DirectAdd" else ["Conv2D", "BatchNorm"]
        assert type(unit.fuse).__name__ == own
        for branch, dilation in ((unit.feature_spatial_3, 1), (unit.feature_spatial_5, 2)):
            assert [type(layer).__name__ for layer in branch] == layers
            assert branch[0]._kwargs["dilate"] == branch[0]._kwargs["pad"] == (dilation, dilation)


@pytest.mark.parametrize("name", list_fusions())
@pytest.mark.parametrize("family", IMAGENET)
def test_every_fusion_fits_in_the_imagenet_families(family, name):
    net = bare(family, fusion=name, start_layer=1)  # inferred, not run, which would take seconds
    assert fusions(net) == [[name] * count for count in (3, 4, 6, 3)]
    arguments, shapes, _ = net(mx.sym.Variable("data")).infer_shape(data=(2, 3, 64, 64))
    assert shapes == [(2, 5)]
    assert all(0 not in shape for shape in arguments)


@pytest.mark.parametrize("family", CLASSIFIERS)
def test_stages_before_the_first_to_fuse_add(family):
    count = 3 if family in CIFAR else 4
    for start_layer in range(1, count + 2):
        found = fusions(bare(family, fusion="sk", start_layer=start_layer))
        expected = ["DirectAdd" if stage < start_layer else "SKFuse" for stage in range(1, count + 1)]
        assert [{*stage} for stage in found] == [{name} for name in expected]


@pytest.mark.parametrize("family", CLASSIFIERS)
def test_fusion_is_aff_from_the_first_stage_on_cifar_and_the_third_on_imagenet(family):
    found = [{*stage} for stage in fusions(bare(family))]
    assert found == [{"ASKCFuse"}] * 3 if family in CIFAR else [{"DirectAdd"}] * 2 + [{"ASKCFuse"}] * 2


def test_reduction_and_norm_reach_the_fusion_blocks():
    families = {"cifar_resnet": 4, "cifar_resnext": 16, "cifar_inception": 4, "resnet": 16, "resnext": 16}
    for family, r in families.items():
        for changes, reduction in (({}, r), ({"r": 2, "norm": "group"}, 2)):
            attention = fusion_blocks(stages(bare(family, **changes))[-1][0])[-1]
            width, channels, _, _ = attention.local_att[0].weight.shape
            assert channels == reduction * width
            assert attention.global_att.norm == changes.get("norm", "batch")


# --- What is refused -------------------------------------------------------------------------------------------------


def test_unknown_model_is_refused_by_the_nearest():
    message = refusal("aff_resnet33")
    assert "no such model 'aff_resnet33'" in message
    assert message.index("did you mean 'aff_resnet32'") > 0
    assert "'cifar_resnext'" in refusal("cifar_resnex")


@pytest.mark.parametrize("name", ["zzz", "", None, 3])
def test_model_like_no_other_is_refused_by_the_whole_list(name):
    message = refusal(name)
    assert repr(name) in message
    assert all(known in message for known in [*FAMILIES, *list_models()])


@pytest.mark.parametrize(
    ("name", "argument", "near"),
    [
        ("aff_resnet32", "clases", "'classes'"),
        ("cifar_resnext", "cardinalty", "'cardinality'"),
        ("resnet", "layer", "'layers'"),
        ("resnext", "avgdown", "'avg_down'"),
    ],
)
def test_unknown_argument_is_refused_by_the_nearest(name, argument, near):
    message = refusal(name, **{argument: 1})
    assert message.startswith(f"{name} has no parameter {argument!r}: did you mean ")
    assert near in message


@pytest.mark.parametrize(
    ("family", "argument"),
    [("cifar_resnet", "last_gamma"), ("cifar_resnet", "layers"), ("resnet", "blocks"), ("resnext", "dilated")],
)
def test_argument_of_another_family_is_refused(family, argument):
    assert f"{family} has no parameter {argument!r}" in refusal(family, **{argument: 1})


@pytest.mark.parametrize(
    ("family", "argument"),
    [
        *((family, argument) for family in CLASSIFIERS for argument in ("classes", "start_layer")),
        *((family, argument) for family in ("fpn", "unet") for argument in ("classes", "blocks", "channel_times")),
        *((family, argument) for family in CIFAR for argument in ("blocks", "channel_times")),
        *((family, argument) for family in ("cifar_resnext", "resnext") for argument in ("cardinality",)),
        *((family, argument) for family in ("cifar_resnext", "resnext") for argument in ("bottleneck_width",)),
    ],
)
@pytest.mark.parametrize("value", [0, -1, True, "x", "3", 2.0, None])
def test_sizes_that_are_no_count_are_refused_by_name(family, argument, value):
    assert f"{argument}={value!r}: expected a positive integer" in refusal(family, **{argument: value})


@pytest.mark.parametrize("family", IMAGENET)
@pytest.mark.parametrize("layers", [18, 34, 0, -50, "50", None, True])
def test_depth_that_there_is_not_is_refused(family, layers):
    assert f"layers={layers!r}: expected one of 50, 101, 152" in refusal(family, layers=layers)


@pytest.mark.parametrize("value", [1, 1.0, -0.1, 7, float("nan")])
def test_dropout_of_everything_is_refused(value):
    assert f"final_drop={value!r}: expected a fraction" in refusal("resnet", final_drop=value)


@pytest.mark.parametrize("family", FAMILIES)
def test_unknown_fusion_is_refused_by_the_nearest(family):
    message = refusal(family, fusion="iaf")
    assert "no fusion block is named 'iaf'" in message
    assert "'iaff'" in message


@pytest.mark.parametrize("family", FAMILIES)
def test_ms_cam_is_refused_for_its_single_input(family):
    for name in ("mscam", "MSCAM"):
        message = refusal(family, fusion=name)
        assert f"{name.lower()!r}" in message.lower()
        assert "'aff'" in message


@pytest.mark.parametrize("family", FAMILIES)
def test_unknown_norm_is_refused(family):
    assert "norm='instance': expected one of batch, group, layer, none" in refusal(family, norm="instance")


def test_reduction_that_does_not_divide_is_refused():
    assert "channels=16 is not divisible by r=3" in refusal("cifar_resnet", channel_times=1, r=3)
    assert "r=32 leaves no channel of 16" in refusal("cifar_resnet", channel_times=1, r=32)
    assert "channels=1024 is not divisible by r=12" in refusal("resnet", r=12)


def test_group_without_channels_is_refused_by_what_would_do():
    message = refusal("cifar_resnext", channel_times=1, bottleneck_width=3)
    assert "bottleneck_width=3 leaves no channel per group at width 16: use at least 4" in message
    assert bare("cifar_resnext", bottleneck_width=4) is not None


# --- First weights ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "expected"), [(family, "Xavier") for family in CIFAR])
def test_weights_start_by_xavier_on_cifar(family, expected):
    net = bare(family, fusion="add")
    assert type(net.default_initializer()).__name__ == expected
    mx.random.seed(5)
    net.initialize()
    for name, parameter in parity.each_structural(net):
        if name.endswith("weight"):
            rows, columns, *kernel = parameter.shape
            bound = np.sqrt(3 / ((rows + columns) * np.prod(kernel or [1]) / 2))
            found = np.abs(parameter.data().asnumpy()).max()
            assert 0.8 * bound < found <= bound * (1 + 1e-6), name


@pytest.mark.parametrize("family", IMAGENET)
def test_weights_start_by_msra_prelu_on_imagenet(family):
    initializer = bare(family, fusion="add").default_initializer()
    assert type(initializer) is mx.init.MSRAPrelu
    assert initializer.dumps() == mx.init.MSRAPrelu().dumps()


class Threes(Network):
    """One layer that starts at 3 unless told otherwise."""

    def __init__(self):
        super().__init__(2)
        with self.name_scope():
            self.output = nn.Dense(2, in_units=3)

    @staticmethod
    def default_initializer():
        return mx.init.Constant(3)


def test_network_starts_with_its_own_initialiser_unless_told():
    net = Threes()
    net.initialize()
    assert (net.output.weight.data().asnumpy() == 3).all()
    net.initialize(mx.init.One(), force_reinit=True)
    assert (net.output.weight.data().asnumpy() == 1).all()
    net = Threes()
    net.initialize(ctx=[mx.cpu(0), mx.cpu(1)])
    assert [value.asnumpy().sum() for value in net.output.weight.list_data()] == [18, 18]


def last_gammas(net):
    """Of each residual block's last batch norm, with all the others of the blocks' bodies."""
    last, others = [], []
    for stage in stages(net):
        for block in stage:
            norms = (block.bn1, block.bn2, block.bn3) if hasattr(block, "bn3") else [*block.body]
            gammas = [norm.gamma for norm in norms if isinstance(norm, nn.BatchNorm)]
            last.append(gammas[-1])
            others += gammas[:-1]
    return last, others


@pytest.mark.parametrize(
    ("flag", "expected"), [({}, "zeros"), ({"last_gamma": True}, "zeros"), ({"last_gamma": False}, "ones")]
)
@pytest.mark.parametrize("family", WITH_LAST_GAMMA)
def test_last_gamma_of_each_block_starts_at_zero_unless_told(family, flag, expected):
    last, others = last_gammas(bare(family, **flag))
    assert len(last) == (3 if family in CIFAR else 16)
    assert len(others) == 2 * len(last)
    assert {gamma.init for gamma in last} == {expected}
    assert {gamma.init for gamma in others} == {"ones"}


@pytest.mark.parametrize("last_gamma", [True, False])
def test_block_with_last_gamma_at_zero_starts_as_its_shortcut(last_gamma):
    net = bare("cifar_resnext", fusion="add", last_gamma=last_gamma)
    net.initialize()
    block = stages(net)[0][0]
    x = mx.nd.array(parity.features(1, (2, 16, 4, 4)))
    same = np.array_equal(block(x).asnumpy(), np.maximum(block.downsample(x).asnumpy(), 0))
    assert same is last_gamma


def test_learnable_parameters_are_counted_without_running_statistics():
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 3, in_channels=3), nn.BatchNorm(in_channels=4), nn.BatchNorm(scale=False, in_channels=4))
    assert count_parameters(net) == (3 * 3 * 3 * 4 + 4) + (4 + 4) + 4


# --- Files -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A network, and the file of its parameters."""
    net, path = network(fusion="aff"), tmp_path_factory.mktemp("saved") / "net.params"
    net.save_parameters(str(path))
    return net, path


@pytest.mark.parametrize("family", CIFAR)
@pytest.mark.parametrize("name", ["iaff", "sk", "concat"])
def test_saved_network_computes_the_same_when_read_back(family, name, tmp_path):
    net, path = network(family=family, fusion=name), str(tmp_path / "net.params")
    net.save_parameters(path)
    other = bare(family, fusion=name)
    other.load_parameters(path)
    np.testing.assert_array_equal(other(images()).asnumpy(), net(images()).asnumpy())


def test_parameters_are_read_from_a_path_onto_any_devices(saved):
    net, path = saved
    other = bare()
    other.load_parameters(path, ctx=[mx.cpu(0), mx.cpu(1)])
    expected = net(images()).asnumpy()
    for ctx in (mx.cpu(0), mx.cpu(1)):
        np.testing.assert_array_equal(other(images().as_in_context(ctx)).asnumpy(), expected)


def test_started_network_is_overwritten(saved):
    net, path = saved
    other = bare()
    other.initialize()
    assert not np.array_equal(other(images()).asnumpy(), net(images()).asnumpy())
    other.load_parameters(str(path))
    np.testing.assert_array_equal(other(images()).asnumpy(), net(images()).asnumpy())


def load_refusal(path, **changes):
    """What a started network says of a file, having checked that it did not change."""
    net = bare(**changes)
    net.initialize()
    before = {name: value.data().asnumpy() for name, value in parity.each_structural(net)}
    with pytest.raises(CheckpointError) as caught:
        net.load_parameters(str(path))
    for name, value in parity.each_structural(net):
        assert value.data().asnumpy().tobytes() == before[name].tobytes(), name
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message


def test_file_of_other_classes_is_refused_by_the_classifier(saved):
    assert load_refusal(saved[1], classes=7).splitlines()[1:-1] == [
        "  output.weight is (5, 64), the network's is (7, 64)",
        "  output.bias is (5,), the network's is (7,)",
    ]


def test_file_of_another_fusion_is_refused_by_its_first_parameters(saved):
    lines = load_refusal(saved[1], fusion="add").splitlines()
    attention = [name for name, _ in parity.named_shapes(saved[0]) if ".attention." in name]
    assert f"({len(attention)} do not fit)" in lines[0]
    assert lines[1] == "  features.2.0.attention.local_att.0.weight (4, 16, 1, 1) is not in the network"
    assert lines[5] == f"  and {len(attention) - 4} more"


def test_file_that_lacks_parameters_is_refused_by_the_first(saved):
    lines = load_refusal(saved[1], fusion="iaff").splitlines()
    assert lines[1] == "  features.2.0.attention.local_att2.0.weight (4, 16, 1, 1) is missing"


def test_file_of_other_widths_is_refused_by_both_shapes(saved):
    lines = load_refusal(saved[1], channel_times=2).splitlines()
    assert lines[1] == "  features.1.weight is (16, 3, 3, 3), the network's is (32, 3, 3, 3)"


def test_file_of_another_family_is_refused(saved):
    message = load_refusal(saved[1], family="cifar_resnext")
    assert "the parameters of another network" in message
    assert message.splitlines()[1].endswith("is missing")


def test_missing_and_extra_parameters_are_allowed_where_asked(saved):
    net = bare(fusion="iaff")
    net.initialize(mx.init.Zero())
    net.load_parameters(str(saved[1]), allow_missing=True)
    assert (net.features[2][0].attention.local_att2[0].weight.data().asnumpy() == 0).all()
    added = bare(fusion="add")
    added.load_parameters(str(saved[1]), ignore_extra=True)
    for one in (net, added):
        found, expected = (each.output.weight.data().asnumpy() for each in (one, saved[0]))
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(CheckpointError, match="is missing"):
        bare(fusion="iaff").load_parameters(str(saved[1]), ignore_extra=True)
    with pytest.raises(CheckpointError, match="is not in the network"):
        bare(fusion="add").load_parameters(str(saved[1]), allow_missing=True)


@pytest.mark.parametrize("kept", [0.999, 0.5, 0.01, 20, 7, 1])
def test_truncated_file_is_refused(saved, tmp_path, kept):
    whole, path = saved[1].read_bytes(), tmp_path / "cut.params"
    path.write_bytes(whole[: int(kept * len(whole)) if kept < 1 else kept])
    assert "not a complete MXNet parameter file" in load_refusal(path)


@pytest.mark.parametrize("content", [b"", b"epoch,train_loss\n1,2.5\n", b"\x00" * 64, b"\x89PNG\r\n\x1a\n" + b"x" * 99])
def test_file_of_something_else_is_refused(tmp_path, content):
    path = tmp_path / "other.params"
    path.write_bytes(content)
    assert "not a complete MXNet parameter file" in load_refusal(path)


def test_file_without_names_is_refused(tmp_path):
    path = tmp_path / "list.params"
    mx.nd.save(str(path), [mx.nd.ones((2, 3))])
    assert "not a complete MXNet parameter file" in load_refusal(path)


def test_missing_file_and_folder_are_refused_by_the_system_s_words(tmp_path):
    assert "No such file or directory" in load_refusal(tmp_path / "none.params")
    assert "Is a directory" in load_refusal(tmp_path)


@pytest.mark.filterwarnings("ignore:Cannot decide type for the following arguments")
@pytest.mark.parametrize("family", CIFAR)
def test_exported_network_computes_the_same_without_this_package_s_classes(family, tmp_path):
    net = network(family=family)
    net.hybridize()
    expected = net(images()).asnumpy()
    net.export(str(tmp_path / "net"))
    imported = mx.gluon.SymbolBlock.imports(
        str(tmp_path / "net-symbol.json"), ["data"], str(tmp_path / "net-0000.params")
    )
    np.testing.assert_allclose(imported(images()).asnumpy(), expected, rtol=1e-5, atol=1e-5)
    assert np.ptp(expected) > 0.1


def test_compiled_network_computes_what_the_imperative_does():
    for family in CIFAR:
        deep = {} if family == "cifar_inception" else {"deep_stem": True}
        net = network(family=family, fusion="iaff", **deep)
        expected = net(images()).asnumpy()
        net.hybridize(static_alloc=True, static_shape=True)
        np.testing.assert_allclose(net(images()).asnumpy(), expected, rtol=1e-4, atol=1e-4)


def test_fusion_names_of_networks_are_those_of_get_fusion():
    for name in ("aff", "AFF", "askcfuse", "ASKCFuse"):
        assert type(stages(bare(fusion=name))[0][0].attention) is find_fusion("aff")


@pytest.mark.parametrize("fusion_name", [3, None])
def test_fusion_that_is_no_name(fusion_name):
    with pytest.raises(ValueError, match="no fusion block is named"):
        fusion.get_model("cifar_resnet", fusion=fusion_name, blocks=1, channel_times=1)


def test_parameters_of_another_type_are_a_checkpoint_error(tmp_path):
    half = fusion.get_model("cifar_resnet", blocks=1, channel_times=1)
    half.initialize()
    half.cast("float16")
    half.save_parameters(str(tmp_path / "half.params"))
    net = fusion.get_model("cifar_resnet", blocks=1, channel_times=1)
    with pytest.raises(CheckpointError, match="float16.*float32"):
        net.load_parameters(str(tmp_path / "half.params"))
    net.load_parameters(str(tmp_path / "half.params"), cast_dtype=True)


@pytest.mark.parametrize("arguments", [{"final_drop": "x"}, {"final_drop": None}, {"layers": [50]}])
def test_resnet_arguments_of_another_type(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        fusion.get_model("resnet", **arguments)


@pytest.mark.parametrize("compiled", [False, True], ids=["imperative", "hybridized"])
@pytest.mark.parametrize("family", ["cifar_resnet", "cifar_inception"])
def test_every_running_statistic_moves_in_training_on_images_without_gradient(family, compiled):
    net = get_model(family, blocks=1, channel_times=1)
    net.initialize()
    if compiled:
        net.hybridize(static_alloc=True, static_shape=True)
    parameters = net._collect_params_with_prefix()
    before = {name: p.data().asnumpy() for name, p in parameters.items()}
    trainer = mx.gluon.Trainer(net.collect_params(), "nag", {"learning_rate": 0.1, "momentum": 0.9, "wd": 0.1})
    images = mx.nd.random.normal(3, 2, shape=(4, 3, 32, 32))
    for _ in range(2):
        with mx.autograd.record():
            loss = net(images).square().mean()
        loss.backward()
        trainer.step(4)
    mx.nd.waitall()
    still = [name for name, p in parameters.items() if np.array_equal(p.data().asnumpy(), before[name])]
    assert still == ["features.0.gamma", "features.0.beta"]
    np.testing.assert_allclose(
        parameters["features.0.running_mean"].data().asnumpy(),
        (1 - 0.9**2) * images.asnumpy().mean((0, 2, 3)),
        rtol=1e-4,
    )
