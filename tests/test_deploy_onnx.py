"""Networks through ONNX: every fusion block and normalisation, each operator's corners, and what has no translation."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from fusion import get_model, list_fusions
from fusion.compat import mx, nn
from fusion.deploy.onnx import IR_VERSION, OPSET, require, run_onnx, to_onnx
from fusion.deploy.symbols import trace
from fusion.deploy.verify import relative_difference
from fusion.errors import ConfigError, ExportError
from fusion.models.normalisation import use_norm_layer

TOLERANCE = 1e-5
BLOCKS = [name for name in list_fusions() if name != "MSCAM"]


def random_weights(net, image=(3, 16, 16)):
    """Every parameter drawn, running statistics too, so that none is what it would be by default."""
    draw = np.random.default_rng(0)
    net.initialize()
    net(mx.nd.zeros((2, *image)))
    for name, parameter in net.collect_params().items():
        if name.endswith(("gamma", "running_var")):
            parameter.set_data(mx.nd.array(draw.uniform(0.5, 1.5, parameter.shape)))
        elif name.endswith(("beta", "bias", "running_mean")):
            parameter.set_data(mx.nd.array(draw.normal(0, 0.3, parameter.shape)))
    return net


def translate(net, image=(3, 16, 16)):
    pytest.importorskip("onnx", reason="needs the extra onnx")
    return to_onnx(*trace(net, (2, *image)), image)


def differs(net, tmp_path, image=(3, 16, 16)):
    """The largest difference of ONNX Runtime's answers, at three batch sizes, for one model."""
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    (tmp_path / "net.onnx").write_bytes(translate(net, image).SerializeToString())
    draw = np.random.default_rng(1)
    batches = {str(size): draw.normal(size=(size, *image)).astype(np.float32) for size in (1, 2, 5)}
    answers = run_onnx(str(tmp_path / "net.onnx"), batches)
    return max(relative_difference(answers[key], net(mx.nd.array(batches[key])).asnumpy()) for key in batches)


def small(**changes):
    return random_weights(get_model("cifar_resnet", **{"blocks": 1, "channel_times": 1, "classes": 7, **changes}))


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
@pytest.mark.parametrize("fusion", BLOCKS)
def test_every_fusion_answers_the_same(fusion, norm, tmp_path):
    assert differs(small(fusion=fusion, norm=norm), tmp_path) < TOLERANCE


def test_all_fusions_are_tried():
    assert len(BLOCKS) == 25


@pytest.mark.parametrize(
    ("family", "changes", "image"),
    [
        ("cifar_resnext", {"blocks": 1, "channel_times": 1, "cardinality": 4, "bottleneck_width": 4}, (3, 16, 16)),
        ("cifar_resnet", {"blocks": 1, "channel_times": 1, "deep_stem": True, "final_drop": 0.2}, (3, 12, 20)),
        ("cifar_resnet", {"blocks": 1, "channel_times": 1, "avg_down": False}, (3, 16, 16)),
        ("cifar_resnet", {"blocks": 1, "channel_times": 1}, (3, 13, 15)),  # whose average pooling is not exact
        ("cifar_inception", {"blocks": 1, "as_released": True}, (3, 16, 16)),
        ("cifar_inception", {"blocks": 1, "start_layer": 2}, (3, 13, 15)),
    ],
)
def test_families_and_their_options(family, changes, image, tmp_path):
    net = random_weights(get_model(family, fusion="aff", classes=7, **changes), image)
    assert differs(net, tmp_path, image) < TOLERANCE


def test_group_norm_in_the_place_of_batch_norm(tmp_path):
    net = get_model("cifar_resnet", fusion="aff", blocks=1, channel_times=1)
    use_norm_layer(net, "group")
    assert differs(random_weights(net), tmp_path) < TOLERANCE


def test_gamma_that_mxnet_holds_at_one_is_one(tmp_path):
    net = nn.HybridSequential()
    net.add(nn.BatchNorm(scale=False, in_channels=3), nn.Conv2D(2, 3, in_channels=3))
    random_weights(net)
    net[0].gamma.set_data(mx.nd.full(3, 7))  # which the operator overlooks
    assert differs(net, tmp_path) < TOLERANCE


