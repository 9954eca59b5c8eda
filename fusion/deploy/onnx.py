"""An MXNet graph as an ONNX model with any batch size, and its answers by ONNX Runtime.

MXNet 1.9.1 has an exporter of its own, `mxnet.onnx.export_model`, which cannot take these networks: it refuses the
reshapes -3 of `fusion.attention.spread`, knows no `rsqrt`, reads `onnx.mapping`, which newer releases of onnx have
dropped, and stamps a model with the newest operator set that is installed, whatever set it wrote. This one knows the
operators of this package's networks and of GluonCV's ResNets, writes operator set 15, and takes every release of onnx
that knows it.

A translated graph has its image size built in, and its batch size open: shapes are inferred at two batch sizes, and
what differs between them is the batch. Where a block repeats a vector over all pixels by a matrix product, for the
sake of its gradient, the ONNX model broadcasts.
"""

from __future__ import annotations

import ast
import importlib
import json
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Set, Tuple

import numpy as np

from ..compat import mx
from ..errors import ConfigError, ExportError

#: The operator set that is written. In 13 batch norm has no word for inference, and the evaluator of onnx itself takes
#: it for training; from 18 on `ReduceMean` and `Split` are spelt otherwise than below.
OPSET = 15

#: The file format that operator set came with, which ONNX Runtime has read since 1.10.
IR_VERSION = 8

#: Names in the ONNX model.
INPUT, OUTPUT = "data", "logits"

#: Two batch sizes that no other dimension of a network depends on.
_BATCHES = (2, 3)

#: A dimension; None is the batch's, or a multiple of it.
Shape = Tuple[Optional[int], ...]


def require(name: str) -> Any:
    """Import a package of the extra `onnx`.

    Parameters
    ----------
    name : {'onnx', 'onnxruntime'}
        Which.

    Raises
    ------
    ConfigError
        If it is not installed; the message says how to.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"ONNX needs the package {name}, which cannot be imported ({error}): "
            "python -m pip install 'attentional-feature-fusion[onnx]' 'numpy<2'"
        ) from None


def to_onnx(symbol: Any, arrays: Mapping[str, np.ndarray], shape: Sequence[int], dtype: str = "float32") -> Any:
    """Translate an MXNet graph of one input and one output.

    Parameters
    ----------
    symbol : Symbol
        In inference, as `net(mx.sym.var("data"))` makes it.
    arrays : mapping of str to ndarray
        Parameters and running statistics by the graph's names, float32.
    shape : sequence of int
        Of the input without its batch, such as (3, 32, 32).
    dtype : str
        Of the input.

    Returns
    -------
    onnx.ModelProto
        From `data` (batch, *shape) to `logits` (batch, ...), checked by `onnx.checker`.

    Raises
    ------
    ExportError
        If an operator, or a use of it, has no translation here, or the input shape is impossible.
    ConfigError
        If onnx is not installed.
    """
    onnx = require("onnx")
    graph = _Graph(symbol, shape, arrays)
    translation = _Translation(onnx.helper, graph, arrays)
    for node in graph.needed():
        translation.add(node)
    model = translation.model(shape, dtype)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"onnx.checker refuses the translated model: {error}") from None
    return model


def run_onnx(file: str, batches: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """What ONNX Runtime answers.

    Parameters
    ----------
    file : str
        An ONNX model of one input and one output.
    batches : mapping of str to ndarray
        Inputs by a name of the caller's.

    Returns
    -------
    dict of str to ndarray
        Outputs by the same names.

    Raises
    ------
    ExportError
        If it refuses the model or an input.
    ConfigError
        If onnxruntime is not installed.
    """
    onnxruntime = require("onnxruntime")
    try:
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return {key: session.run(None, {name: batch})[0] for key, batch in batches.items()}
    except Exception as error:  # its errors share no class of their own
        raise ExportError(f"{file}: ONNX Runtime refuses it: {str(error).strip().splitlines()[0]}") from None


# --- MXNet's graph ---------------------------------------------------------------------------------------------------

#: A node's index, and which of its outputs.
Entry = Tuple[int, int]


@dataclass(frozen=True)
class _Node:
    """One operation of MXNet's graph; `op` is "null" for an input or parameter."""

    index: int
    name: str
    op: str
    attributes: Mapping[str, str]
    inputs: Tuple[Entry, ...]

    @property
    def outputs(self) -> int:
        """How many others can use: batch norm's statistics are outputs too, and hidden."""
        return int(self.value("num_outputs", 1)) if self.op == "SliceChannel" else 1

    def value(self, key: str, default: Any) -> Any:
        """An attribute as a number, tuple or truth value; a bare word as it is."""
        text = self.attributes.get(key)
        if text is None:
            return default
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError):
            return text

    def pair(self, key: str, default: int) -> List[int]:
        """An attribute of two numbers, one for each direction; all others are of other dimensions."""
        found = list(self.value(key, ()) or (default, default))
        if len(found) != 2:
            raise self.unknown(f"{key}={found}")
        return found

    def unknown(self, what: str) -> ExportError:
        return ExportError(f"{self.name}: {self.op} with {what} has no translation to ONNX here")


