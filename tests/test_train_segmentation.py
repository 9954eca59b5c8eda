"""Runs of segmentation from end to end, on small made-up sets: trained, stopped, resumed, evaluated, predicted."""

from __future__ import annotations

import csv
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from masked import BANDS, TARGETS, write_bands, write_targets
from PIL import Image

from fusion.__main__ import main as command
from fusion.compat import mx
from fusion.explain.gradcam_picture import look_at
from fusion.inference.masks import answer_pixels
from fusion.inference.trained import load_run
from fusion.progress import EpochProgress
from fusion.published.compare import read_run, refusal
from fusion.published.rows import find_row
from fusion.training import main
from fusion.training.history import TIMINGS

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def quiet():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs with Ctrl-C ignored
    logger = logging.getLogger("fusion")
    before = list(logger.handlers)
    yield
    logger.handlers[:] = before


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    """A config for images with small targets, and its data."""
    folder = tmp_path_factory.mktemp("targets")
    (folder / "a.yaml").write_text(TARGETS.format(folder=write_targets(folder / "data")))
    return folder / "a.yaml"


@pytest.fixture(scope="module")
def run(targets):
    """A finished run on them."""
    assert train(targets, targets.parent / "run") == 0
    return targets.parent / "run"


@pytest.fixture(scope="module")
def bands(tmp_path_factory):
    """A finished run on images of three classes."""
    folder = tmp_path_factory.mktemp("bands")
    (folder / "b.yaml").write_text(BANDS.format(folder=write_bands(folder / "data")))
    assert train(folder / "b.yaml", folder / "run") == 0
    return folder / "run"


def train(config, run, *words):
    return main("", ["--config", str(config), "--run-dir", str(run), *words])


def table(run):
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as stream:
        return [{name: cell for name, cell in row.items() if name not in TIMINGS} for row in csv.DictReader(stream)]


def arrays(run):
    with np.load(run / "checkpoints" / "last.npz") as stored:
        return {name: stored[name].tobytes() for name in stored.files if name != "state"}


def column(run, name):
    return [float(row[name]) for row in table(run)]


# --- A run -----------------------------------------------------------------------------------------------------------


def test_run_on_targets_learns_and_writes_its_figures(run):
    assert list(table(run)[0]) == [
        *("epoch", "train_loss", "train_iou"),
        *("val_loss", "val_iou", "val_niou", "val_pixel_accuracy", "val_pd", "val_fa", "learning_rate"),
    ]
    assert column(run, "train_loss")[-1] < column(run, "train_loss")[0]
    assert column(run, "train_iou")[-1] > column(run, "train_iou")[0]
    result = json.loads((run / "result.json").read_text())
    assert result["best"]["val_iou"] == max(column(run, "val_iou"))
    assert "highest IoU" in result["note"]
    assert (run / "classes.txt").read_text() == "target\n"
    log = (run / "run.log").read_text()
    assert "test IoU 0." in log
    assert "per million pixels" in log
    assert (run / "curves.png").stat().st_size > 10_000


def test_run_on_several_classes_learns(bands):
    assert column(bands, "val_miou")[-1] > 0.6  # bands of three colours; a third is chance
    assert set(table(bands)[0]) >= {"train_miou", "val_miou", "val_niou", "val_pixel_accuracy"}
    assert "val_pd" not in table(bands)[0]


@pytest.mark.parametrize("optimizer", ["adagrad", "adam", "nag"])
def test_run_stopped_in_an_epoch_ends_bit_identical(targets, tmp_path, monkeypatch, optimizer):
    words = [f"optimizer.name={optimizer}", "train.epochs=2", "schedule.lr=0.01"]
    assert train(targets, tmp_path / "whole", *words) == 0
    advance, done = EpochProgress.advance, []

    def interrupt(self, loss):
        done.append(loss)
        if len(done) == 5:  # the second batch of the second epoch
            signal.raise_signal(signal.SIGINT)
        advance(self, loss)

    with monkeypatch.context() as patch:
        patch.setattr(EpochProgress, "advance", interrupt)
        assert train(targets, tmp_path / "stopped", *words) == 130
    assert main("", ["--resume", str(tmp_path / "stopped")]) == 0
    assert table(tmp_path / "stopped") == table(tmp_path / "whole")
    assert arrays(tmp_path / "stopped") == arrays(tmp_path / "whole")


