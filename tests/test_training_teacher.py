"""Teachers to distil from: where they come from, what they answer, and what is refused before the first batch."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from fusion import get_model
from fusion.compat import mx, nn
from fusion.data.identity import Classes
from fusion.errors import CheckpointError, ConfigError, FusionError
from fusion.training import checkpoint, teacher
from fusion.training.config import read_config, to_yaml
from fusion.training.preparation import build_trainer
from fusion.training.teacher import Teacher, load_teacher

CPU, TWO = [mx.cpu()], [mx.cpu(0), mx.cpu(1)]
SMALL = ("model.name=cifar_resnet", "model.blocks=1", "model.channel_times=1", "model.fusion=add")
IMAGES = np.random.default_rng(0).normal(size=(4, 3, 32, 32)).astype(np.float32)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def network(classes=10, seed=0):
    net = get_model("cifar_resnet", blocks=1, channel_times=1, fusion="add", classes=classes)
    mx.random.seed(seed)
    net.initialize(ctx=CPU)
    net(mx.nd.array(IMAGES))
    return net


def make_run(path, *words, classes=10):
    """The folder of a finished run, and its network."""
    settings = read_config(None, [*SMALL, *words])
    (path / "checkpoints").mkdir(parents=True)
    (path / "config.yaml").write_text(to_yaml(settings))
    net = network(classes, seed=1)
    net.save_parameters(str(path / "checkpoints" / "best.params"))
    last = network(classes, seed=2)
    trainer = build_trainer(last, settings)
    checkpoint.save(path / "checkpoints" / "last.npz", last, trainer, checkpoint.TrainingState())
    return net, last


def load(*words, classes=10, devices=CPU):
    names = tuple(map(str, range(classes))) if isinstance(classes, int) else classes
    return load_teacher(read_config(None, [*SMALL, *words]), Classes(names, "the data set"), devices)


def refusal(*words, error=ConfigError, **options):
    with pytest.raises(FusionError) as caught:
        load(*words, **options)
    assert isinstance(caught.value, error)
    return str(caught.value)


def answer(found, device=CPU[0]):
    return found(mx.nd.array(IMAGES, ctx=device)).asnumpy()


def expected(net, images=IMAGES):
    return net(mx.nd.array(images)).asnumpy()


def renormalised(images, given, own):
    (mean, std), (own_mean, own_std) = (np.reshape(values, (2, 1, 3, 1, 1)) for values in (given, own))
    return ((images * std + mean) - own_mean) / own_std


# --- Where it comes from ---------------------------------------------------------------------------------------------


def test_no_teacher_is_none():
    assert load() is None


def test_teacher_is_the_best_or_the_last_of_a_run_or_any_file_for_its_network(tmp_path):
    best, last = make_run(tmp_path / "run")
    word = f"train.teacher={tmp_path / 'run'}"
    np.testing.assert_allclose(answer(load(word)), expected(best), atol=1e-5)
    np.testing.assert_allclose(answer(load(word, "train.teacher_checkpoint=last")), expected(last), atol=1e-5)
    other = network(seed=7)
    other.save_parameters(str(tmp_path / "other.params"))
    found = load(word, f"train.teacher_checkpoint={tmp_path / 'other.params'}")
    np.testing.assert_allclose(answer(found), expected(other), atol=1e-5)


def test_teacher_sees_images_normalised_as_it_was_trained(tmp_path):
    own = ((0.1, 0.2, 0.3), (0.5, 0.25, 1.0))
    best, _ = make_run(tmp_path / "run", f"augment.mean={list(own[0])}", f"augment.std={list(own[1])}")
    found = load(f"train.teacher={tmp_path / 'run'}", f"augment.mean={list(MEAN)}", f"augment.std={list(STD)}")
    images = renormalised(IMAGES, (MEAN, STD), own)
    np.testing.assert_allclose(answer(found), expected(best, images), rtol=1e-3, atol=1e-4)
    assert abs(expected(best, images) - expected(best)).max() > 0.01


def test_teacher_is_a_model_of_ours_with_a_file(tmp_path):
    net = get_model("cifar_resnet", classes=10)
    net.initialize()
    net(mx.nd.array(IMAGES))
    net.save_parameters(str(tmp_path / "own.params"))
    found = load("train.teacher=cifar_resnet", f"train.teacher_checkpoint={tmp_path / 'own.params'}")
    np.testing.assert_allclose(answer(found), expected(net), atol=1e-4)


def test_teacher_answers_on_every_device(tmp_path):
    best, _ = make_run(tmp_path / "run")
    found = load(f"train.teacher={tmp_path / 'run'}", devices=TWO)
    for device in TWO:
        np.testing.assert_allclose(answer(found, device), expected(best), atol=1e-5)


def test_nothing_of_a_teacher_is_recorded_and_it_answers_as_in_inference(tmp_path):
    best, _ = make_run(tmp_path / "run")
    found = load(f"train.teacher={tmp_path / 'run'}")
    before = best.features[1].weight.data().asnumpy()
    images = mx.nd.array(IMAGES)
    images.attach_grad()
    with mx.autograd.record():
        loss = (found(images) * 2 + images.sum()).sum()
    loss.backward()
    np.testing.assert_allclose(images.grad.asnumpy(), 40.0)  # of the second term alone, over 4 × 10 logits
    np.testing.assert_allclose(answer(found), expected(best), atol=1e-5)
    np.testing.assert_array_equal(best.features[1].weight.data().asnumpy(), before)


def test_half_precision_images_are_widened():
    asked = []
    net = nn.HybridLambda(lambda F, images: asked.append(images) or images)
    found = Teacher(net, CPU, (MEAN, STD), (MEAN, STD))
    assert found(mx.nd.array(IMAGES, dtype="float16")).dtype == np.float32


# --- GluonCV, which tests neither download from nor import -----------------------------------------------------------


@pytest.fixture
def zoo(monkeypatch):
    """A stand-in of GluonCV's model zoo with two models, of 10 and of 1000 classes."""
    made = []

    def get_model(name, pretrained=False, classes=None, ctx=None):
        net = nn.HybridSequential()
        count = classes or (10 if name.startswith("cifar") else 1000)
        net.add(nn.GlobalAvgPool2D(), nn.Flatten(), nn.Dense(count, in_units=3))
        if pretrained:
            net.initialize(mx.init.Normal(1.0), ctx=ctx)
        made.append(net)
        return net

    names = ["cifar_resnet20_v1", "resnet50_v1b", "resnext50_32x4d"]
    zoo = SimpleNamespace(get_model=get_model, get_model_list=lambda: names, made=made)
    monkeypatch.setitem(sys.modules, "gluoncv", SimpleNamespace(model_zoo=zoo))
    return zoo


