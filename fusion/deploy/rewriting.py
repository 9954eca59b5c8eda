"""Rewrites of a network's graph for inference: the same function, with fewer and faster operators.

The blocks of `fusion.attention` and `fusion.fuse` are written for operators whose gradients are fast. Inference has no
gradients, and three things about them cost time there: the row of ones that repeats a vector is made from a whole map;
adaptive pooling and products want MXNet's own layout of an array where oneDNN's convolutions have another; and soft
selection takes five passes over its maps, where three do. benchmarks/deployment.py measures what that brings.
"""

from __future__ import annotations

import ast
from typing import Any, Dict, Optional, Sequence, Tuple

import numpy as np

from .graph import VARIABLE, Graph, Node, operation, variable

Arrays = Dict[str, np.ndarray]


def fold_batch_norms(graph: Graph, arrays: Arrays) -> int:
    """Put each batch norm that follows a convolution into its weights and bias.

    Parameters
    ----------
    graph : Graph
        Changed in place.
    arrays : dict of str to array
        Its parameters by name; those of the new convolutions are added.

    Returns
    -------
    int
        How many went.
    """
    users = graph.users()
    folded = 0

    def replacement(node: Node) -> Node:
        nonlocal folded
        if not _is_foldable(node) or users[id(node.source(0))] > 1:
            return node
        folded += 1
        convolution = node.source(0)
        scale, shift = _scale_and_shift(node, arrays)
        return _scaled(convolution, arrays, scale, shift, node.name + "_folded")

    graph.rewrite(replacement)
    return folded


def _is_foldable(node: Node) -> bool:
    if node.operator != "BatchNorm" or node.source(0).operator != "Convolution":
        return False
    given = node.attributes
    return given.get("axis", "1") == "1" and not _flag(given, "output_mean_var") and _has_arrays(node)


def _has_arrays(node: Node) -> bool:
    return all(source.operator == VARIABLE for source, _ in node.inputs[1:])


def _flag(attributes: Dict[str, str], name: str, default: str = "False") -> bool:
    return attributes.get(name, default) in ("True", "true", "1")


def _scale_and_shift(norm: Node, arrays: Arrays) -> Tuple[np.ndarray, np.ndarray]:
    gamma, beta, mean, variance = (arrays[source.name].astype(np.float64) for source, _ in norm.inputs[1:5])
    if _flag(norm.attributes, "fix_gamma", "True"):
        gamma = np.ones_like(gamma)
    scale = gamma / np.sqrt(variance + float(norm.attributes.get("eps", "1e-3")))
    return scale, beta - mean * scale


def _scaled(convolution: Node, arrays: Arrays, scale: Any, shift: Any, name: str) -> Node:
    """A convolution whose output is another's times a scale plus a shift, both a number or one a channel."""
    stored = arrays[convolution.source(1).name]
    weight = stored.astype(np.float64)
    scale = np.broadcast_to(scale, len(weight))
    bias = np.zeros(len(weight))
    if not _flag(convolution.attributes, "no_bias"):
        bias = arrays[convolution.source(2).name].astype(np.float64)
    arrays[f"{name}_weight"] = (weight * scale[:, None, None, None]).astype(stored.dtype)
    arrays[f"{name}_bias"] = (bias * scale + shift).astype(stored.dtype)
    data = convolution.inputs[0]
    given = {**convolution.attributes, "no_bias": "False"}
    inputs = [data, (variable(f"{name}_weight"), 0), (variable(f"{name}_bias"), 0)]
    return Node("Convolution", name, given, inputs, convolution.rest)


def part_shared_convolutions(graph: Graph) -> int:
    """Set apart the output of convolutions that a batch norm or an activation reads, and something else too.

    MXNet 1.9.1 gives oneDNN a convolution with what follows it as one operator also where the convolution's own output
    is still wanted, and hands out the wrong one: in a pre-activation network with plain addition, whose stem feeds the
    first block's batch norm and its shortcut. An operator between them that does nothing keeps them apart.

    Returns
    -------
    int
        How many there are.
    """
    users = graph.users()
    activated = {
        id(node.source(0)) for node in graph.nodes() if node.operator in ("BatchNorm", "Activation") and node.inputs
    }
    count = 0

    def replacement(node: Node) -> Node:
        nonlocal count
        if node.operator != "Convolution" or id(node) not in activated or users[id(node)] == 1:
            return node
        count += 1
        return operation("BlockGrad", f"{node.name}_shared", node)  # the plain identity would be taken out again

    graph.rewrite(replacement)
    return count


def pool_by_onednn(graph: Graph) -> int:
    """Take means over all pixels by the pooling operator that reads oneDNN's layout; returns how many."""
    count = 0

    def replacement(node: Node) -> Node:
        nonlocal count
        if node.operator != "_contrib_AdaptiveAvgPooling2D" or _numbers(node, "output_size", (1,)) not in (
            (1,),
            (1, 1),
        ):
            return node
        count += 1
        return operation("Pooling", node.name, node.source(0), pool_type="avg", global_pool=True, kernel=(1, 1))

    graph.rewrite(replacement)
    return count


