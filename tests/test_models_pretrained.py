"""Weights that come with the package, and files of weights by structural name."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil

import numpy as np
import parity
import pytest
from classified import evaluated
from PIL import Image

import fusion
from fusion import get_model, list_pretrained
from fusion.__main__ import main
from fusion.compat import mx, nn
from fusion.data import load_dataset
from fusion.data.augment import Normalisation
from fusion.deploy.keep import keep
from fusion.doctor import check_weights
from fusion.errors import CheckpointError, ConfigError
from fusion.inference.trained import load_pretrained
from fusion.models import pretrained
from fusion.models.network import count_parameters
from fusion.models.pretrained import BESIDE, FOLDER, find_weights
from fusion.models.zoo import MODELS, network_identity
from fusion.published.rows import ROWS
from fusion.training.config import model_keywords, read_config
from fusion.training.engine import train
from fusion.training.logbook import RunDirectory

README = (FOLDER / "README.md").read_text(encoding="utf-8")
SMALL = {"blocks": 1, "channel_times": 1, "fusion": "aff"}


def parameters(net):
    return {name: value.data().asnumpy() for name, value in net._collect_params_with_prefix().items()}


def assert_same(one, other):
    left, right = parameters(one), parameters(other)
    assert list(left) == list(right)
    for name, value in left.items():
        np.testing.assert_array_equal(value, right[name], err_msg=name)


# --- What comes with the package -------------------------------------------------------------------------------------


def test_there_are_weights_of_both_data_sets():
    assert {"aff_resnet8_cifar10", "aff_resnet8_digits"} <= {*list_pretrained()} <= {*fusion.list_models()}
    assert fusion.list_pretrained is list_pretrained


@pytest.mark.parametrize("name", list_pretrained())
def test_weights_are_small_and_every_file_is_as_its_checksum(name):
    assert (FOLDER / name / "weights.params").stat().st_size < 1_000_000
    sums = (FOLDER / "SHA256SUMS").read_text().splitlines()
    for file in (FOLDER / name).iterdir():
        assert f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {name}/{file.name}" in sums


@pytest.mark.parametrize("name", list_pretrained())
def test_network_of_a_name_is_the_one_that_was_trained(name):
    settings = read_config(FOLDER / name / "config.yaml")
    given = {key: value for key, value in model_keywords(settings).items() if value is not None}
    assert network_identity(name, {}) == network_identity(settings.model.name, {"channel_times": 1, **given})
    assert get_model(name, pretrained=True).classes == len(find_weights(name).classes) == MODELS[name][1]["classes"]


@pytest.mark.parametrize("name", list_pretrained())
def test_card_has_the_figures_of_the_run(name):
    result = json.loads((FOLDER / name / "result.json").read_text())
    with (FOLDER / name / "metrics.csv").open(newline="") as stream:
        epochs = list(csv.DictReader(stream))
    assert result["epochs"] == len(epochs) == read_config(FOLDER / name / "config.yaml").train.epochs
    for key, value in result["last"].items():
        assert value == pytest.approx(float(epochs[-1][key])), key
    (row,) = re.findall(rf"^\| `{name}` .+$", README, re.MULTILINE)
    for figure in (f"{result['parameters']:,} |", f" {result['train_images']:,} ", f"| {result['epochs']} |"):
        assert figure in row
    assert all(figure in row for figure in figures_of(result)), figures_of(result)
    script = "train_cifar.py" if "val_top1_error" in result["last"] else "train_segmentation.py"
    assert f"### {name}\n\n```sh\npython {script} --config configs/" in README


def figures_of(result):
    """What the card has to say of the last epoch and of the best one."""
    last, best, images = result["last"], result["best"], f"{result['test_images']:,} test images"
    if "val_top1_error" not in last:
        assert best["epoch"] == last["epoch"]
        return [f"| IoU **{last['val_iou']:.3f}**, nIoU {last['val_niou']:.3f} of {images} |", "| the same epoch |"]
    first, second = (100 * (1 - row["val_top1_error"]) for row in (last, best))
    return [f"**{first:.2f} %** of {images}", f"| {second:.2f} %, the {best['epoch']}th"]


def test_digits_have_the_accuracy_of_their_card():
    trained = load_pretrained("aff_resnet8_digits")
    assert (trained.model, trained.data, trained.classes) == ("aff_resnet8_digits", "UCI digits", tuple("0123456789"))
    preparation = trained.preparation
    normalise = Normalisation(preparation.mean, preparation.std)
    found = evaluated(trained.net, load_dataset("digits", "test"), normalise, 32, [trained.context])
    assert f"**{100 * (1 - found.top1_error):.2f} %** of {found.images}" in README
    assert 1 - found.top1_error == find_weights("aff_resnet8_digits").value


def test_commands_evaluate_and_list_them(capsys):
    assert main(["evaluate", "--model", "aff_resnet8_digits", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert 1 - found["top1_error"] == find_weights("aff_resnet8_digits").value
    assert main(["models"]) == 0
    assert "fusion=aff; weights: 98.33 % on UCI digits" in capsys.readouterr().out
    assert main(["models", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["pretrained"]) == list(list_pretrained())


def test_predict_works_out_of_the_box(tmp_path, capsys):
    data = load_dataset("digits", "test")
    for number in range(40):
        Image.fromarray(data.images[number]).save(tmp_path / f"{number:02}.png")
    assert main(["predict", "--model", "aff_resnet8_digits", "--top", "1", "--json", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    answers = [int(image["top"][0]["class"]) for image in found["images"]]
    assert (data.labels[:40] == answers).sum() >= 38  # of 360 it has six wrong
    assert main(["predict", "--model", "aff_resnet50", str(tmp_path)]) == 2
    assert "with the package come those of aff_resnet8_cifar10" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "aff_resnet8"], "did you mean 'aff_resnet8_digits' or"),
        (["--model", "aff_resnet8_digits", "--checkpoint", "best"], "--checkpoint is for --run"),
        (["--config", "quickstart"], "name the file of weights as well, by --checkpoint FILE"),
        (["--config", "quickstart", "--checkpoint", "best"], "with --config, name a file of weights"),
        (["--config", "quickstar", "--checkpoint", __file__], "did you mean 'quickstart'"),
    ],
)
def test_evaluate_refuses(capsys, words, message):
    assert main(["evaluate", *words]) == 2
    assert message in capsys.readouterr().err


def test_family_s_name_finds_the_same_weights():
    assert_same(get_model("cifar_resnet", **SMALL, pretrained=True), get_model("aff_resnet8_cifar10", pretrained=True))
    digits = get_model("aff_resnet8_digits", pretrained=True)
    assert_same(get_model("cifar_resnet", **{**SMALL, "fusion": "ASKCFuse"}, pretrained="digits"), digits)
    assert float(mx.nd.abs(digits.output.weight.data()).sum().asscalar()) > 0


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("aff_resnet50", {"pretrained": True}, "no weights of this aff_resnet50 come with the package"),
        ("cifar_resnet", {**SMALL, "blocks": 2, "pretrained": "digits"}, "no weights of this cifar_resnet from digits"),
        ("aff_resnet8_digits", {"avg_down": False, "pretrained": True}, "no weights of this aff_resnet8_digits"),
        ("aff_resnet8_digits", {"pretrained": "nowhere.params"}, "nowhere.params: cannot be read"),
        ("aff_resnet8_digits", {"pretrained": str(FOLDER / "README.md")}, "not a complete MXNet parameter file"),
    ],
)
def test_weights_that_are_not_there_are_refused(name, arguments, message):
    with pytest.raises(CheckpointError, match=message):
        get_model(name, **arguments)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A copy of the folder of weights, which may be damaged."""
    folder = tmp_path / "pretrained"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    monkeypatch.setattr(pretrained, "FOLDER", folder)
    for cached in (pretrained._checksums, pretrained._find):
        cached.cache_clear()
    yield folder
    for cached in (pretrained._checksums, pretrained._find):
        cached.cache_clear()