@pytest.mark.parametrize("name", ["cifar_resnet20_v1", "gluoncv:cifar_resnet20_v1"])
def test_teacher_of_gluoncv_is_downloaded_by_it(zoo, name):
    found = load(f"train.teacher={name}")
    np.testing.assert_allclose(answer(found), expected(zoo.made[0]), atol=1e-5)


def test_teacher_of_gluoncv_sees_images_normalised_as_gluoncv_does(zoo):
    found = load("train.teacher=resnet50_v1b", classes=1000)
    cifar = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
    images = renormalised(IMAGES, cifar, (MEAN, STD))
    np.testing.assert_allclose(answer(found), expected(zoo.made[0], images), rtol=1e-3, atol=1e-4)


def test_teacher_of_gluoncv_may_be_read_from_a_file(zoo, tmp_path):
    stored = zoo.get_model("resnet50_v1b", pretrained=True, classes=10, ctx=CPU)
    stored.save_parameters(str(tmp_path / "a.params"))
    words = ("train.teacher=resnet50_v1b", f"train.teacher_checkpoint={tmp_path / 'a.params'}")
    images = renormalised(IMAGES, ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)), (MEAN, STD))
    np.testing.assert_allclose(answer(load(*words)), expected(stored, images), rtol=1e-3, atol=1e-4)


