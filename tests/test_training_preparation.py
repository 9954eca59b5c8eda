"""What a run starts from: another's weights, and as many logits as it asks for."""

from __future__ import annotations

import numpy as np
import pytest

from fusion.compat import mx
from fusion.data.identity import Classes
from fusion.data.imageset import ImageSet
from fusion.errors import CheckpointError, ConfigError
from fusion.training import checkpoint
from fusion.training.config import read_config
from fusion.training.preparation import (
    build_batches,
    build_network,
    build_trainer,
    build_twin,
    start_weights,
)
from fusion.training.start import load_initial_parameters

SMALL = ["model.name=cifar_resnet", "model.fusion=aff", "model.blocks=1", "model.channel_times=1"]
CPU = [mx.cpu()]


def settings_of(*words):
    return read_config(None, [*SMALL, *words])


def started(*words, classes=4, devices=CPU):
    settings = settings_of(*words)
    net = build_network(settings, classes)
    start_weights(net, settings, devices)
    load_initial_parameters(net, settings, Classes(tuple(map(str, range(classes))), "the data"))
    return net


def arrays_of(net):
    return {
        name: [array.asnumpy() for array in parameter.list_data()]
        for name, parameter in net._collect_params_with_prefix().items()
    }


def assert_same(one, other):
    for name, arrays in arrays_of(one).items():
        for array in arrays:
            assert array.tobytes() == arrays_of(other)[name][0].tobytes(), name


@pytest.fixture
def trained(tmp_path):
    net = started("train.seed=5")
    net(mx.nd.ones((2, 3, 8, 8)))
    net.save_parameters(str(tmp_path / "best.params"))
    trainer = build_trainer(net, settings_of())
    checkpoint.save(tmp_path / "last.npz", net, trainer, checkpoint.TrainingState(epoch=3))
    return net


@pytest.mark.parametrize("name", ["best.params", "last.npz"])
def test_run_starts_from_the_weights_of_another(tmp_path, trained, name):
    assert_same(started(f"train.initial_parameters={tmp_path / name}"), trained)
    fresh = arrays_of(started())
    assert any(array[0].tobytes() != fresh[key][0].tobytes() for key, array in arrays_of(trained).items())


def test_every_device_starts_from_them(tmp_path, trained):
    words = f"train.initial_parameters={tmp_path / 'best.params'}"
    assert_same(started(words, devices=[mx.cpu(0), mx.cpu(1)]), trained)


@pytest.mark.parametrize(("words", "classes"), [((), 5), (("model.fusion=add",), 4), (("model.channel_times=2",), 4)])
@pytest.mark.parametrize("name", ["best.params", "last.npz"])
def test_weights_of_another_network_are_refused(tmp_path, trained, words, classes, name):
    with pytest.raises(CheckpointError, match=r"train\.initial_parameters: .*of another network"):
        started(f"train.initial_parameters={tmp_path / name}", *words, classes=classes)


@pytest.mark.parametrize("name", ["gone.params", "gone.npz"])
def test_missing_weights_are_refused_with_what_to_do(tmp_path, name):
    with pytest.raises(CheckpointError, match=r"(?s)train\.initial_parameters: .*cannot be read.*train that run first"):
        started(f"train.initial_parameters={tmp_path / name}")


@pytest.mark.parametrize("name", ["cut.params", "cut.npz"])
def test_damaged_weights_are_refused(tmp_path, trained, name):
    whole = (tmp_path / ("best.params" if name.endswith("params") else "last.npz")).read_bytes()
    (tmp_path / name).write_bytes(whole[:1000])
    with pytest.raises(CheckpointError, match=r"train\.initial_parameters: .*complete"):
        started(f"train.initial_parameters={tmp_path / name}")


def test_run_that_cannot_start_leaves_no_folder(tmp_path):
    from fusion.training.engine import train
    from fusion.training.logbook import RunDirectory

    words = ["data.name=digits", f"train.initial_parameters={tmp_path / 'gone.params'}"]
    with pytest.raises(CheckpointError):
        train(settings_of(*words), RunDirectory(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_run_that_has_started_needs_them_no_more(tmp_path):
    from fusion.training.engine import train
    from fusion.training.logbook import RunDirectory

    words = ["train.epochs=1", "data.batch_size=128", f"train.initial_parameters={tmp_path / 'first.params'}"]
    first = started(classes=10)
    first(mx.nd.ones((2, 3, 8, 8)))
    first.save_parameters(str(tmp_path / "first.params"))
    run = RunDirectory(tmp_path / "run")
    assert train(settings_of(*words), run).finished
    (tmp_path / "first.params").unlink()
    assert train(settings_of(*words), run, resume=True).finished
    run.last.unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        train(settings_of(*words), run, resume=True)


# --- More logits than classes ----------------------------------------------------------------------------------------


def noise(classes, count=6):
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, size=(count, 32, 32, 3), dtype=np.uint8)
    return ImageSet(images, draw.integers(0, classes, size=count), tuple(map(str, range(classes))), "noise")


def test_outputs_are_the_classes_unless_set():
    assert build_network(settings_of(), 4).classes == 4
    settings = settings_of("model.outputs=7")
    net = build_network(settings, 4)
    assert net.classes == 7
    start_weights(net, settings, CPU)
    assert build_twin(net, settings, CPU).classes == 7


def test_targets_are_smoothed_over_all_outputs():
    words = ["model.outputs=8", "train.label_smoothing=0.4", "data.batch_size=3", "augment.mixup_alpha=0"]
    batch = next(iter(build_batches(settings_of(*words), noise(4), CPU).epoch(0, 0)))
    assert batch.targets.shape == (3, 8)
    np.testing.assert_allclose(np.sort(batch.targets, axis=1)[:, :-1], 0.05, rtol=1e-6)
    assert (batch.targets.argmax(axis=1) < 4).all()


def test_fewer_outputs_than_classes_are_refused():
    with pytest.raises(ConfigError, match=r"model\.outputs is 3, and the data has 4 classes"):
        build_network(settings_of("model.outputs=3"), 4)


def test_prior_moves_the_first_logits_by_its_own(tmp_path):
    dense = ["model.name=fpn", "model.blocks=1", "task=segmentation", "data.name=mask_folder", "augment.crop_padding=0"]
    images = mx.nd.array(np.random.default_rng(0).standard_normal((2, 3, 32, 32)))
    logits = {}
    for words in ((), ("model.prior=0.01",)):
        settings = read_config(None, [*dense, f"data.dir={tmp_path}", *words])
        net = build_network(settings, 1)
        start_weights(net, settings, CPU)
        logits[words] = net(images).asnumpy()
    moved = logits[("model.prior=0.01",)] - logits[()]
    np.testing.assert_allclose(moved, np.log(0.01 / 0.99), rtol=1e-5)


def test_prior_of_a_network_with_several_outputs_is_refused(tmp_path):
    words = [
        "model.name=fpn",
        "task=segmentation",
        "data.name=mask_folder",
        "augment.crop_padding=0",
        "model.prior=0.1",
    ]
    settings = read_config(None, [*words, f"data.dir={tmp_path}"])
    with pytest.raises(ConfigError, match=r"model.prior=0.1 is the probability of a single kind.* has 3 outputs"):
        start_weights(build_network(settings, 3), settings, CPU)
