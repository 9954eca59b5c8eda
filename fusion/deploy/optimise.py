"""Networks made fast for inference: batch norms folded, operators joined by oneDNN, weights of 8 or 16 bits.

Each optimised float32 network is compared with the network that it comes from before it is returned. The command that
also measures accuracy and speed is in `optimise_command`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Optional, Sequence, Tuple, Union

import numpy as np

from ..compat import HybridBlock, mx
from ..errors import CheckpointError, ConfigError, DataError, ExportError
from ..inference.trained import Trained
from ..native_log import without_native_log
from .graph import Graph
from .rewriting import (
    fold_batch_norms,
    part_shared_convolutions,
    pool_by_onednn,
    repeat_by_constant,
    select_in_three_passes,
)
from .symbols import INPUT, Arrays, as_block, load_graph, needed_arrays, save_graph, trace
from .verify import differences

#: Images that calibration takes at a time.
_CALIBRATION_BATCH = 32

#: Operators that stay in float32: in MXNet 1.9.1, oneDNN multiplies no maps of unsigned integers.
_NOT_IN_INT8 = ("elemwise_mul",)


@dataclass(frozen=True)
class Optimised:
    """A network for inference, which takes images of one size in batches of any size.

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
        What computes it; hybridized.
    """

    symbol: Any
    arrays: Arrays
    size: int
    rewritten: Dict[str, int]
    block: Any

    def __call__(self, images: Any) -> Any:
        """Logits of images (B, 3, size, size)."""
        return self.block(images)

    def __repr__(self) -> str:
        types = ", ".join(sorted({np.dtype(array.dtype).name for array in self.arrays.values()}))
        numbers = sum(array.size for array in self.arrays.values())
        return (
            f"<Optimised: images of {self.size}x{self.size} pixels, {numbers:,} parameters of type {types}, "
            f"rewritten {self.rewritten}>"
        )

    def save(self, prefix: Path) -> Tuple[Path, Path]:
        """Write PREFIX-symbol.json and PREFIX-0000.params, which `load_optimised` and `SymbolBlock.imports` read."""
        return save_graph(self.symbol, self.arrays, prefix)


def load_optimised(prefix: Path) -> Any:
    """The block of what `Optimised.save` wrote with this prefix; hybridized.

    Raises
    ------
    CheckpointError
        If a file is missing or damaged.
    """
    return load_graph(prefix)


def optimise(
    source: Union[Trained, Any], size: Optional[int] = None, onednn: bool = True, channels: int = 3
) -> Optimised:
    """A network made fast for inference in float32: the same function up to rounding, which is checked.

    Parameters
    ----------
    source : Trained or HybridBlock
        With its weights, on the CPU: of this package, or of one's own.
    size : int, optional
        Height and width of its images, in pixels; the size that it was trained on by default. A network of one's own
        does not say, so that it is needed.
    onednn : bool
        Also join operators into those of oneDNN. The graph then runs in MXNet on CPUs only.
    channels : int
        Of its images.

    Returns
    -------
    Optimised
        It differs from the original by at most `verify.TOLERANCE` of the largest output.

    Raises
    ------
    CheckpointError
        If it computes something else than the original.
    ConfigError
        If this MXNet is built without oneDNN, or the size is not known.

    Examples
    --------
    >>> import fusion, mxnet as mx
    >>> from pathlib import Path
    >>> from fusion.inference.trained import load_pretrained
    >>> fast = optimise(load_pretrained("aff_resnet8_digits"))
    >>> fast.rewritten
    {'batch norms folded': 15, 'means by oneDNN': 4, 'vectors spread': 3, 'selections': 3}
    >>> files = fast.save(Path("digits"))
    >>> images = mx.nd.zeros((1, 3, 32, 32))
    >>> bool((load_optimised(Path("digits"))(images) == fast(images)).asnumpy().all())
    True
    """
    net, size = _network(source, size)
    shape = (2, channels, size, size)
    symbol, arrays = trace(net, shape)
    graph = Graph(symbol)
    rewritten = {
        "batch norms folded": fold_batch_norms(graph, arrays),
        "means by oneDNN": pool_by_onednn(graph),
        "vectors spread": repeat_by_constant(graph, shape),
        "selections": select_in_three_passes(graph, arrays),
    }
    part_shared_convolutions(graph)
    symbol = _joined_by_onednn(graph.symbol()) if onednn else graph.symbol()
    arrays = needed_arrays(symbol, arrays)
    found = Optimised(symbol, arrays, size, rewritten, as_block(symbol, arrays))
    check_equal(net, found.block, shape)
    return found


def _network(source: Any, size: Optional[int]) -> Tuple[Any, int]:
    """The network, and the height and width of its images."""
    if isinstance(source, Trained):
        return source.net, int(size or source.preparation.size)
    if not isinstance(source, HybridBlock):
        raise ConfigError(f"{type(source).__name__} is no HybridBlock: MXNet makes a graph of these only")
    size = size or getattr(source, "input_size", None)
    if size is None:
        raise ConfigError(f"{type(source).__name__} does not say how large its images are: add size=PIXELS")
    return source, int(size)


def _joined_by_onednn(symbol: Any) -> Any:
    if not mx.runtime.Features().is_enabled("MKLDNN"):
        raise ConfigError("this MXNet is built without oneDNN (python -m fusion doctor): optimise(..., onednn=False)")
    return symbol.optimize_for("MKLDNN")


def check_equal(net: Any, block: Any, shape: Sequence[int]) -> float:
    """Compare a block with the network that it comes from, on random images.

    Parameters
    ----------
    net, block : Block
        The network, and what stands for it.
    shape : sequence of int
        Of the images, (B, 3, H, W).

    Returns
    -------
    float
        The largest difference, as a share of the network's largest output.

    Raises
    ------
    CheckpointError
        If it is more than `verify.TOLERANCE`.
    """
    batch = "random images"
    images = mx.nd.array(np.random.default_rng(0).standard_normal(shape))
    try:
        return differences("optimised", {batch: block(images).asnumpy()}, {batch: net(images).asnumpy()})[batch]
    except ExportError as error:
        advice = "The weights may hold values that are not numbers, or values that are far too large"
        raise CheckpointError(f"{error}. {advice}") from None


# --- Eight bits ------------------------------------------------------------------------------------------------------


def quantise(source: Union[Trained, Any], images: np.ndarray, size: Optional[int] = None) -> Optimised:
    """A network whose convolutions compute in eight-bit integers.

    Parameters
    ----------
    source : Trained or HybridBlock
        With its weights, on the CPU.
    images : numpy.ndarray, shape (N, C, size, size), float32
        Real images, normalised: the ranges of the integers are those of the activations for them. Take other images
        than those that the network is tested on.
    size : int, optional
        As for `optimise`.

    Returns
    -------
    Optimised
        It is not the same function: compare its accuracy.

    Raises
    ------
    DataError
        If there are no images.
    ConfigError
        If this MXNet is built without oneDNN, or the network has convolutions in groups, as ResNeXt has.
    """
    if not len(images):
        raise DataError("INT8 takes its ranges from images, and there are none")
    exact = optimise(source, size, onednn=False, channels=images.shape[1])
    grouped = [name for name, own in exact.symbol.attr_dict().items() if own.get("num_group", "1") != "1"]
    if grouped:
        raise ConfigError(
            f"{len(grouped)} convolutions in groups, such as {grouped[0]}: MXNet 1.9.1's integer kernel hands what "
            "follows them a layout that it cannot read. Leave INT8 out for ResNeXt"
        )
    _joined_by_onednn(exact.symbol)  # only to refuse an MXNet without oneDNN
    batch = min(_CALIBRATION_BATCH, len(images))
    calibration = mx.io.NDArrayIter(mx.nd.array(images), batch_size=batch, last_batch_handle="discard")
    with warnings.catch_warnings(), without_native_log():  # which has a line for every layer that stays in float32
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


# --- Sixteen bits, for GPUs ------------------------------------------------------------------------------------------


def halve(source: Union[Trained, Any], size: Optional[int] = None, channels: int = 3) -> Optimised:
    """A network with float16 weights, for GPUs: batch norms are folded, and those that cannot be stay in float32.

    Parameters
    ----------
    source : Trained or HybridBlock
        With its weights.
    size, channels : int
        As for `optimise`.

    Returns
    -------
    Optimised
        Its block computes in float32 with the rounded weights, because MXNet has no fast float16 kernels for CPUs.

    Raises
    ------
    CheckpointError
        If a weight is outside float16's range.
    """
    net, size = _network(source, size)
    symbol, arrays = trace(net, (2, channels, size, size))
    graph = Graph(symbol)
    folded = fold_batch_norms(graph, arrays)
    kept = {s.name for node in graph.nodes() if node.operator == "BatchNorm" for s, _ in node.inputs[1:]}
    symbol = graph.symbol()
    rounded = {}
    for name, array in needed_arrays(symbol, arrays).items():
        with np.errstate(over="ignore"):
            rounded[name] = array if name in kept else array.astype(np.float16)
        if not np.isfinite(rounded[name]).all():
            raise CheckpointError(f"{name}: has weights outside float16's range of ±65,504: export it as float32")
    block = as_block(symbol, {name: array.astype(np.float32) for name, array in rounded.items()})
    return Optimised(symbol, rounded, size, {"batch norms folded": folded}, block)
