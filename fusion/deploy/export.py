"""python -m fusion export: a trained network as files for MXNet alone and for ONNX Runtime, held against the network.

model-symbol.json, model-0000.params   for `SymbolBlock.imports` of MXNet, without this package
model.onnx                             for ONNX Runtime, any batch size
model.json                             what whoever runs them needs to know: classes, input, preparation, result
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from ..attention import as_equations
from ..command import log_to_terminal
from ..compat import mx
from ..data import digits
from ..data.image_folder import SUFFIXES
from ..errors import ConfigError, DataError
from ..inference.images import images_within
from ..inference.trained import Trained, add_source, from_arguments
from ..training.logbook import environment, read_result
from . import onnx as onnx_format
from .optimise import save_graph
from .verify import TOLERANCE, differences, run_symbol

logger = logging.getLogger("fusion")

#: Of every file, before what tells them apart.
_NAME = "model"

ONNX, DESCRIPTION = f"{_NAME}.onnx", f"{_NAME}.json"

#: The version of what model.json says.
_FORMAT = 1

#: How many real images an export is checked on, of as many as there are.
_REAL = 8

#: How many random ones, besides a single one.
_RANDOM = 4

_SCALE, _SHIFT = "preparation_scale", "preparation_shift"


@dataclass(frozen=True)
class Exported:
    """An export that has been written and agrees with its network.

    Attributes
    ----------
    folder : Path
        Where it is.
    model : str
        What it is of.
    files : dict of str to int
        Bytes by name.
    differences : dict of str to dict of str to float
        By format and batch, the largest difference as a share of the largest output.
    """

    folder: Path
    model: str
    files: Dict[str, int]
    differences: Dict[str, Dict[str, float]]


@dataclass(frozen=True)
class _Graph:
    """What every format is written from.

    Attributes
    ----------
    symbol : Symbol
        From `data` to logits.
    arrays : dict
        Its parameters and running statistics.
    shape : tuple of int
        Of an input without its batch.
    dtype : str
        Of the input.
    """

    symbol: Any
    arrays: Dict[str, np.ndarray]
    shape: Tuple[int, ...]
    dtype: str


def export(
    trained: Trained,
    output: Path,
    formats: Sequence[str] = ("symbol",),
    image: Optional[Tuple[int, int]] = None,
    with_preprocess: bool = False,
    images: Sequence[Path] = (),
    force: bool = False,
) -> Exported:
    """Write a network for others to run, after the files have given its answers in another process.

    Parameters
    ----------
    trained : Trained
        The network.
    output : Path
        A new folder.
    formats : sequence of {'symbol', 'onnx'}
        What to write.
    image : (int, int), optional
        Height and width of the images, in pixels; those that the network was trained on unless given.
    with_preprocess : bool
        Let the graph take (B, H, W, 3) uint8 images, and normalise them itself.
    images : sequence of Path
        Real images to compare the answers on, files or folders; without them, digits of the embedded data set.
    force : bool
        Replace an earlier export.

    Returns
    -------
    Exported
        What was written.

    Raises
    ------
    FusionError
        If the folder exists, the image size is impossible, an optional package is missing, or an export differs by
        more than `verify.TOLERANCE`. Nothing is written then.
    """
    for name in formats:
        if name not in _WRITERS:
            raise ConfigError(f"format {name!r}: expected one of {', '.join(_WRITERS)}")
    size = image or (trained.preparation.size, trained.preparation.size)
    graph = _trace(trained, size, with_preprocess)
    batches, expected = _reference(trained, graph, size, images)
    found: Dict[str, Dict[str, float]] = {}
    with _new_folder(output, force) as folder:
        for name in formats:
            logger.info("%s: writing, and comparing with the network", name)
            found[name] = differences(name, _WRITERS[name](graph, folder, batches), expected)
        description = _describe(trained, graph, size, formats, found)
        (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        files = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    return Exported(output, trained.model, files, found)


# --- The graph -------------------------------------------------------------------------------------------------------


def _trace(trained: Trained, size: Tuple[int, int], with_preprocess: bool) -> _Graph:
    arrays = {name: p.data(trained.context).asnumpy() for name, p in trained.net.collect_params().items()}
    dtype = "uint8" if with_preprocess else "float32"
    data = mx.sym.var(onnx_format.INPUT, dtype=dtype)
    if not with_preprocess:
        return _Graph(_symbol(trained.net, data), arrays, (3, *size), dtype)
    normalisation = trained.preparation.normalisation
    arrays.update({_SCALE: normalisation.scale, _SHIFT: normalisation.shift})
    pixels = mx.sym.transpose(mx.sym.cast(data, dtype="float32"), axes=(0, 3, 1, 2))
    # BlockGrad: whoever trains the imported graph further does not move them.
    scaled = mx.sym.broadcast_mul(pixels, mx.sym.BlockGrad(mx.sym.var(_SCALE, shape=(1, 3, 1, 1))))
    normal = mx.sym.broadcast_add(scaled, mx.sym.BlockGrad(mx.sym.var(_SHIFT, shape=(1, 3, 1, 1))))
    return _Graph(_symbol(trained.net, normal), arrays, (*size, 3), dtype)


def _symbol(net: Any, data: Any) -> Any:
    with as_equations():
        return net(data)


def _reference(
    trained: Trained, graph: _Graph, size: Tuple[int, int], files: Sequence[Path]
) -> Tuple[Dict[str, np.ndarray], Dict[str, np.ndarray]]:
    """Batches for the graph, and what the network answers to them."""
    draw = np.random.default_rng(0)
    pixels = {
        "random images": draw.integers(0, 256, (_RANDOM, *size, 3), dtype=np.uint8),
        "one random image": draw.integers(0, 256, (1, *size, 3), dtype=np.uint8),
        "real images": _real_images(trained, size, files),
    }
    inputs = {name: trained.preparation.normalise(batch) for name, batch in pixels.items()}
    try:
        answers = {
            name: trained.net(mx.nd.array(batch, ctx=trained.context)).asnumpy() for name, batch in inputs.items()
        }
    except mx.MXNetError:
        raise ConfigError(
            f"--input-shape {size[0]},{size[1]}: {trained.model} cannot take images of that size; expected one that "
            f"it can halve as often as it does, such as {trained.preparation.size},{trained.preparation.size}"
        ) from None
    return pixels if graph.dtype == "uint8" else inputs, answers


def _real_images(trained: Trained, size: Tuple[int, int], paths: Sequence[Path]) -> np.ndarray:
    """(n, H, W, 3) uint8, as the network is shown images, or as near as an oblong input allows."""
    square = max(size)
    if paths:
        preparation = replace(trained.preparation, size=square)
        found = np.stack([preparation.read(path) for path in _image_files(paths)[:_REAL]])
    else:
        from PIL import Image

        scans = digits.load("test").images[:_REAL]
        found = np.stack([np.asarray(Image.fromarray(scan).resize((square, square))) for scan in scans])
    top, left = (square - size[0]) // 2, (square - size[1]) // 2
    return np.ascontiguousarray(found[:, top : top + size[0], left : left + size[1]])


def _image_files(paths: Sequence[Path]) -> List[Path]:
    files: List[Path] = []
    for path in paths:
        within = images_within(path) if path.is_dir() else [path]
        if not within:
            raise DataError(f"{path}: no image within ({', '.join(SUFFIXES)})")
        files += within
    return files


# --- The formats -----------------------------------------------------------------------------------------------------


def _write_symbol(graph: _Graph, folder: Path, batches: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """As Gluon's own `export` names them; returns what they answer."""
    arrays = {name: graph.arrays[name] for name in graph.symbol.list_inputs() if name in graph.arrays}
    return run_symbol(*save_graph(graph.symbol, arrays, folder / _NAME), batches)