def _node(index: int, stored: Mapping[str, Any]) -> _Node:
    """From MXNet's JSON, under a name of its own: a layer that is used twice has two nodes of one name."""
    name = stored["name"] if stored["op"] == "null" else f"{stored['name']}.{index}"
    inputs = tuple((source, output) for source, output, _ in stored["inputs"])
    return _Node(index, name, stored["op"], stored.get("attrs", {}), inputs)


class _Graph:
    """MXNet's graph with the shape of everything, its batch unknown."""

    def __init__(self, symbol: Any, shape: Sequence[int], arrays: Mapping[str, np.ndarray]) -> None:
        stored = json.loads(symbol.tojson())
        self.nodes = [_node(index, node) for index, node in enumerate(stored["nodes"])]
        (head,) = stored["heads"]
        self.head: Entry = (head[0], head[1])
        inputs = [name for name in symbol.list_inputs() if name not in arrays]
        if inputs != [INPUT]:
            raise ExportError(f"the graph's inputs are {', '.join(inputs)}; expected one, {INPUT!r}")
        internals = symbol.get_internals()
        try:
            shapes = [internals.infer_shape(**{INPUT: (batch, *shape)})[1] for batch in _BATCHES]
        except mx.MXNetError:
            raise ExportError(f"the network cannot take images of shape {tuple(shape)}") from None
        entries = [(node.index, output) for node in self.nodes for output in range(node.outputs)]
        self._shapes: Dict[Entry, Shape] = {
            entry: tuple(a if a == b else None for a, b in zip(first, second))
            for entry, first, second in zip(entries, *shapes)
        }
        self.nodes = [self._broadcasting(node) for node in self.nodes]

    def shape(self, entry: Entry) -> Shape:
        return self._shapes[entry]

    def needed(self) -> List[_Node]:
        """What the output depends on, in order."""
        found: Set[int] = set()
        waiting = [self.head[0]]
        while waiting:
            index = waiting.pop()
            if index not in found:
                found.add(index)
                waiting += [source for source, _ in self.nodes[index].inputs]
        return [self.nodes[index] for index in sorted(found)]

    def _broadcasting(self, node: _Node) -> _Node:
        """`attention.spread`, which ends in a reshape of vector · ones, as one operation on the vector."""
        if node.op != "reshape_like":
            return node
        product = self.nodes[node.inputs[0][0]]
        if product.op != "dot":
            return node
        column, row = (self.nodes[source] for source, _ in product.inputs)
        if row.op != "ones_like" or column.op != "Reshape":
            return node
        vector = column.inputs[0]
        if self.shape(vector) != (*self.shape((node.index, 0))[:2], 1, 1):
            return node
        return _Node(node.index, node.name, _SPREAD, {}, (vector,))


#: The operation that `_Graph` puts in place of a repeated vector.
_SPREAD = "spread"


