"""Networks made fast for inference: batch norms folded, operators fused by oneDNN, and eight-bit integers.

Every float32 one is held against the network it comes from before it is returned; the command that measures accuracy
and speed too is in `optimise_command`.
"""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Sequence, Tuple, Union

import numpy as np

from ..attention import as_equations
from ..compat import mx
from ..errors import CheckpointError, ConfigError, DataError
from ..files import whole_file
from ..inference.trained import Trained
from .graph import Graph
from .rewriting import (
    Arrays,
    fold_batch_norms,
    part_shared_convolutions,
    pool_by_onednn,
    select_in_three_passes,
    spread_by_constant,
)
from .verify import TOLERANCE, relative_difference

INPUT = "data"

#: Images that calibration takes at a time.
_CALIBRATION_BATCH = 32

#: What oneDNN's integers have no kernel for in MXNet 1.9.1: products of an unsigned map.
_NOT_IN_INT8 = ("elemwise_mul",)


@dataclass(frozen=True)
class Optimised:
    """A network for inference, which takes images of one size in batches of any.

    Attributes
    ----------
    symbol : Symbol
        From "data" (B, 3, size, size) to logits.
    arrays : dict of str to array
        Its parameters by name.
    size : int
        Height and width of the images, in pixels.
    rewritten : dict of str to int
        How many nodes each rewrite replaced.
    block : SymbolBlock
        To call; hybridized.
    """

    symbol: Any
    arrays: Dict[str, Any]
    size: int
    rewritten: Dict[str, int]
    block: Any

    def __call__(self, images: Any) -> Any:
        """Logits of images (B, 3, size, size)."""
        return self.block(images)

    def save(self, prefix: Path) -> Tuple[Path, Path]:
        """Write PREFIX-symbol.json and PREFIX-0000.params, which `SymbolBlock.imports` reads; each whole or not."""
        return save_graph(self.symbol, self.arrays, prefix)


def trace(net: Any, shape: Sequence[int]) -> Tuple[Any, Arrays]:
    """The graph of a network in inference and its parameters by the graph's names.

    Parameters
    ----------
    net : HybridBlock
        With its weights; it is left as it was.
    shape : sequence of int
        Of its input, for parameters whose shapes are not known yet.

    Returns
    -------
    symbol : Symbol
        Of the input "data".
    arrays : dict of str to numpy.ndarray
        Parameters and running statistics.
    """
    mx.nd.waitall()
    if any(0 in (parameter.shape or (0,)) for parameter in net.collect_params().values()):
        net(mx.nd.zeros(shape))
    with warnings.catch_warnings(), as_equations():
        warnings.simplefilter("ignore")  # that the type of the data is not known yet
        symbol = net(mx.sym.var(INPUT))
    wanted = set(symbol.list_inputs()) - {INPUT}
    parameters = net.collect_params()
    return symbol, {name: parameters[name]._reduce().asnumpy() for name in sorted(wanted)}