def _write_onnx(graph: _Graph, folder: Path, batches: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
    onnx_format.require("onnxruntime")
    model = onnx_format.to_onnx(graph.symbol, graph.arrays, graph.shape, graph.dtype)
    (folder / ONNX).write_bytes(model.SerializeToString())
    return onnx_format.run_onnx(str(folder / ONNX), batches)


Writer = Callable[[_Graph, Path, Mapping[str, np.ndarray]], Dict[str, np.ndarray]]
_WRITERS: Dict[str, Writer] = {"symbol": _write_symbol, "onnx": _write_onnx}


def _describe(
    trained: Trained,
    graph: _Graph,
    size: Tuple[int, int],
    formats: Sequence[str],
    found: Mapping[str, Mapping[str, float]],
) -> Dict[str, Any]:
    """What model.json says."""
    preparation = replace(trained.preparation, size=max(size))
    versions = dict(environment("cpu")["versions"])
    if "onnx" in formats:
        versions.update({name: onnx_format.require(name).__version__ for name in ("onnx", "onnxruntime")})
    finished = trained.run is not None and trained.run.result.is_file()
    return {
        "format": _FORMAT,
        "model": trained.model,
        "data": trained.data,
        "classes": list(trained.classes),
        "input": {
            "name": onnx_format.INPUT,
            "shape": ["batch", *graph.shape],
            "layout": "NHWC" if graph.dtype == "uint8" else "NCHW",
            "dtype": graph.dtype,
            "colours": "red, green, blue",
        },
        "output": {"name": onnx_format.OUTPUT, "shape": ["batch", len(trained.classes)], "what": "logits"},
        "images": {
            "shorter_side": preparation.resized,
            "interpolation": "area to shrink, cubic to grow (OpenCV)" if preparation.photos else "bilinear (Pillow)",
            "centre_crop": list(size),
        },
        "normalisation": {
            "of_pixels_between": [0, 1],
            "mean": list(preparation.mean),
            "std": list(preparation.std),
            "in_the_graph": graph.dtype == "uint8",
        },
        "training": read_result(trained.run) if finished and trained.run is not None else None,
        "largest_difference": {name: max(shares.values()) for name, shares in found.items()},
        "versions": versions,
        **({"opset": onnx_format.OPSET} if "onnx" in formats else {}),
    }


# --- The folder ------------------------------------------------------------------------------------------------------


@contextmanager
def _new_folder(output: Path, force: bool) -> Iterator[Path]:
    """A folder to write into, which takes its name at the end, or goes."""
    if output.exists() or output.is_symlink():
        if not force:
            raise ConfigError(f"--output {output}: exists already; replace it with --force, or name another")
        if not _is_export(output):
            raise ConfigError(f"--output {output}: is not an earlier export, so --force leaves it; name another folder")
    aside, old = (output.with_name(f".{output.name}.{os.getpid()}.{word}") for word in ("part", "old"))
    try:
        aside.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"--output {output}: cannot be written ({error.strerror})") from None
    try:
        yield aside
        if output.exists():
            output.rename(old)
        aside.rename(output)
    finally:
        for path in (aside, old):
            if path.exists():
                shutil.rmtree(path)


