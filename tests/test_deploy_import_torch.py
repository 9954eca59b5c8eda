"""python -m fusion import-torch: state dicts of PyTorch as .params files, and what is refused."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from fusion import get_model
from fusion.__main__ import main
from fusion.compat import mx
from fusion.deploy.import_torch import import_torch
from fusion.deploy.pytorch import interpreter
from fusion.deploy.pytorch.names import to_torch
from fusion.deploy.pytorch.weights import read_state, write_safetensors
from fusion.deploy.pytorch.write import described
from fusion.errors import CheckpointError
from fusion.models.parameter_file import read_parameters

pytest.importorskip("safetensors", reason="needs the extra torch")

ARGUMENTS = {"fusion": "iaff", "blocks": 1, "channel_times": 1}
WORDS = ["fusion=iaff", "blocks=1", "channel_times=1"]


@pytest.fixture(scope="module")
def net():
    mx.random.seed(1)
    made = get_model("cifar_resnet", classes=4, **ARGUMENTS)
    made.initialize()
    made(mx.nd.zeros((1, 3, 32, 32)))
    return made


@pytest.fixture
def state(net):
    return to_torch(net)


def same(net, file):
    stored = read_parameters(str(file))
    for name, parameter in net._collect_params_with_prefix().items():
        np.testing.assert_array_equal(stored[name], parameter.data().asnumpy())


def test_weights_come_back_by_name_and_arguments(net, state, tmp_path, capsys):
    write_safetensors(tmp_path / "trained.safetensors", state, {})
    words = ["import-torch", str(tmp_path / "trained.safetensors"), "--model", "cifar_resnet", *WORDS]
    assert main([*words, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["classes"], said["file"]) == (4, str(tmp_path / "trained.params"))
    same(net, tmp_path / "trained.params")
    assert main(words) == 2
    assert "is there already; write over it with --force" in capsys.readouterr().err
    assert main([*words, "--force"]) == 0


def test_description_beside_the_file_says_what_the_network_is(net, state, tmp_path, capsys):
    file, output = tmp_path / "trained.safetensors", tmp_path / "out.params"
    write_safetensors(file, state, {})
    words = ["import-torch", str(file), "--output", str(output)]
    assert main(words) == 2
    assert "model.json: no such file; say what the network is with --model NAME" in capsys.readouterr().err
    (tmp_path / "model.json").write_text(json.dumps({"network": described(net)}))
    assert main(words) == 0
    same(net, output)
    (tmp_path / "model.json").write_text("{}")
    assert main([*words, "--force"]) == 2
    assert "does not say what the network is" in capsys.readouterr().err


def test_names_of_parallel_and_compiled_modules(net, state, tmp_path):
    write_safetensors(tmp_path / "w.safetensors", {f"_orig_mod.{name}": one for name, one in state.items()}, {})
    found = import_torch(tmp_path / "w.safetensors", "cifar_resnet", ARGUMENTS)
    np.testing.assert_array_equal(found.output.weight.data().asnumpy(), net.output.weight.data().asnumpy())


def test_bfloat16_is_read_as_float32(tmp_path):
    header = json.dumps({"a.weight": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "w.safetensors").write_bytes(
        struct.pack("<Q", len(header)) + header + struct.pack("<HH", 0x3FC0, 0xC000)
    )
    found = read_state(tmp_path / "w.safetensors")["a.weight"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [1.5, -2.0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {**state, "extra.weight": np.zeros(3, "f")}, r"extra\.weight \(3,\) is not in the network"),
        (lambda state: {**state, "output.weight": np.zeros((4, 9), "f")}, r"output\.weight is \(4, 9\)"),
        (
            lambda state: {n: a for n, a in state.items() if "global_att2.1." not in n},
            r"global_att2\.1\.weight .* missing",
        ),
        (lambda state: {n: a for n, a in state.items() if "output" not in n}, r"holds no output\.bias"),
        (lambda state: {"steps": np.zeros(1, "f")}, r"holds no output\.bias"),
    ],
    ids=["another parameter", "another shape", "a block's parameters missing", "no classifier", "something else"],
)
def test_weights_of_another_network_are_refused(change, message, state, tmp_path):
    write_safetensors(tmp_path / "w.safetensors", change(state), {})
    with pytest.raises(CheckpointError, match=message):
        import_torch(tmp_path / "w.safetensors", "cifar_resnet", ARGUMENTS)


def test_damaged_and_missing_files(state, tmp_path, capsys):
    file = tmp_path / "w.safetensors"
    write_safetensors(file, state, {})
    file.write_bytes(file.read_bytes()[:-10])
    words = ["import-torch", str(file), "--model", "cifar_resnet", *WORDS]
    assert main(words) == 2
    assert "not a complete safetensors file" in capsys.readouterr().err
    assert main(["import-torch", str(tmp_path / "none.pth"), "--model", "cifar_resnet"]) == 2
    assert "no such file" in capsys.readouterr().err
    assert main(["import-torch", str(file), "--model", "cifar_resnett"]) == 2
    assert "did you mean 'cifar_resnet'" in capsys.readouterr().err
    assert not (tmp_path / "w.params").exists()


def test_file_of_torch_save_needs_pytorch(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv(interpreter.SETTING, raising=False)
    monkeypatch.setattr(interpreter.importlib.util, "find_spec", lambda name: None)
    (tmp_path / "net.pth").write_bytes(b"PK")
    assert main(["import-torch", str(tmp_path / "net.pth"), "--model", "cifar_resnet"]) == 2
    assert "needs PyTorch" in capsys.readouterr().err