def test_name_that_both_have_is_ours_unless_gluoncv_is_said(zoo):
    assert "resnext50_32x4d', a model without weights" in refusal("train.teacher=resnext50_32x4d")
    assert load("train.teacher=gluoncv:resnext50_32x4d", classes=1000) is not None


def test_download_that_fails_says_what_to_do(zoo, monkeypatch):
    def fail(name, **options):
        raise OSError("no route to host")

    monkeypatch.setattr(zoo, "get_model", fail)
    message = refusal("train.teacher=resnet50_v1b", classes=1000)
    assert "cannot be downloaded by GluonCV (no route to host)" in message
    assert "train.teacher_checkpoint=FILE" in message


def test_without_gluoncv_its_models_are_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "gluoncv", None)
    assert "GluonCV cannot be imported" in refusal("train.teacher=resnet50_v1b")


# --- What is refused -------------------------------------------------------------------------------------------------


def test_unknown_teacher_is_refused_with_the_nearest_names(zoo):
    message = refusal("train.teacher=aff_resnet23")
    assert "neither the folder of a run, nor a model of this package or of GluonCV" in message
    assert "did you mean 'aff_resnet32'" in message


def test_teacher_with_another_number_of_classes_is_refused(tmp_path, zoo):
    make_run(tmp_path / "run", classes=7)
    message = refusal(f"train.teacher={tmp_path / 'run'}")
    assert "tells 7 classes apart, and the data set has 10" in message
    assert "tells 1000 classes apart" in refusal("train.teacher=resnet50_v1b")


def test_teacher_with_as_many_other_classes_is_refused(tmp_path):
    make_run(tmp_path / "run", "data.name=cifar10", "data.dir=x")
    message = refusal(f"train.teacher={tmp_path / 'run'}")
    assert "was trained on cifar10" in message
    assert "data.name is digits" in message


def test_teacher_of_the_same_folder_format_is_told_by_its_number_of_classes_alone(tmp_path):
    make_run(tmp_path / "run", "data.name=image_folder", "data.dir=x")
    assert load(f"train.teacher={tmp_path / 'run'}") is not None


def test_model_of_ours_without_a_file_is_refused():
    message = refusal("train.teacher=aff_resnet32")
    assert "a model without weights" in message
    assert "train.teacher_checkpoint=FILE" in message


def test_run_without_a_finished_epoch_is_refused(tmp_path):
    make_run(tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "best.params").unlink()
    assert "best.params: no such file" in refusal(f"train.teacher={tmp_path / 'run'}", error=CheckpointError)


def test_file_of_another_network_is_refused(tmp_path, zoo):
    network().save_parameters(str(tmp_path / "a.params"))
    for name in ("cifar_resnet20_v1", "aff_resnet32"):
        words = (f"train.teacher={name}", f"train.teacher_checkpoint={tmp_path / 'a.params'}")
        assert "the parameters of another network" in refusal(*words, error=CheckpointError)


def test_missing_file_is_refused(tmp_path, zoo):
    for name in ("cifar_resnet20_v1", "aff_resnet32"):
        words = (f"train.teacher={name}", f"train.teacher_checkpoint={tmp_path / 'none.params'}")
        assert "none.params: cannot be read" in refusal(*words, error=CheckpointError)


def test_teacher_that_cannot_take_images_of_this_size_is_refused(monkeypatch):
    net = nn.HybridSequential()
    net.add(nn.Flatten(), nn.Dense(10, in_units=5))
    net.initialize()
    monkeypatch.setattr(teacher, "_of_gluoncv", lambda *about: (net, (MEAN, STD)))
    assert "cannot take images of 32 pixels" in refusal("train.teacher=whatever")
