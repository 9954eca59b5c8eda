"""Group norm in every layer, and batch norm over several devices at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from fusion import get_model
from fusion.compat import mx, nn
from fusion.errors import ConfigError
from fusion.models.normalisation import synchronise_batch_norm, use_norm_layer
from fusion.operators import GroupNorm

FAMILIES = {
    "cifar_resnet": {"blocks": 1, "channel_times": 2},
    "cifar_resnext": {"blocks": 1, "channel_times": 1, "bottleneck_width": 8},
    "cifar_inception": {"blocks": 1, "channel_times": 2},
    "resnet": {},
    "resnext": {},
}


def network(family, **changes):
    return get_model(family, **{"classes": 5, "fusion": "aff", **FAMILIES[family], **changes})


def blocks(block):
    yield block
    for child in block._children.values():
        yield from blocks(child)


def shapes(net, *but):
    parameters = net._collect_params_with_prefix().items()
    return {name: tuple(p.shape) for name, p in parameters if not name.endswith(but or ("nothing",))}


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_group_norm_takes_every_place_and_keeps_names_and_gammas(family):
    plain, grouped = network(family), network(family)
    use_norm_layer(grouped, "group")
    left = [block for block in blocks(grouped) if isinstance(block, nn.BatchNorm)]
    assert len(left) == (family in ("cifar_resnet", "cifar_inception"))  # that of the input, which learns nothing
    assert sum(isinstance(block, GroupNorm) for block in blocks(grouped)) > 10
    expected = shapes(plain, "running_mean", "running_var")
    assert shapes(grouped, "running_mean", "running_var") == expected
    before, after = (net._collect_params_with_prefix() for net in (plain, grouped))
    assert {name: after[name].init for name in expected} == {name: before[name].init for name in expected}
    assert [after[name].name.split("_", 1)[1] for name in expected] == [
        before[name].name.split("_", 1)[1] for name in expected
    ]


def test_network_of_group_norm_does_the_same_alone_as_among_others():
    net = network("cifar_resnext")
    use_norm_layer(net, "group")
    net.initialize()
    images = mx.nd.array(np.random.default_rng(0).normal(size=(4, 3, 16, 16)))
    with mx.autograd.record():
        together, alone = net(images), net(images[:1])
        loss = together.sum()
    loss.backward()
    np.testing.assert_allclose(together[:1].asnumpy(), alone.asnumpy(), rtol=1e-3, atol=1e-4)
    assert abs(together.asnumpy()).max() > 0


def test_batch_is_no_change():
    net = network("cifar_resnet")
    before = list(blocks(net))
    use_norm_layer(net, "batch")
    synchronise_batch_norm(net, [mx.cpu(0)])
    assert list(blocks(net)) == before


def test_other_words_are_refused():
    with pytest.raises(ValueError, match=r"norm_layer='layer': expected one of batch, group"):
        use_norm_layer(network("cifar_resnet"), "layer")


def test_layer_of_one_channel_is_refused():
    net = network("cifar_resnet", r=32)
    with pytest.raises(ValueError, match="group norm over 1 channel"):
        use_norm_layer(net, "group")


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_synchronised_batch_norm_takes_every_place_and_keeps_every_parameter(family, monkeypatch):
    monkeypatch.setenv("MXNET_CPU_TEMP_COPY", "4")
    monkeypatch.setenv("MXNET_CPU_WORKER_NTHREADS", "16")
    plain, synchronised = network(family), network(family)
    synchronise_batch_norm(synchronised, [mx.cpu(0), mx.cpu(1)])
    layers = [block for block in blocks(synchronised) if isinstance(block, nn.BatchNorm)]
    assert len(layers) == sum(isinstance(block, nn.BatchNorm) for block in blocks(plain))
    assert {type(layer).__name__ for layer in layers} == {"SyncBatchNorm"}
    assert {layer._kwargs["ndev"] for layer in layers} == {2}
    assert len({layer._kwargs["key"] for layer in layers}) == len(layers)
    assert shapes(synchronised) == shapes(plain)
    for name, parameter in plain._collect_params_with_prefix().items():
        other = synchronised._collect_params_with_prefix()[name]
        assert (other.init, other.grad_req) == (parameter.init, parameter.grad_req), name


@pytest.mark.parametrize("threads", [None, "1", "4", "many"])
def test_contexts_that_could_wait_for_ever_are_refused(monkeypatch, threads):
    monkeypatch.delenv("MXNET_CPU_WORKER_NTHREADS", raising=False)
    if threads:
        monkeypatch.setenv("MXNET_CPU_WORKER_NTHREADS", threads)
    net = network("cifar_resnet")
    before = list(blocks(net))
    with pytest.raises(ConfigError, match="start the command again with MXNET_CPU_WORKER_NTHREADS=16"):
        synchronise_batch_norm(net, [mx.cpu(0), mx.cpu(1)])
    assert list(blocks(net)) == before


#: Trains on noise, whose pixels are all different. In a process of its own, since MXNet reads the number of its
#: workspaces once: with few of them two devices that wait for each other never end.
CURVES = """
import json, sys
import numpy as np
from fusion.compat import mx
from fusion.data.imageset import ImageSet
from fusion.devices import contexts
from fusion.models.normalisation import synchronise_batch_norm
from fusion.tasks import find_task
from fusion.training import engine
from fusion.training.config import read_config
from fusion.training.preparation import build_batches, build_network, build_trainer, start_weights