# --- ONNX's ----------------------------------------------------------------------------------------------------------


@dataclass
class _Translation:
    """The ONNX graph as it grows.

    Attributes
    ----------
    helper : module
        `onnx.helper`.
    graph : _Graph
        MXNet's.
    arrays : mapping
        Its parameters.
    nodes : list
        Of ONNX, in order.
    names : dict
        Of the tensor that holds each of MXNet's values.
    constants : dict
        Of ONNX, by name.
    vectors : dict
        From the name of a vector repeated over all pixels to that of the vector.
    """

    helper: Any
    graph: _Graph
    arrays: Mapping[str, np.ndarray]
    nodes: List[Any] = field(default_factory=list)
    names: Dict[Entry, str] = field(default_factory=dict)
    constants: Dict[str, np.ndarray] = field(default_factory=dict)
    vectors: Dict[str, str] = field(default_factory=dict)

    def add(self, node: _Node) -> None:
        """Translate one node whose inputs are translated."""
        if node.op == "null":
            if node.name in self.arrays:
                self.constants[node.name] = self.arrays[node.name]
            self.names[node.index, 0] = node.name
            return
        if node.op not in _TRANSLATORS:
            raise ExportError(f"{node.name}: the operator {node.op} has no translation to ONNX here")
        _TRANSLATORS[node.op](self, node)

    def inputs(self, node: _Node) -> List[str]:
        return [self.names[entry] for entry in node.inputs]

    def emit(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node of ONNX; returns its output."""
        self.nodes.append(self.helper.make_node(op, list(inputs), [output], output, **attributes))
        return output

    def result(self, node: _Node, op: str, inputs: Sequence[str], **attributes: Any) -> None:
        """Add the node of ONNX that computes the only used output of one of MXNet's."""
        self.names[node.index, 0] = self.emit(op, inputs, node.name, **attributes)

    def constant(self, name: str, value: Any, dtype: Any) -> str:
        self.constants[name] = np.asarray(value, dtype=dtype)
        return name

    def elementwise(self, node: _Node, op: str, inputs: Sequence[str]) -> None:
        """An operation a number, on vectors for as long as nothing else is involved."""
        slim = [self.vectors.get(name, name) for name in inputs]
        only_vectors = all(name in self.vectors or self.constants.get(name, _NOT_A_NUMBER).ndim == 0 for name in inputs)
        if only_vectors:
            self.repeat(node, self.emit(op, slim, f"{node.name}_vector"))
        else:
            self.result(node, op, slim)

    def repeat(self, node: _Node, vector: str) -> None:
        """Let a node's value be a vector repeated over all pixels."""
        target = [1 if size is None else size for size in self.graph.shape((node.index, 0))]
        self.result(node, "Expand", [vector, self.constant(f"{node.name}_shape", target, np.int64)])
        self.vectors[node.name] = vector

    def model(self, shape: Sequence[int], dtype: str) -> Any:
        """The whole model, without what nothing needs."""
        result = self.graph.shape(self.graph.head)
        self.emit("Identity", [self.names[self.graph.head]], OUTPUT)
        used, nodes = {OUTPUT}, []
        for node in reversed(self.nodes):
            if used.intersection(node.output):
                used.update(node.input)
                nodes.append(node)
        numpy_helper = require("onnx.numpy_helper")
        graph = self.helper.make_graph(
            nodes[::-1],
            "attentional_feature_fusion",
            [self._tensor(INPUT, dtype, shape)],
            [self._tensor(OUTPUT, "float32", result[1:])],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items() if name in used],
        )
        opset = self.helper.make_opsetid("", OPSET)
        model = self.helper.make_model(graph, opset_imports=[opset], producer_name="attentional-feature-fusion")
        model.ir_version = IR_VERSION
        return model

    def _tensor(self, name: str, dtype: str, shape: Sequence[Optional[int]]) -> Any:
        kind = {"float32": 1, "uint8": 2}[dtype]  # TensorProto.FLOAT and UINT8
        return self.helper.make_tensor_value_info(name, kind, ["batch", *shape])


