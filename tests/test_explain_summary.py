"""Parameters and multiply-adds against published and hand-computed figures, and the command line that prints them."""

from __future__ import annotations

import fnmatch
import json

import pytest

import fusion
from fusion import get_model, list_fusions, list_models, list_pretrained
from fusion.__main__ import main
from fusion.compat import mx, nn
from fusion.errors import FusionError
from fusion.explain.summary import BlockSummary, format_table, summarise
from fusion.models.zoo import FAMILIES


def small(**changes):
    return get_model("cifar_resnet", **{"blocks": 1, "channel_times": 1, "fusion": "add", "classes": 10, **changes})


# --- Counts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("aff_resnet32", 7.90),
        ("aff_resnext38_32x4d", 7.77),
        ("aff_resnext47_32x4d", 9.61),
        ("aff_resnet50", 30.37),
        ("aff_resnext50_32x4d", 29.95),
        ("iaff_resnet50", 35.17),
        ("iaff_resnext50_32x4d", 34.75),
    ],
)
def test_parameters_of_the_published_models(name, millions):
    total = summarise(get_model(name), input_size=32)[0]  # no parameter depends on the size of the image
    assert round(total.parameters / 1e6, 2) == millions


@pytest.mark.parametrize(
    ("family", "parameters", "multiply_adds"),
    [("resnet", 25_557_032, 4.089e9), ("resnext", 25_028_904, 4.230e9)],  # as torchvision states of its own
)
def test_plain_imagenet_networks_have_the_figures_known_of_them(family, parameters, multiply_adds):
    total = summarise(get_model(family, fusion="add", deep_stem=False, avg_down=False))[0]
    assert total.parameters == parameters
    assert total.multiply_adds == pytest.approx(multiply_adds, rel=2e-4)
    assert total.output_shape == (1000,)


@pytest.fixture
def net():
    """A grouped, strided convolution and a dense layer, with names that do not count anything beside them."""
    inner = nn.HybridSequential()
    inner.add(nn.Conv2D(12, kernel_size=(3, 5), strides=2, padding=(1, 2), groups=2, in_channels=6), nn.MaxPool2D(2))
    net = nn.HybridSequential()
    net.add(nn.Conv2D(6, kernel_size=1, in_channels=3, use_bias=False), nn.BatchNorm(in_channels=6), inner)
    net.add(nn.Dense(5, in_units=12 * 2 * 2), nn.Activation("relu"))
    return net


