"""What a run starts from: weights by file, run or name, layers that begin anew, and layers that stay as they are."""

from __future__ import annotations

import logging
import os
import signal

import numpy as np
import pytest
from classified import noise_folder

import fusion
from fusion.compat import mx
from fusion.data.identity import Classes
from fusion.errors import CheckpointError, ConfigError
from fusion.models.network import count_parameters
from fusion.models.patterns import names_matching
from fusion.training import checkpoint, engine
from fusion.training.config import read_config
from fusion.training.engine import train
from fusion.training.gradients import update
from fusion.training.logbook import RunDirectory
from fusion.training.preparation import build_network, build_trainer, start_weights
from fusion.training.start import hold_layers, load_initial_parameters
from fusion.training.teacher import load_teacher

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
NAME = "aff_resnet8_cifar10"
FROM_NAME = (f"model.name={NAME}", f"train.initial_parameters={NAME}")
IMAGES = np.random.default_rng(0).normal(size=(4, 3, 32, 32)).astype(np.float32)


def start(*words, classes=("cat", "crocodile", "dog")):
    """The network of a run before its first step."""
    settings = read_config(None, list(words))
    net = build_network(settings, len(classes))
    start_weights(net, settings, [mx.cpu()])
    hold_layers(net, settings)
    load_initial_parameters(net, settings, Classes(tuple(classes), "the folder"))
    return net


def arrays_of(net):
    return {name: one.data().asnumpy() for name, one in net._collect_params_with_prefix().items()}