_NOT_A_NUMBER = np.empty(1)

# --- Operators -------------------------------------------------------------------------------------------------------

Translator = Callable[[_Translation, _Node], None]
_TRANSLATORS: Dict[str, Translator] = {}


def _translates(*ops: str) -> Callable[[Translator], Translator]:
    def register(translator: Translator) -> Translator:
        _TRANSLATORS.update(dict.fromkeys(ops, translator))
        return translator

    return register


@_translates("Convolution")
def _convolution(to: _Translation, node: _Node) -> None:
    to.result(
        node,
        "Conv",
        to.inputs(node),
        kernel_shape=node.pair("kernel", 1),
        strides=node.pair("stride", 1),
        dilations=node.pair("dilate", 1),
        pads=node.pair("pad", 0) * 2,
        group=node.value("num_group", 1),
    )


@_translates("BatchNorm", "_contrib_SyncBatchNorm")
def _batch_norm(to: _Translation, node: _Node) -> None:
    if node.value("axis", 1) != 1:
        raise node.unknown(f"axis={node.attributes['axis']}")
    x, gamma, *others = to.inputs(node)
    if node.value("fix_gamma", True):
        gamma = to.constant(f"{node.name}_ones", np.ones_like(to.arrays[gamma]), np.float32)
    to.result(node, "BatchNormalization", [x, gamma, *others], epsilon=node.value("eps", 1e-3))


_ACTIVATIONS = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softrelu": "Softplus", "softsign": "Softsign"}


@_translates("Activation")
def _activation(to: _Translation, node: _Node) -> None:
    to.elementwise(node, _ACTIVATIONS[node.attributes["act_type"]], to.inputs(node))


@_translates("relu", "sigmoid", "tanh", "sqrt")
def _function(to: _Translation, node: _Node) -> None:
    to.elementwise(node, node.op.capitalize(), to.inputs(node))


@_translates("square")
def _square(to: _Translation, node: _Node) -> None:
    to.elementwise(node, "Mul", to.inputs(node) * 2)


@_translates("rsqrt")
def _rsqrt(to: _Translation, node: _Node) -> None:
    to.result(node, "Reciprocal", [to.emit("Sqrt", to.inputs(node), f"{node.name}_sqrt")])


_BINARY = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div"}


@_translates(*(f"{kind}_{word}" for kind in ("elemwise", "broadcast") for word in _BINARY))
def _binary(to: _Translation, node: _Node) -> None:
    to.elementwise(node, _BINARY[node.op.split("_")[1]], to.inputs(node))


#: With a number: the operation, and whether the number is its first argument.
_WITH_NUMBER = {
    "_plus_scalar": ("Add", False),
    "_minus_scalar": ("Sub", False),
    "_rminus_scalar": ("Sub", True),
    "_mul_scalar": ("Mul", False),
    "_div_scalar": ("Div", False),
}


@_translates(*_WITH_NUMBER)
def _with_number(to: _Translation, node: _Node) -> None:
    op, number_first = _WITH_NUMBER[node.op]
    (x,) = to.inputs(node)
    number = to.constant(f"{node.name}_number", node.value("scalar", 0.0), np.float32)
    to.elementwise(node, op, [number, x] if number_first else [x, number])


@_translates(_SPREAD)
def _spread(to: _Translation, node: _Node) -> None:
    to.repeat(node, to.inputs(node)[0])


@_translates("_contrib_AdaptiveAvgPooling2D")
def _adaptive_average_pool(to: _Translation, node: _Node) -> None:
    if node.value("output_size", 1) not in (1, (1,), (1, 1)):
        raise node.unknown(f"output_size={node.attributes['output_size']}")
    to.result(node, "GlobalAveragePool", to.inputs(node))


