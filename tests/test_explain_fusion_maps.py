"""The weights of fusion blocks: caught as they are computed, described by block, counted over a data set, drawn."""

from __future__ import annotations

import json

import numpy as np
import pytest
from own_network import own_network
from PIL import Image
from run_folders import write_network

from fusion import get_fusion, get_model, list_fusions
from fusion.__main__ import main
from fusion.attentional import WeightKind
from fusion.compat import mx
from fusion.errors import ConfigError
from fusion.explain.fusion_maps import (
    BINS,
    WeightDistribution,
    format_distributions,
    fusion_maps,
    weight_distribution,
)
from fusion.explain.maps_picture import draw_weight_distribution, last_of_stages
from fusion.places import fusion_places
from fusion.weights import role_of, without_weight

TINY = {"blocks": 1, "channel_times": 1, "classes": 5}

#: By hand, from the table of the README.
ROLES = {
    "DirectAdd": "none",
    "Concat": "none",
    "AYforXplusY": "gates y",
    "XplusAYforY": "gates x",
    "AXYforXplusY": "gates y",
    "AXYforXY": "gates both",
    "SEFuse": "gates x",
    "GAUFuse": "gates y",
    "TopDownLocal": "gates y",
    "AsymBi": "gates y",
    "BiLocal": "gates y",
    "BiGlobal": "gates y",
}


def small(family="cifar_resnet", **changes):
    mx.random.seed(1)
    net = get_model(family, **{**TINY, **changes})
    net.initialize(mx.init.Xavier(magnitude=12))
    return net


def images(count=3, size=16):
    return mx.nd.array(np.random.default_rng(0).normal(size=(count, 3, size, size)))


def set_weight(net, *weights):
    """Make every weight of each pass a constant, by the shift of its branches' last batch norms."""
    for place in fusion_places(net):
        for branches, w in zip(place.block.passes, weights):
            for name in branches:
                last = list(getattr(place.block, name)._children.values())[-1]
                last.gamma.set_data(mx.nd.zeros(last.gamma.shape))
                last.beta.set_data(mx.nd.full(last.beta.shape, np.log(w / (1 - w)) / len(branches)))


# --- Maps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list_fusions())
def test_what_each_block_s_weight_does(name):
    assert role_of(get_fusion(name, 16)) == ROLES.get(name, "selects")


@pytest.mark.parametrize("fusion", ["aff", "iaff", "se", "sk", "ResGlobforGlobCha", "AXYforXY"])
def test_the_weight_is_the_one_that_makes_the_output(fusion):
    """Of what goes into each block and its weights, `combine` makes what comes out of it."""
    net, seen = small(fusion=fusion), {}
    for place in fusion_places(net):
        place.block.register_forward_hook(lambda block, inputs, out, key=place.name: seen.update({key: (inputs, out)}))
    maps = fusion_maps(net, images())
    assert len(maps) == 3 * len(fusion_places(net)[0].block.passes)
    for found in maps:
        (x, y), output = seen[found.place.name]
        block = found.place.block
        w = block.weight(mx.nd, block.attends_to(x, y), 0)
        if found.number == 2:
            w = block.weight(mx.nd, block.combine(x, y, w), 1)
        np.testing.assert_allclose(found.mean, w.asnumpy().mean(axis=1), rtol=1e-4, atol=1e-5)
        assert found.mean.shape == (3, *x.shape[2:])
        if found.role == "selects":
            np.testing.assert_allclose(found.identity, (w.asnumpy() < 0.5).mean(axis=1), atol=0.07)
        if found.number == found.passes:
            np.testing.assert_allclose(block.combine(x, y, w).asnumpy(), output.asnumpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("w", "identity"), [(0.3, 1), (0.7, 0)])
def test_below_a_half_the_shortcut_is_preferred(w, identity):
    net = small(fusion="aff")
    set_weight(net, w)
    for found in fusion_maps(net, images()):
        np.testing.assert_allclose(found.mean, w, rtol=1e-5)
        assert (found.identity == identity).all()


def test_passes_are_told_apart():
    net = small(fusion="iaff")
    set_weight(net, 0.2, 0.9)
    maps = fusion_maps(net, images())
    assert [(found.place.stage, found.number, found.passes) for found in maps[:3]] == [(1, 1, 2), (1, 2, 2), (2, 1, 2)]
    assert maps[1].title == "stage 1, block 1, pass 2"
    for found in maps:
        np.testing.assert_allclose(found.mean, 0.2 if found.number == 1 else 0.9, rtol=1e-5)


