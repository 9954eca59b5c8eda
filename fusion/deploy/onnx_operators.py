"""The translation of each of MXNet's operators to ONNX: one function each, in a table by the operator's name."""

from __future__ import annotations

from typing import Any, Callable, Dict, List

import numpy as np

from ..errors import ExportError
from .graph import VARIABLE, Node
from .onnx_graph import FLOAT, OnnxGraph
from .rewriting import is_mean_over_pixels

#: The operator that stands for a vector repeated over all pixels, where MXNet has a matrix product.
REPEATED_VECTOR = "repeated_vector"

Translator = Callable[[OnnxGraph, Node], None]

_TRANSLATORS: Dict[str, Translator] = {}


def translate(to: OnnxGraph, node: Node) -> None:
    """Add the translation of a node whose inputs are translated.

    Raises
    ------
    ExportError
        If the operator, or this use of it, has no translation.
    """
    if node.operator not in _TRANSLATORS:
        raise ExportError(f"{node.name}: the operator {node.operator} has no translation to ONNX here")
    _TRANSLATORS[node.operator](to, node)


def _translates(*operators: str) -> Callable[[Translator], Translator]:
    def register(translator: Translator) -> Translator:
        _TRANSLATORS.update(dict.fromkeys(operators, translator))
        return translator

    return register


def _untranslated(node: Node, what: str) -> ExportError:
    return ExportError(f"{node.name}: {node.operator} with {what} has no translation to ONNX here")


def _pair(node: Node, key: str, default: int) -> List[int]:
    """An attribute of two numbers, for height and width; one for another number of dimensions is refused."""
    found = list(node.value(key, ()) or (default, default))
    if len(found) != 2:
        raise _untranslated(node, f"{key}={found}")
    return found


@_translates(VARIABLE)
def _variable(to: OnnxGraph, node: Node) -> None:
    if node.name in to.arrays:
        to.constants[node.name] = to.arrays[node.name]
    to.tensors[node, 0] = node.name


# --- Layers ----------------------------------------------------------------------------------------------------------


@_translates("Convolution")
def _convolution(to: OnnxGraph, node: Node) -> None:
    to.result(
        node,
        "Conv",
        to.inputs(node),
        kernel_shape=_pair(node, "kernel", 1),
        strides=_pair(node, "stride", 1),
        dilations=_pair(node, "dilate", 1),
        pads=_pair(node, "pad", 0) * 2,
        group=node.value("num_group", 1),
    )


@_translates("Deconvolution")
def _transposed_convolution(to: OnnxGraph, node: Node) -> None:
    if node.value("target_shape", ()):
        raise _untranslated(node, f"target_shape={node.attributes['target_shape']}")
    to.result(
        node,
        "ConvTranspose",
        to.inputs(node),
        kernel_shape=_pair(node, "kernel", 1),
        strides=_pair(node, "stride", 1),
        dilations=_pair(node, "dilate", 1),
        pads=_pair(node, "pad", 0) * 2,
        output_padding=_pair(node, "adj", 0),
        group=node.value("num_group", 1),
    )


@_translates("BatchNorm", "_contrib_SyncBatchNorm")
def _batch_norm(to: OnnxGraph, node: Node) -> None:
    if node.value("axis", 1) != 1:
        raise _untranslated(node, f"axis={node.attributes['axis']}")
    x, gamma, *others = to.inputs(node)
    if node.value("fix_gamma", True):
        gamma = to.constant(f"{to.unique[node]}_ones", np.ones_like(to.arrays[gamma]), np.float32)
    to.result(node, "BatchNormalization", [x, gamma, *others], epsilon=node.value("eps", 1e-3))


@_translates("_contrib_AdaptiveAvgPooling2D")
def _adaptive_average_pool(to: OnnxGraph, node: Node) -> None:
    if not is_mean_over_pixels(node):
        raise _untranslated(node, f"output_size={node.attributes['output_size']}")
    to.result(node, "GlobalAveragePool", to.inputs(node))


