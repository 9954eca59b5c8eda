"""Networks with an answer per pixel: sizes, encoders, decoders, gradients, export, summary, maps, what is refused."""

from __future__ import annotations

import numpy as np
import parity
import pytest

from fusion import get_model, list_fusions
from fusion.compat import mx
from fusion.deploy.onnx import run_onnx, to_onnx
from fusion.deploy.optimise import optimise
from fusion.deploy.symbols import load_graph, needed_arrays, save_graph, trace
from fusion.deploy.verify import relative_difference
from fusion.errors import CheckpointError, ExportError
from fusion.explain.fusion_maps import fusion_maps
from fusion.explain.gradcam import default_layer, grad_cam
from fusion.explain.summary import summarise
from fusion.models.network import count_classes
from fusion.models.normalisation import use_norm_layer
from fusion.models.zoo import classifier_of

FAMILIES = ("fpn", "unet")
SMALL_RESNET = {"name": "cifar_resnet", "blocks": 1, "channel_times": 1}
ODD = (37, 51)


def network(family="fpn", **changes):
    net = get_model(family, **{"fusion": "add", "blocks": 1, "classes": 2, **changes})
    parity.set_weights(net)
    return net


def images(size, count=2):
    return mx.nd.array(parity.features(11, (count, 3, *size)))


def refusal(family="fpn", **arguments):
    with pytest.raises(ValueError) as caught:
        get_model(family, **arguments)
    return str(caught.value)


# --- Every family and fusion -----------------------------------------------------------------------------------------


#: Keyword arguments of each network that is tried with every fusion.
NETWORKS = {
    "fpn": {"family": "fpn"},
    "unet": {"family": "unet", "tiny": True},
    "fpn of three inputs": {"family": "fpn", "join": "all"},
}


@pytest.mark.parametrize("fusion", list_fusions())
@pytest.mark.parametrize("which", NETWORKS)
def test_every_fusion_trains_at_two_sizes(which, fusion):
    net = network(fusion=fusion, **NETWORKS[which])
    net.hybridize(static_alloc=True, static_shape=True)
    for size in ((32, 48), ODD):
        x = images(size)
        x.attach_grad()
        with mx.autograd.record():
            logits = net(x)
        logits.backward(images(size)[:, :2])
        assert logits.shape == (2, 2, *size)
        assert 0 < np.abs(x.grad.asnumpy()).max() < np.inf
        learnt = {name: p.grad().asnumpy() for name, p in parity.each_structural(net) if p.grad_req != "null"}
        missed = {name for name, gradient in learnt.items() if not np.abs(gradient).max() > 0}
        # Gamma of the images' norm asks for a gradient and is kept from learning; a bias before a norm has none.
        assert {name for name in missed if not name.endswith(".bias")} <= {"stem.0.gamma"}
        assert "head.block.4.bias" not in missed


#: A network with each block, and the others with these.
OFTEN = ("DirectAdd", "ASKCFuse", "ResGlobLocaforGlobLocaCha")
EXPORTED = [
    pytest.param(which, fusion, marks=pytest.mark.long if number and fusion not in OFTEN else [])
    for number, which in enumerate(NETWORKS)
    for fusion in list_fusions()
]


@pytest.mark.parametrize(("which", "fusion"), EXPORTED)
def test_every_fusion_is_exported_for_images_of_any_size(which, fusion, tmp_path):
    net = network(fusion=fusion, **NETWORKS[which])
    assert exported_difference(net, tmp_path) < 1e-5


def exported_difference(net, tmp_path):
    """The largest difference of files of MXNet and ONNX from the network, at two sizes and batch sizes."""
    pytest.importorskip("onnx", reason="needs the extra onnx")
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    symbol, arrays = trace(net, (1, 3, 32, 32))
    save_graph(symbol, needed_arrays(symbol, arrays), tmp_path / "net")
    model = to_onnx(symbol, arrays, (3, 32, 32), varying=(1, 2))
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    batches = {size: images(size, count).asnumpy() for count, size in enumerate(((32, 48), ODD), start=1)}
    by_onnx = run_onnx(str(tmp_path / "net.onnx"), batches)
    by_mxnet = load_graph(tmp_path / "net")
    expected = {size: net(mx.nd.array(batch)).asnumpy() for size, batch in batches.items()}
    return max(
        relative_difference(found, expected[size])
        for size in batches
        for found in (by_onnx[size], by_mxnet(mx.nd.array(batches[size])).asnumpy())
    )


