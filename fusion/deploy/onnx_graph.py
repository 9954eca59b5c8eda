"""The ONNX model under construction: what the translation of an operator adds to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple

import numpy as np

from ..errors import ExportError
from .graph import Edge, Node
from .symbols import INPUT

#: The operator set that is written. In set 13 batch norm has no attribute that says inference, and onnx's own reference
#: implementation takes it for training; from set 18 on `ReduceMean` and `Split` have other inputs than here.
OPSET = 15

#: The version of the file format that came with that operator set. ONNX Runtime reads it since 1.10.
IR_VERSION = 8

#: The name of the model's output.
OUTPUT = "logits"

#: Dimensions; None is one that depends on the batch size, or on the size of the images where that may vary.
Shape = Tuple[Optional[int], ...]

#: The names of the two dimensions that vary with the size of the images.
VARYING = ("height", "width")

#: Element types by the number that ONNX has for them (`TensorProto.FLOAT` and `TensorProto.UINT8`).
_TYPES = {"float32": 1, "uint8": 2}
FLOAT = _TYPES["float32"]

#: Stands for a constant that is not there: it is no scalar.
_NO_SCALAR = np.empty(1)


@dataclass(repr=False)
class OnnxGraph:
    """The ONNX graph as it grows.

    Attributes
    ----------
    helper : module
        `onnx.helper`.
    shapes : mapping of (Node, int) to tuple
        Of the outputs of MXNet's nodes.
    arrays : mapping of str to ndarray
        MXNet's parameters and running statistics.
    unique : mapping of Node to str
        A name for each of MXNet's nodes.
    nodes : list
        ONNX's nodes, in order.
    tensors : dict of (Node, int) to str
        The name of the ONNX tensor that holds each output of MXNet's nodes.
    constants : dict of str to ndarray
        ONNX's constants by name.
    vectors : dict of str to str
        For each tensor that is a vector repeated over all pixels, the name of the vector.
    unsized : set of str
        Those of them that are not repeated, since the number of pixels is not known.
    """

    helper: Any
    shapes: Mapping[Edge, Shape]
    arrays: Mapping[str, np.ndarray]
    unique: Mapping[Node, str]
    nodes: List[Any] = field(default_factory=list)
    tensors: Dict[Edge, str] = field(default_factory=dict)
    constants: Dict[str, np.ndarray] = field(default_factory=dict)
    vectors: Dict[str, str] = field(default_factory=dict)
    unsized: Set[str] = field(default_factory=set)

    def inputs(self, node: Node) -> List[str]:
        """The tensors that one of MXNet's nodes reads; its inputs are translated already."""
        return [self.tensors[edge] for edge in node.inputs]

    def emit(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node of ONNX; return the name of its output."""
        self.nodes.append(self.helper.make_node(operator, list(inputs), [output], output, **attributes))
        return output

    def result(self, node: Node, operator: str, inputs: Sequence[str], **attributes: Any) -> None:
        """Add the node of ONNX that computes the first output of one of MXNet's nodes."""
        self.tensors[node, 0] = self.emit(operator, inputs, self.unique[node], **attributes)

    def constant(self, name: str, value: Any, dtype: Any) -> str:
        """Add a constant; return its name."""
        self.constants[name] = np.asarray(value, dtype=dtype)
        return name

    def elementwise(self, node: Node, operator: str, inputs: Sequence[str]) -> None:
        """Translate an operator that computes each element by itself.

        Where all inputs are repeated vectors or scalars, it computes the vector, and its result is a repeated vector
        again. Where only some are, ONNX broadcasts them.
        """
        slim = [self.vectors.get(name, name) for name in inputs]
        if all(name in self.vectors or self.constants.get(name, _NO_SCALAR).ndim == 0 for name in inputs):
            self.repeat(node, self.emit(operator, slim, f"{self.unique[node]}_vector"))
        else:
            self.result(node, operator, slim)

    def repeat(self, node: Node, vector: str) -> None:
        """Translate a node whose output is a vector repeated over all pixels.

        Where the size of the images may vary, the vector stays one, which is as good for whatever broadcasts it.
        """
        target = [1 if size is None else size for size in self.shapes[node, 0]]
        if None in self.shapes[node, 0][1:]:
            self.unsized.add(self.unique[node])
        self.result(node, "Expand", [vector, self.constant(f"{self.unique[node]}_shape", target, np.int64)])
        self.vectors[self.unique[node]] = vector

    def model(self, head: Edge, shape: Sequence[Optional[int]], dtype: str, numpy_helper: Any) -> Any:
        """The whole model, without the nodes and constants that its output does not need.

        Parameters
        ----------
        head : (Node, int)
            The output.
        shape : sequence of int or None
            Of the input without its batch; None where it may vary.
        dtype : str
            Of the input.
        numpy_helper : module
            `onnx.numpy_helper`.

        Raises
        ------
        ExportError
            If an operator reads a vector as a map whose size is not known.
        """
        self.emit("Identity", [self.tensors[head]], OUTPUT)
        needed, nodes = {OUTPUT}, []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                if self.unsized.intersection(node.output):
                    raise ExportError(f"{node.name}: a vector is a map of unknown size here; export one size of images")
                needed.update(node.input)
                nodes.append(node)
        graph = self.helper.make_graph(
            nodes[::-1],
            "attentional_feature_fusion",
            [self._tensor(INPUT, dtype, shape)],
            [self._tensor(OUTPUT, "float32", self.shapes[head][1:])],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items() if name in needed],
        )
        opset = self.helper.make_opsetid("", OPSET)
        model = self.helper.make_model(graph, opset_imports=[opset], producer_name="attentional-feature-fusion")
        model.ir_version = IR_VERSION
        return model

    def _tensor(self, name: str, dtype: str, shape: Sequence[Optional[int]]) -> Any:
        varying = iter(VARYING)
        sizes = [next(varying) if size is None else size for size in shape]
        return self.helper.make_tensor_value_info(name, _TYPES[dtype], ["batch", *sizes])