@_translates("Pooling")
def _pooling(to: OnnxGraph, node: Node) -> None:
    kind = {"max": "MaxPool", "avg": "AveragePool"}.get(node.value("pool_type", "max"))
    if kind is None:
        raise _untranslated(node, f"pool_type={node.attributes['pool_type']}")
    if node.value("global_pool", False):
        to.result(node, f"Global{kind}", to.inputs(node))
        return
    kernel, strides, pads = _pair(node, "kernel", 1), _pair(node, "stride", 1), _pair(node, "pad", 0)
    convention = node.value("pooling_convention", "valid")
    if convention not in ("valid", "full"):
        raise _untranslated(node, f"pooling_convention={convention}")
    sizes = to.shapes[node.inputs[0]][2:]
    # Runtimes disagree on what "ceil" means at the edge, so it is asked for only where it may make a difference.
    exact = all(
        t == 1 or (s is not None and (s + 2 * p - k) % t == 0) for s, k, t, p in zip(sizes, kernel, strides, pads)
    )
    attributes: Dict[str, Any] = {"kernel_shape": kernel, "strides": strides, "pads": pads * 2}
    attributes["ceil_mode"] = int(convention == "full" and not exact)
    if kind == "AveragePool":
        attributes["count_include_pad"] = int(node.value("count_include_pad", True))
    to.result(node, kind, to.inputs(node), **attributes)


@_translates("FullyConnected")
def _fully_connected(to: OnnxGraph, node: Node) -> None:
    x, *others = to.inputs(node)
    if len(to.shapes[node.inputs[0]]) != 2:
        if not node.value("flatten", True):
            raise _untranslated(node, "flatten=False")
        x = to.emit("Flatten", [x], f"{to.unique[node]}_flat", axis=1)
    to.result(node, "Gemm", [x, *others], transB=1)


@_translates("softmax")
def _softmax(to: OnnxGraph, node: Node) -> None:
    to.result(node, "Softmax", to.inputs(node), axis=node.value("axis", -1))


# --- Element by element ----------------------------------------------------------------------------------------------

_ACTIVATIONS = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softrelu": "Softplus", "softsign": "Softsign"}


@_translates("Activation")
def _activation(to: OnnxGraph, node: Node) -> None:
    to.elementwise(node, _ACTIVATIONS[node.attributes["act_type"]], to.inputs(node))


@_translates("relu", "sigmoid", "tanh", "sqrt")
def _function(to: OnnxGraph, node: Node) -> None:
    to.elementwise(node, node.operator.capitalize(), to.inputs(node))


@_translates("square")
def _square(to: OnnxGraph, node: Node) -> None:
    to.elementwise(node, "Mul", to.inputs(node) * 2)


@_translates("rsqrt")
def _rsqrt(to: OnnxGraph, node: Node) -> None:
    to.result(node, "Reciprocal", [to.emit("Sqrt", to.inputs(node), f"{to.unique[node]}_sqrt")])


_BINARY = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div"}


@_translates(*(f"{kind}_{word}" for kind in ("elemwise", "broadcast") for word in _BINARY))
def _binary(to: OnnxGraph, node: Node) -> None:
    to.elementwise(node, _BINARY[node.operator.split("_")[1]], to.inputs(node))


@_translates("add_n")
def _sum(to: OnnxGraph, node: Node) -> None:
    to.elementwise(node, "Sum", to.inputs(node))


#: Operators with a number as their second argument: ONNX's operator, and whether the number becomes the first argument.
_WITH_NUMBER = {
    "_plus_scalar": ("Add", False),
    "_minus_scalar": ("Sub", False),
    "_rminus_scalar": ("Sub", True),
    "_mul_scalar": ("Mul", False),
    "_div_scalar": ("Div", False),
}


@_translates(*_WITH_NUMBER)
def _with_number(to: OnnxGraph, node: Node) -> None:
    operator, number_first = _WITH_NUMBER[node.operator]
    (x,) = to.inputs(node)
    number = to.constant(f"{to.unique[node]}_number", node.value("scalar", 0.0), np.float32)
    to.elementwise(node, operator, [number, x] if number_first else [x, number])


