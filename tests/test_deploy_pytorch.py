"""Exports for PyTorch: what model.py holds, and that it computes what the network does, its gradients too.

All networks answer in one process of PyTorch, which takes seconds to start.
"""

from __future__ import annotations

import ast
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from torches import torch_python

from fusion import get_model, list_fusions
from fusion.__main__ import main
from fusion.compat import mx
from fusion.deploy.export import export
from fusion.deploy.pytorch import interpreter, program_path
from fusion.deploy.pytorch.architecture import architecture
from fusion.deploy.pytorch.compare import step_differences, training_step
from fusion.deploy.pytorch.names import from_torch, to_torch
from fusion.deploy.pytorch.source import assemble, modules_of
from fusion.deploy.pytorch.weights import read_state, write_safetensors
from fusion.deploy.verify import relative_difference
from fusion.errors import ConfigError, ExportError
from fusion.features import exact_resizing, resized
from fusion.inference.trained import load_model
from fusion.models.normalisation import use_norm_layer

SMALL = {"blocks": 1, "channel_times": 1, "classes": 3}
DENSE = {"blocks": 1, "classes": 2}
TINY = {**DENSE, "tiny": True}
CIFAR_ENCODER = {"name": "cifar_resnet", "blocks": 1, "channel_times": 1}

#: Every block in a classifier; every option of the families that changes what is computed.
CASES = {
    **{f"block {name}": ("cifar_resnet", {"fusion": name, **SMALL}) for name in list_fusions()},
    **{
        f"norm {norm}": ("cifar_resnet", {"fusion": "iaff", "norm": norm, **SMALL})
        for norm in ("group", "layer", "none")
    },
    "norm layer": ("cifar_resnet", {"fusion": "aff", "norm_layer": "group", "avg_down": False, **SMALL}),
    "deep stem": ("cifar_resnet", {"fusion": "aff", "start_layer": 3, "deep_stem": True, "final_drop": 0.3, **SMALL}),
    "resnext": ("cifar_resnext", {"fusion": "aff", "r": 4, "use_se": True, "last_gamma": False, **SMALL}),
    "inception": ("cifar_inception", {"fusion": "aff", **SMALL}),
    "inception as released": ("cifar_inception", {"fusion": "add", "as_released": True, **SMALL}),
    "unet": ("unet", {"fusion": "aff", **TINY}),
    "unet concat": ("unet", {"fusion": "concat", "stages": 4, "decoder_width": 8, **DENSE}),
    "unet encoder": ("unet", {"fusion": "iaff", "encoder": CIFAR_ENCODER, "norm": "none", **DENSE}),
    "fpn": ("fpn", {"fusion": "asymbi", "norm_layer": "group", **DENSE}),
    "fpn width": ("fpn", {"fusion": "aff", "decoder_width": 8, **DENSE}),
    **{
        f"all {name}": ("fpn", {"fusion": name, "join": "all", **TINY}) for name in ("add", "concat", "se", "aff", "sk")
    },
    "all iaff": ("fpn", {"fusion": "iaff", "join": "all", "decoder_width": 8, "norm": "group", **DENSE}),
    "all concat_aff": ("fpn", {"fusion": "concat_aff", "join": "all", **TINY}),
}

#: Networks of several seconds each.
LARGE = {
    "resnet": ("resnet", {"scale": 0.4, "fusion": "aff", "classes": 3}),
    "resnet dilated": (
        "resnet",
        {"scale": 0.4, "fusion": "iaff", "deep_stem": False, "avg_down": False, "dilated": True, "classes": 3},
    ),
    "resnext50": ("resnext", {"scale": 0.4, "fusion": "aff", "use_se": True, "classes": 3}),
    "resnext50 strided": (
        "resnext",
        {"scale": 0.4, "fusion": "aff", "deep_stem": False, "avg_down": False, "classes": 3},
    ),
    "fpn of a resnet": ("fpn", {"scale": 0.4, "fusion": "aff", "encoder": "aff_resnet50", "decoder_width": 8, **DENSE}),
}

ANSWER_ALL = """
import importlib.util, sys
program, *folders = sys.argv[1:]
spec = importlib.util.spec_from_file_location("program", program)
sys.path.insert(0, "removed by the program")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
for folder in folders:
    module.answers(folder, folder + "/inputs.npz", folder + "/outputs.npz")
"""


