"""A network's graph as objects that can be rewritten, from MXNet's JSON and back."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterator, List, Tuple

from ..compat import mx

#: A node and which of its outputs.
Edge = Tuple["Node", int]

VARIABLE = "null"


@dataclass(eq=False)
class Node:
    """An operator or, with the operator "null", a variable: the data or a parameter."""

    operator: str
    name: str
    attributes: Dict[str, str] = field(default_factory=dict)
    inputs: List[Edge] = field(default_factory=list)
    rest: Dict[str, Any] = field(default_factory=dict)

    def source(self, index: int) -> Node:
        """The node of an input."""
        return self.inputs[index][0]


def variable(name: str) -> Node:
    """A new variable."""
    return Node(VARIABLE, name)


def operation(operator: str, name: str, *inputs: Node, **attributes: Any) -> Node:
    """A new operator on the first output of other nodes."""
    return Node(operator, name, {key: str(value) for key, value in attributes.items()}, [(node, 0) for node in inputs])


class Graph:
    """A symbol's nodes.

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
        """What the outputs need, each after its inputs."""
        order: List[Node] = []
        seen = set()
        stack: List[Tuple[Node, Iterator[Edge]]] = []

        def visit(node: Node) -> None:
            if id(node) not in seen:
                seen.add(id(node))
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

    def users(self) -> Dict[int, int]:
        """How many inputs and outputs of the graph read each node, by its `id`."""
        counts: Dict[int, int] = {}
        for node in self.nodes():
            for source, _ in node.inputs:
                counts[id(source)] = counts.get(id(source), 0) + 1
        for head, _ in self.heads:
            counts[id(head)] = counts.get(id(head), 0) + 1
        return counts

    def rewrite(self, replacement: Callable[[Node], Node]) -> None:
        """Put for each node, inputs first, what a function returns for it: another node, or the same."""
        replaced: Dict[int, Node] = {}
        for node in self.nodes():
            node.inputs = [(replaced.get(id(source), source), output) for source, output in node.inputs]
            replaced[id(node)] = replacement(node)
        self.heads = [(replaced[id(head)], output) for head, output in self.heads]

    def symbol(self) -> Any:
        """The graph as a symbol again."""
        nodes = self.nodes()
        index = {id(node): number for number, node in enumerate(nodes)}
        entries = []
        for node in nodes:
            entry = {"op": node.operator, "name": node.name, **node.rest}
            if node.attributes:
                entry["attrs"] = node.attributes
            entry["inputs"] = [[index[id(source)], output, 0] for source, output in node.inputs]
            entries.append(entry)
        stored = {
            "nodes": entries,
            "arg_nodes": [index[id(node)] for node in nodes if node.operator == VARIABLE],
            "heads": [[index[id(head)], output, 0] for head, output in self.heads],
            "attrs": self._about,
        }
        return mx.sym.load_json(json.dumps(stored))