@_translates("Pooling")
def _pooling(to: _Translation, node: _Node) -> None:
    kind = {"max": "MaxPool", "avg": "AveragePool"}.get(node.value("pool_type", "max"))
    if kind is None:
        raise node.unknown(f"pool_type={node.attributes['pool_type']}")
    if node.value("global_pool", False):
        to.result(node, f"Global{kind}", to.inputs(node))
        return
    kernel, strides, pads = node.pair("kernel", 1), node.pair("stride", 1), node.pair("pad", 0)
    convention = node.value("pooling_convention", "valid")
    if convention not in ("valid", "full"):
        raise node.unknown(f"pooling_convention={convention}")
    sizes = to.graph.shape(node.inputs[0])[2:]
    # Runtimes disagree on what "ceil" means at the edge, so that it is asked for only where it matters.
    exact = all((s + 2 * p - k) % t == 0 for s, k, t, p in zip(sizes, kernel, strides, pads) if s is not None)
    attributes: Dict[str, Any] = {"kernel_shape": kernel, "strides": strides, "pads": pads * 2}
    attributes["ceil_mode"] = int(convention == "full" and not exact)
    if kind == "AveragePool":
        attributes["count_include_pad"] = int(node.value("count_include_pad", True))
    to.result(node, kind, to.inputs(node), **attributes)


@_translates("FullyConnected")
def _fully_connected(to: _Translation, node: _Node) -> None:
    x, *others = to.inputs(node)
    shape = to.graph.shape(node.inputs[0])
    if len(shape) != 2:
        if not node.value("flatten", True):
            raise node.unknown("flatten=False")
        x = to.emit("Flatten", [x], f"{node.name}_flat", axis=1)
    to.result(node, "Gemm", [x, *others], transB=1)


@_translates("Flatten", "Reshape", "reshape_like", "expand_dims", "squeeze")
def _reshape(to: _Translation, node: _Node) -> None:
    target = [-1 if size is None else size for size in to.graph.shape((node.index, 0))]
    if target.count(-1) > 1:
        raise node.unknown(f"shape={node.attributes.get('shape')}")
    shape = to.constant(f"{node.name}_shape", target, np.int64)
    to.result(node, "Reshape", [to.inputs(node)[0], shape])


@_translates("_copy", "identity", "BlockGrad", "Dropout")
def _nothing(to: _Translation, node: _Node) -> None:
    to.names[node.index, 0] = to.inputs(node)[0]


@_translates("mean")
def _mean(to: _Translation, node: _Node) -> None:
    axis = node.value("axis", None)
    if axis in (None, ()) or node.value("exclude", False):
        raise node.unknown(f"axis={axis}, exclude={node.value('exclude', False)}")
    axes = [axis] if isinstance(axis, int) else list(axis)
    to.result(node, "ReduceMean", to.inputs(node), axes=axes, keepdims=int(node.value("keepdims", False)))


@_translates("Concat")
def _concat(to: _Translation, node: _Node) -> None:
    to.result(node, "Concat", to.inputs(node), axis=node.value("dim", 1))


@_translates("SliceChannel")
def _split(to: _Translation, node: _Node) -> None:
    if node.value("squeeze_axis", False):
        raise node.unknown("squeeze_axis=True")
    outputs = [f"{node.name}_{number}" for number in range(node.value("num_outputs", 1))]
    to.names.update({(node.index, number): name for number, name in enumerate(outputs)})
    to.nodes.append(to.helper.make_node("Split", to.inputs(node), outputs, node.name, axis=node.value("axis", 1)))


@_translates("transpose")
def _transpose(to: _Translation, node: _Node) -> None:
    to.result(node, "Transpose", to.inputs(node), perm=list(node.value("axes", ())))


@_translates("Cast")
def _cast(to: _Translation, node: _Node) -> None:
    if node.value("dtype", "") != "float32":
        raise node.unknown(f"dtype={node.attributes.get('dtype')}")
    to.result(node, "Cast", to.inputs(node), to=1)  # TensorProto.FLOAT


@_translates("softmax")
def _softmax(to: _Translation, node: _Node) -> None:
    to.result(node, "Softmax", to.inputs(node), axis=node.value("axis", -1))