def make(name, norm_layer="batch", scale=1, **arguments):
    """A network whose norms are not the identity; a small scale keeps a deep one from magnifying rounding."""
    mx.random.seed(3)
    net = get_model(name, **arguments)
    use_norm_layer(net, norm_layer)
    net.initialize()
    net(mx.nd.zeros((1, 3, 32, 32)))
    draw = np.random.default_rng(0)
    for key, parameter in net._collect_params_with_prefix().items():
        if key.endswith(("gamma", "running_var")) and parameter.lr_mult:
            scales = draw.uniform(0.5, 1.5, parameter.shape)
            parameter.set_data(mx.nd.array(scales * (scale if key.endswith("gamma") else 1)))
        elif key.endswith("running_mean") or (key.endswith(("beta", "bias")) and parameter.grad_req != "null"):
            parameter.set_data(mx.nd.array(draw.normal(0, 0.2, parameter.shape)))
    return net


def write(net, folder):
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(assemble(architecture(net), "A test."), encoding="utf-8")
    write_safetensors(folder / "model.safetensors", to_torch(net), {})


def batches_of(net):
    draw = np.random.default_rng(1)
    sizes = {"plain": (2, 3, 32, 32), **({"another size": (1, 3, 45, 38)} if net.dense else {})}
    return {key: draw.standard_normal(size).astype(np.float32) for key, size in sizes.items()}


def answer(cases, python, folder):
    """What each network and PyTorch give."""
    found = {}
    for number, (title, (name, arguments)) in enumerate(cases.items()):
        net, place = make(name, **arguments), folder / str(number)
        write(net, place)
        batches, (inputs, step) = batches_of(net), training_step(net)
        np.savez(place / "inputs.npz", **batches, **inputs)
        found[title] = place, {key: net(mx.nd.array(batch)).asnumpy() for key, batch in batches.items()}, step
    places = [str(place) for place, _, _ in found.values()]
    subprocess.run([python, "-c", ANSWER_ALL, str(program_path()), *places], check=True)
    return found


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    return answer(CASES, torch_python(), tmp_path_factory.mktemp("exports"))


@pytest.fixture(scope="module")
def answered_large(tmp_path_factory):
    return answer(LARGE, torch_python(), tmp_path_factory.mktemp("exports"))


def check(place, expected, step, rounding=1e-5):
    with np.load(str(place / "outputs.npz")) as stored:
        found = dict(stored)
    for key, wanted in expected.items():
        assert relative_difference(found.pop(key), wanted) < rounding
    shares = step_differences(found, step)
    assert shares["predictions in float64"] <= 1e-10
    assert {"gradients of images", "gradients of parameters", "running statistics"} <= set(shares)
    assert max(shares["gradients of images"], shares["gradients of parameters"]) <= 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("title", CASES)
def test_pytorch_computes_the_same_and_its_gradients(title, answered):
    check(*answered[title])


@pytest.mark.slow
@pytest.mark.parametrize("title", LARGE)
def test_pytorch_computes_the_same_of_large_networks(title, answered_large):
    check(*answered_large[title], rounding=1e-3)


# --- What is written -------------------------------------------------------------------------------------------------


def test_source_has_the_modules_that_the_network_needs_and_imports_torch_alone():
    text = assemble(architecture(make("cifar_resnet", fusion="aff", **SMALL)), "A test.")
    classes = {name for name in modules_of(text) if name[0].isupper()}
    needed = {
        "BatchNorm",
        "InputNorm",
        "LocalContext",
        "GlobalContext",
        "ASKCFuse",
        "PreActivationBlock",
        "CIFARResNet",
        "Classifier",
    }
    assert classes == needed
    tree = ast.parse(text)
    roots = [getattr(node, "module", None) or node.names[0].name for node in ast.walk(tree) if hasattr(node, "names")]
    assert {root.split(".")[0] for root in roots} == {"torch"}
    assert all(ast.get_docstring(node) for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef)))
    assert "2·M(X + Y)⊗X + 2·(1 − M(X + Y))⊗Y" in text
    assert max(map(len, text.splitlines())) <= 120


def test_slots_are_filled_in():
    text = assemble(architecture(make("unet", fusion="se", norm_layer="group", **TINY)), "A test.")
    assert "class LongSkip(SEFuse):" in text
    assert "class UNet(BasicEncoder):" in text
    assert "norm=GroupNorm" in text
    assert not {"Norm", "Join", "Encoder"} & {
        node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)
    }