@pytest.mark.parametrize("side", [7, 8])
@pytest.mark.parametrize(
    "pool",
    [
        lambda: nn.AvgPool2D(2, 2, ceil_mode=True, count_include_pad=False),
        lambda: nn.AvgPool2D(3, 2, padding=1, count_include_pad=True),
        lambda: nn.AvgPool2D(3, 2, padding=1, count_include_pad=False),
        lambda: nn.MaxPool2D(3, 2, padding=1),
        lambda: nn.MaxPool2D(2, 2, ceil_mode=True),
        lambda: nn.GlobalAvgPool2D(),
        lambda: nn.GlobalMaxPool2D(),
    ],
)
def test_pooling(pool, side, tmp_path):
    net = nn.HybridSequential()
    net.add(pool())
    assert differs(random_weights(net, (3, side, side)), tmp_path, (3, side, side)) < TOLERANCE


@pytest.mark.parametrize("name", ["cifar_resnet20_v1", "cifar_resnet20_v2", "resnet18_v1b"])
def test_gluoncv_s_residual_networks(name, tmp_path):
    from gluoncv.model_zoo import get_model as gluoncv_model

    net = gluoncv_model(name, pretrained=False)
    image = (3, 32, 32) if name.startswith("cifar") else (3, 64, 64)
    assert differs(random_weights(net, image), tmp_path, image) < 1e-4


def test_batch_is_open_and_the_stamp_is_what_was_written():
    model = translate(small(fusion="aff"))
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    assert model.ir_version == IR_VERSION
    dimensions = [[d.dim_param or d.dim_value for d in t.type.tensor_type.shape.dim] for t in model.graph.input]
    assert dimensions == [["batch", 3, 16, 16]]
    (output,) = model.graph.output
    assert output.name == "logits"
    assert [d.dim_param or d.dim_value for d in output.type.tensor_type.shape.dim] == ["batch", 7]


@pytest.mark.parametrize("fusion", ["aff", "iaff", "se", "sk"])
def test_a_vector_is_broadcast_and_not_repeated_by_a_product(fusion):
    kinds = {node.op_type for node in translate(small(fusion=fusion)).graph.node}
    assert not kinds & {"MatMul", "Expand", "Slice"}


@pytest.mark.parametrize("fusion", ["aff", "iaff"])
def test_translation_is_exact_where_rounding_is_not_in_the_way(fusion):
    onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
    from onnx.reference import ReferenceEvaluator

    net = small(fusion=fusion)
    model = translate(net)
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            double = onnx.numpy_helper.to_array(tensor).astype(np.float64)
            tensor.CopyFrom(onnx.numpy_helper.from_array(double, tensor.name))
    images = np.random.default_rng(2).normal(size=(2, 3, 16, 16))
    (answers,) = ReferenceEvaluator(model).run(None, {"data": images})
    net.cast("float64")
    for parameter in net.collect_params().values():
        parameter.cast("float64")  # Gluon's batch norm keeps its own at float32
    assert relative_difference(answers, net(mx.nd.array(images, dtype="float64")).asnumpy()) < 1e-8


def test_a_layer_that_is_used_twice(tmp_path):
    class Twice(mx.gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2D(3, 1, in_channels=3)

        def hybrid_forward(self, F, x):
            return self.layer(self.layer(x))

    assert differs(random_weights(Twice()), tmp_path) < TOLERANCE


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.HybridLambda("erf"), "operator erf has no translation"),
        (nn.HybridLambda(lambda F, x: F.mean(x)), "mean with axis=None"),
        (nn.HybridLambda(lambda F, x: F.contrib.AdaptiveAvgPooling2D(x, output_size=2)), "output_size=2"),
    ],
)
def test_what_has_no_translation_is_named(layer, message):
    net = nn.HybridSequential()
    net.add(layer)
    random_weights(net)
    with pytest.raises(ExportError, match=message):
        translate(net)


def test_images_that_the_network_cannot_take():
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 5, in_channels=3))
    random_weights(net)
    with pytest.raises(ExportError, match=r"\(3, 2, 2\)"):
        translate(net, (3, 2, 2))


def test_missing_package_says_which_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"attentional-feature-fusion\[onnx\]"):
        require("onnxruntime")


def test_damaged_model_is_an_error_that_names_it(tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    (tmp_path / "net.onnx").write_bytes(b"no model")
    with pytest.raises(ExportError, match=r"net\.onnx"):
        run_onnx(str(tmp_path / "net.onnx"), {})
