"""A network on other data: mapped by the names of classes, or refused; and resumed runs, which need their own data."""

from __future__ import annotations

import json
import logging
import shutil

import masks
import numpy as np
import pytest
from photos import encoded, smooth, write_records
from PIL import Image
from run_folders import write_network

from fusion.compat import mx
from fusion.data.identity import Classes
from fusion.errors import ConfigError, DataError
from fusion.inference.trained import load_run
from fusion.training import data_record
from fusion.training.config import read_config
from fusion.training.engine import train
from fusion.training.evaluation import evaluate_run, evaluate_weights
from fusion.training.logbook import RunDirectory
from fusion.training.matching import arrays_by_name, classes_of_file
from fusion.training.start import load_initial_parameters
from fusion.training.teacher import load_teacher

TINY = ("model.name=cifar_resnet", "model.fusion=add", "model.blocks=1", "model.channel_times=1")
DENSE = ("data.name=mask_folder", "data.batch_size=2", "data.size=32", "augment.crop_padding=0")
DENSE += ("model.name=fpn", "model.fusion=add", "model.blocks=1", "model.tiny=true", "model.channel_times=1")
NAMES = ("ant", "bee", "cat")
SIDE = 16


def make_images(root, names=NAMES, count=4):
    """Noise in the folders of classes, each of another colour."""
    draw = np.random.default_rng(0)
    for split in ("train", "test"):
        for label, name in enumerate(names):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 100, (SIDE, SIDE, 3), dtype=np.uint8)
                pixels[..., label % 3] += 120
                Image.fromarray(pixels).save(root / split / name / f"{number}.png")
    return root


def words(data, *more):
    return (*TINY, "data.name=image_folder", f"data.size={SIDE}", f"data.dir={data}", "data.batch_size=4", *more)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_images(tmp_path_factory.mktemp("data") / "images")


def run_on(path, data, classes=NAMES):
    return write_network(path, words(data), classes)


def wrong_answers(run_path, data, names=None):
    """The share of test images whose answer has another name than their folder, counted by hand."""
    trained = load_run(run_path)
    files = [path for path in sorted((data / "test").glob("*/*.png")) if names is None or path.parent.name in names]
    images = trained.preparation.normalise(np.stack([trained.preparation.read(file) for file in files]))
    answers = trained.net(mx.nd.array(images)).asnumpy().argmax(axis=1)
    return np.mean([trained.classes[answer] != file.parent.name for answer, file in zip(answers, files)])


# --- A test set with the same names, some of them, or others ----------------------------------------------------------


def test_classes_in_another_order_are_evaluated_by_name(tmp_path, data, caplog):
    run = run_on(tmp_path / "run", data, ("cat", "ant", "bee"))
    found = evaluate_run(run, "best", "cpu")
    assert found["top1_error"] == wrong_answers(run, data)
    assert "another order" in caplog.text
    in_order = run_on(tmp_path / "other", data)
    assert evaluate_run(in_order, "best", "cpu")["top1_error"] != found["top1_error"]  # the same weights


def test_some_classes_are_evaluated_over_all_outputs_of_the_network(tmp_path, data, caplog):
    run = run_on(tmp_path / "run", data, ("wasp", "cat", "ant", "bee", "yak"))
    found = evaluate_run(run, "best", "cpu")
    assert found["classes"] == 5
    assert found["top1_error"] == wrong_answers(run, data)
    assert "3 of the 5 classes" in caplog.text


def test_a_folder_that_is_renamed_is_refused_though_the_number_agrees(tmp_path, data):
    run = run_on(tmp_path / "run", data)
    shutil.copytree(data, tmp_path / "renamed")
    for split in ("train", "test"):
        (tmp_path / "renamed" / split / "ant").rename(tmp_path / "renamed" / split / "zebra")
    with pytest.raises(DataError, match=r"1 of its 3 classes is none of the network's 3: 'zebra'; it lacks 1 .*'ant'"):
        evaluate_run(run, "best", "cpu", [f"data.dir={tmp_path / 'renamed'}"])
    trained = load_run(run)
    with pytest.raises(DataError, match="'zebra'"):
        trained.load_split(read_config(run / "config.yaml", [f"data.dir={tmp_path / 'renamed'}"]), "test")


def test_weights_elsewhere_are_known_by_the_run_that_they_lie_in(tmp_path, data):
    run = run_on(tmp_path / "run", data, ("cat", "ant", "bee"))
    file = run / "checkpoints" / "best.params"
    assert classes_of_file(file).names == ("cat", "ant", "bee")
    other = run_on(tmp_path / "other", data)
    assert load_run(other, str(file)).classes == ("cat", "ant", "bee")
    assert evaluate_run(other, str(file), "cpu")["top1_error"] == wrong_answers(run, data)


