"""Files of graphs, `-symbol.json`, checked before MXNet reads them.

MXNet 1.9.1 reads past its memory where an edge or an output names a node's output that the node lacks, or where an
operator has fewer inputs than it takes; and some of its operators read files, call what an address in their attributes
points to, or run what Python code has registered. Here each node is checked first.
"""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from ..compat import mx
from ..errors import CheckpointError
from .graph import VARIABLE

#: In bytes, and in nodes. The graph of a network of 1000 layers has a hundredth of it.
LARGEST_FILE = 64 * 1024**2
_MOST_NODES = 100_000

#: MXNet writes 1.9.1 as 10901.
_FIRST_VERSION = 10_000

#: Parts of the names of operators that no network for inference has: they run code of others (Custom, Native and
#: NDArray, which take addresses of the process that wrote the file), read files (cv), have graphs of their own in their
#: attributes (CachedOp, foreach, while_loop, cond), change their inputs (update), or belong to training (backward).
_REFUSED = ("Custom", "_Native", "_NDArray", "CachedOp", "_cv", "foreach", "while_loop", "_cond", "update", "backward")

#: Operators that oneDNN has joined begin so: what they are joined of is a graph within the node.
_JOINED = "_sg_mkldnn_"

#: The least and the largest of the numbers that eight bits stand for.
_RANGE = 2


class _RefusedError(Exception):
    """Why a graph is not read, as the end of a sentence."""


def read_graph(file: Path) -> Any:
    """Read a graph that `save_graph` or MXNet wrote.

    Parameters
    ----------
    file : Path
        A `-symbol.json`.

    Returns
    -------
    Symbol
        The graph.

    Raises
    ------
    CheckpointError
        If the file is missing or damaged, or holds what no graph for inference has; the message names the node.
    """
    try:
        with file.open("rb") as stream:
            text = stream.read(LARGEST_FILE + 1)
        if len(text) > LARGEST_FILE:
            raise _RefusedError(f"it is larger than any network's graph ({LARGEST_FILE:,} bytes)")
        stored = json.loads(text.decode())
        _check(stored, "the graph")
        return _load(stored)
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read ({error.strerror or error})") from None
    except (_RefusedError, RecursionError, mx.MXNetError) as error:
        reason = str(error).strip().splitlines()[-1]
    except ValueError as error:
        reason = f"not JSON: {error}"
    raise CheckpointError(f"{file}: cannot be read as a network's graph ({reason}); write the network again")


def _load(graph: Mapping[str, Any]) -> Any:
    """What MXNet makes of a graph that was checked; the rest of the file it need not see."""
    parts = {key: graph[key] for key in ("nodes", "arg_nodes", "heads")}
    return mx.sym.load_json(json.dumps({**parts, "attrs": {"mxnet_version": ["int", _version(graph)]}}))


def _version(graph: Mapping[str, Any]) -> int:
    """The version of MXNet that wrote a graph. Graphs of versions before 1, which MXNet rewrites, are refused."""
    about = graph.get("attrs")
    stored = about.get("mxnet_version") if isinstance(about, dict) else None
    if isinstance(stored, list) and len(stored) == 2 and stored[0] == "int" and type(stored[1]) is int:
        version: int = stored[1]
        if _FIRST_VERSION <= version < 2 * _FIRST_VERSION:
            return version
    raise _RefusedError(f"it was written by version {_shown(stored)} of MXNet, expected version 1")


def _check(stored: Any, what: str, within: bool = False) -> None:
    """Check a graph, or one within a node."""
    if not isinstance(stored, dict):
        raise _RefusedError(f"{what} is {_shown(stored)}, expected an object")
    nodes = _list(stored, "nodes", what)
    if not 1 <= len(nodes) <= _MOST_NODES:
        raise _RefusedError(f"{what} has {len(nodes):,} nodes, expected 1 to {_MOST_NODES:,}")
    outputs: List[int] = []
    known: Dict[str, Tuple[int, int]] = {}
    variables: List[int] = []
    names = set()
    for number, node in enumerate(nodes):
        _check_node(node, f"node {number}", within)
        place = f"node {number} ({_shown(node['name'])})"
        for edge in node["inputs"]:
            _check_edge(edge, outputs, place)
        if node["op"] == VARIABLE:
            if node["inputs"] or node.get("subgraphs"):
                raise _RefusedError(f"{place} is a variable with inputs")
            if node["name"] in names:
                raise _RefusedError(f"two variables have the name {_shown(node['name'])}")
            names.add(node["name"])
            variables.append(number)
            outputs.append(1)
        else:
            outputs.append(_outputs(node, place, known))
    if stored.get("arg_nodes") != variables:
        raise _RefusedError(f'"arg_nodes" of {what} are not the numbers of its variables')
    if not _list(stored, "heads", what):
        raise _RefusedError(f"{what} has no output")
    for head in stored["heads"]:
        _check_edge(head, outputs, f"an output of {what}")


