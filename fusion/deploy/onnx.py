"""An MXNet graph as an ONNX model with any batch size, and its answers by ONNX Runtime.

MXNet 1.9.1 has an exporter of its own, `mxnet.onnx.export_model`, which cannot translate these networks: it refuses the
reshapes to -3 of `fusion.attention`, knows no `rsqrt`, reads `onnx.mapping`, which newer releases of onnx no longer
have, and stamps a model with the newest operator set that is installed, whichever set it wrote. This one knows the
operators of this package's networks and of GluonCV's ResNets, writes operator set 15, and works with every release of
onnx that knows that set.

A translated graph is for any batch size, and for one image size or, where that is asked for, for any: shapes are
inferred for two inputs, and a dimension that differs between them varies. Where a block repeats a vector over all
pixels by a matrix product, for the sake of its gradient, the ONNX model broadcasts.

The translation of each operator is in `onnx_operators`, the model under construction in `onnx_graph`.
"""

from __future__ import annotations

import importlib
from typing import Any, Dict, Mapping, Optional, Sequence

import numpy as np

from ..errors import ConfigError, ExportError
from .graph import VARIABLE, Edge, Graph, Node
from .onnx_graph import IR_VERSION, OPSET, OUTPUT, VARYING, OnnxGraph, Shape
from .onnx_operators import REPEATED_VECTOR, translate
from .rewriting import repeated_vector
from .symbols import INPUT

__all__ = ["INPUT", "IR_VERSION", "OPSET", "OUTPUT", "VARYING", "open_session", "require", "run_onnx", "to_onnx"]

#: Two batch sizes that no other dimension of a network depends on.
_BATCHES = (2, 3)

#: By how many pixels two images differ whose maps have different sizes at every level of a network.
_MORE = 64


def require(name: str) -> Any:
    """Import a package of the extra `onnx`.

    Parameters
    ----------
    name : str
        `onnx`, `onnxruntime`, or a module of one of them.

    Raises
    ------
    ConfigError
        If it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"ONNX needs the package {name}, which cannot be imported ({error}): "
            "python -m pip install 'attentional-feature-fusion[onnx]' 'numpy<2'"
        ) from None


# --- Translation -----------------------------------------------------------------------------------------------------


def to_onnx(
    symbol: Any,
    arrays: Mapping[str, np.ndarray],
    shape: Sequence[int],
    dtype: str = "float32",
    varying: Sequence[int] = (),
) -> Any:
    """Translate an MXNet graph of one input and one output.

    Parameters
    ----------
    symbol : Symbol
        For inference, as `symbols.trace` returns it.
    arrays : mapping of str to ndarray
        Parameters and running statistics by the graph's names, float32.
    shape : sequence of int
        Of the input without its batch, such as (3, 32, 32).
    dtype : str
        Of the input.
    varying : sequence of int
        Which dimensions of `shape` may have another size: those of height and width, in this order, or none.

    Returns
    -------
    onnx.ModelProto
        From `data` (batch, `*shape`) to `logits` (batch, ...), checked by `onnx.checker`.

    Raises
    ------
    ExportError
        If an operator, or a use of it, has no translation here, or the input shape is impossible.
    ConfigError
        If onnx is not installed.
    """
    onnx = require("onnx")
    graph = Graph(symbol)
    (head,) = graph.heads
    inputs = [node.name for node in graph.nodes() if node.operator == VARIABLE and node.name not in arrays]
    if inputs != [INPUT]:
        raise ExportError(f"the graph's inputs are {', '.join(inputs)}; expected one, {INPUT!r}")
    shapes = _shapes(graph, shape, varying)
    names = _unique_names(graph)
    _broadcast_vectors(graph, shapes)
    translation = OnnxGraph(onnx.helper, shapes, arrays, names)
    for node in graph.nodes():
        translate(translation, node)
    sizes = [None if axis in varying else size for axis, size in enumerate(shape)]
    model = translation.model(head, sizes, dtype, require("onnx.numpy_helper"))
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"onnx.checker refuses the translated model: {error}") from None
    return model


def _shapes(graph: Graph, shape: Sequence[int], varying: Sequence[int]) -> Dict[Edge, Shape]:
    """The shape of everything, with None where a dimension depends on the batch or on a size that may vary."""
    larger = [size + _MORE if axis in varying else size for axis, size in enumerate(shape)]
    try:
        one, other = (graph.shapes(**{INPUT: (b, *sizes)}) for b, sizes in zip(_BATCHES, (shape, larger)))
    except ExportError:
        raise ExportError(f"the network cannot take images of shape {tuple(shape)}") from None
    return {edge: tuple(a if a == b else None for a, b in zip(one[edge], other[edge])) for edge in one}


def _unique_names(graph: Graph) -> Dict[Node, str]:
    """A name for each node: a layer that is used twice has two nodes of one name."""
    return {
        node: node.name if node.operator == VARIABLE else f"{node.name}.{number}"
        for number, node in enumerate(graph.nodes())
    }


def _broadcast_vectors(graph: Graph, shapes: Mapping[Edge, Shape]) -> None:
    """Make each matrix product that repeats a vector over all pixels one operation on the vector."""
    for node in graph.nodes():
        vector = repeated_vector(node)
        if vector is not None and shapes[vector] == (*shapes[node, 0][:2], 1, 1):
            node.operator, node.attributes, node.inputs = REPEATED_VECTOR, {}, [vector]


# --- Answers ---------------------------------------------------------------------------------------------------------


def open_session(file: str, threads: Optional[int] = None) -> Any:
    """Let ONNX Runtime read a model, for the CPU.

    Parameters
    ----------
    file : str
        The model.
    threads : int, optional
        How many threads it uses; they then leave the processors alone between two calls, so that other ways to run a
        network can be timed in turn in the same process. By default ONNX Runtime decides both.

    Raises
    ------
    ExportError
        If it refuses the model.
    ConfigError
        If onnxruntime is not installed.
    """
    runtime = require("onnxruntime")
    options = runtime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return runtime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no class of their own
        raise _refused(file, error) from None


def run_onnx(file: str, batches: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """What ONNX Runtime answers.

    Parameters
    ----------
    file : str
        An ONNX model of one input and one output.
    batches : mapping of str to ndarray
        Batches of inputs, by names that the caller chooses.

    Returns
    -------
    dict of str to ndarray
        The outputs by the same names.

    Raises
    ------
    ExportError
        If it refuses the model or an input.
    ConfigError
        If onnxruntime is not installed.
    """
    session = open_session(file)
    name = session.get_inputs()[0].name
    try:
        return {key: session.run(None, {name: batch})[0] for key, batch in batches.items()}
    except Exception as error:  # as above
        raise _refused(file, error) from None


def _refused(file: str, error: Exception) -> ExportError:
    return ExportError(f"{file}: ONNX Runtime refuses it: {str(error).strip().splitlines()[0]}")
