"""The worked examples, each as its own process; the one for ONNX in an environment that has no MXNet."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fusion import get_model
from fusion.compat import mx
from fusion.deploy.export import export
from fusion.inference.trained import load_model

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
ARGUMENTS = {"fusion": "aff", "blocks": 1, "channel_times": 1}

#: Longer than pip needs where packages can be had at all.
PIP_SECONDS = 300


def answers(python, name, *words, **environment):
    """The classes and chances that an example prints."""
    command = [str(python), str(EXAMPLES / name), *map(str, words)]
    keep = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, env={**keep, **environment}, stdout=-1, stderr=-1, text=True, cwd="/", timeout=600)
    assert done.returncode == 0, done.stderr
    return [(line.split()[0], float(line.split()[-1])) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """(trained, image file, the best three classes and their chances)."""
    folder = tmp_path_factory.mktemp("network")
    mx.random.seed(1)
    net = get_model("cifar_resnet", classes=6, **ARGUMENTS)
    net.initialize()
    net(mx.nd.zeros((1, 3, 32, 32)))
    net.save_parameters(str(folder / "net.params"))
    trained = load_model("cifar_resnet", folder / "net.params", arguments=ARGUMENTS)
    coarse = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((90, 60)).save(folder / "image.png")
    pixels = trained.preparation.read(folder / "image.png")[None]
    chances = mx.nd.softmax(trained.net(mx.nd.array(trained.preparation.normalise(pixels))))[0].asnumpy()
    best = [(str(index), float(chances[index])) for index in chances.argsort()[::-1][:3]]
    return trained, folder / "image.png", best


def check(found, best):
    assert [name for name, _ in found] == [name for name, _ in best]
    np.testing.assert_allclose([chance for _, chance in found], [chance for _, chance in best], atol=2e-4)


@pytest.mark.parametrize("with_preprocess", [False, True])
def test_with_mxnet_alone(network, tmp_path, with_preprocess):
    trained, image, best = network
    export(trained, tmp_path / "out", with_preprocess=with_preprocess)
    check(answers(sys.executable, "symbol_only.py", tmp_path / "out", image), best)


def test_examples_for_others_do_not_import_this_package():
    for name in ("symbol_only.py", "onnx_only.py"):
        assert "import fusion" not in (EXAMPLES / name).read_text()
        assert "from fusion" not in (EXAMPLES / name).read_text()


@pytest.fixture(scope="module")
def without_mxnet(tmp_path_factory):
    """A Python with onnxruntime, NumPy and Pillow; `FUSION_ONNX_PYTHON` names one that exists."""
    given = os.environ.get("FUSION_ONNX_PYTHON")
    if given:
        return Path(given)
    folder = tmp_path_factory.mktemp("venv")
    try:
        venv.create(folder, with_pip=True)
        python = folder / "bin" / "python"
        command = [str(python), "-m", "pip", "install", "-q", "--prefer-binary", "onnxruntime", "numpy", "Pillow"]
        subprocess.run(command, check=True, capture_output=True, timeout=PIP_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"an environment without mxnet cannot be made here: {error}")
    return python


@pytest.mark.slow
@pytest.mark.parametrize("with_preprocess", [pytest.param(False, marks=pytest.mark.long), True])
def test_with_onnxruntime_where_there_is_no_mxnet(network, tmp_path, without_mxnet, with_preprocess):
    pytest.importorskip("onnx", reason="needs the extra onnx")
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    tried = subprocess.run([str(without_mxnet), "-c", "import mxnet"], cwd="/", env={}, stderr=-1, text=True)
    assert "No module named 'mxnet'" in tried.stderr
    trained, image, best = network
    export(trained, tmp_path / "out", ("onnx",), with_preprocess=with_preprocess)
    check(answers(without_mxnet, "onnx_only.py", tmp_path / "out", image), best)


def test_gluoncv_s_detector_on_a_fused_pyramid():
    pytest.importorskip("gluoncv", reason="needs GluonCV")
    command = [sys.executable, str(EXAMPLES / "gluoncv_detector.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, stdout=-1, stderr=-1, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "on 3 fused maps and two more" in done.stdout
    assert "answer: 100 boxes for each image" in done.stdout


def test_aff_in_gluoncv_s_own_resnet(tmp_path):
    command = [sys.executable, str(EXAMPLES / "gluoncv_resnet.py"), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, stdout=-1, stderr=-1, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "differs by" in done.stdout
    stored = (tmp_path / "aff-symbol.json").read_text()
    assert stored.count('"Activation"') > 7  # six blocks' own, and the sigmoid of each AFF
    assert '"sigmoid"' in stored
