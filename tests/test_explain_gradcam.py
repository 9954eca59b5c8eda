"""Grad-CAM against its closed form and against finite differences, and the command that draws it."""

from __future__ import annotations

import numpy as np
import pytest
from own_network import own_network
from PIL import Image
from run_folders import write_network

from fusion import get_model, list_fusions
from fusion.__main__ import main
from fusion.compat import mx, nn
from fusion.errors import ConfigError
from fusion.explain.gradcam import concentration, default_layer, grad_cam
from fusion.explain.layers import find_layer
from fusion.explain.panels import enlarged, overlay
from fusion.places import fusion_places, stages

TINY = {"blocks": 1, "channel_times": 1, "classes": 5}


def small(**changes):
    mx.random.seed(1)
    net = get_model("cifar_resnet", **{**TINY, **changes})
    net.initialize()
    return net


def images(count=3, size=16, dtype=np.float32):
    return np.random.default_rng(0).normal(size=(count, 3, size, size)).astype(dtype)


# --- The map ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def linear():
    """A convolution, the mean over pixels, and a dense layer."""
    mx.random.seed(0)
    net = nn.HybridSequential()
    net.add(nn.Conv2D(6, kernel_size=3, in_channels=3), nn.GlobalAvgPool2D(), nn.Dense(4, in_units=6))
    net.initialize(mx.init.Normal(1))
    return net


@pytest.mark.parametrize("wanted", [[0, 1, 3], [2, 2, 0]])
def test_of_a_linear_classifier_on_pooled_features_it_is_the_class_activation_map(linear, wanted):
    x = images()
    features = linear[0](mx.nd.array(x)).asnumpy()
    weights = linear[2].weight.data().asnumpy()[wanted]
    expected = np.maximum(np.einsum("bk,bkhw->bhw", weights, features), 0) / (14 * 14)
    found = grad_cam(linear, x, "0", wanted)
    assert found.shape == (3, 14, 14)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert (expected == 0).any() and (expected > 0).any()


def test_without_a_class_it_is_of_the_highest_logit(linear):
    x = images()
    best = linear(mx.nd.array(x)).asnumpy().argmax(axis=1)
    np.testing.assert_array_equal(grad_cam(linear, x, "0"), grad_cam(linear, x, "0", best.tolist()))
    others = ((best + 1) % 4).tolist()
    assert not np.allclose(grad_cam(linear, x, "0"), grad_cam(linear, x, "0", others))


@pytest.mark.parametrize(
    ("fusion", "layer"),
    [("aff", "stage2"), ("iaff", "stage1"), ("concat", "stage1.0.resfwd.2"), ("aff", "features.0"), ("iaff", "stage2")],
)
def test_weights_of_the_channels_are_the_slope_of_the_logit(fusion, layer):
    """Finite differences in float64: each channel of the output is moved, too little to reach a kink of a ReLU."""
    net = small(fusion=fusion)
    net.cast("float64")
    x, wanted, step = mx.nd.array(images(2, dtype=np.float64), dtype="float64"), [1, 4], 1e-9
    outputs = []

    def logits(channel, change):
        def move(block, inputs, output):
            outputs.append(output.asnumpy())
            output[:, channel] += change

        hook = find_layer(net, layer).register_forward_hook(move)
        try:
            return net(x).asnumpy()[range(2), wanted]
        finally:
            hook.detach()

    channels = grad_cam_channels(net, x, layer)
    slopes = [(logits(k, step) - logits(k, -step)) / (2 * step) for k in range(channels)]
    features = outputs[0]
    weights = np.stack(slopes, axis=1) / np.prod(features.shape[2:])
    expected = np.maximum(np.einsum("bk,bkhw->bhw", weights, features), 0)
    found = grad_cam(net, x, layer, wanted)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * expected.max())
    assert expected.max() > 0


def grad_cam_channels(net, x, layer):
    shapes = []
    hook = find_layer(net, layer).register_forward_hook(lambda block, inputs, output: shapes.append(output.shape))
    net(x)
    hook.detach()
    return shapes[0][1]


def test_an_image_s_map_does_not_depend_on_the_others():
    net, x = small(), images()
    together = grad_cam(net, x, "stage3", [0, 1, 2])
    for index in range(3):
        alone = grad_cam(net, x[index : index + 1], "stage3", [index])
        np.testing.assert_allclose(together[index], alone[0], rtol=1e-3, atol=1e-6)


