"""Photos in a run: settings that cannot be honoured are refused, and a run does not depend on the source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from photos import make_folders

from fusion.data import MAX_BAD_IMAGES
from fusion.data.photos.batches import PhotoBatches, Targets
from fusion.data.photos.native import NativeBatches
from fusion.data.photos.photo import PhotoAugmentation
from fusion.data.photos.prepare import prepare
from fusion.devices import contexts
from fusion.errors import ConfigError, DataError
from fusion.training import main
from fusion.training.config import read_config
from fusion.training.history import TIMINGS, read_metrics
from fusion.training.loading import load_split
from fusion.training.logbook import RunDirectory
from fusion.training.preparation import build_batches

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
SAMPLE = CONFIGS / "imagenet_sample.yaml"

SMALL = """
base: {base}
model:
  name: cifar_resnet
  fusion: aff
  blocks: 1
  channel_times: 1
data:
  size: 16
  batch_size: 5
augment:
  mixup_off_epochs: 0
schedule:
  lr: 0.01
  warmup_epochs: 0
train:
  epochs: 2
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The same photos in class folders and in records."""
    root = tmp_path_factory.mktemp("sources")
    make_folders(root / "folders")
    prepare(root / "folders", root / "records")
    return root


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SMALL.format(base=CONFIGS / "base" / "imagenet.yaml"))
    return path


def train(config, run, *words):
    return main(
        "test", [*(["--config", str(config), "--run-dir", str(run)] if config else ["--resume", str(run)]), *words]
    )


def metrics(run):
    return [
        {key: value for key, value in row.items() if key not in TIMINGS}
        for row in read_metrics(RunDirectory(run).metrics)
    ]


# --- Settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("augment.crop_padding=4", "augment.crop_padding is 4; expected 0"),
        ("data.fit=resize", "data.fit is 'resize'; it is for image_folder"),
        ("augment.crop_area=[0.5]", "augment.crop_area is .*expected two rising numbers"),
        ("augment.crop_area=[0.5,0.2]", "augment.crop_area is .*expected two rising numbers"),
        ("augment.crop_area=[0,0.2]", "augment.crop_area is .*expected two rising numbers"),
        ("augment.crop_area=[0.5,1.2]", "augment.crop_area is .*at most 1"),
        ("augment.crop_aspect=[-1,1]", "augment.crop_aspect is .*expected two rising numbers"),
        (
            "data.pipeline=native augment.auto_augment=cifar10",
            "augment.auto_augment is 'cifar10'; .*has no AutoAugment",
        ),
        ("data.pipeline=native data.source=folder", "data.source is 'folder'; .*reads records only"),
        ("data.pipeline=native data.max_bad_images=3", "data.max_bad_images is 3; .*stops at the first bad photo"),
    ],
)
def test_setting_that_photos_cannot_honour_is_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        read_config(SAMPLE, ["data.dir=photos", *words.split()])


@pytest.mark.parametrize(
    "word",
    [
        "data.source=folder",
        "data.pipeline=native",
        "data.classes=10",
        "data.crop_share=0.9",
        "data.max_bad_images=0",
        "augment.crop_area=[0.1,1]",
        "augment.crop_aspect=[1,1]",
        "augment.colour_jitter=0.4",
        "augment.lighting=0.1",
    ],
)
def test_setting_of_photos_is_refused_for_other_data(word):
    key = word.split("=")[0]
    with pytest.raises(ConfigError, match=f"{key} is .*; it is for .*imagenet.*, and data.name is digits"):
        read_config(None, [word])


def test_recipe_is_the_published_one():
    settings = read_config(CONFIGS / "base" / "imagenet.yaml", ["data.dir=photos"])
    augment = settings.augment
    np.testing.assert_allclose(np.array(augment.mean) * 255, (123.68, 116.779, 103.939), atol=1e-4)
    np.testing.assert_allclose(np.array(augment.std) * 255, (58.393, 57.12, 57.375), atol=1e-4)
    assert (augment.crop_area, augment.colour_jitter, augment.lighting) == ([0.08, 1], 0.4, 0.1)
    np.testing.assert_allclose(augment.crop_aspect, (3 / 4, 4 / 3))
    assert (settings.data.size, settings.data.crop_share) == (224, 0.875)
    assert not settings.optimizer.decay_norm_and_bias


# --- Batches ---------------------------------------------------------------------------------------------------------


def made(config, folder, *words):
    settings = read_config(config, [f"data.dir={folder}", *words])
    return build_batches(settings, load_split(settings, "train"), contexts("cpu"))


def test_batches_are_made_as_the_settings_say(config, sources):
    words = ["augment.flip=false", "augment.crop_area=[0.2,0.9]", "augment.colour_jitter=0.3", "augment.lighting=0.2"]
    words += ["augment.mixup_off_epochs=1", "augment.cutmix_alpha=0.5", "data.workers=3", "train.seed=4"]
    batches = made(config, sources / "folders", *words)
    assert isinstance(batches, PhotoBatches)
    expected = PhotoAugmentation(16, (0.2, 0.9), (0.75, 4 / 3), flip=False, policy=None, jitter=0.3, lighting=0.2)
    assert batches.augmentation == expected
    assert batches.targets == Targets(3, 0.2, 1, 0.1, 0.5)
    assert (batches.batch_size, batches.seed, batches.workers, batches.bad._limit) == (5, 4, 3, MAX_BAD_IMAGES)
    assert made(config, sources / "folders", "augment.auto_augment=cifar10").augmentation.policy is not None
    assert made(config, sources / "folders", "data.max_bad_images=2").bad._limit == 2


def test_native_pipeline_is_made_of_records(config, sources):
    assert isinstance(made(config, sources / "records", "data.pipeline=native"), NativeBatches)
    with pytest.raises(DataError, match="no records"):
        made(config, sources / "folders", "data.pipeline=native")


def test_batch_larger_than_the_set(config, sources):
    with pytest.raises(ConfigError, match="a batch of 13 is more than the 12 training images"):
        made(config, sources / "folders", "data.batch_size=13")


# --- Runs ------------------------------------------------------------------------------------------------------------


def test_run_does_not_depend_on_the_source(config, sources, tmp_path, capsys):
    assert train(config, tmp_path / "one", f"data.dir={sources / 'folders'}") == 0
    assert train(config, tmp_path / "other", f"data.dir={sources / 'records'}", "data.workers=3") == 0
    whole = metrics(tmp_path / "one")
    assert len(whole) == 2 and whole == metrics(tmp_path / "other")
    assert "12 training images in 2 batches of 5" in capsys.readouterr().out


def test_native_run_is_repeatable(config, sources, tmp_path):
    words = [f"data.dir={sources / 'records'}", "data.pipeline=native"]
    assert [train(config, tmp_path / name, *words) for name in ("one", "other")] == [0, 0]
    assert metrics(tmp_path / "one") == metrics(tmp_path / "other")


def test_native_run_is_resumed_on_as_many_threads(config, sources, tmp_path, capsys):
    words = [f"data.dir={sources / 'records'}", "train.epochs=1"]
    assert train(config, tmp_path / "native", *words, "data.pipeline=native") == 0
    assert train(config, tmp_path / "python", *words) == 0
    capsys.readouterr()
    assert train(None, tmp_path / "native", "data.workers=4") == 2
    assert "data.workers differs from the run" in capsys.readouterr().err
    assert train(None, tmp_path / "python", "data.workers=4") == 0
    capsys.readouterr()
    assert train(None, tmp_path / "python", f"data.dir={sources / 'folders'}") == 2  # the same photos in other files
    assert "was started on other data than photos of folders" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.dir=gone"], "gone: no such folder"),
        (["data.dir={}/folders", "data.classes=10"], "has 3 classes, and data.classes is 10"),
        (["data.dir={}/folders", "data.source=record"], "has no records for the train split"),
        (["data.dir={}/records", "data.source=folder"], "has no train part"),
    ],
)
def test_wrong_data_ends_before_the_run_begins(config, sources, tmp_path, capsys, words, message):
    assert train(config, tmp_path / "run", *(word.format(sources) for word in words)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