def test_stages_that_add_have_no_map():
    net = small(fusion="aff", start_layer=3, blocks=2)
    maps = fusion_maps(net, images())
    assert [(found.place.stage, found.place.position) for found in maps] == [(3, 1), (3, 2)]
    assert [found.place.position for found in last_of_stages(maps)] == [2]
    assert {place.stage for place in without_weight(net)} == {1, 2}


def test_branches_of_one_layer_are_called_by_their_fields():
    """In an Inception network y is no shortcut; the weight below ½ prefers the branch of the 3×3 field."""
    net = small("cifar_inception", fusion="aff")
    set_weight(net, 0.3)
    maps = fusion_maps(net, images())
    assert [found.title for found in maps[:3]] == [
        "layer features.1",
        "stage 1, block 1, unit 1",
        "stage 1, block 1, unit 2",
    ]
    assert [found.title for found in last_of_stages(maps)] == [
        "layer features.1",
        *(f"stage {stage}, block 1, unit 2" for stage in (1, 2, 3)),
    ]
    distributions = weight_distribution(net, [images()])
    assert [(one.stage, one.inputs) for one in distributions] == [(s, ("5x5 branch", "3x3 branch")) for s in range(4)]
    table = format_distributions(distributions).splitlines()
    assert table[0].endswith("prefers the 3x3 branch")
    assert table[1].endswith("100.0 %")
    assert {len(line) for line in table} == {len(table[0])}


@pytest.mark.parametrize("fusion", ["add", "concat"])
def test_network_without_weights_is_refused(fusion):
    with pytest.raises(ConfigError, match="has no weight to show"):
        fusion_maps(small(fusion=fusion), images())


def test_network_is_left_as_it_was():
    net = small(fusion="iaff")
    before = net(images()).asnumpy()
    net.hybridize()
    net(images())
    expected = fusion_maps(net, images())
    assert net._active
    assert all("weight" not in vars(place.block) for place in fusion_places(net))
    np.testing.assert_allclose(net(images()).asnumpy(), before, rtol=1e-3, atol=1e-5)
    again = fusion_maps(net, images())
    np.testing.assert_allclose(again[0].mean, expected[0].mean, rtol=1e-5)


def test_blocks_are_left_as_they_were_where_the_network_cannot_run():
    net = small(fusion="aff")
    with pytest.raises(mx.MXNetError):
        fusion_maps(net, mx.nd.zeros((1, 4, 16, 16)))
        mx.nd.waitall()
    assert all("weight" not in vars(place.block) for place in fusion_places(net))


@pytest.mark.parametrize("name", ["iaff_resnext38_32x4d", "aff_resnet50"])
def test_named_models(name):
    net = get_model(name, classes=3)
    net.initialize()
    maps = fusion_maps(net, images(1, 32 if net.input_size == 32 else 64))
    assert {found.place.stage for found in maps} == ({1, 2, 3} if "38" in name else {3, 4})
    assert len(maps) == (4 * 3 * 2 if "38" in name else 6 + 3)


@pytest.mark.parametrize("fusion", list_fusions()[2:])
@pytest.mark.parametrize("norm", ["group", "none"])
def test_any_fusion_and_norm(fusion, norm):
    for found in fusion_maps(small(fusion=fusion, norm=norm), images(1)):
        assert ((found.mean > 0) & (found.mean < 1)).all()


# --- Distributions ---------------------------------------------------------------------------------------------------


def raw_weights(net, x, stage, number):
    place = next(place for place in fusion_places(net) if place.stage == stage)
    caught = []
    own = type(place.block).weight
    place.block.weight = lambda *given, **named: caught.append(own(place.block, *given, **named)) or caught[-1]
    net(x)
    del place.block.weight
    return caught[number - 1].asnumpy().ravel()


def test_distribution_has_the_figures_of_all_the_weights():
    net, x = small(fusion="iaff"), images(4)
    found = weight_distribution(net, [x[:3], x[3:]])
    assert [(one.stage, one.number) for one in found] == [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2)]
    for one in found:
        w = raw_weights(net, x, one.stage, one.number)
        assert one.total == w.size
        assert one.mean == pytest.approx(w.mean(), abs=1 / BINS)
        assert one.identity_share == pytest.approx((w < 0.5).mean(), abs=1e-3)
        for share in (0.1, 0.5, 0.9):
            assert one.quantile(share) == pytest.approx(np.quantile(w, share), abs=2 / BINS)
            assert one.distance(share) == pytest.approx(np.quantile(np.abs(w - 0.5), share), abs=2 / BINS)
    assert max(one.distance(0.5) for one in found) > 0.05  # or nothing of this could fail


