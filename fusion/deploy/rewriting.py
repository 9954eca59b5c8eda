"""Rewrites of a network's graph for inference: the same function, with fewer and faster operators.

The blocks of `fusion.attention` and `fusion.fuse` are written for operators whose gradients are fast. Inference has no
gradients, and three things cost time there: the row of ones that repeats a vector is made from a whole map; adaptive
pooling and products read MXNet's own layout of an array, while oneDNN's convolutions write another one; and soft
selection reads or writes its maps in five passes, where three are enough. benchmarks/deployment.py measures what the
rewrites gain.
"""

from __future__ import annotations

from typing import Any, Dict, Optional, Sequence, Tuple

import numpy as np

from .graph import VARIABLE, Edge, Graph, Node, operation, variable
from .symbols import INPUT, Arrays

# --- Batch norm ------------------------------------------------------------------------------------------------------


def fold_batch_norms(graph: Graph, arrays: Arrays) -> int:
    """Put each batch norm that follows a convolution into the convolution's weights and bias.

    Parameters
    ----------
    graph : Graph
        Changed in place.
    arrays : dict of str to array
        Its parameters by name; those of the new convolutions are added.

    Returns
    -------
    int
        How many batch norms were folded.
    """
    users = graph.users()
    folded = 0

    def replacement(node: Node) -> Node:
        nonlocal folded
        if not _is_foldable(node) or users[node.source(0)] > 1:
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
    return node.value("axis", 1) == 1 and not node.value("output_mean_var", False) and _has_arrays(node)


def _has_arrays(node: Node) -> bool:
    """Whether all inputs but the first are parameters."""
    return all(source.operator == VARIABLE for source, _ in node.inputs[1:])


def _scale_and_shift(norm: Node, arrays: Arrays) -> Tuple[np.ndarray, np.ndarray]:
    gamma, beta, mean, variance = (arrays[source.name].astype(np.float64) for source, _ in norm.inputs[1:5])
    if norm.value("fix_gamma", True):
        gamma = np.ones_like(gamma)
    scale = gamma / np.sqrt(variance + norm.value("eps", 1e-3))
    return scale, beta - mean * scale


def _scaled(convolution: Node, arrays: Arrays, scale: Any, shift: Any, name: str) -> Node:
    """A convolution whose output is that of another one, times `scale`, plus `shift`.

    Both are a number, or an array with one number per channel.
    """
    stored = arrays[convolution.source(1).name]
    weight = stored.astype(np.float64)
    scale = np.broadcast_to(scale, len(weight))
    bias = np.zeros(len(weight))
    if not convolution.value("no_bias", False):
        bias = arrays[convolution.source(2).name].astype(np.float64)
    arrays[f"{name}_weight"] = (weight * scale[:, None, None, None]).astype(stored.dtype)
    arrays[f"{name}_bias"] = (bias * scale + shift).astype(stored.dtype)
    data = convolution.inputs[0]
    given = {**convolution.attributes, "no_bias": "False"}
    inputs = [data, (variable(f"{name}_weight"), 0), (variable(f"{name}_bias"), 0)]
    return Node("Convolution", name, given, inputs, convolution.rest)


# --- Convolutions that two operators read ----------------------------------------------------------------------------


def part_shared_convolutions(graph: Graph) -> int:
    """Set apart the output of each convolution that a batch norm or an activation reads, and another operator too.

    MXNet 1.9.1 joins a convolution with what follows it into one operator of oneDNN even where the convolution's own
    output is read elsewhere, and then hands out the wrong one of the two. That happens in a pre-activation network with
    plain addition, whose stem feeds the first block's batch norm and also its shortcut. An operator between the two
    that changes nothing keeps MXNet from joining them.

    Parameters
    ----------
    graph : Graph
        Changed in place.

    Returns
    -------
    int
        How many such convolutions there are.
    """
    users = graph.users()
    activated = {node.source(0) for node in graph.nodes() if node.operator in ("BatchNorm", "Activation")}
    count = 0

    def replacement(node: Node) -> Node:
        nonlocal count
        if node.operator != "Convolution" or node not in activated or users[node] == 1:
            return node
        count += 1
        return operation("BlockGrad", f"{node.name}_shared", node)  # MXNet would take out its plain identity again

    graph.rewrite(replacement)
    return count


# --- Means and repeated vectors --------------------------------------------------------------------------------------


def pool_by_onednn(graph: Graph) -> int:
    """Take means over all pixels by the pooling operator that reads oneDNN's layout.

    Parameters
    ----------
    graph : Graph
        Changed in place.

    Returns
    -------
    int
        How many means there are.
    """
    count = 0

    def replacement(node: Node) -> Node:
        nonlocal count
        if not is_mean_over_pixels(node):
            return node
        count += 1
        return operation("Pooling", node.name, node.source(0), pool_type="avg", global_pool=True, kernel=(1, 1))

    graph.rewrite(replacement)
    return count