def as_block(symbol: Any, arrays: Dict[str, Any]) -> Any:
    """A symbol with its parameters as a block to call, hybridized."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the type of the data is not known yet
        block = mx.gluon.SymbolBlock(symbol, [mx.sym.var(INPUT)])
        for name, parameter in block.collect_params().items():
            array = arrays[name]
            parameter.dtype = array.dtype  # of eight-bit weights too
            parameter._load_init(mx.nd.array(array, dtype=array.dtype), mx.cpu())
            parameter.grad_req = "null"
    block.hybridize(static_alloc=True, static_shape=True)
    return block


def optimise(source: Union[Trained, Any], size: Optional[int] = None, onednn: bool = True) -> Optimised:
    """A network made fast for inference in float32: the same function to rounding, which is checked.

    Parameters
    ----------
    source : Trained or HybridBlock
        With its weights, on the CPU.
    size : int, optional
        Height and width of its images, in pixels; what it was trained on by default.
    onednn : bool
        Also leave operators to oneDNN in groups, which binds the graph to MXNet on the CPU.

    Returns
    -------
    Optimised
        With the largest difference from the original below 1e-4 of its largest output.

    Raises
    ------
    CheckpointError
        If it computes something else than the original.
    ConfigError
        If this MXNet is built without oneDNN.
    """
    net, size = _network(source, size)
    shape = (2, 3, size, size)
    symbol, arrays = trace(net, shape)
    graph = Graph(symbol)
    rewritten = {
        "batch norms folded": fold_batch_norms(graph, arrays),
        "means by oneDNN": pool_by_onednn(graph),
        "vectors spread": spread_by_constant(graph, shape),
        "selections": select_in_three_passes(graph, arrays),
    }
    part_shared_convolutions(graph)
    symbol = _fused_by_onednn(graph.symbol()) if onednn else graph.symbol()
    arrays = _needed(symbol, arrays)
    found = Optimised(symbol, arrays, size, rewritten, as_block(symbol, arrays))
    check_equal(net, found.block, shape)
    return found


def _network(source: Any, size: Optional[int]) -> Tuple[Any, int]:
    if isinstance(source, Trained):
        return source.net, int(size or source.preparation.size)
    return source, size or int(getattr(source, "input_size", 224))


def _fused_by_onednn(symbol: Any) -> Any:
    if not mx.runtime.Features().is_enabled("MKLDNN"):
        raise ConfigError("this MXNet is built without oneDNN (python -m fusion doctor): optimise(..., onednn=False)")
    return symbol.optimize_for("MKLDNN")


def _needed(symbol: Any, arrays: Dict[str, Any]) -> Dict[str, Any]:
    return {name: arrays[name] for name in symbol.list_inputs() if name != INPUT}


def check_equal(net: Any, block: Any, shape: Sequence[int]) -> float:
    """Hold a block against the network it comes from, on random images.

    Returns
    -------
    float
        The largest difference, as a fraction of the network's largest output.

    Raises
    ------
    CheckpointError
        If it is more than 1e-4.
    """
    images = mx.nd.array(np.random.default_rng(0).standard_normal(shape))
    expected, found = net(images).asnumpy(), block(images).asnumpy()
    difference = relative_difference(found, expected)
    if difference > TOLERANCE:
        raise CheckpointError(
            f"the optimised network differs from its original by {difference:.1e} of the largest output, "
            f"more than {TOLERANCE:.0e}: the weights may hold values that are not numbers or far too large"
        )
    return difference


# --- Eight bits ------------------------------------------------------------------------------------------------------


def quantise(source: Union[Trained, Any], images: np.ndarray, size: Optional[int] = None) -> Optimised:
    """A network whose convolutions compute in eight-bit integers.

    Parameters
    ----------
    source : Trained or HybridBlock
        With its weights, on the CPU.
    images : numpy.ndarray, shape (N, 3, size, size), float32
        Real ones, normalised, from whose activations the ranges are taken; not those it is tested on.
    size : int, optional
        As for `optimise`.

    Returns
    -------
    Optimised
        Not the same function: compare its accuracy.

    Raises
    ------
    DataError
        If there are no images.
    ConfigError
        If this MXNet is built without oneDNN, or the network has convolutions in groups, as ResNeXt has.
    """
    if not len(images):
        raise DataError("INT8 takes its ranges from images, and there are none")
    exact = optimise(source, size, onednn=False)
    grouped = [name for name, own in exact.symbol.attr_dict().items() if own.get("num_group", "1") != "1"]
    if grouped:
        raise ConfigError(
            f"{len(grouped)} convolutions in groups, such as {grouped[0]}: MXNet 1.9.1's integer kernel hands what "
            "follows them a layout that it cannot read. Leave INT8 out for ResNeXt"
        )
    _fused_by_onednn(exact.symbol)  # which refuses an MXNet without oneDNN
    batch = min(_CALIBRATION_BATCH, len(images))
    calibration = mx.io.NDArrayIter(mx.nd.array(images), batch_size=batch, last_batch_handle="discard")
    with warnings.catch_warnings(), _held_back():
        warnings.simplefilter("ignore")
        block = mx.contrib.quantization.quantize_net(
            exact.block,
            quantized_dtype="auto",
            exclude_operators=list(_NOT_IN_INT8),
            calib_data=calibration,
            calib_mode="naive",
            ctx=mx.cpu(),
        )
        block.hybridize(static_alloc=True, static_shape=True)
        block(mx.nd.array(images[:batch]))
    symbol = block._cached_graph[1]
    parameters = block.collect_params()
    arrays = {name: parameters[name].data().asnumpy() for name in symbol.list_inputs() if name != INPUT}
    return Optimised(symbol, arrays, exact.size, exact.rewritten, as_block(symbol, arrays))


@contextmanager
def _held_back() -> Iterator[None]:
    """Keep back what MXNet writes on standard error, a line for every layer that stays float32, unless it fails."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as notes:
        terminal = os.dup(2)
        os.dup2(notes.fileno(), 2)
        try:
            yield
        except BaseException:
            notes.seek(0)
            os.write(terminal, notes.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


# --- Sixteen bits, for GPUs ------------------------------------------------------------------------------------------


def halve(source: Union[Trained, Any], size: Optional[int] = None) -> Optimised:
    """A network with float16 weights, for GPUs: batch norms folded, those that stay in float32.

    Parameters
    ----------
    source : Trained or HybridBlock
        With its weights.
    size : int, optional
        As for `optimise`.

    Returns
    -------
    Optimised
        Its block computes in float32 with the rounded weights: CPUs have no float16 kernels worth the name.

    Raises
    ------
    CheckpointError
        If a weight is outside float16's range.
    """
    net, size = _network(source, size)
    symbol, arrays = trace(net, (2, 3, size, size))
    graph = Graph(symbol)
    folded = fold_batch_norms(graph, arrays)
    kept = {s.name for node in graph.nodes() if node.operator == "BatchNorm" for s, _ in node.inputs[1:]}
    symbol = graph.symbol()
    rounded = {}
    for name, array in _needed(symbol, arrays).items():
        with np.errstate(over="ignore"):
            rounded[name] = array if name in kept else array.astype(np.float16)
        if not np.isfinite(rounded[name]).all():
            raise CheckpointError(f"{name}: has weights outside float16's range of ±65,504: export it as float32")
    block = as_block(symbol, {name: array.astype(np.float32) for name, array in rounded.items()})
    return Optimised(symbol, rounded, size, {"batch norms folded": folded}, block)


# --- Files -----------------------------------------------------------------------------------------------------------


def save_graph(symbol: Any, arrays: Dict[str, Any], prefix: Path) -> Tuple[Path, Path]:
    """Write PREFIX-symbol.json and PREFIX-0000.params as `SymbolBlock.imports` reads them, each whole or not at all."""
    graph, weights = prefix.with_name(f"{prefix.name}-symbol.json"), prefix.with_name(f"{prefix.name}-0000.params")
    auxiliary = set(symbol.list_auxiliary_states())
    stored = {
        f"{'aux' if name in auxiliary else 'arg'}:{name}": mx.nd.array(array, dtype=array.dtype)
        for name, array in arrays.items()
    }
    with whole_file(weights) as aside:
        mx.nd.save(str(aside), stored)
    with whole_file(graph) as aside:
        symbol.save(str(aside))
    return graph, weights


def load_optimised(prefix: Path) -> Any:
    """The block that `Optimised.save` wrote, hybridized.

    Raises
    ------
    CheckpointError
        If a file is missing or damaged.
    """
    graph, weights = f"{prefix}-symbol.json", f"{prefix}-0000.params"
    for file in (graph, weights):
        if not Path(file).is_file():
            raise CheckpointError(f"{file}: no such file; expected what python -m fusion optimise wrote")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            block = mx.gluon.SymbolBlock.imports(graph, [INPUT], weights, ctx=mx.cpu())
    except (mx.MXNetError, ValueError, AssertionError, UnicodeDecodeError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise CheckpointError(f"{graph}: cannot be read with its parameters ({reason})") from None
    block.hybridize(static_alloc=True, static_shape=True)
    return block