TASK = find_task("classification")


def train(device, batch_size, synchronised):
    words = ["model.name=cifar_resnet", "model.blocks=1", "model.channel_times=1", f"model.fusion={sys.argv[1]}",
             "schedule.lr=1e-4", "schedule.mode=constant", f"data.batch_size={batch_size}", "augment.crop_padding=0"]
    settings, devices = read_config(None, words), contexts(device)
    net = build_network(settings, 10)
    if synchronised:
        synchronise_batch_norm(net, devices)
    draw = np.random.default_rng(0)
    images, labels = draw.integers(256, size=(128, 16, 16, 3), dtype=np.uint8), draw.integers(10, size=128)
    data = ImageSet(images, labels, tuple("abcdefghij"), "noise")
    batches = build_batches(settings, data, devices)
    start_weights(net, settings, devices)
    before, losses = values(net), []
    trainer, loss = build_trainer(net, settings), TASK.loss(settings, None)
    for epoch in range(2):
        for batch in batches.epoch(epoch):
            output = engine.take_step(net, trainer, loss, batch, devices)
            losses.append(float(np.concatenate([part.asnumpy() for part in output.losses]).mean()))
    mx.nd.waitall()
    after = values(net)
    moved = {name: (after[name] - before[name]).ravel()[:20].tolist() for name in after}
    return {"losses": losses, "moved": moved}


def values(net):
    return {name: p._reduce().asnumpy() for name, p in net._collect_params_with_prefix().items()}


synchronised = train("cpu:2", 16, True)  # before anything else makes MXNet read how many workspaces it has
print(json.dumps([synchronised, train("cpu", 32, False), train("cpu:2", 16, False)]))
"""


@pytest.mark.parametrize("fusion", ["add", "aff"])
def test_two_devices_train_as_one_with_synchronised_batch_norm(fusion):
    own = {**os.environ, "MXNET_CPU_WORKER_NTHREADS": "16"}
    found = subprocess.run([sys.executable, "-c", CURVES, fusion], capture_output=True, text=True, timeout=300, env=own)
    assert found.returncode == 0, found.stderr
    two, one, apart = json.loads(found.stdout.splitlines()[-1])
    assert len(one["losses"]) == 8
    np.testing.assert_allclose(two["losses"], one["losses"], rtol=0, atol=1e-5)
    assert abs(np.subtract(apart["losses"], one["losses"])).max() > 1e-2
    for name, moved in one["moved"].items():  # running statistics too
        largest = max(map(abs, moved))
        # A convolution's bias before batch norm has no gradient but rounding.
        floor = 1e-7 if name.endswith("bias") else 0
        np.testing.assert_allclose(two["moved"][name], moved, rtol=0, atol=2e-2 * largest + floor, err_msg=name)
