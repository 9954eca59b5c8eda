"""The maps of a network's stages: those that the whole network computes, with its weights and their names."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fusion import get_long_skip, get_model
from fusion.compat import mx
from fusion.errors import CheckpointError
from fusion.models.zoo import FAMILIES

NARROW = {"blocks": 1, "channel_times": 1, "classes": 3}

#: Of each family: its arguments, the layers whose outputs are the maps, and what the maps are.
CASES = {
    "cifar_resnet": (NARROW, ["features.2", "features.3", "features.6"], (16, 32, 64), (1, 2, 4)),
    "cifar_resnext": (
        {**NARROW, "bottleneck_width": 4},
        ["features.3", "features.4", "features.5"],
        (64, 128, 256),
        (1, 2, 4),
    ),
    "cifar_inception": (NARROW, ["features.2", "features.3", "features.6"], (16, 32, 64), (1, 2, 4)),
    "resnet": ({"classes": 3}, ["layer1", "layer2", "layer3", "layer4"], (256, 512, 1024, 2048), (4, 8, 16, 32)),
    "resnext": ({"classes": 3}, [f"features.{i}" for i in (10, 11, 12, 13)], (256, 512, 1024, 2048), (4, 8, 16, 32)),
    "fpn": (NARROW, [f"pyramid.encoder.layer{i}" for i in (1, 2, 3)], (16, 32, 64), (4, 8, 16)),
    "unet": ({**NARROW, "tiny": True}, [f"pyramid.encoder.layer{i}" for i in (1, 2, 3)], (16, 32, 64), (1, 2, 4)),
}


def child(block, path):
    for key in path.split("."):
        block = block._children[key]
    return block


def images(side=32, batch=2):
    return mx.nd.array(np.random.default_rng(0).standard_normal((batch, 3, side, side)))


def narrow(**changes):
    mx.random.seed(0)
    net = get_model("cifar_resnet", **{**NARROW, **changes})
    net.initialize()
    return net


def test_every_family_is_tried():
    assert {*CASES} == {*FAMILIES}


@pytest.mark.parametrize("family", CASES)
def test_maps_are_those_that_the_whole_network_computes(family):
    arguments, layers, channels, strides = CASES[family]
    mx.random.seed(0)
    net = get_model(family, **arguments)
    net.initialize()
    x = images(64 if channels[-1] == 2048 else 32, batch=1)
    seen = []
    hooks = [child(net, layer).register_forward_hook(lambda _, __, out: seen.append(out.asnumpy())) for layer in layers]
    net(x)
    for hook in hooks:
        hook.detach()
    maps = net.features_only()
    assert (maps.stages, maps.channels, maps.strides) == (tuple(range(1, len(layers) + 1)), channels, strides)
    found = maps(x)
    assert isinstance(found, list)
    for one, expected, width, stride in zip(found, seen, channels, strides):
        assert one.shape == (1, width, -(-x.shape[2] // stride), -(-x.shape[3] // stride))
        np.testing.assert_array_equal(one.asnumpy(), expected)
    maps.hybridize()
    for one, expected in zip(maps(x), seen):
        np.testing.assert_allclose(one.asnumpy(), expected, rtol=1e-4, atol=1e-4)


def test_stages_are_chosen_and_need_no_other_parameters():
    net = narrow()
    maps = net.features_only(out_stages=(1, 2))
    assert (maps.stages, maps.channels, maps.strides) == ((1, 2), (16, 32), (1, 2))
    expected = [one.asnumpy() for one in net.features_only()(images())]
    for one, two in zip(maps(images()), expected):
        np.testing.assert_array_equal(one.asnumpy(), two)
    names = {*maps._collect_params_with_prefix()}
    assert names == {
        name for name in net._collect_params_with_prefix() if name.startswith(tuple(f"features.{i}." for i in range(4)))
    }
    assert {parameter.name for parameter in maps._collect_params_with_prefix().values()} == {*maps.collect_params()}
    (only,) = net.features_only([3])(images())
    np.testing.assert_array_equal(only.asnumpy(), expected[2])


@pytest.mark.parametrize("out_stages", [(), (0,), (4,), (2, 1), (1, 1), ("1",), (True,), 0, "12"])
def test_stages_that_are_not_there_are_refused(out_stages):
    with pytest.raises(ValueError, match="expected numbers of stages from 1 to 3, in ascending order"):
        get_model("cifar_resnet", features_only=True, out_stages=out_stages, **NARROW)


def test_stages_of_a_whole_network_are_refused():
    with pytest.raises(ValueError, match="only features_only=True gives maps"):
        get_model("cifar_resnet", out_stages=(1,), **NARROW)


def test_whole_network_stays_as_it_is_and_shares_its_weights():
    net = narrow()
    before = net(images()).asnumpy()
    maps = net.features_only()
    np.testing.assert_array_equal(net(images()).asnumpy(), before)
    weight = next(parameter for name, parameter in maps.collect_params().items() if name.endswith("weight"))
    weight.set_data(weight.data() * 2)
    assert np.abs(net(images()).asnumpy() - before).max() > 0


def test_pretrained_maps_are_those_of_the_trained_network():
    net = get_model("aff_resnet8_digits", pretrained=True)
    maps = get_model("aff_resnet8_digits", pretrained=True, features_only=True, out_stages=(3,))
    (last,) = maps(images())
    pooled = mx.nd.flatten(mx.nd.contrib.AdaptiveAvgPooling2D(last, output_size=1))
    np.testing.assert_allclose(net.output(pooled).asnumpy(), net(images()).asnumpy(), rtol=1e-4, atol=1e-4)


def test_files_of_the_whole_network_and_of_the_maps_load(tmp_path):
    net = narrow()
    expected = [one.asnumpy() for one in net.features_only()(images())]
    net.save_parameters(str(tmp_path / "whole.params"))
    maps = get_model("cifar_resnet", features_only=True, **{**NARROW, "classes": 7})  # another classifier
    maps.load_parameters(str(tmp_path / "whole.params"))
    maps.save_parameters(str(tmp_path / "maps.params"))
    again = get_model("cifar_resnet", features_only=True, **NARROW)
    again.load_parameters(str(tmp_path / "maps.params"), ctx=mx.cpu())
    for one, two in zip(again(images()), expected):
        np.testing.assert_array_equal(one.asnumpy(), two)
    net.load_parameters(str(tmp_path / "maps.params"), allow_missing=True)


def test_file_of_another_network_is_refused(tmp_path):
    narrow(channel_times=2).save_parameters(str(tmp_path / "wide.params"))
    maps = get_model("cifar_resnet", features_only=True, **NARROW)
    with pytest.raises(CheckpointError, match="the parameters of another network"):
        maps.load_parameters(str(tmp_path / "wide.params"))
    with pytest.raises(CheckpointError):
        maps.load_parameters(str(tmp_path / "nowhere.params"))


def test_maps_are_exported_and_read_by_mxnet_alone(tmp_path):
    maps = narrow().features_only((2, 3))
    maps.hybridize()
    expected = [one.asnumpy() for one in maps(images())]
    maps.export(str(tmp_path / "maps"))
    nodes = json.loads((tmp_path / "maps-symbol.json").read_text())
    assert len(nodes["heads"]) == 2
    block = mx.gluon.SymbolBlock.imports(
        str(tmp_path / "maps-symbol.json"), ["data"], str(tmp_path / "maps-0000.params")
    )
    for one, two in zip(block(images()), expected):
        np.testing.assert_allclose(one.asnumpy(), two, rtol=1e-5, atol=1e-5)


def test_maps_of_a_fresh_network_are_initialised_as_the_family_s():
    maps = get_model("resnet", features_only=True, out_stages=(1,), classes=3)
    maps.initialize()
    names = maps._collect_params_with_prefix()
    assert names["layer1.0.bn3.gamma"].data().asnumpy().max() == 0  # last_gamma
    assert not any(name.startswith("layer2") for name in names)
    assert maps.network.fc.weight._data is None


def test_pyramid_on_the_maps_trains_all_of_its_parameters():
    maps = narrow().features_only()
    join = get_long_skip("aff", channels=32, high_channels=64)
    join.initialize()
    trainer = mx.gluon.Trainer([*maps.collect_params().values(), *join.collect_params().values()], "sgd")
    with mx.autograd.record():
        _, fine, coarse = maps(images())
        loss = (join(mx.nd.contrib.BilinearResize2D(coarse, fine, mode="like"), fine) ** 2).mean()
    loss.backward()
    trainer.step(1)  # Gluon complains of a parameter whose gradient was not computed
    assert np.isfinite(loss.asscalar())


def test_maps_follow_the_network_s_type():
    maps = narrow().features_only()
    maps.cast("float64")
    assert maps.dtype == "float64"
    assert {one.dtype for one in maps(images().astype("float64"))} == {np.float64}
