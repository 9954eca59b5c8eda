"""Networks made fast for inference compute what they did, and INT8 is kept only where it gains."""

import json

import numpy as np
import pytest
from own_network import own_network
from PIL import Image

from fusion import MSCAM, get_model
from fusion.__main__ import main
from fusion.compat import mx, nn
from fusion.deploy import optimise_command
from fusion.deploy.graph import Graph
from fusion.deploy.optimise import check_equal, halve, load_optimised, optimise, quantise
from fusion.deploy.optimise_command import decide_on_int8
from fusion.deploy.rewriting import fold_batch_norms
from fusion.deploy.symbols import as_block, trace
from fusion.errors import CheckpointError, ConfigError, DataError, ExportError
from fusion.inference.trained import load_model, load_run
from fusion.timing import Times
from fusion.training.config import read_config
from fusion.training.engine import train
from fusion.training.logbook import RunDirectory

SIZE = 16


def tiny(fusion="aff", family="cifar_resnet", **more):
    """A small network whose batch norms do something."""
    arguments = {"fusion": fusion, "blocks": 1, "channel_times": 1, "classes": 5, **more}
    net = get_model(family, **arguments)
    mx.random.seed(0)
    net.initialize()
    net(mx.nd.zeros((2, 3, SIZE, SIZE)))
    draw = np.random.default_rng(0)
    for name, parameter in net._collect_params_with_prefix().items():
        if name.endswith(("running_mean", "beta", "bias")):
            parameter.set_data(mx.nd.array(draw.normal(0, 0.3, parameter.shape)))
        elif name.endswith(("running_var", "gamma")):
            parameter.set_data(mx.nd.array(draw.uniform(0.5, 1.5, parameter.shape)))
    return net


def images(count, seed=1):
    return mx.nd.array(np.random.default_rng(seed).standard_normal((count, 3, SIZE, SIZE)))


def difference(one, other):
    one, other = one.asnumpy(), other.asnumpy()
    return np.abs(one - other).max() / np.abs(one).max()


def operators(symbol):
    return [node.operator for node in Graph(symbol).nodes()]


@pytest.mark.parametrize("fusion", ["aff", "iaff", "se", "sk", "gau", "add", "concat", "ResGlobGlobCha", "AXYforXY"])
def test_optimised_network_computes_what_it_did_at_any_batch_size(fusion):
    net = tiny(fusion)
    found = optimise(net, SIZE)
    for count in (1, 2, 5):
        assert difference(net(images(count)), found(images(count))) < 2e-6


@pytest.mark.parametrize(
    ("family", "more"), [("cifar_resnext", {}), ("cifar_resnet", {"norm": "group"}), ("cifar_inception", {})]
)
def test_other_families_and_norms(family, more):
    net = tiny("aff", family, **more)
    assert difference(net(images(3)), optimise(net, SIZE)(images(3))) < 2e-6


def test_every_rewrite_happens_where_it_can():
    found = optimise(tiny("aff"), SIZE, onednn=False)
    # A block: two in each branch, one between the convolutions; each stage has one block here.
    assert found.rewritten == {
        "batch norms folded": 15,
        "means by oneDNN": 4,
        "vectors spread": 3,
        "selections": 3,
    }
    left = operators(found.symbol)
    assert left.count("BatchNorm") == 5  # of the images, before each block and at the end: not after a convolution
    assert left.count("BlockGrad") == 1  # after the stem
    assert not {"ones_like", "_contrib_AdaptiveAvgPooling2D", "_rminus_scalar"} & set(left)
    assert optimise(tiny("iaff"), SIZE, onednn=False).rewritten["selections"] == 6


def test_branches_of_one_layer_are_folded_too():
    found = optimise(tiny("aff", "cifar_inception"), SIZE, onednn=False)
    assert found.rewritten["selections"] == 7  # two units a block, and the stem
    assert found.rewritten["batch norms folded"] == 7 * 6  # of each: two branches, and two in each context


def test_onednn_takes_groups_of_operators():
    left = operators(optimise(tiny("aff"), SIZE).symbol)
    assert left.count("_sg_mkldnn_conv") == 21
    assert "Convolution" not in left


def test_network_is_left_as_it_was():
    net = tiny("aff")
    net(images(2))  # MXNet sets a gamma that is held at 1 to 1 when it is used
    before = {name: p.data().asnumpy() for name, p in net._collect_params_with_prefix().items()}
    optimise(net, SIZE)
    for name, parameter in net._collect_params_with_prefix().items():
        np.testing.assert_array_equal(parameter.data().asnumpy(), before[name])