def _numbers(node: Node, name: str, default: Tuple[int, ...]) -> Tuple[int, ...]:
    value = ast.literal_eval(node.attributes.get(name, str(default)))
    return tuple(value) if isinstance(value, (tuple, list)) else (int(value),)


def spread_by_constant(graph: Graph, shape: Sequence[int]) -> int:
    """Repeat vectors over the pixels by a row of ones that is a constant, not made from a map each time.

    Parameters
    ----------
    graph : Graph
        Changed in place; it then takes images of one size, in batches of any.
    shape : sequence of int
        Of the input "data", (B, C, H, W).

    Returns
    -------
    int
        How often.
    """
    internals = graph.symbol().get_internals()
    _, shapes, _ = internals.infer_shape(data=tuple(shape))
    known = dict(zip(internals.list_outputs(), shapes))
    ones: Dict[int, Node] = {}
    count = 0

    def row(pixels: int) -> Node:
        if pixels not in ones:
            ones[pixels] = Node("_ones", f"row_of_{pixels}_ones", {"shape": str((1, pixels)), "dtype": "float32"})
        return ones[pixels]

    def replacement(node: Node) -> Node:
        nonlocal count
        product = _spread_product(node)
        if product is None:
            return node
        count += 1
        _, channels, height, width = known[f"{node.name}_output"]
        repeated = operation("dot", product.name, product.source(0), row(height * width))
        return operation("Reshape", node.name, repeated, shape=(-1, channels, height, width))

    graph.rewrite(replacement)
    return count


def _spread_product(node: Node) -> Optional[Node]:
    """The matrix product in what `fusion.attention.spread` makes, if that is what a node ends."""
    if node.operator != "reshape_like" or node.source(0).operator != "dot":
        return None
    product = node.source(0)
    return product if product.source(1).operator == "ones_like" else None


def select_in_three_passes(graph: Graph, arrays: Arrays) -> int:
    """Write p⊗x + (s−p)⊗y as fewer operators.

    For s = 1 it is y + p⊗(x−y). Soft selection, s = 2 and p = 2σ(l), is x + y + tanh(l/2)⊗(x−y), where AFF has x + y
    already and the half goes into the weights of the convolutions that make l.

    Parameters
    ----------
    graph : Graph
        Changed in place.
    arrays : dict of str to array
        Its parameters by name; those of halved convolutions are added.

    Returns
    -------
    int
        How often.
    """
    users = graph.users()
    known: Dict[Tuple[str, int, int], Node] = {}
    count = 0

    def shared(operator: str, name: str, x: Node, y: Node) -> Node:
        return known.setdefault((operator, id(x), id(y)), operation(operator, name, x, y))

    def replacement(node: Node) -> Node:
        nonlocal count
        if node.operator == "elemwise_add":
            known.setdefault((node.operator, id(node.source(0)), id(node.source(1))), node)
        found = _selection(node)
        if found is None:
            return node
        x, y, weight, total = found
        difference = shared("elemwise_sub", f"{node.name}_difference", x, y)
        if total == 1:
            gained, base = weight, y
        else:
            logits = weight.source(0).source(0)
            half = _halved(logits, arrays, users)
            gained = operation("Activation", f"{node.name}_tanh", half, act_type="tanh")
            base = shared("elemwise_add", f"{node.name}_sum", x, y)
        count += 1
        return operation(
            "elemwise_add", node.name, operation("elemwise_mul", f"{node.name}_share", difference, gained), base
        )

    graph.rewrite(replacement)
    return count


def _selection(node: Node) -> Optional[Tuple[Node, Node, Node, float]]:
    """x, y, p and s of a node that is p⊗x + (s−p)⊗y with s = 1, or with s = 2 and p = 2σ(l)."""
    if node.operator != "elemwise_add" or any(source.operator != "elemwise_mul" for source, _ in node.inputs):
        return None
    first, second = node.source(0), node.source(1)
    x, weight = first.source(0), first.source(1)
    y, rest = second.source(0), second.source(1)
    if rest.operator != "_rminus_scalar" or rest.source(0) is not weight:
        return None
    total = float(rest.attributes["scalar"])
    if total == 1:
        return x, y, weight, total
    doubled = weight.operator == "_mul_scalar" and float(weight.attributes["scalar"]) == 2 == total
    if doubled and weight.source(0).attributes.get("act_type") == "sigmoid":
        return x, y, weight, total
    return None


def _halved(node: Node, arrays: Arrays, users: Dict[int, int]) -> Node:
    """Half of what a node computes, with the half taken as near to the parameters as it goes."""
    if users.get(id(node), 1) == 1:
        if node.operator == "elemwise_add":
            return operation("elemwise_add", node.name, *(_halved(source, arrays, users) for source, _ in node.inputs))
        if node.operator == "Convolution" and _has_arrays(node):
            return _scaled(node, arrays, 0.5, 0.0, node.name + "_halved")
        if node.operator in ("Reshape", "reshape_like", "dot"):
            half = _halved(node.source(0), arrays, users)
            return Node(node.operator, node.name, node.attributes, [(half, 0), *node.inputs[1:]], node.rest)
    return operation("_mul_scalar", f"{node.name}_half", node, scalar=0.5)