def test_weights_come_back_as_they_were(tmp_path):
    pytest.importorskip("safetensors", reason="needs the extra torch")
    net = make("unet", fusion="aff", **TINY)
    write_safetensors(tmp_path / "w.safetensors", to_torch(net), {"model": "unet"})
    state = read_state(tmp_path / "w.safetensors")
    assert {"stem.0.num_batches_tracked", "fuse1.global_att.1.weight", "head.block.4.bias"} <= set(state)
    assert "stem.0.weight" not in state
    back = from_torch(net, state)
    for name, parameter in net._collect_params_with_prefix().items():
        np.testing.assert_array_equal(back[name], parameter.data().asnumpy())
    assert len(back) == len(net._collect_params_with_prefix())


def test_shift_of_the_images_norm_is_refused():
    net = make("cifar_resnet", fusion="aff", **SMALL)
    net.features[0].beta.set_data(mx.nd.ones(3))
    with pytest.raises(ExportError, match=r"features\.0\.beta"):
        to_torch(net)


def test_network_made_by_its_class_is_refused():
    from fusion.models.cifar_resnet import CIFARResNet

    with pytest.raises(ExportError, match="get_model"):
        architecture(CIFARResNet(blocks=1))


def test_resizing_for_the_comparison_is_exact():
    draw = np.random.default_rng(0)
    one, like = (mx.nd.array(draw.standard_normal((1, 2, *size)), dtype="float64") for size in ((3, 4), (7, 5)))
    with exact_resizing():
        found = resized(mx.nd, one, one, like, 2, "bilinear").asnumpy()
    rows, columns = np.arange(7) * 2 / 6, np.arange(5) * 3 / 4
    array = one.asnumpy()[0, 1]
    top, left = np.minimum(rows.astype(int), 1), np.minimum(columns.astype(int), 2)
    down, right = (rows - top)[:, None], (columns - left)[None]
    upper = array[top][:, left] * (1 - right) + array[top][:, left + 1] * right
    lower = array[top + 1][:, left] * (1 - right) + array[top + 1][:, left + 1] * right
    np.testing.assert_allclose(found[0, 1], upper * (1 - down) + lower * down, rtol=0, atol=1e-14)


# --- The command -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "net.params"
    make("cifar_resnet", fusion="iaff", **SMALL).save_parameters(str(file))
    return load_model("cifar_resnet", file, arguments={"fusion": "iaff", "blocks": 1, "channel_times": 1})


def without_torch(monkeypatch):
    monkeypatch.delenv(interpreter.SETTING, raising=False)
    monkeypatch.setattr(interpreter.importlib.util, "find_spec", lambda name: None)


def test_without_pytorch_it_is_refused_and_nothing_is_kept(trained, tmp_path, monkeypatch):
    pytest.importorskip("safetensors", reason="needs the extra torch")
    without_torch(monkeypatch)
    with pytest.raises(ConfigError, match=r"needs PyTorch.*--torch-python PYTHON"):
        export(trained, tmp_path / "out", ("torch",))
    with pytest.raises(ConfigError, match=r"--torch-python /none: cannot be run"):
        export(trained, tmp_path / "out", ("torch",), torch_python="/none")
    assert list(tmp_path.iterdir()) == []


def test_all_formats_leave_torch_out_where_there_is_none(monkeypatch, caplog):
    from fusion.__main__ import parse
    from fusion.deploy.export_command import _formats

    words = ["export", "--run", "A", "--output", "o", "--format", "all"]
    without_torch(monkeypatch)
    caplog.set_level("INFO", "fusion")
    assert _formats(parse(words)) == ("symbol", "onnx")
    assert "torch: left out" in caplog.text
    assert _formats(parse([*words, "--torch-python", "python"])) == ("symbol", "onnx", "torch")


def test_export_that_computes_something_else_is_refused(trained, tmp_path, monkeypatch):
    import fusion.deploy.pytorch.write as writing

    pytest.importorskip("safetensors", reason="needs the extra torch")
    inputs, step = training_step(trained.net)
    monkeypatch.setattr(writing, "require_torch", lambda *words: "python")
    monkeypatch.setattr(writing, "training_step", lambda net: (inputs, step))
    key = next(name for name in step if name.endswith("global_att2.1.weight"))
    wrong = {**step, key: step[key] + 1e-6}
    monkeypatch.setattr(writing, "run_torch", lambda *words: ({}, wrong))
    with pytest.raises(ExportError, match=r"gradients of parameters \(.*global_att2\.1\.weight\) differ"):
        export(trained, tmp_path / "out", ("torch",))
    fewer = {name: array for name, array in step.items() if name != key}
    monkeypatch.setattr(writing, "run_torch", lambda *words: ({}, fewer))
    with pytest.raises(ExportError, match="other parameters"):
        export(trained, tmp_path / "out", ("torch",))
    assert list(tmp_path.iterdir()) == []


