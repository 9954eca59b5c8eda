"""Every experiment in configs/: it loads, builds the network that was published, and takes a step of training."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest

from fusion.compat import mx
from fusion.data.augment import POLICIES
from fusion.data.imageset import ImageSet
from fusion.data.loader import Batch
from fusion.errors import ConfigError
from fusion.models.network import count_parameters
from fusion.published import ROWS
from fusion.training.config import read_config
from fusion.training.preparation import build_batches, build_network, build_trainer, start_weights
from fusion.training.schedule import learning_rate
from fusion.training.settings import ModelSettings
from fusion.training.step import take_step

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
NAMES = sorted(path.name for path in CONFIGS.glob("*.yaml"))
OWN_ROWS = [row for row in ROWS if row.configs]
CLASSES = {"digits": 10, "cifar10": 10, "cifar100": 100, "imagenet": 1000, "image_folder": 1000, "mask_folder": 1}

#: In millions, as published; the networks have 100 classes on CIFAR, 1,000 on ImageNet.
PUBLISHED = {
    "aff_resnet32": 7.90,
    "aff_resnext38_32x4d": 7.77,
    "aff_resnext47_32x4d": 9.61,
    "aff_resnet50": 30.37,
    "aff_resnext50_32x4d": 29.95,
    "iaff_resnet50": 35.17,
    "iaff_resnext50_32x4d": 34.75,
}


@functools.lru_cache(maxsize=None)
def settings_of(name, words=()):
    text = (CONFIGS / name).read_text()
    if "auto_augment: imagenet" in text and "imagenet" not in POLICIES:
        pytest.skip("this version has no ImageNet policy of AutoAugment")
    return read_config(CONFIGS / name, words)


def classes_of(settings):
    data = settings.data
    return 20 if data.name == "cifar100" and data.labels == "coarse" else CLASSES[data.name]


@pytest.mark.parametrize("name", NAMES)
def test_config_loads_and_says_on_top_what_it_is(name):
    settings_of(name)
    header = (CONFIGS / name).read_text().split("\nbase:")[0].splitlines()
    assert all(line.startswith("# ") for line in header)
    if any(name in (*row.configs, row.as_described) for row in ROWS):
        words = "\n".join(header)
        assert "Published:" in words
        assert "Cost:" in words
        assert "evice" in words


@pytest.mark.parametrize("name", NAMES)
def test_network_of_a_config_has_the_published_parameters(name):
    settings = settings_of(name)
    net = build_network(settings, classes_of(settings))
    rows = [row for row in OWN_ROWS if name in row.configs]
    for row in rows:
        found = build_network(settings_of(name, row.words), row.test_set.classes) if row.words else net
        assert count_parameters(found) == row.parameters
    published = PUBLISHED.get(settings.model.name)
    assert published is None or count_parameters(net) / 1e6 == pytest.approx(published, abs=0.005)


@pytest.mark.parametrize("row", OWN_ROWS, ids=lambda row: row.id)
def test_config_of_a_row_is_of_its_network_and_images(row):
    settings = settings_of(row.configs[-1], row.words)
    usual = {**vars(ModelSettings()), "name": None, "initializer": settings.model.initializer}
    model = {key: value for key, value in vars(settings.model).items() if value != usual[key]}
    assert model == dict(row.model)
    assert settings.data.size == row.pixels
    if settings.data.name != "image_folder":
        assert settings.data.name == row.test_set.dataset
        assert settings.data.labels == row.test_set.labels


def test_chains_start_from_the_best_of_their_first_half():
    chains = [row.configs for row in OWN_ROWS if len(row.configs) > 1]
    assert len(chains) == 3
    for first, second in chains:
        assert settings_of(first).train.initial_parameters is None
        expected = f"runs/{Path(first).stem}/checkpoints/best.params"
        assert settings_of(second).train.initial_parameters == expected


# --- As the logs show ------------------------------------------------------------------------------------------------


def rates(settings, epochs):
    total = settings.train.epochs
    return [learning_rate(settings.schedule, total, 10, 10 * epoch + 9) for epoch in epochs]


@pytest.mark.parametrize("row", [r for r in OWN_ROWS if r.curve and r.id.startswith("cifar100")], ids=lambda r: r.id)
def test_learning_rate_is_the_logged(row):
    import csv

    from fusion.published.curves import FOLDER

    with (FOLDER / f"{row.id}.csv").open() as stream:
        logged = [float(line["learning_rate"]) for line in csv.DictReader(stream)]
    settings = settings_of(row.configs[-1])
    assert settings.train.epochs == len(logged)
    # One of ten steps of an epoch is left, so that a rate that moves at every step is within a tenth of an epoch's.
    np.testing.assert_allclose(rates(settings, range(len(logged))), logged, rtol=0.02, atol=2e-3)


@pytest.mark.parametrize("row", [r for r in OWN_ROWS if r.curve], ids=lambda r: r.id)
def test_recipe_is_what_the_run_was_started_with(row):
    from fusion.published.curves import read_curve, read_runs

    given = read_runs()[row.id]["as_run_arguments"]
    settings = settings_of(row.configs[-1])
    assert settings.train.epochs == int(given["num_epochs"]) == read_curve(row.id).epochs
    assert settings.schedule.lr == float(given["lr"])
    assert (settings.optimizer.momentum, settings.optimizer.weight_decay) == (0.9, 1e-4)
    assert settings.train.label_smoothing == (0.1 if given.get("label_smoothing") == "True" else 0)
    mixup = 0 if given.get("mixup") == "False" else float(given.get("mixup_alpha", 1))
    assert settings.augment.mixup_alpha == mixup
    if "mixup_off_epoch" in given:
        assert settings.augment.mixup_off_epochs == int(given["mixup_off_epoch"])
    devices = int(given["num_gpus"]) if "num_gpus" in given else len(given["gpus"].split(","))
    assert row.devices == ",".join(map(str, range(devices)))
    first_release = row.id.startswith("cifar10_v1")
    batch = int(given["batch_size"]) // (devices if first_release else 1)
    assert settings.data.batch_size == batch


@pytest.mark.parametrize("row", [r for r in OWN_ROWS if r.curve and "cifar" in r.id], ids=lambda r: r.id)
def test_mixup_ends_where_the_logged_loss_falls(row):
    import csv

    from fusion.published.curves import FOLDER

    with (FOLDER / f"{row.id}.csv").open() as stream:
        loss = [float(line["train_loss"]) for line in csv.DictReader(stream)]
    fall = max(range(len(loss) // 2, len(loss)), key=lambda epoch: loss[epoch - 1] - loss[epoch])
    settings = settings_of(row.configs[-1])
    assert settings.train.epochs - settings.augment.mixup_off_epochs == fall


def test_superclasses_were_smoothed_over_a_hundred_logits():
    """The least that the loss can be is the entropy of its target, which tells over how many logits it was spread."""
    import csv

    from fusion.published.curves import FOLDER

    def entropy(logits):
        share = 0.1 / logits
        return -(0.9 + share) * np.log(0.9 + share) - (logits - 1) * share * np.log(share)

    for row in OWN_ROWS:
        if row.curve and row.id.startswith("cifar100_coarse"):
            with (FOLDER / f"{row.id}.csv").open() as stream:
                least = min(float(line["train_loss"]) for line in csv.DictReader(stream))
            assert 0 < least - entropy(100) < 0.02
            assert least - entropy(20) > 0.19
            assert settings_of(row.configs[-1]).model.outputs == 100


TABLES = sorted({name for row in OWN_ROWS if row.words and row.test_set.classes == 20 for name in row.configs})


@pytest.mark.parametrize("name", TABLES)
def test_configs_of_the_paper_s_tables_have_the_recipe_of_its_table_2(name):
    settings = settings_of(name)
    assert (settings.train.epochs, settings.data.batch_size, settings.train.label_smoothing) == (400, 128, 0)
    assert (settings.schedule.mode, settings.schedule.lr, settings.schedule.steps) == ("step", 0.2, [300, 350])
    assert rates(settings, (0, 299, 300, 350)) == pytest.approx([0.2, 0.2, 0.02, 0.002])
    assert (settings.optimizer.name, settings.optimizer.momentum, settings.optimizer.weight_decay) == ("nag", 0.9, 1e-4)
    assert settings.optimizer.decay_norm_and_bias
    assert (settings.model.initializer, settings.augment.mixup_alpha) == ("msraprelu", 0)
    assert (settings.data.labels, settings.model.r, settings.model.channel_times) == ("coarse", 2, 1)


@pytest.mark.parametrize("name", TABLES)
def test_configs_of_the_paper_s_tables_show_the_figures_of_their_rows(name):
    shown = [line.rstrip(" -").split() for line in (CONFIGS / name).read_text().splitlines()]
    figures = {}
    for row in ROWS:
        if row.id.startswith(f"{name.replace('_coarse', '').replace('.yaml', '')}_"):
            figures.setdefault(row.title.partition(", b = ")[0], []).append(row.figure.split()[0])
    assert len(figures) in (3, 5, 7)
    for title, own in figures.items():
        assert any(words[-len(own) :] == own for words in shown), title


# --- A step ----------------------------------------------------------------------------------------------------------

QUICK = (
    "quickstart.yaml",
    "cifar10_small.yaml",
    "cifar10_small_inception.yaml",
    "cifar100_ablation.yaml",
    "cifar100_coarse_table4_inception.yaml",
)


def marks_of(name):
    """Networks of fifty layers take some seconds each; those of other tests are the same."""
    if name.startswith("imagenet_") and name != "imagenet_sample.yaml":
        return [pytest.mark.long]
    return [] if name in QUICK else [pytest.mark.slow]


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks_of(name)) for name in NAMES])
def test_config_takes_a_step_of_training(name):
    settings = settings_of(name)
    words = ["runtime.hybridize=false", "data.batch_size=2"]
    settings = read_config(CONFIGS / name, words)
    classes, devices = classes_of(settings), [mx.cpu()]
    net = build_network(settings, classes)
    start_weights(net, settings, devices)
    trainer = build_trainer(net, settings)
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, size=(4, 32, 32, 3), dtype=np.uint8)
    labels = draw.integers(0, classes, size=4)
    if settings.data.name in ("imagenet", "image_folder"):  # whose batches are made otherwise: the step is what counts
        targets = np.zeros((2, net.classes), np.float32)
        targets[np.arange(2), labels[:2]] = 1
        batch = Batch(draw.normal(size=(2, 3, 64, 64)).astype(np.float32), targets)
    else:
        data = ImageSet(images, labels, tuple(map(str, range(classes))), "noise")
        batch = next(iter(build_batches(settings, data, devices).epoch(0, 0)))
    before = net._collect_params_with_prefix()
    weight = next(name for name in reversed(list(before)) if name.endswith("weight"))
    value = before[weight].data().asnumpy().copy()
    trainer.set_learning_rate(settings.schedule.lr)
    loss = mx.gluon.loss.SoftmaxCrossEntropyLoss(sparse_label=False)
    output = take_step(net, trainer, loss, batch, devices)
    mx.nd.waitall()
    assert batch.targets.shape[1] == net.classes
    assert all(np.isfinite(part.asnumpy()).all() for part in output.losses)
    assert (before[weight].data().asnumpy() != value).any()


def test_unknown_policy_is_refused_rather_than_left_out():
    with pytest.raises(ConfigError, match="auto_augment"):
        read_config(CONFIGS / "imagenet_aff_resnet50.yaml", ["augment.auto_augment=imagenot"])