FIRST = 6 * 3 * 8 * 8
SECOND = 12 * (6 // 2) * 3 * 5 * 4 * 4
LAST = 5 * 48
COUNTED = [
    BlockSummary("", "HybridSequential", (5,), 18 + 12 + 552 + 245, FIRST + SECOND + LAST),
    BlockSummary("0", "Conv2D", (6, 8, 8), 6 * 3, FIRST),
    BlockSummary("1", "BatchNorm", (6, 8, 8), 6 + 6, 0),
    BlockSummary("2", "HybridSequential", (12, 2, 2), 12 * 3 * 15 + 12, SECOND),
    BlockSummary("2.0", "Conv2D", (12, 4, 4), 12 * 3 * 15 + 12, SECOND),
    BlockSummary("2.1", "MaxPool2D", (12, 2, 2), 0, 0),
    BlockSummary("3", "Dense", (5,), 5 * 48 + 5, LAST),
    BlockSummary("4", "Activation", (5,), 0, 0),
]


def test_rows_of_a_network_counted_by_hand(net):
    assert summarise(net, input_size=8) == COUNTED


def test_counts_are_of_one_image_of_the_network_s_own_size_unless_told():
    net = small()
    own, same, half = summarise(net)[0], summarise(net, 32)[0], summarise(net, 16)[0]
    assert own == same
    assert own.parameters == half.parameters
    dense = 10 * 64
    assert own.multiply_adds - dense == 4 * (half.multiply_adds - dense)


def test_every_block_has_a_row_after_its_parent():
    names = [row.name for row in summarise(small(fusion="aff"))]
    assert names[0] == ""
    assert "features.2.0.attention.global_att.1" in names
    for index, name in enumerate(names[1:], start=1):
        assert name.rpartition(".")[0] in names[:index]


def test_parents_count_what_their_children_do():
    rows = summarise(small(fusion="iaff"))
    for parent in rows:
        children = [row for row in rows if row.name and row.name.rpartition(".")[0] == parent.name]
        if children and parent.name:
            assert parent.parameters == sum(row.parameters for row in children), parent.name
            assert parent.multiply_adds == sum(row.multiply_adds for row in children), parent.name


def test_running_statistics_and_what_is_held_fixed_are_not_counted():
    net = nn.HybridSequential()
    net.add(nn.BatchNorm(scale=False, center=False, in_channels=3), nn.BatchNorm(scale=False, in_channels=3))
    assert [row.parameters for row in summarise(net, 4)] == [3, 0, 3]


def test_weights_of_a_started_network_stay_and_no_hook_does():
    net = small()
    net.initialize(mx.init.One())
    before = {name: value.data().asnumpy() for name, value in net.collect_params().items()}
    summarise(net)
    assert all((value.data().asnumpy() == before[name]).all() for name, value in net.collect_params().items())
    assert not net._forward_hooks
    assert not net.output._forward_hooks


def test_hooks_are_taken_off_where_the_network_cannot_run():
    net = nn.HybridSequential()
    net.add(nn.Conv2D(2, kernel_size=9, in_channels=3))
    with pytest.raises(mx.MXNetError):
        summarise(net, 4)
    assert not net._forward_hooks
    assert not net[0]._forward_hooks


# --- The table -------------------------------------------------------------------------------------------------------


def test_table_shows_a_depth_of_rows_with_the_totals_below():
    lines = format_table(COUNTED, 1).splitlines()
    assert lines[0].split() == ["layer", "kind", "output", "parameters", "multiply-adds"]
    assert {*lines[1]} == {*lines[-3]} == {"-"}
    assert [line.split()[0] for line in lines[2:-3]] == ["0", "1", "2", "3", "4"]
    assert lines[2].split() == ["0", "Conv2D", "6×8×8", "18", "1,152"]
    assert lines[-2].split() == ["total", "827", "10,032"]
    assert lines[-1] == "0.00 M parameters, 0.000 G multiply-adds per image"


def test_deeper_table_shows_children_indented_below_their_parents():
    lines = format_table(COUNTED, 2).splitlines()
    assert [line.split()[0] for line in lines[2:-3]] == ["0", "1", "2", "2.0", "2.1", "3", "4"]
    assert lines[5].startswith("  2.0")
    assert format_table(COUNTED, 9) == format_table(COUNTED, 2)


def test_columns_of_the_table_are_aligned():
    *lines, _ = format_table(COUNTED, 2).splitlines()
    ends = {len(line) for line in lines}
    assert len(ends) == 1
    assert max(ends) <= 100


def test_totals_are_in_millions_and_billions():
    row = BlockSummary("", "Net", (10,), 25_557_032, 4_089_184_256)
    assert format_table([row], 1).splitlines()[-1] == "25.56 M parameters, 4.089 G multiply-adds per image"


def test_block_that_did_not_run_has_no_shape():
    assert (
        format_table([BlockSummary("", "Net", (2,), 1, 1), BlockSummary("a", "Unused", (), 1, 0)], 1)
        .splitlines()[2]
        .split()[2]
        == "-"
    )


# --- The command line ------------------------------------------------------------------------------------------------

SMALL = ("cifar_resnet", "blocks=1", "channel_times=1", "fusion=add")


@pytest.fixture
def run(capsys):
    """The exit status of a command, what it printed, and what it said on standard error."""

    def command(*words):
        status = main(words)
        return (status, *capsys.readouterr())

    return command


def refusal(run, *words):
    status, printed, said = run(*words)
    assert status == 2
    assert printed == ""
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said


def test_summary_is_one_json_object(run):
    status, printed, said = run("summary", *SMALL, "classes=10", "--json")
    found = json.loads(printed)
    rows = summarise(small())
    assert (status, said) == (0, "")
    assert found["model"] == "cifar_resnet"
    assert found["parameters"] == rows[0].parameters
    assert found["multiply_adds"] == rows[0].multiply_adds
    assert len(found["layers"]) == len(rows) - 1
    assert found["layers"][-1] == {
        "name": "output",
        "kind": "Dense",
        "output_shape": [10],
        "parameters": 650,
        "multiply_adds": 640,
    }


def test_summary_of_a_named_model_takes_values_of_any_type(run):
    words = ("blocks=1", "channel_times=1", "fusion=iaff", "deep_stem=true", "norm=none")
    _, printed, _ = run("summary", "aff_resnet32", *words, "--json")
    kinds = {row["name"]: row["kind"] for row in json.loads(printed)["layers"]}
    assert kinds["features.8.0.attention"] == "ResGlobLocaforGlobLocaCha"  # a deep stem has six layers more
    assert kinds["features.8.0.attention.global_att.2"] == "HybridLambda"


def test_summary_shows_two_levels_unless_told(run):
    _, two, _ = run("summary", *SMALL)
    _, also_two, _ = run("summary", *SMALL, "--depth", "2")
    _, one, _ = run("summary", *SMALL, "--depth", "1")
    _, at_least_one, _ = run("summary", *SMALL, "--depth", "0")
    _, deep, _ = run("summary", *SMALL, "--depth", "9")
    assert two == also_two
    assert one == at_least_one
    assert "features.2 " in two
    assert "features.2.0" not in two
    assert "features.2" not in one
    assert "features.2.0.resfwd.2" in deep
    assert one.splitlines()[-1] == two.splitlines()[-1] == deep.splitlines()[-1]
    assert one.splitlines()[-1].startswith("0.08 M parameters")


def test_summary_is_of_images_of_the_size_asked_for(run):
    _, printed, _ = run("summary", *SMALL, "--input-size", "16", "--json")
    assert json.loads(printed)["multiply_adds"] == summarise(small(classes=100), 16)[0].multiply_adds


def test_unknown_model_is_refused_by_the_nearest(run):
    said = refusal(run, "summary", "aff_resnet33")
    assert "no such model 'aff_resnet33', did you mean 'aff_resnet32'" in said


def test_unknown_argument_is_refused_by_the_nearest(run):
    assert "'classes'" in refusal(run, "summary", "cifar_resnet", "clases=10")
    assert "'iaff'" in refusal(run, "summary", *SMALL[:3], "fusion=iaf")


@pytest.mark.parametrize("word", ["classes", "10"])
def test_word_that_is_no_setting_is_refused(run, word):
    assert f"{word!r}: expected key=value, such as classes=10" in refusal(run, "summary", "cifar_resnet", word)


@pytest.mark.parametrize("word", ["classes=ten", "classes=", "classes=0", "classes=1.5", "classes=[10]"])
def test_value_that_is_impossible_is_refused(run, word):
    assert "classes=" in refusal(run, "summary", *SMALL, word)


@pytest.mark.parametrize("size", ["0", "-32"])
def test_size_below_a_pixel_is_refused(run, size):
    assert f"--input-size {size}: expected pixels" in refusal(run, "summary", *SMALL, f"--input-size={size}")


@pytest.mark.parametrize("words", [(), ("summary",), ("summary", *SMALL, "--input-size", "big"), ("sumary", "x")])
def test_command_that_is_no_command_is_refused_with_its_usage(capsys, words):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "usage: python -m fusion" in capsys.readouterr().err


def test_models_and_fusions_are_listed(run):
    status, printed, said = run("models")
    assert (status, said) == (0, "")
    words = printed.split()
    assert all(words.count(name) == 1 for name in [*list_models(), *list_fusions()])
    lines = [line.split() for line in printed.splitlines()]
    assert ["aff_resnet32", "cifar_resnet:", "blocks=5,", "channel_times=4,", "fusion=aff"] in lines
    assert ["ASKCFuse", "aff"] in lines


def test_models_and_fusions_are_one_json_object(run):
    status, printed, _ = run("models", "--json")
    found = json.loads(printed)
    assert status == 0
    assert found["families"] == list(FAMILIES)
    assert list(found["models"]) == list_models()
    assert found["models"]["iaff_resnet50"] == {"family": "resnet", "layers": 50, "fusion": "iaff"}
    assert list(found["fusions"]) == list_fusions()
    assert found["fusions"]["ResGlobLocaforGlobLocaCha"] == ["iaff"]
    assert found["fusions"]["AXYforXY"] == []


@pytest.mark.parametrize("pattern", ["aff_*", "*resnet50", "resnet8_cifar1?"])
@pytest.mark.parametrize("pretrained", [False, True])
def test_models_by_pattern(run, pattern, pretrained):
    expected = [name for name in list_models() if fnmatch.fnmatchcase(name, pattern)]
    weights = [name for name in expected if name in list_pretrained()]
    words = ["--pretrained"] if pretrained else []
    if pretrained and not weights:
        with pytest.raises(FusionError, match=r"'\*resnet50' matches none of the models with weights in the package"):
            list_models(pattern, pretrained=True)
        assert "the nearest of" in refusal(run, "models", pattern, *words)
        return
    assert list_models(pattern, pretrained=pretrained) == (weights if pretrained else expected)
    _, printed, said = run("models", pattern, *words)
    assert [line.split()[0] for line in printed.splitlines()] == (weights if pretrained else expected)
    assert said == ""
    found = json.loads(run("models", pattern, *words, "--json")[1])
    assert list(found["models"]) == (weights if pretrained else expected)
    assert set(found["pretrained"]) == set(weights)


def test_models_with_weights_alone(run):
    assert {*list_models(pretrained=True)} == {*list_pretrained()}
    _, printed, _ = run("models", "--pretrained")
    assert "families" not in printed
    assert [line.split()[0] for line in printed.splitlines()] == list_models(pretrained=True)


def test_models_of_the_list_are_what_they_say(run):
    _, printed, _ = run("models", "--json")
    description = json.loads(printed)["models"]["aff_resnext38_32x4d"]
    net = get_model(description.pop("family"), **description)
    named = get_model("aff_resnext38_32x4d")
    assert [p.shape for p in net.collect_params().values()] == [p.shape for p in named.collect_params().values()]


def test_version_is_the_package_s(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"python -m fusion {fusion.__version__}\n"


@pytest.mark.parametrize(
    "words",
    [["classes=["], ["fusion=3"], ["--input-size", "1"], ["--input-size", "2"], ["fusion=afff", "start_layer=9"]],
)
def test_summary_refuses_in_one_line(words, capsys):
    assert main(["summary", "cifar_resnet", "blocks=1", "channel_times=1", *words]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_summary_of_a_compiled_network():
    net = fusion.get_model("cifar_resnet", blocks=1, channel_times=1)
    net.initialize()
    expected = summarise(net)
    net.hybridize()
    net(mx.nd.zeros((1, 3, 32, 32)))
    assert summarise(net) == expected
    assert net._active and net(mx.nd.zeros((1, 3, 32, 32))).shape == (1, 100)


def test_summary_leaves_unstarted_weights_unstarted():
    net = fusion.get_model("cifar_resnet", blocks=1, channel_times=1)
    summarise(net)
    net.initialize()
    assert float(net.output.weight.data().abs().sum().asscalar()) > 0