def test_the_network_is_left_as_it_was():
    net, x = small(), images()
    net(mx.nd.array(x))
    for parameter in net.collect_params().values():
        if parameter.grad_req != "null":
            parameter.grad()[:] = 7
    before = {name: parameter.data().asnumpy() for name, parameter in net.collect_params().items()}
    answers = net(mx.nd.array(x)).asnumpy()
    grad_cam(net, x, "stage1")
    mx.nd.waitall()
    for name, parameter in net.collect_params().items():
        np.testing.assert_array_equal(parameter.data().asnumpy(), before[name], err_msg=name)
        if parameter.grad_req != "null":
            assert (parameter.grad().asnumpy() == 7).all(), name
    np.testing.assert_array_equal(net(mx.nd.array(x)).asnumpy(), answers)
    assert not find_layer(net, "stage1")._forward_hooks


def test_of_a_compiled_network_it_is_the_same_and_the_network_stays_compiled():
    net, x = small(), images()
    expected = grad_cam(net, x, "stage2")
    net.hybridize()
    net(mx.nd.array(x))
    np.testing.assert_allclose(grad_cam(net, x, "stage2"), expected, rtol=1e-4, atol=1e-7)
    assert net._active


@pytest.mark.parametrize("fusion", list_fusions())
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_of_networks_with_any_fusion(fusion, norm):
    net = small(fusion=fusion, norm=norm)
    for layer, size in (("stage1", 16), ("stage2", 8), ("stage3", 4)):
        found = grad_cam(net, images(2), layer)
        assert found.shape == (2, size, size)
        assert np.isfinite(found).all() and (found >= 0).all()


@pytest.mark.parametrize("name", ["aff_resnext38_32x4d", "iaff_resnet50", "resnext50_32x4d"])
def test_of_named_models(name):
    net = get_model(name, classes=3)
    net.initialize()
    size = 32 if net.input_size == 32 else 64
    count = 3 if size == 32 else 4
    assert default_layer(net) == f"stage{count}"
    side = size // 4 if size == 32 else size // 16
    layer = "stage3"
    assert grad_cam(net, images(1, size), layer).shape == (1, side, side)


@pytest.mark.parametrize(
    ("heat", "share", "expected"),
    [([[1, 1], [1, 1]], 0.5, 0.5), ([[0, 0], [7, 0]], 0.5, 0.25), ([[1, 2], [3, 4]], 0.6, 0.5), ([[5, 2, 2, 1]], 1, 1)],
)
def test_concentration_is_the_smallest_part_with_that_share(heat, share, expected):
    assert concentration(np.array(heat, np.float32), share) == expected


def test_map_of_zeros_is_not_concentrated():
    assert np.isnan(concentration(np.zeros((2, 2))))


# --- Layers ----------------------------------------------------------------------------------------------------------


def test_stages_and_fusion_blocks_are_found_by_what_they_hold():
    net = small(fusion="aff", start_layer=3, blocks=2, deep_stem=True)
    assert [name for name, _ in stages(net)] == ["features.8", "features.9", "features.10"]
    places = [(place.name, place.stage, place.position) for place in fusion_places(net)]
    assert places[:3] == [
        ("features.8.0.attention", 1, 1),
        ("features.8.1.attention", 1, 2),
        ("features.9.0.attention", 2, 1),
    ]
    assert len(places) == 6
    assert find_layer(net, "stage3.1.attention") is net.features[10][1].attention is fusion_places(net)[-1].block


def test_units_of_an_inception_block_are_told_apart():
    net = get_model("cifar_inception", blocks=2, classes=5)
    assert [name for name, _ in stages(net)] == ["features.2", "features.3", "features.4"]
    places = fusion_places(net)
    assert [(place.name, place.title) for place in places[:4]] == [
        ("features.1.fuse", "layer features.1"),
        ("features.2.0.conv1.fuse", "stage 1, block 1, unit 1"),
        ("features.2.0.conv2.fuse", "stage 1, block 1, unit 2"),
        ("features.2.1.conv1.fuse", "stage 1, block 2, unit 1"),
    ]
    assert len(places) == 1 + 3 * 2 * 2
    assert {place.inputs for place in places} == {("5x5 branch", "3x3 branch")}
    assert find_layer(net, "stage3.1.conv2.fuse") is places[-1].block