# --- Sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tiny", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_answer_has_the_size_of_the_image(family, tiny):
    net = network(family, tiny=tiny, classes=3, stages=4)
    for size in ((32, 32), (33, 40), (47, 31), (16, 17)):
        assert net(images(size)).shape == (2, 3, *size)


@pytest.mark.parametrize("family", FAMILIES)
def test_levels_are_rounded_up(family):
    pyramid = network(family).pyramid
    assert (pyramid.channels, pyramid.strides) == ((16, 32, 64), (4, 8, 16))
    assert [level.shape for level in pyramid(images((37, 50)))] == [(2, 16, 10, 13), (2, 32, 5, 7), (2, 64, 3, 4)]


def test_single_row_of_an_odd_size_changes_only_what_it_must():
    net = network("unet", tiny=True)
    whole, cut = images((32, 32), 1), images((32, 32), 1)[:, :, :, :31]
    near, far = net(whole).asnumpy()[0, :, :, 0], net(cut).asnumpy()[0, :, :, 0]
    assert np.abs(near - far).max() < 0.2 * np.abs(near).max()  # nothing is shifted


# --- Encoders and decoders -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [None, 24])
@pytest.mark.parametrize("family", FAMILIES)
def test_classifier_as_encoder(family, width, tmp_path):
    encoder = {**SMALL_RESNET, "fusion": "aff"}
    net = network(family, fusion="aff", encoder=encoder, decoder_width=width)
    assert net.pyramid.channels == ((16, 32, 64) if width is None else (24, 24, 24))
    assert net.pyramid.strides == (1, 2, 4)
    assert not any("output" in name for name, _ in parity.each_structural(net))
    net.hybridize()
    x = images(ODD)
    x.attach_grad()
    with mx.autograd.record():
        logits = net(x)
    logits.backward()
    assert logits.shape == (2, 2, *ODD)
    assert np.abs(x.grad.asnumpy()).max() > 0
    assert exported_difference(network(family, encoder=encoder, decoder_width=width), tmp_path) < 1e-5