@_translates(REPEATED_VECTOR)
def _repeated_vector(to: OnnxGraph, node: Node) -> None:
    to.repeat(node, to.inputs(node)[0])


@_translates("_copy", "identity", "BlockGrad", "Dropout")
def _nothing(to: OnnxGraph, node: Node) -> None:
    to.tensors[node, 0] = to.inputs(node)[0]


@_translates("Cast")
def _cast(to: OnnxGraph, node: Node) -> None:
    if node.value("dtype", "") != "float32":
        raise _untranslated(node, f"dtype={node.attributes.get('dtype')}")
    to.result(node, "Cast", to.inputs(node), to=FLOAT)


# --- Shapes and axes -------------------------------------------------------------------------------------------------


@_translates("Flatten", "Reshape", "reshape_like", "expand_dims", "squeeze")
def _reshape(to: OnnxGraph, node: Node) -> None:
    target = [-1 if size is None else size for size in to.shapes[node, 0]]
    if target.count(-1) > 1:
        raise _untranslated(node, f"shape={node.attributes.get('shape')}")
    shape = to.constant(f"{to.unique[node]}_shape", target, np.int64)
    to.result(node, "Reshape", [to.inputs(node)[0], shape])


def _size_of(to: OnnxGraph, node: Node, like: str) -> str:
    """Height and width of a tensor, as a tensor of two numbers."""
    return to.emit("Shape", [like], f"{to.unique[node]}_size", start=2, end=4)


@_translates("_contrib_BilinearResize2D")
def _bilinear_resize(to: OnnxGraph, node: Node) -> None:
    if node.value("mode", "size") != "like" or not node.value("align_corners", True):
        mode, aligned = node.value("mode", "size"), node.value("align_corners", True)
        raise _untranslated(node, f"mode={mode}, align_corners={aligned}")
    x, like = to.inputs(node)
    name = to.unique[node]
    channels = to.emit("Shape", [x], f"{name}_channels", start=0, end=2)
    sizes = to.emit("Concat", [channels, _size_of(to, node, like)], f"{name}_sizes", axis=0)
    to.result(node, "Resize", [x, "", "", sizes], mode="linear", coordinate_transformation_mode="align_corners")


@_translates("slice_like")
def _slice_like(to: OnnxGraph, node: Node) -> None:
    if sorted(node.value("axes", ())) != [2, 3]:
        raise _untranslated(node, f"axes={node.attributes.get('axes')}")
    x, like = to.inputs(node)
    name = to.unique[node]
    starts = to.constant(f"{name}_starts", [0, 0], np.int64)
    axes = to.constant(f"{name}_axes", [2, 3], np.int64)
    to.result(node, "Slice", [x, starts, _size_of(to, node, like), axes])


@_translates("mean")
def _mean(to: OnnxGraph, node: Node) -> None:
    axis = node.value("axis", None)
    if axis in (None, ()) or node.value("exclude", False):
        raise _untranslated(node, f"axis={axis}, exclude={node.value('exclude', False)}")
    axes = [axis] if isinstance(axis, int) else list(axis)
    to.result(node, "ReduceMean", to.inputs(node), axes=axes, keepdims=int(node.value("keepdims", False)))


@_translates("Concat")
def _concat(to: OnnxGraph, node: Node) -> None:
    to.result(node, "Concat", to.inputs(node), axis=node.value("dim", 1))


@_translates("SliceChannel")
def _split(to: OnnxGraph, node: Node) -> None:
    if node.value("squeeze_axis", False):
        raise _untranslated(node, "squeeze_axis=True")
    name = to.unique[node]
    outputs = [f"{name}_{number}" for number in range(node.value("num_outputs", 1))]
    to.tensors.update({(node, number): output for number, output in enumerate(outputs)})
    to.nodes.append(to.helper.make_node("Split", to.inputs(node), outputs, name, axis=node.value("axis", 1)))


@_translates("transpose")
def _transpose(to: OnnxGraph, node: Node) -> None:
    to.result(node, "Transpose", to.inputs(node), perm=list(node.value("axes", ())))