def test_container_of_stages_is_no_stage():
    net = nn.HybridSequential()
    for family in ("cifar_resnet", "cifar_inception"):
        kept = nn.HybridSequential()
        kept.add(*(block for _, block in stages(get_model(family, blocks=1, channel_times=1))))
        net.add(kept)
    assert [name for name, _ in stages(net)] == ["0.0", "0.1", "0.2", "1.0", "1.1", "1.2"]


def test_layer_that_is_not_there_is_refused_by_the_nearest_and_those_there_are():
    with pytest.raises(ConfigError, match=r"'stage4': did you mean 'stage[123]'.* There are stage1, stage1.0, stage2"):
        grad_cam(small(), images(1), "stage4")
    with pytest.raises(
        ConfigError, match="no layer is named 'wheel': 160 names are known, of which .* There are stage1.*output"
    ):
        grad_cam(small(), images(1), "wheel")


@pytest.mark.parametrize("layer", ["output", "features.7", "features.8"])
def test_layer_without_pixels_is_refused(layer):
    net = small()
    with pytest.raises(ConfigError, match="no map"):
        grad_cam(net, images(1), layer)
    assert not find_layer(net, layer)._forward_hooks


@pytest.mark.parametrize("classes", [[0], [0, 5], [-1, 0], [0.5, 1.0], ["ant", "bee"]])
def test_classes_that_are_not_the_network_s_are_refused(classes):
    with pytest.raises(ConfigError, match="expected"):
        grad_cam(small(), images(2), "stage1", classes)


def test_network_without_stages_has_no_default_layer(linear):
    with pytest.raises(ConfigError, match="say which layer"):
        default_layer(linear)


# --- Overlays --------------------------------------------------------------------------------------------------------


def test_overlay_is_hot_where_the_map_is_and_grey_elsewhere():
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[..., 1] = 200
    heat = np.zeros((8, 8), np.float32)
    heat[1, 6] = 0.3
    found = overlay(picture, heat, 256).astype(int)
    assert found.shape == (256, 256, 3)
    cold = found[200, 40]
    assert np.ptp(cold) == 0
    hot = found[48, 208]  # the middle of that pixel, enlarged 32 times
    assert hot[0] - hot[2] > 60
    np.testing.assert_array_equal(overlay(picture, 5 * heat, 256), found)


def test_overlay_of_nothing_is_the_image_in_grey():
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    found = overlay(picture, np.zeros((2, 2)), 16)
    assert (np.ptp(found.astype(int), axis=2) == 0).all()


def test_enlarging_keeps_range_and_place():
    array = np.zeros((4, 4), np.float32)
    array[0, 3] = 1
    found = enlarged(array, 40, 40)
    assert found.shape == (40, 40)
    assert found.min() == 0 and 0.9 < found.max() <= 1
    assert np.unravel_index(found.argmax(), found.shape)[0] < 10 <= 30 <= np.unravel_index(found.argmax(), (40, 40))[1]


# --- The command -----------------------------------------------------------------------------------------------------