@pytest.mark.parametrize(
    ("encoder", "dilated", "channels", "strides"),
    [
        ("aff_resnet50", False, (256, 512, 1024, 2048), (4, 8, 16, 32)),
        ("resnet50", True, (256, 512, 1024, 2048), (4, 8, 8, 8)),
        ("resnext50_32x4d", False, (256, 512, 1024, 2048), (4, 8, 16, 32)),
        ("cifar_resnext", False, (256, 512, 1024), (1, 2, 4)),
    ],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_encoders_by_name(family, encoder, dilated, channels, strides):
    net = get_model(family, encoder=encoder, dilated=dilated, decoder_width=64, classes=11)
    assert (net.pyramid.encoder.channels, net.pyramid.strides) == (channels, strides)
    arguments, shapes, _ = net(mx.sym.var("data")).infer_shape(data=(2, 3, 65, 97))  # inferred, which takes no time
    assert shapes == [(2, 11, 65, 97)]
    assert all(0 not in shape for shape in arguments)


def test_encoder_s_levels_are_the_classifier_s_stages():
    classifier = get_model(classes=5, fusion="aff", **classifier_named())
    parity.set_weights(classifier)
    net = network(encoder={**SMALL_RESNET, "fusion": "aff"})
    load_from(classifier, net.pyramid.encoder)
    levels = net.pyramid.encoder(images((32, 32)))
    pooled = levels[-1].mean(axis=(2, 3))
    found = mx.nd.dot(pooled, classifier.output.weight.data().T) + classifier.output.bias.data()
    np.testing.assert_allclose(found.asnumpy(), classifier(images((32, 32))).asnumpy(), rtol=0, atol=1e-4)


def classifier_named():
    return {"name": SMALL_RESNET["name"], **{key: SMALL_RESNET[key] for key in ("blocks", "channel_times")}}


def load_from(classifier, encoder):
    stored = classifier._collect_params_with_prefix()
    for name, parameter in encoder._collect_params_with_prefix().items():
        parameter.set_data(stored[name].data())


def test_all_levels_at_once_are_the_inputs_of_one_block():
    net = network(fusion="aff", join="all", stages=4)
    assert (net.pyramid.channels, net.pyramid.strides) == ((16,), (4,))
    levels = net.pyramid.encoder(images(ODD))
    same = net.pyramid.post(net.pyramid.fuse(*levels))
    np.testing.assert_array_equal(net.pyramid(images(ODD))[0].asnumpy(), same.asnumpy())
    weights = net.pyramid.fuse.weights(*levels)
    assert len(weights) == 4
    np.testing.assert_allclose(sum(weights).asnumpy(), 1, atol=1e-6)
    assert "join='all'" in refusal("unet", join="all")
    assert "MS-CAM takes a single input" in refusal(join="all", fusion="mscam")


# --- Weights of the encoder ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("started", [False, True])
def test_encoder_takes_the_weights_of_a_classifier(started, tmp_path):
    classifier = get_model(classes=5, fusion="aff", **classifier_named())
    parity.set_weights(classifier)
    classifier.save_parameters(str(tmp_path / "net.params"))
    net = get_model("unet", encoder={**SMALL_RESNET, "fusion": "aff"})
    if started:
        net.initialize()
    net.load_encoder(str(tmp_path / "net.params"))
    if not started:
        net.head.initialize()
        for name, block in net.pyramid._children.items():
            if name != "encoder":
                block.initialize()
    stored = classifier._collect_params_with_prefix()
    for name, parameter in net.pyramid.encoder._collect_params_with_prefix().items():
        np.testing.assert_array_equal(parameter.data().asnumpy(), stored[name].data().asnumpy(), name)
    assert net(images((32, 32))).shape == (2, 1, 32, 32)


def test_basic_encoder_takes_the_weights_of_another_dense_network(tmp_path):
    network("unet").save_parameters(str(tmp_path / "net.params"))
    net = get_model("fpn", blocks=1)
    net.initialize()
    net.load_encoder(str(tmp_path / "net.params"))
    found = net.pyramid.encoder._collect_params_with_prefix()
    assert {name.split(".")[0] for name in found} == {"stem", "layer1", "layer2", "layer3"}
    for name, parameter in found.items():
        np.testing.assert_array_equal(parameter.data().asnumpy(), parity.weight(name, parameter.shape), name)


def test_weights_of_another_encoder_are_refused(tmp_path):
    classifier = get_model(classes=5, fusion="add", **{**classifier_named(), "blocks": 2})
    classifier.initialize()
    classifier.save_parameters(str(tmp_path / "net.params"))
    net = get_model("fpn", encoder=SMALL_RESNET)
    with pytest.raises(CheckpointError, match="the parameters of another network"):
        net.load_encoder(str(tmp_path / "net.params"))
    with pytest.raises(CheckpointError, match=r"missing\.params: cannot be read"):
        net.load_encoder(str(tmp_path / "missing.params"))


# --- Files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_file_says_how_many_classes_there_are(family, tmp_path):
    network(family, classes=7).save_parameters(str(tmp_path / "net.params"))
    stored = mx.nd.load(str(tmp_path / "net.params"))
    assert count_classes(stored, classifier_of(family)) == 7
    again = get_model(family, pretrained=tmp_path / "net.params", fusion="add", blocks=1)
    assert again.classes == 7
    np.testing.assert_array_equal(again(images(ODD)).asnumpy(), network(family, classes=7)(images(ODD)).asnumpy())


# --- Group norm, optimisation, ONNX ----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_group_norm_in_the_place_of_batch_norm(family):
    net = get_model(family, fusion="aff", blocks=1, norm="group")
    use_norm_layer(net, "group")
    net.initialize()
    both = images(ODD)
    one = both[:1]
    with mx.autograd.train_mode():
        assert np.abs(net(one).asnumpy()[0] - net(both).asnumpy()[0]).max() > 1e-6  # the images' own norm stays
    np.testing.assert_allclose(net(one).asnumpy()[0], net(both).asnumpy()[0], atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_optimised_network_answers_the_same(family):
    net = network(family, fusion="aff")
    found = optimise(net, size=64)
    x = images((64, 64))
    assert relative_difference(found.block(x).asnumpy(), net(x).asnumpy()) < 1e-4


def test_map_of_unknown_size_has_no_translation():
    pytest.importorskip("onnx", reason="needs the extra onnx")
    net = get_model("fpn", fusion="aff", blocks=1)
    use_norm_layer(net, "group")
    net.initialize()
    symbol, arrays = trace(net, (1, 3, 32, 32))
    with pytest.raises(ExportError, match="has no translation to ONNX here"):
        to_onnx(symbol, arrays, (3, 32, 32), varying=(1, 2))


# --- Explained -------------------------------------------------------------------------------------------------------


def test_summary_counts_each_weight_of_a_transposed_convolution_once_per_input_pixel():
    rows = {row.name: row for row in summarise(network("unet", tiny=True), 32)}
    assert rows["deconv1"].multiply_adds == 32 * 16 * 4 * 4 * 16 * 16
    assert rows["deconv1"].output_shape == (16, 32, 32)
    assert rows["pyramid"].output_shape == rows["encoder"].output_shape == ()
    assert rows[""].multiply_adds == rows["pyramid"].multiply_adds + rows["head"].multiply_adds
    assert rows[""].output_shape == (2, 32, 32)


def test_grad_cam_explains_the_sum_of_a_class_over_all_pixels():
    net = network("unet")
    net.cast("float64")
    x = images((21, 19)).astype("float64")
    layer = default_layer(net)
    assert layer == "layer3"
    *finer, features = net.pyramid.encoder(x)

    def total(features):
        """The sum of the logits of class 1 of each image."""
        second = net.pyramid.step(mx.nd, 2, features, finer[1])
        return resized(net, net.pyramid.step(mx.nd, 1, second, finer[0]), x)[:, 1].sum(axis=(1, 2)).asnumpy()

    step, expected = 1e-6, 0
    for channel in range(features.shape[1]):  # the mean of a gradient over a channel's pixels, by finite differences
        answers = []
        for sign in (1, -1):
            moved = features.copy()
            moved[:, channel] += sign * step
            answers.append(total(moved))
        weight = (answers[0] - answers[1]) / (2 * step * features[0, 0].size)
        expected = expected + weight[:, None, None] * features[:, channel].asnumpy()
    expected = np.maximum(expected, 0)
    assert expected.max() > 0
    found = grad_cam(net, x, layer, [1, 1])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * expected.max())


def resized(net, finest, x):
    return mx.nd.contrib.BilinearResize2D(net.head(finest), x, mode="like")


def test_fusion_maps_have_the_size_of_their_level():
    net = network("fpn", fusion="iaff")
    found = fusion_maps(net, images(ODD))
    assert [(one.place.name, one.mean.shape) for one in found] == [
        *[("fuse23.fusion", (2, 5, 7))] * 2,
        *[("fuse12.fusion", (2, 10, 13))] * 2,
    ]


# --- What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"stages": 5}, "stages=5: expected one of 3, 4"),
        ({"head_drop": 1.0}, "head_drop=1.0: expected a fraction"),
        ({"decoder_width": 0}, "decoder_width=0: expected a positive integer"),
        ({"dilated": True}, "dilated=True is for an encoder of the family 'resnet'"),
        ({"encoder": "cifar_resnet", "dilated": True}, "cifar_resnet has no parameter 'dilated'"),
        ({"encoder": "cifar_resnet", "tiny": True}, "tiny=True is for encoder='basic'"),
        ({"encoder": "aff_resnet50", "stages": 4}, "stages=4 is for encoder='basic'"),
        ({"encoder": "unet"}, "encoder='unet': unet is no classifier"),
        ({"encoder": "resnet5"}, "encoder='resnet5': no such model 'resnet5'"),
        ({"encoder": {"blocks": 1}}, "no such model None"),
        ({"start_layer": 1}, "has no parameter 'start_layer'"),
        ({"join": "some"}, "join='some': known: "),
        ({"fusion": "mscam"}, "MS-CAM takes a single input"),
    ],
)
def test_impossible_arguments_are_refused(family, arguments, words):
    assert words in refusal(family, **arguments)