def _is_export(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and ((path / DESCRIPTION).is_file() or not any(path.iterdir()))


# --- The command -----------------------------------------------------------------------------------------------------


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `export`."""
    parser = commands.add_parser("export", help="a trained network as files for MXNet alone and for ONNX Runtime")
    add_source(parser)
    parser.add_argument("--format", choices=(*_WRITERS, "all"), default="symbol", help="default: symbol")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="a new folder")
    parser.add_argument("--with-preprocess", action="store_true", help="the graph takes uint8 images, height first")
    parser.add_argument("--input-shape", metavar="HEIGHT,WIDTH", help="of the images (default: as trained)")
    parser.add_argument(
        "--images", type=Path, nargs="+", default=[], metavar="PATH", help="real images to compare the answers on"
    )
    parser.add_argument("--force", action="store_true", help="replace an earlier export")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    log_to_terminal("stderr" if arguments.json else "stdout")
    size = _input_shape(arguments.input_shape) if arguments.input_shape else None
    formats = tuple(_WRITERS) if arguments.format == "all" else (arguments.format,)
    done = export(
        from_arguments(arguments),
        arguments.output,
        formats,
        size,
        arguments.with_preprocess,
        arguments.images,
        arguments.force,
    )
    if arguments.json:
        print(json.dumps({**asdict(done), "folder": str(done.folder)}))
        return
    print(f"{done.model}: {done.folder}")
    for name, size_in_bytes in done.files.items():
        print(f"  {name:<18} {size_in_bytes / 1e6:8.2f} MB")
    for name, shares in done.differences.items():
        listed = ", ".join(f"{batch} {share:.1e}" for batch, share in shares.items())
        print(f"  {name}: largest difference {max(shares.values()):.1e} of the largest output ({listed})")
    print(f"  allowed: {TOLERANCE:g}")


def _input_shape(text: str) -> Tuple[int, int]:
    """HEIGHT,WIDTH or one number for both; 3,HEIGHT,WIDTH is taken too."""
    try:
        numbers = [int(word) for word in text.replace("x", ",").split(",")]
    except ValueError:
        numbers = []
    if len(numbers) == 3 and numbers[0] == 3:
        numbers = numbers[1:]
    if len(numbers) == 1:
        numbers *= 2
    if len(numbers) != 2 or not all(1 <= number <= _LARGEST_SIDE for number in numbers):
        raise ConfigError(
            f"--input-shape {text}: expected HEIGHT,WIDTH in pixels, each from 1 to {_LARGEST_SIDE:,}, such as 224,224"
        )
    return numbers[0], numbers[1]


#: Of an image, in pixels: beyond it, a single batch of the comparison would fill the memory.
_LARGEST_SIDE = 4096