IN_PYTORCH = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
from safetensors.torch import load_file
import model

net = model.build()
net.load_state_dict(load_file(sys.argv[1] + "/model.safetensors"))
network = super(model.FromPixels, net).forward
net.eval()
pixels = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
images = torch.randn(4, 3, 32, 32)
with torch.no_grad():
    plain, of_pixels = network(images), net(pixels)
    largest = plain.abs().max()
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")(images)
    print("compile", ((compiled - plain).abs().max() / largest).item())
    batch = torch.export.Dim("batch", min=2)
    exported = torch.export.export(net, (pixels,), dynamic_shapes=({0: batch},)).module()
    print("export", ((exported(pixels[:3]) - of_pixels[:3]).abs().max() / of_pixels.abs().max()).item())
    for kind in (torch.bfloat16, torch.float16):
        net.to(kind)
        print(kind, ((network(images.to(kind)).float() - plain).abs().max() / largest).item(), net(pixels).dtype)
net.float().train()
network(images).sum().backward()

net.load_state_dict(load_file(sys.argv[1] + "/model.safetensors"))  # they were bfloat16 for a while

# The authors' port of iAFF to PyTorch uses the first global branch in both passes.
class Port(model.ResGlobLocaforGlobLocaCha):
    def forward(self, x, residual):
        xa = x + residual
        wei = torch.sigmoid(self.local_att(xa) + self.global_att(xa))
        xi = x * wei + residual * (1 - wei)
        wei2 = torch.sigmoid(self.local_att2(xi) + self.global_att(xi))
        return x * wei2 + residual * (1 - wei2)

with torch.no_grad():
    ours = model.ResGlobLocaforGlobLocaCha(16, 4, model.BatchNorm).eval()
    port = Port(16, 4, model.BatchNorm).eval()
    port.load_state_dict(ours.state_dict())
    x, y = torch.randn(2, 2, 16, 5, 5)
    print("port", (ours(x, y) - port(x, y)).abs().max().item())
    ours.global_att2.load_state_dict(ours.global_att.state_dict())
    print("port of one branch", (ours(x, y) - port(x, y)).abs().max().item())
torch.save({"state_dict": {"module." + name: one for name, one in net.state_dict().items()}}, sys.argv[1] + "/net.pth")
"""


@pytest.mark.slow
def test_export_in_pytorch(trained, tmp_path, capsys):
    """The whole command; what PyTorch makes of its files; and back, from what PyTorch saves."""
    python = torch_python()
    done = export(trained, tmp_path / "out", ("torch",), with_preprocess=True, torch_python=python)
    assert sorted(done.files) == ["model.json", "model.py", "model.safetensors"]
    shares = done.differences["torch"]
    assert {"random images", "real images", "gradients of parameters"} <= set(shares)
    about = json.loads((tmp_path / "out" / "model.json").read_text())
    assert about["network"]["family"] == "cifar_resnet"
    assert about["network"]["arguments"]["fusion"] == "iaff"
    assert about["input"]["dtype"] == "uint8"
    assert about["versions"]["torch"]
    ran = subprocess.run([python, "-c", IN_PYTORCH, str(tmp_path / "out")], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    said = {line.rsplit(maxsplit=1)[0]: line.split()[-1] for line in ran.stdout.splitlines()}
    assert float(said["compile"]) < 1e-5
    assert float(said["export"]) < 1e-5
    halves = [line.split() for line in ran.stdout.splitlines() if line.startswith("torch.")]
    assert [words[0] == words[2] and float(words[1]) < 0.1 for words in halves] == [True, True]
    assert float(said["port"]) > 1e-3  # the authors' port computes something else, whose second branch is the first
    assert float(said["port of one branch"]) < 1e-6
    words = ["import-torch", str(tmp_path / "out" / "net.pth"), "--torch-python", python]
    assert main(words) == 0, capsys.readouterr().err
    back = load_model(
        "cifar_resnet", tmp_path / "out" / "net.params", arguments={"fusion": "iaff", "blocks": 1, "channel_times": 1}
    )
    weights, before = (one.net.features[1].weight.data().asnumpy() for one in (back, trained))
    np.testing.assert_array_equal(weights, before)
    assert Path(tmp_path / "out" / "net.params").is_file()
