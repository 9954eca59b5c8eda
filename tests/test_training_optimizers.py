"""Adam, AdamW and LAMB against their formulas, rates that fall with depth, and gradients of parts of a batch."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fusion
from fusion.compat import mx, nn
from fusion.data.loader import Batch
from fusion.models.depth import layers_above
from fusion.tasks import find_task, task_of
from fusion.training.config import read_config
from fusion.training.gradients import add_up
from fusion.training.preparation import build_network, build_trainer, start_weights
from fusion.training.start import hold_layers
from fusion.training.step import take_step

DRAW = np.random.default_rng(0)
WEIGHT, GRADIENTS = DRAW.normal(size=(3, 4)), DRAW.normal(size=(5, 3, 4))
RATES = (0.1, 0.2, 0.05, 0.05, 0.01)
DECAY, BETA1, BETA2 = 0.3, 0.8, 0.95
CPU, TWO = [mx.cpu()], [mx.cpu(0), mx.cpu(1)]


# --- Formulas --------------------------------------------------------------------------------------------------------


def moments(epsilon):
    """The two running means after each step, corrected, as (m̂, √v̂ + ε)."""
    m = v = np.zeros_like(WEIGHT)
    for step, gradient in enumerate(GRADIENTS, start=1):
        m, v = BETA1 * m + (1 - BETA1) * gradient, BETA2 * v + (1 - BETA2) * gradient**2
        yield m / (1 - BETA1**step), np.sqrt(v / (1 - BETA2**step)) + epsilon


def adamw(weight, rates):
    for rate, (mean, root) in zip(rates, moments(1e-3)):
        weight = weight - rate * DECAY * weight - rate * mean / root
    return weight


def lamb(weight, rates):
    for rate, (mean, root) in zip(rates, moments(1e-3)):
        move = mean / root + DECAY * weight
        weight = weight - rate * np.linalg.norm(weight) / np.linalg.norm(move) * move
    return weight


def adam(weight, rates):
    """The gradient holds the decay; ε is added before the correction, as MXNet has it."""
    m = v = np.zeros_like(weight)
    for step, (rate, gradient) in enumerate(zip(rates, GRADIENTS), start=1):
        gradient = gradient + DECAY * weight
        m, v = BETA1 * m + (1 - BETA1) * gradient, BETA2 * v + (1 - BETA2) * gradient**2
        weight = weight - rate * math.sqrt(1 - BETA2**step) / (1 - BETA1**step) * m / (np.sqrt(v) + 1e-3)
    return weight


def moved(name, ctx, dtype="float64", factor=1.0):
    """A weight after five steps of an optimizer that the settings name, on each device."""
    net = nn.HybridSequential()
    net.add(nn.Dense(3, in_units=4, use_bias=False))
    net.initialize(ctx=ctx)
    net.cast(dtype)
    net[0].weight.set_data(mx.nd.array(WEIGHT, dtype=dtype))
    net[0].weight.lr_mult = factor
    words = [f"optimizer.name={name}", f"optimizer.weight_decay={DECAY}", f"optimizer.betas=[{BETA1},{BETA2}]"]
    trainer = build_trainer(net, read_config(None, [*words, "optimizer.epsilon=0.001"]))
    for rate, gradient in zip(RATES, GRADIENTS):
        trainer.set_learning_rate(rate)
        with mx.autograd.record():
            losses = [
                (mx.nd.array(gradient, dtype=dtype, ctx=value.context) * value).sum() * (8 / len(ctx))
                for value in net[0].weight.list_data()
            ]
        mx.autograd.backward(losses)
        trainer.step(8)
    return [value.asnumpy() for value in net[0].weight.list_data()]


@pytest.mark.parametrize("ctx", [CPU, TWO], ids=["one device", "two"])
@pytest.mark.parametrize("formula", [adam, adamw, lamb])
def test_optimizer_follows_its_formula(formula, ctx):
    expected = formula(WEIGHT, RATES)
    for found in moved(formula.__name__, ctx):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)  # MXNet has its numbers as float32


@pytest.mark.parametrize("formula", [adam, adamw, lamb])
def test_factor_of_a_layer_is_one_of_the_rate(formula):
    expected = formula(WEIGHT, [0.25 * rate for rate in RATES])
    np.testing.assert_allclose(moved(formula.__name__, CPU, factor=0.25)[0], expected, rtol=0, atol=1e-7)


def test_adamw_keeps_float32_weights_of_float16_parameters():
    np.testing.assert_allclose(moved("adamw", CPU, "float16")[0], adamw(WEIGHT, RATES), rtol=0, atol=2e-3)


def test_decay_of_adamw_leaves_norms_and_biases_alone_where_the_settings_say_so():
    words = ["model.name=cifar_resnet", "model.blocks=1", "optimizer.name=adamw", "optimizer.decay_norm_and_bias=false"]
    settings = read_config(None, [*words, "optimizer.weight_decay=0.5", "schedule.lr=0.1"])
    net = build_network(settings, 2)
    start_weights(net, settings, CPU)
    trainer = build_trainer(net, settings)
    own = {name: one for name, one in net._collect_params_with_prefix().items() if one.grad_req != "null"}
    before = {name: one.data().asnumpy() for name, one in own.items()}
    with mx.autograd.record():
        loss = 0 * net(mx.nd.zeros((2, 3, 32, 32)))
    loss.backward()
    trainer.step(1)
    for name, one in own.items():
        undecayed = name.endswith(("gamma", "beta", "bias"))
        np.testing.assert_allclose(one.data().asnumpy(), before[name] * (1 if undecayed else 0.95), rtol=1e-6)


# --- Rates by depth --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("cifar_resnet", {"blocks": 2}, {"features.1.weight": 7, "features.2.0": 6, "features.4.1": 1, "output": 0}),
        ("cifar_resnext", {"blocks": 1}, {"features.0.weight": 4, "features.3.0": 3, "features.5.0": 1, "output": 0}),
        ("cifar_inception", {"blocks": 1}, {"features.1.": 4, "features.2.0": 3, "features.4.0": 1, "output": 0}),
        ("resnet50", {}, {"conv1.": 17, "bn1.": 17, "layer1.0": 16, "layer1.2": 14, "layer4.2": 1, "fc.": 0}),
        ("resnext50_32x4d", {}, {"features.0.": 17, "features.10.0": 16, "features.13.2": 1, "output": 0}),
        ("fpn", {"blocks": 1}, {"stem.": 4, "layer1.0": 3, "layer3.0": 1, "fuse23": 0, "head": 0}),
        ("unet", {"blocks": 1}, {"stem.": 4, "layer3.0": 1, "uplayer1": 0, "deconv2": 0, "head": 0}),
        ("fpn", {"encoder": "resnet50"}, {"encoder.conv1": 17, "encoder.layer4.2": 1, "fuse34": 0, "head": 0}),
    ],
)
def test_depth_is_counted_in_residual_blocks_from_the_end(name, arguments, expected):
    above = layers_above(fusion.get_model(name, classes=2, fusion="aff", **arguments))
    for prefix, layers in expected.items():
        found = {place for own, place in above.items() if own.startswith(prefix)}
        assert found == {layers}, prefix
    assert list(above.values()) == sorted(above.values(), reverse=True)


def test_rate_falls_by_the_layer_decay_and_keeps_the_factors_of_layers():
    words = ["model.name=cifar_resnet", "model.blocks=1", "optimizer.layer_decay=0.5"]
    settings = read_config(None, [*words, "optimizer.lr_factors=[features.2=10]"])
    net = build_network(settings, 2)
    start_weights(net, settings, CPU)
    hold_layers(net, settings)
    own = net._collect_params_with_prefix()
    places = ("output.weight", "features.4.0", "features.3.0", "features.2.0", "features.1.weight")
    found = [{one.lr_mult for name, one in own.items() if name.startswith(place)} for place in places]
    assert found == [{1.0}, {0.5}, {0.25}, {1.25}, {0.0625}]


# --- Parts of a batch ------------------------------------------------------------------------------------------------

CLASSIFIER = ("model.name=cifar_resnext", "model.blocks=1", "model.channel_times=1")
DENSE = (
    *("task=segmentation", "model.name=fpn", "model.blocks=1", "data.name=mask_folder", "data.dir=nowhere"),
    *("augment.crop_padding=0", "model.head_drop=0"),
    "train.freeze=[stem.0]",  # the norm of the images, which is a batch norm in training
)


def step_of(settings, batch, devices, parts):
    """Weights after a step, and what it returned."""
    net = build_network(settings, 1 if settings.task == "segmentation" else 10)
    start_weights(net, settings, devices)
    hold_layers(net, settings)
    if parts > 1:
        add_up(net)
    trainer = build_trainer(net, settings)
    loss = task_of(settings).loss(settings, None)
    for _ in range(2):  # the second must not add to the gradients of the first
        found = take_step(net, trainer, loss, batch, devices, settings.optimizer.clip_gradient_norm, parts)
    weights = {name: one.list_data()[0].asnumpy() for name, one in net._collect_params_with_prefix().items()}
    return weights, found


@pytest.mark.parametrize(("name", "devices"), [("aff", CPU), ("iaff", CPU), ("concat", CPU), ("aff", TWO)])
def test_parts_of_a_batch_have_the_step_of_the_whole_without_batch_norm(name, devices):
    words = (*CLASSIFIER, f"model.fusion={name}", "model.norm_layer=group", "model.norm=group", "train.dtype=float64")
    settings = read_config(None, [*words, "optimizer.clip_gradient_norm=0.5"])
    images = np.random.default_rng(1).normal(size=(8, 3, 32, 32)).astype(np.float32)
    batch = Batch(images, np.eye(10, dtype=np.float32)[:8])
    (whole, at_once), (parts, found) = (step_of(settings, batch, devices, count) for count in (1, 4))
    for key, expected in whole.items():
        np.testing.assert_allclose(parts[key], expected, rtol=0, atol=1e-12, err_msg=key)
    meter = find_task("classification").training_meter()
    np.testing.assert_allclose(meter.of_step(found), meter.of_step(at_once), rtol=1e-12)


def test_parts_of_a_batch_of_masks_have_the_step_of_the_whole():
    words = (*DENSE, "model.norm_layer=group", "model.norm=group", "train.dtype=float64", "train.loss=bce")
    settings = read_config(None, [*words, "model.fusion=aff", "data.batch_size=4"])
    draw = np.random.default_rng(1)
    batch = Batch(
        draw.normal(size=(4, 3, 16, 16)).astype(np.float32), draw.integers(0, 2, (4, 16, 16)).astype(np.uint8)
    )
    (whole, _), (parts, _) = (step_of(settings, batch, CPU, count) for count in (1, 2))
    for key, expected in whole.items():
        np.testing.assert_allclose(parts[key], expected, rtol=0, atol=1e-7, err_msg=key)
