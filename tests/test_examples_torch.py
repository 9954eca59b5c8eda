"""examples/torch_train.py: the same losses as train_cifar.py, step by step, and what it refuses."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torches import torch_python

from fusion.__main__ import main

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "torch_train.py"
STEPS = 20

#: One batch is an epoch, so that the loss of each epoch is that of a step. Rates rise and then fall. They are low: a
#: step at 0.2 magnifies any difference in these weights a thousand times, and at 0.002 MXNet's own losses in float32
#: and in float64 are 6e-4 apart after twenty steps.
CONFIG = """
model: {name: cifar_resnet, fusion: aff, blocks: 1, channel_times: 1, r: 4}
data: {name: image_folder, dir: %s, size: 16, batch_size: 32}
augment: {crop_padding: 2, mixup_alpha: 1, mixup_off_epochs: 5}
optimizer: {name: nag, decay_norm_and_bias: false}
schedule: {mode: cosine, lr: 0.0003, warmup_epochs: 5}
train: {epochs: %d, label_smoothing: 0.1, evaluate_every: %d, seed: 3}
"""

#: Imports packages as if MXNet, and what only MXNet's networks need, were not installed.
WITHOUT_MXNET = """
import sys

class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("mxnet", "gluoncv", "matplotlib", "cv2"):
            raise ImportError(name)

sys.meta_path.insert(0, Refused())
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "mxnet" else found(name, package)
from fusion.tasks.classification.batches import training_batches
from fusion.training.config import read_config
from fusion.training.loading import build_normalisation, load_data
settings = read_config(sys.argv[1], ["model.name=not_known_here"])
train, test = load_data(settings)
batches = training_batches(settings, train, build_normalisation(settings), 32, (0, 1))
print(len(batches), next(batches.epoch(0)).images.shape)
"""


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def picture(draw, light):
    """A picture (16, 16, 3) of waves on a colour of its own, so that the pooled vectors of a batch differ."""
    y, x = np.mgrid[0:16, 0:16] / 16
    waves = [np.sin(2 * np.pi * (draw.uniform(-2, 2) * x + draw.uniform(-2, 2) * y)) for _ in range(3)]
    colour, strength = draw.uniform(60, 130, 3) + 60 * light, draw.uniform(5, 60, 3)
    return np.clip(colour + strength * np.stack(waves, axis=-1), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("torch_train")
    draw = np.random.default_rng(0)
    for split, count in (("train", 16), ("test", 4)):
        for label in ("dark", "light"):
            (folder / "data" / split / label).mkdir(parents=True)
            for number in range(count):
                Image.fromarray(picture(draw, label == "light")).save(folder / "data" / split / label / f"{number}.png")
    file = folder / "config.yaml"
    file.write_text(CONFIG % (folder / "data", STEPS, STEPS))
    return file


def test_data_and_configs_need_no_mxnet(config):
    done = subprocess.run([sys.executable, "-c", WITHOUT_MXNET, str(config)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split(maxsplit=1) == ["1", "(32, 3, 16, 16)\n"]


def test_example_is_short_and_needs_no_mxnet_network():
    text = EXAMPLE.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 150
    assert "mxnet" not in text.replace("MXNet", "")


def losses(file):
    with file.open(newline="") as stream:
        return np.array([float(row["train_loss"]) for row in csv.DictReader(stream)])


@pytest.fixture(scope="module")
def exported(config, tmp_path_factory):
    """The network of the config as its training begins, for PyTorch."""
    python, folder = torch_python(), tmp_path_factory.mktemp("exported") / "net"
    words = ["export", "--config", str(config), "--format", "torch", "--output", str(folder), "--torch-python", python]
    assert main(words) == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-8), ("float32", 1e-4)])
def test_twenty_steps_give_the_same_losses(config, exported, tmp_path, dtype, tolerance):
    python = torch_python()
    words = ["--config", str(config), f"train.dtype={dtype}"]
    command = [sys.executable, str(ROOT / "train_cifar.py"), *words, "--run-dir", str(tmp_path / "run")]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    command = [python, str(EXAMPLE), str(exported), *words, "--device", "cpu"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ours, theirs = losses(tmp_path / "run" / "metrics.csv"), losses(exported / "metrics.csv")
    assert len(ours) == len(theirs) == STEPS
    assert len(set(np.round(ours, 6))) == STEPS  # the weights move
    np.testing.assert_allclose(theirs, ours, rtol=tolerance, atol=0)


@pytest.mark.slow
def test_it_refuses_what_it_does_not_do(config, exported):
    command = [torch_python(), str(EXAMPLE), str(exported), "--config", str(config), "optimizer.name=adam"]
    command += ["train.ema_decay=0.9", "train.freeze=[features]", "optimizer.lr_factors=[classifier=10]"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode != 0
    assert "optimizer.name=adam: expected nag or sgd" in done.stderr
    for word in ("train.ema_decay=0.9", "train.freeze=['features']", "optimizer.lr_factors=['classifier=10']"):
        assert word in done.stderr
