"""python -m fusion export: what it writes, that it compares before it writes, and what it refuses."""

from __future__ import annotations

import json
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

import fusion.deploy.export as exporting
from fusion import get_model
from fusion.__main__ import main
from fusion.compat import mx
from fusion.deploy.export import export
from fusion.deploy.export_command import input_shape
from fusion.deploy.onnx import run_onnx
from fusion.deploy.verify import TOLERANCE, differences, relative_difference, run_symbol
from fusion.errors import ConfigError, DataError, ExportError
from fusion.inference.trained import load_model

ARGUMENTS = {"fusion": "aff", "blocks": 1, "channel_times": 1}
CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "net.params"
    mx.random.seed(0)
    net = get_model("cifar_resnet", classes=5, **ARGUMENTS)
    net.initialize()
    net(mx.nd.zeros((1, 3, 32, 32)))
    net.save_parameters(str(file))
    return load_model("cifar_resnet", file, arguments=ARGUMENTS)


@pytest.fixture
def at_once(monkeypatch):
    """The symbol's answers without their process, which takes seconds, for tests of something else."""

    def here(symbol, parameters, batches):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that MXNet does not know the type of the input yet
            net = mx.gluon.SymbolBlock.imports(str(symbol), ["data"], str(parameters))
        return {name: net(mx.nd.array(batch, dtype=batch.dtype)).asnumpy() for name, batch in batches.items()}

    monkeypatch.setattr(exporting, "run_symbol", here)


def expected(trained, pixels):
    """The answers by the formula of the recipe, not by the package's own preparation."""
    normal = (pixels / 255 - np.array(CIFAR_MEAN)) / np.array(CIFAR_STD)
    return trained.net(mx.nd.array(normal.transpose(0, 3, 1, 2))).asnumpy()


def some_pixels(count=3, height=32, width=32):
    return np.random.default_rng(3).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


# --- What is written -------------------------------------------------------------------------------------------------


def test_symbol_answers_in_a_fresh_process(trained, tmp_path):
    done = export(trained, tmp_path / "out", with_preprocess=True)
    assert sorted(done.files) == ["model-0000.params", "model-symbol.json", "model.json"]
    assert set(done.differences["symbol"]) == {"random images", "one random image", "real images"}
    assert max(done.differences["symbol"].values()) <= TOLERANCE
    pixels = some_pixels()
    files = tmp_path / "out" / "model-symbol.json", tmp_path / "out" / "model-0000.params"
    answers = run_symbol(*files, {"pixels": pixels})["pixels"]
    assert relative_difference(answers, expected(trained, pixels)) < TOLERANCE
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("with_preprocess", [False, True])
def test_network_that_answers_for_pixels_takes_images_of_any_size(with_preprocess, tmp_path, at_once):
    pytest.importorskip("onnx", reason="needs the extra onnx")
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    arguments = {"fusion": "aff", "blocks": 1, "tiny": True}
    net = get_model("unet", classes=2, **arguments)
    net.initialize()
    net.save_parameters(str(tmp_path / "net.params"))
    trained = load_model("unet", tmp_path / "net.params", arguments=arguments, size=32)
    export(trained, tmp_path / "out", ("symbol", "onnx"), with_preprocess=with_preprocess)
    pixels = some_pixels(2, 37, 45)
    normal = trained.preparation.normalise(pixels)
    answers = run_onnx(str(tmp_path / "out" / "model.onnx"), {"": pixels if with_preprocess else normal})[""]
    assert relative_difference(answers, trained.net(mx.nd.array(normal)).asnumpy()) < TOLERANCE
    about = json.loads((tmp_path / "out" / "model.json").read_text())
    size = ["height", "width"]
    assert about["input"]["shape"] == ["batch", *([*size, 3] if with_preprocess else [3, *size])]
    assert about["output"]["shape"] == ["batch", 2, *size]


def test_onnx_takes_any_batch_of_bytes(trained, tmp_path):
    pytest.importorskip("onnx", reason="needs the extra onnx")
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    export(trained, tmp_path / "out", ("onnx",), with_preprocess=True)
    for count in (1, 7):
        pixels = some_pixels(count)
        answers = run_onnx(str(tmp_path / "out" / "model.onnx"), {"pixels": pixels})["pixels"]
        assert relative_difference(answers, expected(trained, pixels)) < TOLERANCE


@pytest.mark.parametrize("with_preprocess", [False, True])
def test_description_says_how_to_use_it(trained, tmp_path, at_once, with_preprocess):
    export(trained, tmp_path / "out", image=(24, 40), with_preprocess=with_preprocess)
    found = json.loads((tmp_path / "out" / "model.json").read_text())
    assert found["classes"] == list("01234")
    layout = ("NHWC", "uint8", ["batch", 24, 40, 3]) if with_preprocess else ("NCHW", "float32", ["batch", 3, 24, 40])
    assert (found["input"]["layout"], found["input"]["dtype"], found["input"]["shape"]) == layout
    assert found["normalisation"]["mean"] == list(CIFAR_MEAN)
    assert found["normalisation"]["in_the_graph"] is with_preprocess
    assert found["images"]["centre_crop"] == [24, 40]
    assert found["images"]["shorter_side"] == 40
    assert found["training"] is None
    assert found["versions"]["mxnet"] == mx.__version__
    assert found["largest_difference"]["symbol"] <= TOLERANCE


def test_compares_on_the_images_it_is_given(trained, tmp_path, at_once, monkeypatch):
    seen = {}
    monkeypatch.setattr(exporting, "differences", lambda title, found, wanted: seen.update(wanted) or {"all": 0.0})
    pixels = some_pixels(2)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    export(trained, tmp_path / "one", images=[tmp_path])
    np.testing.assert_allclose(seen["real images"], expected(trained, pixels), rtol=1e-3, atol=1e-5)
    export(trained, tmp_path / "two", images=[tmp_path / "1.png"])
    np.testing.assert_allclose(seen["real images"], expected(trained, pixels[1:]), rtol=1e-3, atol=1e-5)


