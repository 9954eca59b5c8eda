"""A network's graph as objects that can be read and rewritten: from MXNet's JSON, and back to a symbol."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple

from ..compat import mx
from ..errors import ExportError

#: A node, and which of its outputs.
Edge = Tuple["Node", int]

#: The operator of a variable.
VARIABLE = "null"

#: What MXNet's JSON calls true and false beside Python's own words.
_TRUTH = {"true": True, "false": False}


@dataclass(eq=False)
class Node:
    """An operator; or, if its operator is "null", a variable: the data or a parameter.

    Attributes
    ----------
    operator : str
        MXNet's name of it.
    name : str
        A layer that is used twice has two nodes of one name.
    attributes : dict of str to str
        As they are stored; `value` reads one.
    inputs : list of (Node, int)
        In order.
    rest : dict
        What else the JSON says of it.
    """

    operator: str
    name: str
    attributes: Dict[str, str] = field(default_factory=dict)
    inputs: List[Edge] = field(default_factory=list, repr=False)  # each has inputs of its own
    rest: Dict[str, Any] = field(default_factory=dict, repr=False)

    def source(self, index: int) -> Node:
        """The node that an input comes from."""
        return self.inputs[index][0]

    def value(self, key: str, default: Any) -> Any:
        """An attribute as a number, tuple or truth value; a bare word stays text.

        Parameters
        ----------
        key : str
            Which attribute.
        default : any
            What MXNet takes where the attribute is not stored.
        """
        text = self.attributes.get(key)
        if text is None:
            return default
        try:
            return _TRUTH[text] if text in _TRUTH else ast.literal_eval(text)
        except (ValueError, SyntaxError):
            return text


def variable(name: str) -> Node:
    """A new variable."""
    return Node(VARIABLE, name)


def operation(operator: str, name: str, *inputs: Node, **attributes: Any) -> Node:
    """A new operator on the first output of other nodes."""
    return Node(operator, name, {key: str(value) for key, value in attributes.items()}, [(node, 0) for node in inputs])


class Graph:
    """The nodes of a symbol.

    Parameters
    ----------
    symbol : Symbol
        What to read.
    """

    def __init__(self, symbol: Any) -> None:
        stored = json.loads(symbol.tojson())
        nodes: List[Node] = []
        for entry in stored["nodes"]:
            rest = {key: value for key, value in entry.items() if key not in ("op", "name", "attrs", "inputs")}
            inputs = [(nodes[edge[0]], edge[1]) for edge in entry["inputs"]]
            nodes.append(Node(entry["op"], entry["name"], dict(entry.get("attrs", {})), inputs, rest))
        self.heads: List[Edge] = [(nodes[head[0]], head[1]) for head in stored["heads"]]
        self._about = stored.get("attrs", {})

    def nodes(self) -> List[Node]:
        """The nodes that the outputs need, each after its inputs: in the order of MXNet's own JSON."""
        order: List[Node] = []
        seen = set()
        stack: List[Tuple[Node, Iterator[Edge]]] = []

        def visit(node: Node) -> None:
            if node not in seen:
                seen.add(node)
                stack.append((node, iter(node.inputs)))

        for head, _ in self.heads:
            visit(head)
            while stack:  # not recursive: a deep network is deeper than Python's stack
                node, inputs = stack[-1]
                following = next(inputs, None)
                if following is None:
                    order.append(node)
                    stack.pop()
                else:
                    visit(following[0])
        return order

    def users(self) -> Dict[Node, int]:
        """How many inputs of other nodes, and outputs of the graph, read each node."""
        counts: Dict[Node, int] = {}
        for node in self.nodes():
            for source, _ in node.inputs:
                counts[source] = counts.get(source, 0) + 1
        for head, _ in self.heads:
            counts[head] = counts.get(head, 0) + 1
        return counts

    def shapes(self, **inputs: Sequence[int]) -> Dict[Edge, Tuple[int, ...]]:
        """The shape of each output of each node.

        Parameters
        ----------
        **inputs : sequence of int
            The shape of each input of the network, by its name.

        Raises
        ------
        ExportError
            If the network cannot take inputs of these shapes.
        """
        internals = self.symbol().get_internals()
        try:
            _, shapes, _ = internals.infer_shape(**{name: tuple(shape) for name, shape in inputs.items()})
        except mx.MXNetError:
            shapes = None
        if shapes is None:
            listed = ", ".join(f"{name} {tuple(shape)}" for name, shape in inputs.items())
            raise ExportError(f"the network cannot take inputs of these shapes: {listed}")
        nodes = self.nodes()
        heads = json.loads(internals.tojson())["heads"]
        return {(nodes[index], output): tuple(shape) for (index, output, _), shape in zip(heads, shapes)}

    def rewrite(self, replacement: Callable[[Node], Node]) -> None:
        """Replace nodes, in the order of `nodes`.

        Parameters
        ----------
        replacement : callable
            Takes a node whose inputs are replaced already; returns another node, or the same one to keep it.
        """
        replaced: Dict[Node, Node] = {}
        for node in self.nodes():
            node.inputs = [(replaced.get(source, source), output) for source, output in node.inputs]
            replaced[node] = replacement(node)
        self.heads = [(replaced[head], output) for head, output in self.heads]

    def symbol(self) -> Any:
        """The graph as a symbol."""
        nodes = self.nodes()
        index = {node: number for number, node in enumerate(nodes)}
        entries = []
        for node in nodes:
            entry = {"op": node.operator, "name": node.name, **node.rest}
            if node.attributes:
                entry["attrs"] = node.attributes
            entry["inputs"] = [[index[source], output, 0] for source, output in node.inputs]
            entries.append(entry)
        stored = {
            "nodes": entries,
            "arg_nodes": [index[node] for node in nodes if node.operator == VARIABLE],
            "heads": [[index[head], output, 0] for head, output in self.heads],
            "attrs": self._about,
        }
        return mx.sym.load_json(json.dumps(stored))