def packaged():
    return arrays_of(fusion.get_model(NAME, pretrained=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Settings of a small folder of images of two classes."""
    return noise_folder(tmp_path_factory.mktemp("folder"), ("cat", "newt"), count=8, side=16)


# --- Weights ---------------------------------------------------------------------------------------------------------


def test_packaged_weights_begin_a_run_on_other_classes_with_a_new_last_layer(caplog):
    caplog.set_level(logging.INFO, "fusion")
    found, expected, plain = (
        arrays_of(start(*FROM_NAME, "train.fresh=[classifier]")),
        packaged(),
        arrays_of(start(FROM_NAME[0])),
    )
    assert found["output.weight"].shape == (3, 64)
    for name, array in found.items():
        np.testing.assert_array_equal(array, plain[name] if name.startswith("output.") else expected[name], name)
    assert f"{len(expected) - 2} of the weights are from" in caplog.text
    assert "fresh are output.weight (3, 64), output.bias (3,)" in caplog.text


def test_packaged_weights_are_taken_by_the_names_of_classes():
    found, expected = arrays_of(start(*FROM_NAME, classes=("dog", "cat"))), packaged()
    np.testing.assert_array_equal(found["output.bias"], expected["output.bias"][[5, 3]])


def test_the_refusal_of_other_classes_says_how_to_begin_anew():
    with pytest.raises(ConfigError, match=r"(?s)'crocodile'.*add train\.fresh=\[classifier\]"):
        start(*FROM_NAME)


def test_a_run_is_a_start_as_well(tmp_path, folder):
    path = tmp_path / "run"
    words = [*folder, "model.name=cifar_resnet", "model.blocks=1", "model.channel_times=1", "train.epochs=1"]
    train(read_config(None, [*words, "schedule.mode=constant"]), RunDirectory(path))
    best = checkpoint.network_arrays(path / "checkpoints" / "best.params")
    found = arrays_of(start(*words, f"train.initial_parameters={path}", classes=("cat", "newt")))
    for name, array in best.items():
        np.testing.assert_array_equal(found[name], array, name)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("model.fusion=add",), r"of another network"),
        (("train.fresh=[classifier]", "model.fusion=add"), r"of another network"),
        (("train.initial_parameters=aff_resnet8_cifar11",), r"aff_resnet8_cifar11: cannot be read"),
        (("train.initial_parameters=.",), r"the folder of a run, a file of weights"),
    ],
)
def test_weights_that_fit_nothing_are_refused(words, expected):
    with pytest.raises(CheckpointError, match=expected):
        start(*FROM_NAME, *words, classes=CIFAR10)


def test_without_names_the_refusal_of_another_number_says_how_to_begin_anew(tmp_path):
    fusion.get_model(NAME, pretrained=True).save_parameters(str(tmp_path / "a.params"))
    words = (FROM_NAME[0], f"train.initial_parameters={tmp_path / 'a.params'}")
    with pytest.raises(CheckpointError, match=r"(?s)Only the last layer differs.*train\.fresh=\[classifier\]"):
        start(*words)
    assert start(*words, "train.fresh=[output]").output.weight.shape == (3, 64)


@pytest.mark.parametrize("setting", ["train.fresh", "train.freeze", "optimizer.lr_factors"])
def test_a_pattern_of_nothing_is_refused(setting):
    value = "[featuers.1=2]" if setting.endswith("factors") else "[featuers.1]"
    with pytest.raises(ConfigError, match=rf"{setting}: 'featuers.1' names no parameter and no block; .*'features.1'"):
        start(*FROM_NAME, "train.fresh=[classifier]", f"{setting}={value}")


def test_fresh_layers_need_weights_to_begin_from():
    with pytest.raises(ConfigError, match=r"train\.fresh.*train\.initial_parameters"):
        read_config(None, ["train.fresh=[classifier]"])


def test_patterns_name_parameters_and_blocks():
    net = fusion.get_model(NAME)
    names = set(net._collect_params_with_prefix())
    assert names_matching(net, ["classifier"]) == {"output.weight", "output.bias"}
    assert names_matching(net, ["*.gamma"]) == {name for name in names if name.endswith(".gamma")}
    assert names_matching(net, ["*"]) == names
    assert names_matching(net, []) == frozenset()


def test_get_model_makes_the_last_layer_anew_for_other_classes(caplog):
    caplog.set_level(logging.INFO, "fusion")
    net, expected = fusion.get_model(NAME, pretrained=True, classes=3), packaged()
    assert net(mx.nd.array(IMAGES)).shape == (4, 3)
    for name, array in arrays_of(net).items():
        if not name.startswith("output."):
            np.testing.assert_array_equal(array, expected[name], name)
    assert "output is fresh: the weights are of 10 classes, and the network has 3" in caplog.text


def test_get_model_refuses_weights_that_lack_another_layer(tmp_path):
    arrays = {name: mx.nd.array(array) for name, array in packaged().items() if name != "features.1.weight"}
    mx.nd.save(str(tmp_path / "a.params"), arrays)
    with pytest.raises(CheckpointError, match=r"1 do not fit.*\n.*features\.1\.weight .* is missing"):
        fusion.get_model(NAME, pretrained=tmp_path / "a.params", classes=3)


def test_packaged_weights_teach(tmp_path):
    settings = read_config(None, [f"model.name={NAME}", f"train.teacher={NAME}"])
    teacher = load_teacher(settings, Classes(("dog", "cat"), "the folder"), [mx.cpu()])
    expected = fusion.get_model(NAME, pretrained=True)(mx.nd.array(IMAGES)).asnumpy()[:, [5, 3]]
    np.testing.assert_allclose(teacher(mx.nd.array(IMAGES)).asnumpy(), expected, atol=1e-5)


# --- Layers that learn otherwise -------------------------------------------------------------------------------------


def step(net, *words):
    """One step on some images, and the parameters before and after it."""
    settings = read_config(None, list(words))
    trainer = build_trainer(net, settings)
    before = arrays_of(net)
    with mx.autograd.record():
        loss = (net(mx.nd.array(IMAGES)) ** 2).mean()
    loss.backward()
    update(trainer, len(IMAGES))
    mx.nd.waitall()
    return before, arrays_of(net)


SMALL = {"resnet": ["model.layers=50"], "resnext": ["model.layers=50"]}
DENSE = ["data.name=mask_folder", "data.dir=x", "augment.crop_padding=0"]


@pytest.mark.parametrize(
    ("name", "fusion"),
    [
        *((name, fusion) for name in ("cifar_resnet", "cifar_inception", "fpn") for fusion in ("add", "aff", "iaff")),
        *((name, "aff") for name in ("cifar_resnext", "unet", *SMALL)),
    ],
)
def test_frozen_layers_stay_and_the_last_one_learns(name, fusion):
    words = [f"model.name={name}", f"model.fusion={fusion}", *SMALL.get(name, ["model.blocks=1"]), "schedule.lr=0.1"]
    words += DENSE if name in ("fpn", "unet") else ["data.name=digits"]
    plain = start(*words)
    held = [key for key in plain._collect_params_with_prefix() if not key.startswith(f"{plain.classifier}.")]
    net = start(*words, f"train.freeze=[{', '.join(held)}]")
    assert count_parameters(net) == count_parameters(plain)
    before, after = step(net, *words)
    assert [key for key in after if after[key].tobytes() == before[key].tobytes()] == held


def test_half_of_a_network_can_be_frozen():
    words = ["model.name=cifar_resnet", "model.fusion=iaff", "model.blocks=1", "schedule.lr=0.1"]
    net = start(*words, "train.freeze=[features.0, features.1, features.2]")
    held = names_matching(net, ["features.0", "features.1", "features.2"])
    before, after = step(net, *words)
    assert {name for name in after if after[name].tobytes() == before[name].tobytes()} == held


def test_not_everything_can_be_frozen():
    with pytest.raises(ConfigError, match=r"train\.freeze=\['\*'\]: nothing is left to learn"):
        start(f"model.name={NAME}", "train.freeze=['*']")


def test_rates_differ_by_layer():
    words = [f"model.name={NAME}", "schedule.lr=0.01", "optimizer.name=sgd", "optimizer.weight_decay=0"]
    plain = step(start(*words), *words)
    words.append("optimizer.lr_factors=[classifier=10, output.bias=0]")
    scaled = step(start(*words), *words)
    moved = {name: (plain[1][name] - plain[0][name], scaled[1][name] - scaled[0][name]) for name in plain[0]}
    np.testing.assert_allclose(moved["output.weight"][1], 10 * moved["output.weight"][0], rtol=1e-3, atol=1e-6)
    assert not moved["output.bias"][1].any() and moved["output.bias"][0].any()
    others = [pair for name, pair in moved.items() if not name.startswith("output.")]
    assert all(np.allclose(one, other, atol=1e-7) for one, other in others)


def test_layers_whose_rate_is_0_are_still_counted():
    net = start(f"model.name={NAME}", "optimizer.lr_factors=[features=0]")
    assert count_parameters(net) == count_parameters(start(f"model.name={NAME}"))


@pytest.mark.parametrize("word", ["classifier", "classifier=x", "classifier=-1", "classifier=inf", "classifier=nan"])
def test_factors_are_numbers(word):
    with pytest.raises(ConfigError, match=r"optimizer\.lr_factors: .*such as classifier=10"):
        start(f"model.name={NAME}", f"optimizer.lr_factors=[{word}]")


def test_a_run_with_frozen_layers_resumes_to_the_bit(tmp_path, monkeypatch, folder):
    words = [*FROM_NAME, *folder, "train.fresh=[classifier]", "train.freeze=[features.0, features.2]"]
    words += ["train.epochs=2", "schedule.mode=constant", "schedule.lr=0.01"]
    settings = read_config(None, [*words, "optimizer.lr_factors=[classifier=5]"])
    whole, halved = RunDirectory(tmp_path / "whole"), RunDirectory(tmp_path / "halved")
    train(settings, whole)
    with monkeypatch.context() as patch:  # Ctrl-C at the end of the first epoch
        patch.setattr(engine, "log_epoch", lambda *_: os.kill(os.getpid(), signal.SIGINT))
        assert not train(settings, halved).finished
    assert train(settings, halved, resume=True).finished
    one, other = (checkpoint.network_arrays(run.last) for run in (whole, halved))
    start_arrays = packaged()
    for name, array in one.items():
        assert array.tobytes() == other[name].tobytes(), name
        if name.startswith(("features.0.", "features.2.")):
            assert array.tobytes() == start_arrays[name].tobytes(), name