def test_blocks_of_a_stage_are_counted_together():
    one, two = (weight_distribution(small(fusion="aff", blocks=blocks), [images(2)]) for blocks in (1, 2))
    assert [b.total for b in two] == [2 * a.total for a in one]


@pytest.mark.parametrize(("w", "share", "distance"), [(0.3, 1, 0.2), (0.7, 0, 0.2), (0.999, 0, 0.499)])
def test_constant_weights(w, share, distance):
    net = small(fusion="aff")
    set_weight(net, w)
    for found in weight_distribution(net, [images()]):
        assert found.identity_share == share
        assert found.distance(0.5) == pytest.approx(distance, abs=1.5 / BINS)
        assert found.quantile(0.5) == pytest.approx(w, abs=1.5 / BINS)


def test_weights_of_a_plain_sum_are_no_distance_from_a_half():
    net = small(fusion="aff")
    set_weight(net, 0.5)
    for found in weight_distribution(net, [images()]):
        assert found.distance(0.9) <= 1.5 / BINS
        assert found.identity_share == 0  # neither side is preferred


def test_gates_have_no_preference_to_state():
    table = format_distributions(weight_distribution(small(fusion="se"), [images()]))
    assert "- (gates x)" in table
    assert "%" not in table.splitlines()[1]


def test_no_images_is_refused():
    with pytest.raises(ConfigError, match="no image"):
        weight_distribution(small(fusion="aff"), [])