def test_hidden_files_in_a_folder_are_passed_over(trained, tmp_path, at_once, monkeypatch):
    """What macOS writes beside a.png is no image, though its name ends as one's."""
    seen = {}
    monkeypatch.setattr(exporting, "differences", lambda title, found, wanted: seen.update(wanted) or {"all": 0.0})
    pixels = some_pixels(2)
    (tmp_path / "photos" / ".hidden").mkdir(parents=True)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "photos" / f"{number}.png")
        (tmp_path / "photos" / f"._{number}.png").write_bytes(b"no image")
        (tmp_path / "photos" / ".hidden" / f"{number}.png").write_bytes(b"no image")
    for output, words in (("one", tmp_path / "photos"), ("two", tmp_path / "photos" / "*.png")):
        export(trained, tmp_path / output, images=[words])
        np.testing.assert_allclose(seen.pop("real images"), expected(trained, pixels), rtol=1e-3, atol=1e-5)


# --- Nothing that is wrong is written --------------------------------------------------------------------------------


def test_export_that_computes_something_else_leaves_nothing(trained, tmp_path, at_once, monkeypatch):
    right = exporting.run_symbol
    monkeypatch.setattr(
        exporting, "run_symbol", lambda *files: {name: answer * 1.001 for name, answer in right(*files).items()}
    )
    with pytest.raises(ExportError, match=r"symbol export does not compute .* by \d\.\d+e-0[34]"):
        export(trained, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_replacement_leaves_the_old_export(trained, tmp_path, at_once, monkeypatch):
    export(trained, tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    monkeypatch.setattr(exporting, "run_symbol", lambda *files: {})
    with pytest.raises(KeyError):
        export(trained, tmp_path / "out", force=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_difference_is_of_the_largest_output():
    wanted = np.array([[10.0, -20.0]])
    assert relative_difference(wanted + np.array([0.002, 0]), wanted) == pytest.approx(1e-4)
    assert relative_difference(wanted, wanted) == 0
    assert relative_difference(np.full((1, 2), np.nan), wanted) == float("inf")
    assert relative_difference(wanted[0], wanted) == float("inf")
    assert differences("x", {"a": wanted + 0.0015}, {"a": wanted})["a"] < 1e-4
    with pytest.raises(ExportError, match="x export .* on a"):
        differences("x", {"a": wanted + 0.0025}, {"a": wanted})
    with pytest.raises(ExportError):
        differences("x", {"a": wanted * np.nan}, {"a": wanted})


def test_process_that_fails_is_an_error_with_its_last_line(tmp_path):
    (tmp_path / "model-symbol.json").write_text("{}")
    with pytest.raises(ExportError, match=r"model-symbol\.json: a fresh process cannot run it"):
        run_symbol(tmp_path / "model-symbol.json", tmp_path / "none.params", {})


# --- Bad input -------------------------------------------------------------------------------------------------------


def test_existing_output_asks_for_force(trained, tmp_path, at_once):
    export(trained, tmp_path / "out")
    with pytest.raises(ConfigError, match="exists already; replace it with --force"):
        export(trained, tmp_path / "out")
    (tmp_path / "out" / "stale.txt").write_text("of the old one")
    export(trained, tmp_path / "out", with_preprocess=True, force=True)
    assert not (tmp_path / "out" / "stale.txt").exists()
    assert json.loads((tmp_path / "out" / "model.json").read_text())["input"]["dtype"] == "uint8"


def test_force_replaces_exports_only(trained, tmp_path, at_once):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="not an earlier export"):
        export(trained, tmp_path / "thesis", force=True)
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"


def command(capsys, *words):
    status = main(["export", *map(str, words)])
    return status, capsys.readouterr().err


def test_checkpoint_of_another_architecture(trained, tmp_path, capsys):
    words = ["--model", "aff_resnet32", "--checkpoint", trained.file, "--output", tmp_path / "out"]
    status, message = command(capsys, *words)
    assert status == 2
    assert "parameters of another network" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["0,32", "big", "1,2,3,4", "99999", "4,32,32", "-32"])
def test_input_shape_that_is_none(trained, tmp_path, capsys, text):
    words = ["--model", "aff_resnet32", "--checkpoint", trained.file, "--output", tmp_path / "out"]
    status, message = command(capsys, *words, f"--input-shape={text}")
    assert status == 2
    assert f"--input-shape {text}: expected HEIGHT,WIDTH" in message


def test_missing_extra(trained, tmp_path, at_once, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"attentional-feature-fusion\[onnx\]"):
        export(trained, tmp_path / "out", ("onnx",))
    assert list(tmp_path.iterdir()) == []


def test_unknown_format_image_and_folder(trained, tmp_path, at_once):
    with pytest.raises(ConfigError, match="'tflite': expected one of symbol, onnx"):
        export(trained, tmp_path / "out", ("tflite",))
    with pytest.raises(DataError, match=r"none\.png"):
        export(trained, tmp_path / "out", images=[tmp_path / "none.png"])
    with pytest.raises(DataError, match="no images in this folder"):
        export(trained, tmp_path / "out", images=[tmp_path])
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file; expected a folder"):
        export(trained, tmp_path / "file" / "out")


@pytest.mark.parametrize(
    ("text", "size"), [("224", (224, 224)), ("24,40", (24, 40)), ("3,24,40", (24, 40)), ("24x40", (24, 40))]
)
def test_input_shapes(text, size):
    assert input_shape(text) == size
