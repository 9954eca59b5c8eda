"""A network as MXNet's symbol with its arrays: traced, called, written to files and read from them.

Everything in `fusion.deploy` begins with `trace`. `optimise` and `export` write what they make by `save_graph`.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Optional, Sequence, Tuple

import numpy as np

from ..compat import mx
from ..errors import CheckpointError
from ..files import whole_file, write_text
from ..models.network import describe_mismatches
from ..models.parameter_file import read_parameters, write_parameters
from ..operators import as_equations
from .graph_file import read_graph

#: The name of a traced network's input.
INPUT = "data"

#: Parameters and running statistics, by the names that a graph has for them.
Arrays = Dict[str, np.ndarray]


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Without MXNet's warning that it does not know the type of the input yet."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def trace(net: Any, shape: Sequence[int], data: Optional[Any] = None) -> Tuple[Any, Arrays]:
    """A network's graph for inference, in the operators of its equations, and its parameters by the graph's names.

    Parameters
    ----------
    net : HybridBlock
        With its weights. It is not changed.
    shape : sequence of int
        Of the network's input, (B, C, H, W): for parameters whose shapes are not known yet.
    data : Symbol, optional
        What the network is applied to; a variable named "data" by default.

    Returns
    -------
    symbol : Symbol
        The network applied to `data`.
    arrays : dict of str to numpy.ndarray
        The network's parameters and running statistics.
    """
    mx.nd.waitall()
    if any(0 in (parameter.shape or (0,)) for parameter in net.collect_params().values()):
        net(mx.nd.zeros(shape))
    with _without_warnings(), as_equations():
        symbol = net(mx.sym.var(INPUT) if data is None else data)
    parameters = net.collect_params()
    names = [name for name in symbol.list_inputs() if name in parameters]
    return symbol, {name: parameters[name]._reduce().asnumpy() for name in names}


def needed_arrays(symbol: Any, arrays: Mapping[str, np.ndarray]) -> Arrays:
    """Those of some arrays that a graph reads."""
    return {name: arrays[name] for name in symbol.list_inputs() if name != INPUT}


def as_block(symbol: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """A symbol with its parameters as a block that can be called; hybridized."""
    with _without_warnings():
        block = mx.gluon.SymbolBlock(symbol, [mx.sym.var(INPUT)])
        for name, parameter in block.collect_params().items():
            array = arrays[name]
            parameter.dtype = array.dtype  # of eight-bit weights too
            parameter._load_init(mx.nd.array(array, dtype=array.dtype), mx.cpu())
            parameter.grad_req = "null"
    block.hybridize(static_alloc=True, static_shape=True)
    return block


def save_graph(symbol: Any, arrays: Mapping[str, np.ndarray], prefix: Path) -> Tuple[Path, Path]:
    """Write PREFIX-symbol.json and PREFIX-0000.params as `SymbolBlock.imports` reads them, each whole or not at all.

    Parameters
    ----------
    symbol : Symbol
        The graph.
    arrays : mapping of str to numpy.ndarray
        Its parameters and running statistics.
    prefix : Path
        The beginning of both files' names, with their folder.

    Returns
    -------
    graph, weights : Path
        The files.
    """
    graph, weights = _files(prefix)
    auxiliary = set(symbol.list_auxiliary_states())
    stored = {f"{'aux' if name in auxiliary else 'arg'}:{name}": array for name, array in arrays.items()}
    with whole_file(weights) as aside:
        write_parameters(aside, stored)
    write_text(graph, symbol.tojson())  # `symbol.save` reports no error on a full disk
    return graph, weights


def load_graph(prefix: Path) -> Any:
    """What `save_graph` wrote, as a block that can be called; hybridized.

    Parameters
    ----------
    prefix : Path
        As it was given to `save_graph`.

    Raises
    ------
    CheckpointError
        If a file is missing or damaged.
    """
    graph, weights = _files(prefix)
    for file in (graph, weights):
        if not file.is_file():
            raise CheckpointError(f"{file}: no such file; expected what python -m fusion optimise or export wrote")
    symbol, arrays = read_graph(graph), read_parameters(str(weights))
    _check_fit(weights, symbol, arrays)
    try:
        return as_block(symbol, arrays)
    except (mx.MXNetError, ValueError, AssertionError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise CheckpointError(f"{graph}: cannot be read with its parameters ({reason})") from None


def _check_fit(file: Path, symbol: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Check that arrays are those that a graph reads, of the shapes that it was saved with where it has them."""
    inputs = symbol.list_inputs()
    if INPUT not in inputs:
        raise CheckpointError(f"{file}: its graph has no input named {INPUT!r}")
    expected = set(inputs) - {INPUT}
    attributes = symbol.attr_dict()
    problems = [f"{name} is missing" for name in sorted(expected - set(arrays))]
    for name, array in arrays.items():
        shape = attributes.get(name, {}).get("__shape__", str(array.shape))
        if name not in expected:
            problems.append(f"{name} is not in the graph")
        elif shape != str(array.shape):
            problems.append(f"{name} is {array.shape}, the graph's is {shape}")
    if problems:
        raise CheckpointError(describe_mismatches(str(file), problems))


def _files(prefix: Path) -> Tuple[Path, Path]:
    return prefix.with_name(f"{prefix.name}-symbol.json"), prefix.with_name(f"{prefix.name}-0000.params")