def _check_node(node: Any, what: str, within: bool) -> None:
    """Check that a node has all its parts, and that they are of the right types."""
    if not isinstance(node, dict):
        raise _RefusedError(f"{what} is {_shown(node)}, expected an object")
    for key in ("op", "name"):
        value = node.get(key)
        if not isinstance(value, str) or not value or not value.isprintable():
            raise _RefusedError(f'"{key}" of {what} is {_shown(value)}, expected a name')
    _list(node, "inputs", what)
    attributes = node.get("attrs", {})
    if not isinstance(attributes, dict) or not all(isinstance(value, str) for value in attributes.values()):
        raise _RefusedError(f'"attrs" of {what} are {_shown(attributes)}, expected names with text')
    unknown = sorted(set(node) - {"op", "name", "inputs", "attrs", "subgraphs"})
    if unknown:
        raise _RefusedError(f"{what} has {_shown(unknown[0])}, which no node of a graph for inference has")
    joined = node["op"].startswith(_JOINED)
    subgraphs = _list(node, "subgraphs", what) if "subgraphs" in node else []
    if len(subgraphs) != joined or (joined and within):
        raise _RefusedError(f"{what} ({node['op']}) has {len(subgraphs)} graphs within it, expected {int(joined)}")
    for subgraph in subgraphs:
        _check(subgraph, f"the graph within {what}", within=True)


def _check_edge(edge: Any, outputs: Sequence[int], what: str) -> None:
    """Check that an edge comes from an output that one of the earlier nodes has."""
    whole = isinstance(edge, list) and len(edge) in (2, 3) and all(type(n) is int and 0 <= n < 2**31 for n in edge)
    if not whole or edge[0] >= len(outputs):
        raise _RefusedError(f"{what} reads {_shown(edge)}, expected an earlier node and one of its outputs")
    if edge[1] >= outputs[edge[0]]:
        raise _RefusedError(f"{what} reads output {edge[1]} of node {edge[0]}, which has {outputs[edge[0]]}")


def _outputs(node: Mapping[str, Any], what: str, known: Dict[str, Tuple[int, int]]) -> int:
    """How many outputs a node has, once the number of its inputs is found to be right."""
    operator, attributes, subgraphs = node["op"], node.get("attrs", {}), node.get("subgraphs", [])
    if any(part in operator for part in _REFUSED):
        raise _RefusedError(f"{what} is the operator {_shown(operator)}, which no network for inference has")
    found = len(node["inputs"])
    if subgraphs:
        least = _least_inputs(operator, attributes, len(subgraphs[0]["arg_nodes"]))
        if found < least:
            raise _RefusedError(f"{what} has {found} inputs, expected {least} or more")
        return _joined_outputs(node)
    key = json.dumps([operator, attributes], sort_keys=True)
    if key not in known:
        known[key] = _ports(operator, attributes, what)
    inputs, outputs = known[key]
    if found != inputs:
        raise _RefusedError(f"{what} ({operator}) has {found} inputs, expected {inputs}")
    return outputs


def _least_inputs(operator: str, attributes: Mapping[str, str], read: int) -> int:
    """How many inputs an operator needs whose own graph reads so many: of 8-bit numbers, it needs their ranges too."""

    def says(key: str) -> bool:
        return attributes.get(key, "false").lower() in ("true", "1")

    if not says("quantized"):
        return read
    if operator == f"{_JOINED}fully_connected" and not says("channel_wise_quantize"):
        return read * (1 + _RANGE)
    return read + _RANGE * (2 if says("with_sum") else 1)


def _ports(operator: str, attributes: Mapping[str, str], what: str) -> Tuple[int, int]:
    """How many inputs and outputs an operator has with some attributes, as MXNet says."""
    if operator not in _operators():
        raise _RefusedError(f"{what} is {_shown(operator)}, which is no operator of MXNet {mx.__version__}")
    handle = mx.base.OpHandle()
    mx.base.check_call(mx.base._LIB.NNGetOpHandle(mx.base.c_str(operator), ctypes.byref(handle)))
    own = {key: value for key, value in attributes.items() if not key.startswith("__")}
    try:
        symbol = mx.symbol.register._symbol_creator(handle.value, None, None, list(own), list(own.values()), "x", False)
    except mx.MXNetError as error:
        raise _RefusedError(f"{what} ({operator}): {str(error).strip().splitlines()[-1]}") from None
    return len(symbol.list_inputs()), len(symbol.list_outputs())


def _operators() -> Sequence[str]:
    names: List[str] = mx.operator.get_all_registered_operators()
    return names


def _joined_outputs(node: Mapping[str, Any]) -> int:
    """How many outputs an operator has that was joined of others: that of a graph with nothing else."""
    count = len(node["inputs"])
    variables = [{"op": VARIABLE, "name": f"input{number}", "inputs": []} for number in range(count)]
    alone = {
        "nodes": [*variables, {**node, "inputs": [[number, 0, 0] for number in range(count)]}],
        "arg_nodes": list(range(count)),
        "heads": [[count, 0, 0]],
        "attrs": {"mxnet_version": ["int", _FIRST_VERSION + 901]},
    }
    return len(_load(alone).get_internals().list_outputs()) - count


def _list(stored: Mapping[str, Any], key: str, what: str) -> List[Any]:
    value = stored.get(key)
    if not isinstance(value, list):
        raise _RefusedError(f'"{key}" of {what} is {_shown(value)}, expected a list')
    return value


def _shown(value: Any) -> str:
    """A value from the file for a message: short, and without what a terminal would obey."""
    text = repr(value)
    return text if len(text) < 80 else f"{text[:80]}..."