def folded(build):
    """A graph of one input after folding, its network and how many batch norms went."""
    net = build()
    net.initialize(mx.init.Xavier())
    net(mx.nd.zeros((2, 4, 6, 6)))
    draw = np.random.default_rng(0)
    for name, parameter in net.collect_params().items():
        if name.endswith(("mean", "beta", "bias")):
            parameter.set_data(mx.nd.array(draw.normal(0, 1, parameter.shape)))
        elif name.endswith(("var", "gamma")):
            parameter.set_data(mx.nd.array(draw.uniform(0.5, 2, parameter.shape)))
    symbol, arrays = trace(net, (2, 4, 6, 6))
    graph = Graph(symbol)
    count = fold_batch_norms(graph, arrays)
    data = mx.nd.array(draw.standard_normal((2, 4, 6, 6)))
    return count, difference(net(data), as_block(graph.symbol(), arrays)(data))


def test_folding_covers_bias_groups_and_fixed_gamma():
    def build():
        net = nn.HybridSequential()
        net.add(nn.Conv2D(8, 3, padding=1, groups=4, use_bias=True), nn.BatchNorm(), nn.Activation("relu"))
        net.add(nn.Conv2D(6, 1, use_bias=False), nn.BatchNorm(scale=False, epsilon=1e-2))
        return net

    count, gap = folded(build)
    assert count == 2
    assert gap < 1e-6


class Forked(mx.gluon.HybridBlock):
    """A convolution whose output is wanted without its batch norm too."""

    def __init__(self):
        super().__init__()
        with self.name_scope():
            self.convolution = nn.Conv2D(4, 3, padding=1)
            self.norm = nn.BatchNorm()

    def hybrid_forward(self, F, x):
        y = self.convolution(x)
        return y + self.norm(y)


def test_batch_norm_stays_where_folding_would_be_wrong():
    count, gap = folded(Forked)
    assert (count, gap) == (0, 0)

    def before():
        net = nn.HybridSequential()
        net.add(nn.BatchNorm(), nn.Conv2D(4, 3, padding=1))
        return net

    assert folded(before)[0] == 0  # padding is 0 after the norm, not before it


def test_a_network_that_differs_is_refused():
    net, other = tiny("aff"), tiny("aff")
    weight = other.collect_params(".*dense.*weight")
    for parameter in weight.values():
        parameter.set_data(parameter.data() * 1.001)
    with pytest.raises(CheckpointError, match="the optimised export does not compute .* differs by"):
        check_equal(net, other, (2, 3, SIZE, SIZE))
    for parameter in weight.values():
        parameter.set_data(parameter.data() * np.nan)
    with pytest.raises(CheckpointError, match="not numbers"):
        optimise(other, SIZE)


def test_files_come_back(tmp_path):
    net = tiny("aff")
    found = optimise(net, SIZE)
    graph, weights = found.save(tmp_path / "net")
    assert {graph.name, weights.name} == {path.name for path in tmp_path.iterdir()}
    np.testing.assert_array_equal(load_optimised(tmp_path / "net")(images(3)).asnumpy(), found(images(3)).asnumpy())
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"net-0000\.params: not a complete MXNet parameter file"):
        load_optimised(tmp_path / "net")
    with pytest.raises(CheckpointError, match=r"none-symbol.json: no such file"):
        load_optimised(tmp_path / "none")


def test_networks_are_shown_in_a_line(tmp_path):
    net = tiny("aff")
    for found in (optimise(net, SIZE), halve(net, SIZE)):
        words = repr(found)
        assert len(words) < 300
        assert "\n" not in words
        assert "16x16 pixels" in words
        assert "'batch norms folded': 15" in words
    assert "float16, float32" in repr(halve(net, SIZE))
    node = Graph(optimise(net, SIZE).symbol).nodes()[-1]
    assert len(repr(node)) < 300  # without its inputs, each of which has inputs of its own
    net.save_parameters(str(tmp_path / "net.params"))
    arguments = {"fusion": "aff", "blocks": 1, "channel_times": 1}
    assert repr(load_model("cifar_resnet", tmp_path / "net.params", arguments=arguments)) == (
        f"<Trained: cifar_resnet, 5 classes, {tmp_path / 'net.params'}>"
    )