def test_weights_that_nothing_names_are_evaluated_by_number_and_it_is_said(tmp_path, data, caplog):
    run = run_on(tmp_path / "run", data)
    file = shutil.copy(run / "checkpoints" / "best.params", tmp_path / "alone.params")
    evaluate_weights(read_config(None, list(words(data))), tmp_path / "alone.params", "cpu")
    assert f"{file} does not say on which classes it was trained" in caplog.text


def test_records_without_a_list_have_no_names(tmp_path, caplog):
    for split in ("train", "val"):
        files = [encoded(smooth(40, 40, seed)) for seed in range(4)]
        write_records(tmp_path / "records" / f"{split}.rec", files, [0, 1, 2, 0])
    photos = (*TINY, "data.name=imagenet", f"data.dir={tmp_path / 'records'}", "data.size=32", "data.classes=3")
    photos += ("augment.crop_padding=0",)
    named = write_network(tmp_path / "named", photos, NAMES)
    evaluate_run(named, "best", "cpu")
    assert "photos of records does not name its classes" in caplog.text
    caplog.clear()
    numbered = write_network(tmp_path / "numbered", photos, ("0", "1", "2"))
    evaluate_run(numbered, "best", "cpu")
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    (tmp_path / "records" / "classes.txt").write_text("cat\nant\nbee\n")
    evaluate_run(named, "best", "cpu")
    assert "another order" in caplog.text


def test_masks_are_mapped_by_name_as_well(tmp_path, caplog):
    root = masks.make_folder(tmp_path / "data", values=(0, 1, 2), classes=("background", "cat", "dog"))
    dense = (*DENSE, f"data.dir={root}")
    run = write_network(tmp_path / "run", dense, ("dog", "background", "cat", "yak"))
    trained = load_run(run)
    found = trained.load_split(trained.settings, "test")
    assert found.classes == ("dog", "background", "cat", "yak")
    plain = found.source._source
    for number in range(len(found)):
        before, after = plain.read_mask(number), found.read(number).mask
        assert (np.array([1, 2, 0])[before] == after).all()
    (root / "classes.txt").write_text("background\ncat\nwolf\n")
    with pytest.raises(DataError, match="'wolf'"):
        trained.load_split(trained.settings, "test")


def test_a_foreground_is_the_class_before_a_background(tmp_path):
    root = masks.make_folder(tmp_path / "data", classes=("cat",))
    dense = (*DENSE, f"data.dir={root}")
    trained = load_run(write_network(tmp_path / "run", dense, ("dog", "cat", "background")))
    mask = trained.load_split(trained.settings, "test").read(0).mask
    assert set(np.unique(mask)) == {1, 2}
    assert (mask == 2).sum() > (mask == 1).sum()  # the background is larger than the square on it
    other = load_run(write_network(tmp_path / "other", dense, ("dog",)))
    with pytest.raises(DataError, match="'cat'"):
        other.load_split(other.settings, "test")


# --- Teachers and initial parameters ----------------------------------------------------------------------------------


def test_teacher_answers_in_the_order_of_the_students_classes(tmp_path, data):
    path = run_on(tmp_path / "run", data, ("wasp", "cat", "ant", "bee"))
    settings = read_config(None, list(words(data, f"train.teacher={path}")))
    images = mx.nd.array(np.random.default_rng(0).normal(size=(2, 3, SIDE, SIDE)))
    found = load_teacher(settings, Classes(NAMES, "folder images"), [mx.cpu()])(images).asnumpy()
    np.testing.assert_allclose(found, load_run(path).net(images).asnumpy()[:, [2, 3, 1]], atol=1e-5)
    with pytest.raises(ConfigError, match=r"train.teacher=.*'dog'.*it lacks 3 of them: 'wasp', 'cat', 'bee'"):
        load_teacher(settings, Classes(("ant", "dog"), "folder images"), [mx.cpu()])


def test_teacher_without_names_is_taken_by_number_and_it_is_said(tmp_path, data, caplog):
    path = run_on(tmp_path / "run", data)
    (path / "classes.txt").unlink()
    settings = read_config(None, list(words(data, f"train.teacher={path}")))
    assert load_teacher(settings, Classes(NAMES, "folder images"), [mx.cpu()]) is not None
    assert "which does not name its classes" in caplog.text