@pytest.mark.slow
def test_killed_run_resumes_from_its_last_epoch_and_ends_bit_identical(targets, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, str(ROOT / "train_segmentation.py")]
    start = ["--config", str(targets), "--run-dir"]
    assert subprocess.run([*words, *start, str(tmp_path / "whole")], env=environment).returncode == 0
    killed = tmp_path / "killed"
    running = subprocess.Popen([*words, *start, str(killed)], env=environment, stdout=subprocess.PIPE)
    for line in running.stdout:
        if b"epoch 1/3" in line:
            break
    running.kill()
    running.wait()
    assert len(table(killed)) < 3
    assert subprocess.run([*words, "--resume", str(killed)], env=environment).returncode == 0
    assert table(killed) == table(tmp_path / "whole")
    assert arrays(killed) == arrays(tmp_path / "whole")


def test_dead_loss_is_noticed_and_said_once(run, targets, tmp_path):
    """From weights that say background with certainty, soft IoU has no gradient that leads away."""
    arrays = mx.nd.load(str(run / "checkpoints" / "best.params"))
    arrays["head.block.4.bias"][:] = -60
    mx.nd.save(str(tmp_path / "dead.params"), arrays)
    words = ["schedule.lr=0.001", f"train.initial_parameters={tmp_path / 'dead.params'}", "train.epochs=5"]
    for loss, said in (("soft_iou", 1), ("soft_iou + 0.5 bce", 0)):
        assert train(targets, tmp_path / loss, *words, f"train.loss={loss}") == 0
        log = (tmp_path / loss / "run.log").read_text()
        assert log.count("the network has said background everywhere for 3 epochs") == said
        assert max(column(tmp_path / loss, "train_iou")) < 1e-3
    log = (tmp_path / "soft_iou" / "run.log").read_text()
    assert min(column(tmp_path / "soft_iou", "train_loss")) > 0.97
    for word in ("a lower schedule.lr", "soft_iou + 0.5 bce", "schedule.warmup_epochs", "augment.target_probability"):
        assert word in log


# --- What looks at a run ---------------------------------------------------------------------------------------------