def test_block_that_is_used_at_two_sizes_is_optimised():
    """Its nodes have the same names both times, and vectors are repeated over another number of pixels."""

    class Twice(mx.gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            with self.name_scope():
                self.attention = MSCAM(8)
                self.widen = nn.Conv2D(8, 3, padding=1, in_channels=3)

        def hybrid_forward(self, F, x):
            y = self.attention(self.widen(x))
            return self.attention(F.Pooling(y, kernel=(2, 2), stride=(2, 2), pool_type="max"))

    net = Twice()
    net.initialize()
    net(images(2))
    found = optimise(net, SIZE)
    assert found.rewritten["vectors spread"] == 2
    assert difference(net(images(3)), found(images(3))) < 2e-6


def test_shapes_are_those_of_the_network():
    symbol, _ = trace(tiny("aff"), (2, 3, SIZE, SIZE))
    graph = Graph(symbol)
    shapes = graph.shapes(data=(2, 3, SIZE, SIZE))
    assert shapes[graph.heads[0]] == (2, 5)
    assert {len(shapes[node, 0]) for node in graph.nodes() if node.operator == "Convolution"} == {4}
    with pytest.raises(ExportError, match=r"inputs of these shapes: data \(2, 7, 16, 16\)"):
        graph.shapes(data=(2, 7, SIZE, SIZE))


def test_float16_rounds_weights_and_keeps_batch_norm():
    net = tiny("aff")
    found = halve(net, SIZE)
    assert {str(array.dtype) for name, array in found.arrays.items() if "folded" in name} == {"float16"}
    assert {str(array.dtype) for name, array in found.arrays.items() if "running" in name} == {"float32"}
    assert 0 < difference(net(images(3)), found(images(3))) < 0.01
    weight = next(iter(net.collect_params(".*dense.*weight").values()))
    weight.set_data(weight.data() + 1e5)
    with pytest.raises(CheckpointError, match="outside float16's range"):
        halve(net, SIZE)


def test_int8_answers_almost_alike_and_comes_back(tmp_path):
    net = tiny("aff")
    found = quantise(net, images(40, seed=2).asnumpy(), SIZE)
    assert any("quantize" in operator for operator in operators(found.symbol))
    assert {"int8"} <= {str(array.dtype) for array in found.arrays.values()}
    assert 1e-4 < difference(net(images(8)), found(images(8))) < 0.3
    found.save(tmp_path / "int8")
    np.testing.assert_array_equal(load_optimised(tmp_path / "int8")(images(3)).asnumpy(), found(images(3)).asnumpy())
    with pytest.raises(DataError, match="there are none"):
        quantise(net, np.empty((0, 3, SIZE, SIZE), np.float32), SIZE)


def test_int8_of_convolutions_in_groups_is_refused():
    net = get_model("cifar_resnext", blocks=1, channel_times=1, fusion="aff", classes=10)
    net.initialize()
    images = np.zeros((4, 3, 32, 32), np.float32)
    with pytest.raises(ConfigError, match=r"\d convolutions in groups, .*Leave INT8 out for ResNeXt"):
        quantise(net, images)


def test_int8_is_kept_by_accuracy_and_speed():
    assert decide_on_int8(0.5, 1.5).kept
    assert decide_on_int8(-0.3, 1.05).kept
    assert not decide_on_int8(0.6, 3.0).kept
    assert decide_on_int8(0.6, 3.0, limit=1).kept
    assert "0.60 points" in decide_on_int8(0.6, 3.0).words
    assert not decide_on_int8(0.0, 1.0).kept
    assert not decide_on_int8(float("nan"), 2.0).kept


# --- The command -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of one short epoch on three classes of folders."""
    folder = tmp_path_factory.mktemp("run")
    draw = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 3)):
        for name in ("ant", "bee", "cat"):
            (folder / "data" / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / "data" / split / name / f"{number}.png")
    words = ["model.name=cifar_resnet", "model.fusion=aff", "model.blocks=1", "model.channel_times=1"]
    words += [f"data.dir={folder / 'data'}", "data.name=image_folder", f"data.size={SIZE}", "data.batch_size=8"]
    train(read_config(None, [*words, "train.epochs=1", "schedule.mode=constant"]), RunDirectory(folder / "run"))
    return folder


@pytest.fixture
def timed(monkeypatch):
    """Seconds that each network takes instead of those it does."""

    def set_seconds(**seconds):
        monkeypatch.setattr(
            optimise_command, "interleave", lambda ways, rounds: {name: Times((seconds[name],) * 3) for name in ways}
        )

    return set_seconds