def test_picture_of_distributions_of_networks_with_different_stages(tmp_path):
    counts = np.bincount(np.arange(BINS), minlength=BINS)
    kinds = {title: WeightKind(title, "selects") for title in ("", "pass 1", "pass 2")}
    own = [WeightDistribution(stage, 1, 1, kinds[""], counts, BINS // 2) for stage in (1, 2, 3)]
    other = [WeightDistribution(3, number, 2, kinds[f"pass {number}"], counts, BINS // 2) for number in (1, 2)]
    draw_weight_distribution({"a $": own, "b": other}, "title", tmp_path / "weights.png")
    assert Image.open(tmp_path / "weights.png").width == 990


# --- The command -----------------------------------------------------------------------------------------------------

WORDS = ["model.name=cifar_resnet", "model.blocks=1", "model.channel_times=1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs on the digits, and three images."""
    root = tmp_path_factory.mktemp("maps")
    for fusion in ("add", "aff", "iaff"):
        write_network(root / fusion, [*WORDS, f"model.fusion={fusion}"], tuple("0123456789"))
    write_network(root / "late", [*WORDS, "model.fusion=aff", "model.start_layer=3"], tuple("0123456789"))
    draw = np.random.default_rng(0)
    (root / "photos").mkdir()
    for number in range(3):
        Image.fromarray(draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(root / "photos" / f"{number}.png")
    return root


@pytest.fixture
def maps(folder, tmp_path, capsys):
    def command(run, *words):
        status = main(["maps", "--run", str(folder / run), "--output", str(tmp_path / "out"), *map(str, words)])
        return (status, *capsys.readouterr())

    return command


def test_command_draws_images_and_distribution(folder, tmp_path, maps):
    words = (folder / "photos", "--compare", folder / "aff", "--over-data", 20, "--batch-size", 2)
    status, printed, _ = maps("iaff", *words)
    assert status == 0
    files = {path.name: path for path in (tmp_path / "out").iterdir()}
    assert sorted(files) == sorted(
        [f"{n + 1:03}_{n}_cifar_resnet-{fusion}.png" for n in range(3) for fusion in ("aff", "iaff")]
        + ["sheet_cifar_resnet-aff.png", "sheet_cifar_resnet-iaff.png", "weights.png"]
    )
    for path in files.values():
        assert Image.open(path).width == 990, path
    assert printed.count("median |w-1/2|") == 2 == printed.count("weights over 20 test images of UCI digits")


def test_distribution_is_over_as_many_evenly_spaced_images_as_asked_for(folder, maps):
    status, printed, _ = maps("aff", "--over-data", 20, "--json")
    found = json.loads(printed)["networks"]["cifar_resnet (aff)"]
    assert status == 0
    assert [one["weights"] for one in found] == [20 * 16 * 32 * 32, 20 * 32 * 16 * 16, 20 * 64 * 8 * 8]
    assert all(0 <= one["prefers_identity"] <= 1 for one in found)


def test_command_names_the_branches_of_an_inception_network(folder, tmp_path, maps):
    words = ["model.name=cifar_inception", *WORDS[1:], "model.fusion=iaff", "model.start_layer=2"]
    write_network(folder / "inception", words, tuple("0123456789"))
    status, printed, said = maps("inception", folder / "photos" / "0.png", "--over-data", 20, "--json")
    assert status == 0
    assert "outside the stages it fuses by DirectAdd" in said and "stage 1 fuses by DirectAdd" in said
    (found,) = json.loads(printed)["networks"].values()
    assert [one["stage"] for one in found] == [2, 2, 3, 3]
    assert found[0]["weights"] == 20 * 2 * 32 * 16 * 16
    assert {tuple(one["inputs"]) for one in found} == {("5x5 branch", "3x3 branch")}


def test_test_set_may_have_moved(folder, tmp_path, maps):
    words = [*WORDS, "model.fusion=aff", "data.name=image_folder", f"data.dir={tmp_path / 'gone'}"]
    write_network(folder / "moved", words, ("ant", "bee"))
    for split in ("train", "test"):
        for name in ("ant", "bee"):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            (tmp_path / "data" / split / name / "a.png").write_bytes((folder / "photos" / "0.png").read_bytes())
    status, _, said = maps("moved", "--over-data")
    assert status == 2 and "gone" in said
    status, printed, _ = maps("moved", "--over-data", "--data-dir", tmp_path / "data")
    assert status == 0
    assert "2 test images of image folder data" in printed


def test_network_that_adds_is_refused_and_nothing_is_written(folder, tmp_path, maps):
    for words in [("add",), ("aff", "--compare", folder / "add")]:
        status, _, said = maps(words[0], folder / "photos", *words[1:])
        assert status == 2
        assert "fuses by DirectAdd, which has no weight to show" in said
    assert not (tmp_path / "out").exists()


def test_stages_that_add_are_named(folder, maps):
    status, _, said = maps("late", folder / "photos")
    assert status == 0
    assert "stage 1 fuses by DirectAdd" in said and "stage 2 fuses" in said and "stage 3 fuses" not in said


def test_unreadable_image_does_not_stop_the_rest(folder, maps):
    status, _, said = maps("aff", folder / "photos" / "0.png", "none.png")
    assert status == 1
    assert "none.png" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to show"),
        (["--over-data", "-1"], "--over-data -1"),
        (["--over-data", "--batch-size", "0"], "--batch-size 0"),
        (["none.png"], "can be read"),
    ],
)
def test_what_is_impossible_is_refused(maps, tmp_path, words, message):
    status, _, said = maps("aff", *words)
    assert status == 2
    assert message in said
    assert not (tmp_path / "out").exists()


def test_distribution_needs_a_run(folder, tmp_path, capsys):
    words = ["--model", "aff_resnet32", "--checkpoint", "x.params", "--over-data", "--output", str(tmp_path / "out")]
    assert main(["maps", *words]) == 2
    assert "--run DIR" in capsys.readouterr().err


def test_folder_that_is_there_asks_for_force(folder, tmp_path, maps):
    assert maps("aff", folder / "photos" / "0.png")[0] == 0
    status, _, said = maps("aff", folder / "photos" / "1.png")
    assert status == 2 and "--force" in said
    assert maps("aff", folder / "photos" / "1.png", "--force")[0] == 0
    assert {path.name[:5] for path in (tmp_path / "out").glob("00*")} == {"001_0", "001_1"}


# --- Networks of one's own -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compiled", [False, True])
def test_network_of_one_s_own_has_maps_of_its_blocks(compiled):
    net = own_network()
    images = np.random.default_rng(0).standard_normal((2, 1, 12, 12)).astype(np.float32)
    if compiled:
        net.hybridize()
    first, second = fusion_maps(net, images)  # of NumPy, as those of MXNet
    assert (first.title, second.title) == ("layer first", "layer second")
    assert (first.mean.shape, second.mean.shape) == ((2, 12, 12), (2, 6, 6))
    seen = []
    hook = net.first.fuse.register_forward_hook(lambda _, given, __: seen.append(given))
    net.hybridize(False)
    net(mx.nd.array(images))
    hook.detach()
    np.testing.assert_allclose(first.mean, net.first.fuse.weights(*seen[0])[0].asnumpy().mean(axis=1), rtol=1e-5)
    (found,) = weight_distribution(net, [images, images])
    assert (found.stage, found.total) == (0, 2 * 2 * 8 * (12 * 12 + 6 * 6))


def test_network_of_one_s_own_without_weights_is_refused():
    with pytest.raises(ConfigError, match="the network fuses by DirectAdd, which has no weight to show"):
        fusion_maps(own_network(fusion="add"), np.zeros((1, 1, 12, 12), np.float32))