def is_mean_over_pixels(node: Node) -> bool:
    """Whether a node is adaptive average pooling to a single pixel."""
    return node.operator == "_contrib_AdaptiveAvgPooling2D" and node.value("output_size", 1) in (1, (1,), (1, 1))


def repeat_by_constant(graph: Graph, shape: Sequence[int]) -> int:
    """Repeat vectors over the pixels by a row of ones that is a constant, instead of one made from a map each time.

    Parameters
    ----------
    graph : Graph
        Changed in place. It then takes images of one size only, in batches of any size.
    shape : sequence of int
        Of the input "data", (B, C, H, W).

    Returns
    -------
    int
        How many repeated vectors there are.
    """
    shapes = graph.shapes(**{INPUT: shape})
    ones: Dict[int, Node] = {}
    count = 0

    def row(pixels: int) -> Node:
        if pixels not in ones:
            ones[pixels] = Node("_ones", f"row_of_{pixels}_ones", {"shape": str((1, pixels)), "dtype": "float32"})
        return ones[pixels]

    def replacement(node: Node) -> Node:
        nonlocal count
        if repeated_vector(node) is None:
            return node
        count += 1
        _, channels, height, width = shapes[node, 0]
        product = node.source(0)
        repeated = operation("dot", product.name, product.source(0), row(height * width))
        return operation("Reshape", node.name, repeated, shape=(-1, channels, height, width))

    graph.rewrite(replacement)
    return count


def repeated_vector(node: Node) -> Optional[Edge]:
    """The vector that a node repeats over all pixels, if it is what `fusion.attention.repeat_over_pixels` ends in.

    Within `fusion.operators.as_equations` that is a matrix product of the vector, as a column, and a row of ones,
    reshaped like a map.
    """
    if node.operator != "reshape_like" or node.source(0).operator != "dot":
        return None
    column, row = node.source(0).source(0), node.source(0).source(1)
    return column.inputs[0] if column.operator == "Reshape" and row.operator == "ones_like" else None


# --- Selection -------------------------------------------------------------------------------------------------------


def select_in_three_passes(graph: Graph, arrays: Arrays) -> int:
    """Write p⊗x + (s−p)⊗y as fewer operators.

    For s = 1 it is y + p⊗(x−y). Soft selection, with s = 2 and p = 2σ(l), is x + y + tanh(l/2)⊗(x−y): AFF has computed
    x + y already, and the half goes into the weights of the convolutions that make l.

    Parameters
    ----------
    graph : Graph
        Changed in place.
    arrays : dict of str to array
        Its parameters by name; those of halved convolutions are added.

    Returns
    -------
    int
        How many selections there are.
    """
    users = graph.users()
    known: Dict[Tuple[str, Node, Node], Node] = {}
    count = 0

    def shared(operator: str, name: str, x: Node, y: Node) -> Node:
        return known.setdefault((operator, x, y), operation(operator, name, x, y))

    def replacement(node: Node) -> Node:
        nonlocal count
        if node.operator == "elemwise_add":
            known.setdefault((node.operator, node.source(0), node.source(1)), node)
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
        share = operation("elemwise_mul", f"{node.name}_share", difference, gained)
        return operation("elemwise_add", node.name, share, base)

    graph.rewrite(replacement)
    return count


def _selection(node: Node) -> Optional[Tuple[Node, Node, Node, float]]:
    """Return x, y, p and s of a node that is p⊗x + (s−p)⊗y with s = 1, or with s = 2 and p = 2σ(l)."""
    if node.operator != "elemwise_add" or any(source.operator != "elemwise_mul" for source, _ in node.inputs):
        return None
    first, second = node.source(0), node.source(1)
    x, weight = first.source(0), first.source(1)
    y, rest = second.source(0), second.source(1)
    if rest.operator != "_rminus_scalar" or rest.source(0) is not weight:
        return None
    total = float(rest.value("scalar", 0))
    if total == 1:
        return x, y, weight, total
    doubled = weight.operator == "_mul_scalar" and weight.value("scalar", 0) == 2 == total
    if doubled and weight.source(0).value("act_type", "") == "sigmoid":
        return x, y, weight, total
    return None


def _halved(node: Node, arrays: Arrays, users: Dict[Node, int]) -> Node:
    """Half of what a node computes, with the factor taken as near to the parameters as possible."""
    if users.get(node, 1) == 1:
        if node.operator == "elemwise_add":
            return operation("elemwise_add", node.name, *(_halved(source, arrays, users) for source, _ in node.inputs))
        if node.operator == "Convolution" and _has_arrays(node):
            return _scaled(node, arrays, 0.5, 0.0, node.name + "_halved")
        if node.operator in ("Reshape", "reshape_like", "dot"):
            half = _halved(node.source(0), arrays, users)
            return Node(node.operator, node.name, node.attributes, [(half, 0), *node.inputs[1:]], node.rest)
    return operation("_mul_scalar", f"{node.name}_half", node, scalar=0.5)