def test_command_writes_networks_with_their_figures(run, tmp_path, timed, capsys):
    timed(hybridized=4, optimised=2, int8=1)
    words = ["optimise", "--run", str(run / "run"), "--output", str(tmp_path), "--int8", "--float16"]
    assert main([*words, "--max-loss", "100", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    written = json.loads((tmp_path / "optimised.json").read_text())
    assert facts == {**written, "files": facts["files"]}
    assert facts["classes"] == ["ant", "bee", "cat"]
    networks = facts["networks"]
    assert networks["optimised"]["error"] == networks["hybridized"]["error"]
    assert [networks[name]["times_as_fast"] for name in ("optimised", "int8")] == [2, 4]
    assert "times_as_fast" not in networks["float16"]
    names = {f"{name}-{end}" for name in ("optimised", "int8", "float16") for end in ("symbol.json", "0000.params")}
    assert {path.name for path in tmp_path.iterdir()} == names | {"optimised.json"}
    assert load_optimised(tmp_path / "int8")(images(2)).shape == (2, 3)

    assert main(words) == 2
    assert "--force" in capsys.readouterr().err
    timed(hybridized=4, optimised=2, int8=3)
    assert main([*words, "--max-loss", "100", "--force"]) == 1
    assert "INT8 is not kept" in capsys.readouterr().out
    assert not (tmp_path / "int8-symbol.json").exists()
    assert (tmp_path / "optimised-symbol.json").exists()


def test_model_and_its_weights_are_calibrated_by_a_folder(run, tmp_path, timed, capsys):
    timed(hybridized=4, optimised=2, int8=1)
    net = get_model("aff_resnet32", classes=3)
    net.initialize()
    net(mx.nd.zeros((2, 3, 8, 8)))
    net.save_parameters(str(tmp_path / "net.params"))
    words = ["optimise", "--model", "aff_resnet32", "--checkpoint", str(tmp_path / "net.params")]
    words += ["--output", str(tmp_path / "out"), "--int8"]
    assert main(words) == 2
    assert "--images DIR" in capsys.readouterr().err
    assert main([*words, "--images", str(run / "data" / "test"), "--max-loss", "100"]) == 0
    assert "calibration images with another answer" in capsys.readouterr().out


def test_calibration_images_are_of_the_whole_folder_without_hidden_files(run, tmp_path, monkeypatch):
    monkeypatch.setattr(optimise_command, "CALIBRATION_IMAGES", 2)
    for number, value in enumerate((10, 20, 30)):
        Image.new("RGB", (SIZE, SIZE), (value,) * 3).save(tmp_path / f"{number}.png")
        (tmp_path / f"._{number}.png").write_bytes(b"no image")
    found = optimise_command._read_folder(load_run(run / "run"), tmp_path)
    assert found[:, 0, 0, 0].tolist() == [10, 30]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--images", "x"], "add --int8"),
        (["--device", "gpu"], "--float16 writes what a GPU runs"),
        (["--int8", "--max-loss", "-1"], "percentage points"),
        (["model.name=x"], "data.key=value only"),
        (["--int8", "--images", "/nowhere"], "/nowhere: no images"),
    ],
)
def test_bad_words_write_nothing(run, tmp_path, capsys, words, message):
    output = tmp_path / "out"
    assert main(["optimise", "--run", str(run / "run"), "--output", str(output), *words]) == 2
    assert message in capsys.readouterr().err
    assert not output.exists()


# --- Networks of one's own -------------------------------------------------------------------------------------------


def test_network_of_one_s_own_is_optimised_with_its_channels():
    net = own_network()
    inputs = np.random.default_rng(0).standard_normal((40, 1, 12, 12)).astype(np.float32)
    found = optimise(net, size=12, channels=1)
    assert found.rewritten["selections"] == 2
    assert found.rewritten["batch norms folded"] == 10
    expected = net(mx.nd.array(inputs)).asnumpy()
    np.testing.assert_allclose(found(mx.nd.array(inputs)).asnumpy(), expected, rtol=1e-4, atol=1e-4)
    assert halve(net, size=12, channels=1).rewritten["batch norms folded"] == 10
    eight = quantise(net, inputs, size=12)(mx.nd.array(inputs)).asnumpy()
    assert np.abs(eight - expected).max() < 0.2 * np.abs(expected).max()


def test_network_that_says_no_size_is_asked_for_it():
    with pytest.raises(ConfigError, match="Own does not say how large its images are: add size=PIXELS"):
        optimise(own_network(), channels=1)
    with pytest.raises(ConfigError, match="Block is no HybridBlock"):
        optimise(mx.gluon.Block(), size=12)
