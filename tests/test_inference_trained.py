"""Networks as whoever uses them loads them: from a run, or by name with a file of weights."""

import shutil

import numpy as np
import pytest
from PIL import Image

from fusion import get_model
from fusion.compat import mx
from fusion.errors import CheckpointError, ConfigError, DataError
from fusion.inference.trained import Preparation, load_model, load_run
from fusion.training.config import read_config
from fusion.training.engine import train
from fusion.training.evaluation import evaluate_run
from fusion.training.logbook import RunDirectory

TINY = ["model.name=cifar_resnet", "model.fusion=aff", "model.blocks=1", "model.channel_times=1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of one short epoch on three classes of folders."""
    folder = tmp_path_factory.mktemp("run")
    draw = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 3)):
        for name in ("ant", "bee", "cat"):
            (folder / "data" / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / "data" / split / name / f"{number}.png")
    words = [f"data.dir={folder / 'data'}", "data.name=image_folder", "data.batch_size=8", "train.epochs=1"]
    train(read_config(None, [*TINY, *words, "schedule.mode=constant"]), RunDirectory(folder / "run"))
    return folder


def test_run_s_network_has_its_classes_and_answers_as_its_evaluation(run):
    trained = load_run(run / "run")
    assert trained.classes == ("ant", "bee", "cat")
    assert trained.data == "image folder data"
    assert trained.model == "cifar_resnet (aff)"
    files = sorted((run / "data" / "test").glob("*/*.png"))
    images = trained.preparation.normalise(np.stack([trained.preparation.read(file) for file in files]))
    answers = trained.net(mx.nd.array(images)).asnumpy().argmax(axis=1)
    wrong = np.mean([trained.classes[answer] != file.parent.name for answer, file in zip(answers, files)])
    assert evaluate_run(run / "run", "best", "cpu")["top1_error"] == wrong


def test_names_outlive_the_data(run, tmp_path):
    config = (run / "run" / "config.yaml").read_text().replace(str(run / "data"), str(tmp_path / "gone"))
    moved = tmp_path / "moved"
    (moved / "checkpoints").mkdir(parents=True)
    (moved / "config.yaml").write_text(config)
    (moved / "checkpoints" / "best.params").write_bytes((run / "run" / "checkpoints" / "best.params").read_bytes())
    assert load_run(moved).classes == ("0", "1", "2")  # a run from before names were noted, its data gone
    (moved / "classes.txt").write_text("ant\nbee\ncat\n")
    assert load_run(moved).classes == ("ant", "bee", "cat")


def test_more_names_than_outputs_are_refused(run, tmp_path):
    shutil.copytree(run / "run", tmp_path / "run")
    (tmp_path / "run" / "classes.txt").write_text("ant\nbee\ncat\ndog\n")
    with pytest.raises(CheckpointError, match=r"4 names of classes, and .*best\.params has 3 outputs"):
        load_run(tmp_path / "run")


def test_best_last_and_files(run):
    for which in ("best", "last", str(run / "run" / "checkpoints" / "best.params")):
        assert load_run(run / "run", which).net.classes == 3
    with pytest.raises(CheckpointError, match="none.params"):
        load_run(run / "run", str(run / "none.params"))
    with pytest.raises(ConfigError, match="not the folder of a run"):
        load_run(run)


def test_model_by_name_counts_its_classes_in_the_file(tmp_path):
    net = get_model("cifar_resnet", fusion="aff", blocks=1, channel_times=1, classes=7)
    net.initialize()
    net(mx.nd.zeros((1, 3, 32, 32)))
    net.save_parameters(str(tmp_path / "net.params"))
    arguments = {"fusion": "aff", "blocks": 1, "channel_times": 1}
    trained = load_model("cifar_resnet", tmp_path / "net.params", arguments=arguments)
    assert trained.classes == tuple("0123456")
    assert (trained.preparation.size, trained.preparation.share) == (32, 1.0)
    with pytest.raises(CheckpointError, match="parameters of another network"):
        load_model("aff_resnet50", tmp_path / "net.params")
    with pytest.raises(ConfigError, match="no such model"):
        load_model("aff_resnet23", tmp_path / "net.params")


def preparation(size, photos):
    return Preparation(size, 0.875 if photos else 1.0, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), photos)


@pytest.mark.parametrize(("size", "photos"), [(32, False), (224, True)])
def test_any_image_becomes_an_input(tmp_path, size, photos):
    Image.new("RGB", (300, 260), (255, 0, 0)).save(tmp_path / "wide.jpg")
    Image.new("L", (20, 50), 128).save(tmp_path / "grey.png")
    found = preparation(size, photos)
    images = np.stack([found.read(tmp_path / "wide.jpg"), found.read(tmp_path / "grey.png")])
    assert images.shape == (2, size, size, 3)
    assert images.dtype == np.uint8
    np.testing.assert_allclose(images[0, 0, 0], [255, 0, 0], atol=3)
    inputs = found.normalise(images)
    assert inputs.shape == (2, 3, size, size)
    assert inputs.dtype == np.float32
    np.testing.assert_allclose(inputs[1], (128 / 255 - 0.5) / 0.25, atol=1e-5)


@pytest.mark.parametrize(("size", "photos"), [(32, False), (224, True)])
def test_what_is_no_image_is_an_error_that_names_it(tmp_path, size, photos):
    (tmp_path / "text.jpg").write_text("no image")
    for name in ("text.jpg", "none.jpg"):
        with pytest.raises(DataError, match=name):
            preparation(size, photos).read(tmp_path / name)