@pytest.mark.parametrize("name", ["weights.params", *BESIDE])
def test_damaged_file_of_a_model_is_refused_and_the_others_are_not(installed, capsys, caplog, name):
    file = installed / "aff_resnet8_digits" / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match=rf"{file}: damaged, by its SHA-256; install the package again"):
        get_model("aff_resnet8_digits", pretrained=True)
    (finding,) = check_weights()
    assert finding.says == f"{file}: damaged, by its SHA-256; install the package again"
    assert get_model("resnet8_cifar10", pretrained=True).classes == 10
    assert main(["models", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["pretrained"]
    assert ("aff_resnet8_digits" in listed) == (name not in ("result.json", "classes.txt"))
    assert "resnet8_cifar10" in listed
    file.unlink()
    pretrained._find.cache_clear()
    with pytest.raises(CheckpointError, match=rf"{file}: cannot be read .+; install the package again"):
        get_model("aff_resnet8_digits", pretrained=True)


@pytest.mark.parametrize("line", ["damaged", "", "x" * 64 + "  a/b", "\udcff", "  ", "0" * 64 + "  ../../etc/passwd"])
def test_damaged_line_of_checksums_concerns_its_file_alone(installed, line):
    sums = installed / "SHA256SUMS"
    lines = sums.read_text().splitlines()
    number = next(place for place, text in enumerate(lines) if text.endswith("aff_resnet8_digits/classes.txt"))
    lines[number] = line
    sums.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    assert "aff_resnet8_digits" in list_pretrained()
    assert [finding.says for finding in check_weights()] == [
        f"{sums}, line {number + 1}: damaged; install the package again"
    ]
    assert get_model("resnet8_cifar10", pretrained=True).classes == 10
    with pytest.raises(CheckpointError, match=r"classes\.txt: .*SHA256SUMS has no checksum of it, or is damaged"):
        get_model("aff_resnet8_digits", pretrained=True)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\0", None])
def test_without_checksums_there_are_no_weights_and_nothing_else_is_lost(installed, content):
    (installed / "SHA256SUMS").unlink()
    if content is not None:
        (installed / "SHA256SUMS").write_bytes(content)
    assert list_pretrained() == ()
    assert get_model("aff_resnet32", classes=10).classes == 10
    with pytest.raises(CheckpointError):
        get_model("aff_resnet8_digits", pretrained=True)
    assert [finding.state for finding in check_weights()] == ["advice"]


def test_network_goes_on_with_classes_of_its_own():
    net = get_model("aff_resnet8_cifar10", pretrained=True)
    net.output = nn.Dense(3, in_units=64)
    net.output.initialize()
    net.hybridize()
    with mx.autograd.record():
        loss = net(mx.nd.ones((2, 3, 32, 32))).square().sum()
    loss.backward()
    assert net(mx.nd.ones((2, 3, 32, 32))).shape == (2, 3)
    assert float(net.output.weight.grad().abs().sum().asscalar()) > 0


# --- Files of others -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_file_keyed_by_the_original_s_names_loads(tmp_path, dtype):
    """The names are the original program's, from its parity file: no network of ours has written this file."""
    original = parity.read("cifar_resnet_v1_ASKCFuse_b1_c1")
    arrays = {name: mx.nd.array(parity.weight(name, shape), dtype=dtype) for name, shape in original["params"]}
    mx.nd.save(str(tmp_path / "0.9626-cifar10.params"), arrays)
    net = get_model("cifar_resnet", **SMALL, avg_down=False, pretrained=tmp_path / "0.9626-cifar10.params")
    assert net.classes == 10  # the family's own is 100
    for name, value in parameters(net).items():
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, arrays[name].asnumpy().astype(np.float32), err_msg=name)
    with pytest.raises(CheckpointError, match="the parameters of another network"):
        get_model("aff_resnet32", pretrained=tmp_path / "0.9626-cifar10.params")


def table():
    lines = re.findall(r"^\| ((?:CIFAR|ImageNet|SIRST).+?) \| `(\w+)` \| (.*?) ?\|$", README, re.MULTILINE)
    for published, name, cell in lines:
        words = dict(word.split("=") for word in re.findall(r"`(.+?)`", cell))
        truths = {"False": False, "True": True}
        yield published, name, {key: truths.get(v, int(v) if v.isdigit() else v) for key, v in words.items()}


def test_table_of_published_files_names_the_networks_of_the_published_rows():
    ours = {json.dumps(network_identity(name, arguments), sort_keys=True) for _, name, arguments in table()}
    released = [row for row in ROWS if row.configs and "of the paper" not in row.table]
    theirs = {json.dumps(network_identity(row.model["name"], row.model), sort_keys=True) for row in released}
    assert ours == theirs
    figures = " ".join(published for published, _, _ in table())
    for row in released:
        named = re.search(r"named ([\d.]+)", row.figure)
        if "ablation" not in row.id:
            assert (named.group(1) if named else row.figure) in figures, row.id


@pytest.mark.parametrize("row", [row for row in ROWS if row.id in ("cifar10_v1_aff_resnet32", "imagenet_aff_resnet50")])
def test_networks_of_the_table_have_as_many_parameters_as_the_rows(row):
    identity, data = network_identity(row.model["name"], row.model), row.test_set.title.split(",")[0]
    lines = [(name, words) for published, name, words in table() if published.startswith(f"{data},")]
    ((name, arguments),) = [line for line in lines if network_identity(*line) == identity]
    assert count_parameters(get_model(name, **arguments, classes=row.test_set.classes)) == row.parameters


# --- Putting a run there ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of one epoch on the digits, in large batches."""
    path = tmp_path_factory.mktemp("keep") / "run"
    words = ["model.name=cifar_resnet", "model.fusion=se", "model.blocks=1", "model.channel_times=1"]
    words += ["data.name=digits", "data.batch_size=700", "train.epochs=1", "schedule.mode=constant"]
    train(read_config(None, words), RunDirectory(path))
    return path


@pytest.mark.long
def test_kept_run_has_the_last_weights_and_no_path(run, tmp_path):
    target = keep(run, "se_resnet8_digits", "Some digits", tmp_path)
    net = get_model("cifar_resnet", blocks=1, channel_times=1, fusion="se", pretrained=target / "weights.params")
    with np.load(run / "checkpoints" / "last.npz") as last:
        for name, value in parameters(net).items():
            np.testing.assert_array_equal(value, last[f"param/{name}"], err_msg=name)
    assert json.loads((target / "result.json").read_text())["data"] == "Some digits"
    assert (target / "classes.txt").read_text().split() == list("0123456789")
    lines = (tmp_path / "SHA256SUMS").read_text().splitlines()
    assert {line.split("  ")[1] for line in lines} == {f"se_resnet8_digits/{file.name}" for file in target.iterdir()}
    assert not any(str(run.parent) in file.read_text() for file in target.iterdir() if file.suffix != ".params")


def test_run_that_is_not_what_its_name_says_is_not_kept(run, tmp_path):
    for name, message in (
        ("aff_resnet8_digits", "fusion SEFuse, expected ASKCFuse"),
        ("se_digits", "FUSION_NETWORK_DATA"),
    ):
        with pytest.raises(ConfigError, match=message):
            keep(run, name, folder=tmp_path)
    assert not list(tmp_path.iterdir())