def evaluate(run, capsys, *words):
    capsys.readouterr()
    assert command(["evaluate", "--run", str(run), "--json", *words]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_evaluate_gives_the_figures_of_the_best_epoch(run, capsys):
    found = evaluate(run, capsys)
    best = json.loads((run / "result.json").read_text())["best"]
    assert found["images"] == 5
    for name in ("iou", "niou", "pixel_accuracy", "pd", "fa", "loss"):
        assert found[name] == pytest.approx(best[f"val_{name}"], rel=1e-5, abs=1e-6), name
    assert command(["evaluate", "--run", str(run)]) == 0
    assert "false pixels" in capsys.readouterr().out


def test_evaluate_of_a_file_of_weights_by_a_config_is_that_of_the_run(run, targets, capsys):
    of_run = evaluate(run, capsys)
    file = str(run / "checkpoints" / "best.params")
    assert command(["evaluate", "--config", str(targets), "--checkpoint", file, "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    rate = "images_per_second"
    assert {**found, rate: 0} == {**of_run, rate: 0}
    assert command(["evaluate", "--config", str(targets), "--checkpoint", file, "eval.resize=64"]) == 0
    assert f"IoU                             {of_run['iou']:.4f}" not in capsys.readouterr().out


def test_evaluate_by_windows_flips_and_resized(run, capsys):
    whole = evaluate(run, capsys)
    for words in (["eval.flips=true"], ["eval.tile=32", "eval.overlap=8"], ["eval.resize=64"], ["eval.padding=zeros"]):
        found = evaluate(run, capsys, *words)
        assert found["images"] == 5
        assert found["loss"] != whole["loss"]
        assert 0 <= found["iou"] <= 1


def test_predict_writes_masks_with_a_palette_and_overlays(run, targets, tmp_path, capsys):
    images = targets.parent / "data" / "images"
    words = ["predict", str(images / "b0.png"), str(images / "b1.png"), "--run", str(run), "--output"]
    assert command([*words, str(tmp_path / "out"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["images"]
    for one in found:
        with Image.open(one["file"]) as image, Image.open(one["mask"]) as mask, Image.open(one["overlay"]) as overlay:
            assert mask.mode == "P"
            assert mask.size == image.size == overlay.size
            values = np.asarray(mask)
            assert set(np.unique(values)) <= {0, 255}
            assert np.mean(values == 255) == pytest.approx(one["shares"]["target"])
            assert mask.convert("RGB").getpixel((0, 0)) in ((0, 0, 0), (230, 30, 60))
            assert overlay.mode == "RGB"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("b0.png", "b0_overlay.png", "b1.png", "b1_overlay.png")
    ]
    assert command([*words, str(tmp_path / "out")]) == 2  # holds files already
    (tmp_path / "b0.png").write_bytes(b"no image")
    bad = ["predict", str(tmp_path / "b0.png"), str(images / "b1.png"), "--run", str(run), "--output"]
    assert command([*bad, str(tmp_path / "others")]) == 1
    assert sorted(path.name for path in (tmp_path / "others").iterdir()) == ["b1.png", "b1_overlay.png"]


def test_predict_answers_a_run_of_resized_images_as_evaluate_does(targets, tmp_path, capsys):
    """Each image is its own test set: its pixels in both mask and answer give the IoU of `evaluate`."""
    train_words = ["eval.resize=64", "train.epochs=2", "runtime.pictures_every=2"]
    assert train(targets, tmp_path / "run", *train_words) == 0
    assert (tmp_path / "run" / "pictures" / "epoch_0002.png").stat().st_size > 10_000
    data, both, either = targets.parent / "data", 0, 0
    words = ["predict", str(data / "images"), "--run", str(tmp_path / "run"), "--output", str(tmp_path / "out")]
    assert command(words) == 0
    for name in (data / "test.txt").read_text().split():
        with Image.open(tmp_path / "out" / f"{name}.png") as answer, Image.open(data / "masks" / f"{name}.png") as mask:
            assert answer.size == mask.size
            said, truth = (np.asarray(one.resize((64, 64), Image.NEAREST)) == 255 for one in (answer, mask))
        both, either = both + (said & truth).sum(), either + (said | truth).sum()
    resized = evaluate(tmp_path / "run", capsys)["iou"]
    # Scaling up and down again loses a pixel here and there.
    assert both / either == pytest.approx(resized, abs=0.02)
    assert abs(evaluate(tmp_path / "run", capsys, "eval.resize=0")["iou"] - resized) > 0.02


def test_predict_refuses_what_would_overwrite_and_what_means_nothing(run, targets, tmp_path, capsys):
    image = targets.parent / "data" / "images" / "b0.png"
    (tmp_path / "b0.png").write_bytes(image.read_bytes())
    words = ["predict", str(image), str(tmp_path / "b0.png"), "--run", str(run)]
    assert command([*words, "--output", str(tmp_path / "out")]) == 2
    assert "both would be written to b0.png" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert command(["predict", str(image), "--run", str(run)]) == 2
    assert "by --output DIR" in capsys.readouterr().err
    assert command(["predict", str(image), "--run", str(run), "--top", "2", "--output", "x"]) == 2
    assert "--top is for" in capsys.readouterr().err


def test_predicted_masks_of_several_classes_have_class_numbers(bands, tmp_path, capsys):
    image = bands.parent / "data" / "images" / "test0.png"
    words = ["predict", str(image), "--run", str(bands), "--output", str(tmp_path / "out"), "--json"]
    assert command(words) == 0
    (found,) = json.loads(capsys.readouterr().out.splitlines()[-1])["images"]
    with Image.open(found["mask"]) as mask:
        values = np.asarray(mask)
    assert set(np.unique(values)) <= {0, 1, 2}
    assert sum(found["shares"].values()) == pytest.approx(1)
    truth = np.asarray(Image.open(bands.parent / "data" / "masks" / "test0.png"))
    assert np.mean((values == truth)[truth != 3]) > 0.6


def gradcam(run, images, output, *words):
    return command(["gradcam", *map(str, images), "--run", str(run), "--output", str(output), *words])


def test_gradcam_of_a_class_is_of_the_sum_of_its_logits_on_whole_images(run, bands, targets, tmp_path, capsys):
    images = [targets.parent / "data" / "images" / f"{name}.png" for name in ("b0", "b1")]
    assert gradcam(run, images, tmp_path / "one", "--class", "target") == 0
    assert "2 images, 1 map each" in capsys.readouterr().out
    sizes = [Image.open(path).size for path in sorted((tmp_path / "one").glob("00*.png"))]
    assert [width / height for width, height in sizes] == pytest.approx([48 / 40, 50 / 33], rel=0.01)
    image = bands.parent / "data" / "images" / "test0.png"
    for name in ("red", "blue"):
        assert gradcam(bands, [image], tmp_path / name, "--class", name) == 0
    red, blue = (next((tmp_path / name).glob("001*.png")).read_bytes() for name in ("red", "blue"))
    assert red != blue
    assert gradcam(bands, [image], tmp_path / "most", "--layers", "layer2,layer3") == 0
    assert len(list((tmp_path / "most").glob("001*.png"))) == 2
    assert gradcam(bands, [image], tmp_path / "none", "--class", "green ") == 2
    assert "--class 'green ': no such class; did you mean 'green'" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_caption_of_gradcam_has_the_share_of_the_pixels(bands, tmp_path):
    trained = load_run(bands)
    trained = replace(trained, preparation=replace(trained.preparation, whole=True))
    image = trained.preparation.read(bands.parent / "data" / "images" / "test0.png")
    mask = answer_pixels(trained, image)
    ((look,),) = look_at(trained, image[None], ["layer3"], "green")
    assert look.caption.startswith(f"green: {100 * np.mean(mask == 1):.3g} % of the pixels")
    ((look,),) = look_at(trained, image[None], ["layer3"])
    most = np.bincount(mask.ravel()).argmax()
    assert look.caption.startswith(f"{trained.classes[most]}: {100 * np.mean(mask == most):.3g} % of the pixels")


def test_run_is_held_against_published_figures_by_what_is_missing_to_one(run):
    found = read_run(run)
    assert found.curve.best == pytest.approx(100 * (1 - max(column(run, "val_iou"))))
    assert "5 test images and 86" in refusal(found, find_row("sirst_acm_unet"))
    assert "different images" in refusal(found, find_row("cifar10_v1_aff_resnet32"))
    assert "which images these are was not published" in refusal(found, find_row("stopsign_table3_fpn_aff_b1"))


@pytest.mark.parametrize(
    ("image", "settings", "more"),
    [
        ("b0", {}, []),  # 40x48 pixels, which need no padding
        ("b1", {}, ["--with-preprocess"]),  # 33x50, which need padding
        ("b1", {"padding": "zeros"}, []),
        ("b0", {"resize": 64}, []),
    ],
)
def test_answer_of_the_onnx_example_is_that_of_predict(run, targets, tmp_path, image, settings, more):
    pytest.importorskip("onnxruntime")
    own = shutil.copytree(run, tmp_path / "run")
    config = yaml.safe_load((own / "config.yaml").read_text())
    config["eval"].update(settings)
    (own / "config.yaml").write_text(yaml.safe_dump(config))
    image = str(targets.parent / "data" / "images" / f"{image}.png")
    words = ["export", "--run", str(own), "--format", "onnx", "--output", str(tmp_path / "onnx"), *more]
    assert command(words) == 0
    assert command(["predict", image, "--run", str(own), "--output", str(tmp_path / "masks")]) == 0
    words = [sys.executable, str(ROOT / "examples" / "onnx_only.py"), str(tmp_path / "onnx"), image]
    printed = subprocess.run(words, cwd=tmp_path, check=True, stdout=subprocess.PIPE).stdout.decode()
    found, wanted = (np.asarray(Image.open(tmp_path / name)) for name in ("mask.png", f"masks/{Path(image).name}"))
    assert set(np.unique(wanted)) == {0, 255}
    np.testing.assert_array_equal(found, wanted)
    if not settings:
        assert f"{np.mean(wanted == 255):.4f} of the pixels" in printed


def test_ablation_has_iou_with_the_best_on_top(targets, tmp_path, capfd):
    words = ["--fusions", "add,aff", "--blocks", "1", "--seeds", "1", "--runs", str(tmp_path / "grid")]
    assert command(["ablate", "--config", str(targets), *words, "train.epochs=1"]) == 0
    lines = json.loads((tmp_path / "grid" / "ablation.json").read_text())
    means = [line["last_mean"] for line in lines["lines"]]
    assert means == sorted(means, reverse=True)
    assert "niou_mean" in lines["lines"][0]
    text = (tmp_path / "grid" / "ablation.md").read_text()
    assert "last IoU" in text
    assert "last nIoU" in text
    assert "highest IoU" in text