CLASSES = ("ant", "bee", "cat")
WORDS = [
    "model.name=cifar_resnet",
    "model.blocks=1",
    "model.channel_times=1",
    "data.name=image_folder",
    "data.dir=none",
    "data.size=16",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two runs and four images, one of them broken."""
    root = tmp_path_factory.mktemp("gradcam")
    for fusion in ("add", "aff"):
        write_network(root / fusion, [*WORDS, f"model.fusion={fusion}"], CLASSES)
    (root / "photos" / "bee").mkdir(parents=True)
    draw = np.random.default_rng(0)
    for number in range(3):
        picture = draw.integers(0, 256, (20 + number, 16, 3), dtype=np.uint8)
        Image.fromarray(picture).save(root / "photos" / "bee" / f"{number}.png")
    (root / "photos" / "broken.png").write_text("no image")
    return root


def gradcam(folder, *words):
    return main(["gradcam", "--run", str(folder / "aff"), *map(str, words)])


def test_command_writes_a_sheet_and_an_overlay_for_each_image_network_and_layer(folder, tmp_path, capsys):
    target = tmp_path / "new" / "maps"
    words = ("--compare", folder / "add", "--layers", "stage2,stage3", "--output", target, "--batch-size", 2)
    assert gradcam(folder, folder / "photos" / "bee", *words) == 0
    files = sorted(path.name for path in target.iterdir())
    assert len(files) == 1 + 3 * 2 * 2
    assert files[0] == "001_0_cifar_resnet-add-_stage2.png"
    assert files[-1] == "sheet.png"
    assert Image.open(target / files[0]).size == (256, 256)
    assert Image.open(target / "sheet.png").width == 990
    printed = capsys.readouterr().out
    assert printed.count(" %") == 4
    assert "3 of 3 images, 4 maps each" in printed and "12 overlays" in printed
    assert not [path for path in target.parent.iterdir() if path != target]


def test_unreadable_image_is_reported_and_does_not_stop_the_rest(folder, tmp_path, capsys):
    assert gradcam(folder, folder / "photos", "--output", tmp_path / "maps") == 1
    said = capsys.readouterr()
    assert "broken.png" in said.err
    assert "3 of 3 images" in said.out


def test_only_unreadable_images_leave_nothing(folder, tmp_path, capsys):
    assert gradcam(folder, folder / "photos" / "broken.png", "--output", tmp_path / "maps") == 2
    assert "no image can be read: 1 file tried" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_long_names_are_cut(folder, tmp_path):
    save = tmp_path / f"{'long' * 50}.png"
    save.write_bytes((folder / "photos" / "bee" / "0.png").read_bytes())
    assert gradcam(folder, save, "--output", tmp_path / "maps") == 0


def test_maps_are_of_the_class_that_is_asked_for(folder, tmp_path):
    bee = folder / "photos" / "bee" / "0.png"
    for name in ("ant", "cat"):
        assert gradcam(folder, bee, "--class", name, "--output", tmp_path / name) == 0
    ant, cat = (np.asarray(Image.open(next((tmp_path / name).glob("001*")))) for name in ("ant", "cat"))
    assert (ant != cat).any()


def test_folder_that_is_there_asks_for_force_which_keeps_other_files(folder, tmp_path, capsys):
    (tmp_path / "note.txt").write_text("mine")
    (tmp_path / "sheet.png").write_text("old")
    bee = folder / "photos" / "bee"
    assert gradcam(folder, bee, "--output", tmp_path) == 2
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "sheet.png").read_text() == "old"
    assert gradcam(folder, bee, "--output", tmp_path, "--force") == 0
    assert Image.open(tmp_path / "sheet.png").width == 990
    assert (tmp_path / "note.txt").read_text() == "mine"
    assert gradcam(folder, bee, "--output", tmp_path / "note.txt", "--force") == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--class", "been"], "did you mean 'bee'"),
        (["--layers", "stage9"], "did you mean"),
        (["--layers", "output"], "no map"),
        (["--compare", "{root}/none"], "not the folder of a run"),
        (["--checkpoint", "{root}/add/checkpoints/best.params"], "parameters of another network"),
        (["--batch-size", "0"], "expected at least 1"),
    ],
)
def test_what_is_not_there_is_refused_and_nothing_is_written(folder, tmp_path, capsys, words, message):
    words = [word.format(root=folder) for word in words]
    assert gradcam(folder, folder / "photos" / "bee", *words, "--output", tmp_path / "maps") == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_sheet_says_what_another_class_s_network_answers(folder, tmp_path):
    from fusion.explain.gradcam_picture import look_at
    from fusion.inference.trained import load_run

    trained = load_run(folder / "aff")
    picture = trained.preparation.read(folder / "photos" / "bee" / "0.png")[None]
    ((own,),) = look_at(trained, picture, ["stage3"])
    answer = own.caption.split(":")[0]
    other = next(name for name in CLASSES if name != answer)
    ((look,),) = look_at(trained, picture, ["stage3"], other)
    assert look.caption.startswith(f"{other}: ") and f"({answer})" in look.caption


@pytest.mark.parametrize("compiled", [False, True])
def test_network_of_one_s_own_is_looked_into_by_the_names_of_its_blocks(compiled):
    net = own_network()
    images = np.random.default_rng(0).standard_normal((2, 1, 12, 12)).astype(np.float32)
    if compiled:
        net.hybridize()
    heat = grad_cam(net, images, "second", classes=[1, 4])
    assert heat.shape == (2, 6, 6)
    maps = net.second(net.pool(net.first(net.stem(mx.nd.array(images))))).asnumpy()
    weights = net.head.weight.data().asnumpy()[[1, 4]] / 36  # of each channel's mean over 6x6 pixels
    np.testing.assert_allclose(heat, np.maximum(np.einsum("bc,bchw->bhw", weights, maps), 0), rtol=1e-4, atol=1e-6)
    with pytest.raises(ConfigError, match="no layer is named 'stage1'"):
        grad_cam(net, images, "stage1")