def test_initial_parameters_have_their_outputs_moved_to_the_names(tmp_path, data):
    path = run_on(tmp_path / "run", data, ("wasp", "cat", "ant", "bee"))
    start = load_run(path)
    own = load_run(run_on(tmp_path / "own", data))
    settings = read_config(None, list(words(data, f"train.initial_parameters={path / 'checkpoints' / 'best.params'}")))
    load_initial_parameters(own.net, settings, Classes(NAMES, "folder images"))
    images = mx.nd.array(np.random.default_rng(0).normal(size=(2, 3, SIDE, SIDE)))
    expected = start.net(images).asnumpy()[:, [2, 3, 1]]
    np.testing.assert_allclose(own.net(images).asnumpy(), expected, atol=1e-5)
    with pytest.raises(ConfigError, match=r"train.initial_parameters: folder images has other classes.*'dog'"):
        load_initial_parameters(own.net, settings, Classes(("ant", "bee", "dog"), "folder images"))


def test_outputs_for_no_class_stay_behind_the_others():
    settings = read_config(None, list(TINY))
    name = "output"
    arrays = {f"{name}.weight": np.arange(5.0)[:, None], f"{name}.bias": np.arange(5.0)}
    own, stored = Classes(("b", "a"), "x"), Classes(("a", "b", "c"), "y")
    found = arrays_by_name(arrays, settings, own, stored, 4)
    assert found[f"{name}.bias"].tolist() == [1, 0, 2, 3]
    assert found[f"{name}.weight"].ravel().tolist() == [1, 0, 2, 3]


# --- Resuming ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of one epoch, which was to have two, and its data."""
    folder = tmp_path_factory.mktemp("finished")
    make_images(folder / "data", count=4)
    train(read_config(None, list(words(folder / "data", "train.epochs=1"))), RunDirectory(folder / "run"))
    return folder


@pytest.fixture
def again(finished, tmp_path):
    """A copy of the run and of its data, which has moved."""
    shutil.copytree(finished / "run", tmp_path / "run")
    shutil.copytree(finished / "data", tmp_path / "data")
    return tmp_path


def resume(folder):
    run = RunDirectory(folder / "run")
    return train(run.settings([f"data.dir={folder / 'data'}"]), run, resume=True)


def test_record_says_which_data_a_run_was_started_on(finished):
    record = json.loads((finished / "run" / "data.json").read_text())
    assert (record["name"], record["classes"], record["named"]) == ("image_folder", 3, True)
    assert (record["train"]["images"], record["test"]["images"]) == (12, 12)
    assert len({record[split]["fingerprint"] for split in ("train", "test")}) == 2


def test_moved_data_resumes_without_a_word(again, caplog):
    assert resume(again).finished
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_other_classes_are_refused_and_classes_txt_stays(again):
    for split in ("train", "test"):
        (again / "data" / split / "ant").rename(again / "data" / split / "zebra")
    with pytest.raises(ConfigError, match=r"other data .*3 classes then, 3 now, missing 'ant', new 'zebra'.*data.dir="):
        resume(again)
    assert (again / "run" / "classes.txt").read_text().split() == list(NAMES)


def test_another_number_of_images_is_refused(again):
    (again / "data" / "train" / "ant" / "0.png").unlink()
    with pytest.raises(ConfigError, match="12 training images then, 11 now"):
        resume(again)


def test_other_files_of_the_same_number_are_refused(again):
    (again / "data" / "test" / "ant" / "0.png").rename(again / "data" / "test" / "ant" / "9.png")
    with pytest.raises(ConfigError, match="the 12 test images have other file names, sizes or labels"):
        resume(again)


def test_run_of_an_older_version_resumes_with_a_notice_and_is_checked_from_then_on(again, caplog):
    (again / "run" / "data.json").unlink()
    assert resume(again).finished
    assert "has no fingerprint of its data" in caplog.text
    (again / "data" / "test" / "ant" / "0.png").rename(again / "data" / "test" / "ant" / "9.png")
    with pytest.raises(ConfigError, match="other file names"):
        resume(again)


def test_run_of_an_older_version_is_still_checked_by_what_it_says(again):
    (again / "run" / "data.json").unlink()
    (again / "data" / "train" / "ant" / "0.png").unlink()
    with pytest.raises(ConfigError, match="12 training images then, 11 now"):
        resume(again)


def test_record_that_is_nested_without_end_is_taken_for_a_missing_one(again):
    (again / "run" / "data.json").write_text("[" * 50_000)
    assert data_record.read_record(RunDirectory(again / "run")) == {}


def test_fingerprints_are_numbers_that_workers_can_compare(finished):
    numbers = data_record.fingerprint_numbers(json.loads((finished / "run" / "data.json").read_text()))
    assert all(number == int(number) < 2**53 for number in numbers)
