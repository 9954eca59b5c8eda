"""A trained network as files for MXNet alone, for ONNX Runtime and for PyTorch, which are compared with the network.

    model-symbol.json, model-0000.params   for `SymbolBlock.imports` of MXNet, without this package
    model.onnx                             for ONNX Runtime, any batch size
    model.py, model.safetensors            for PyTorch, to read, to use and to train further
    model.json                             what is needed to use them: classes, input, preparation of images, result

The command is in `export_command`.
"""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from ..compat import mx
from ..data import digits
from ..errors import ConfigError
from ..files import whole_folder
from ..inference.images import find_images
from ..inference.trained import Trained
from ..outputs import check_place
from ..training.logbook import read_result
from ..training.run_environment import environment
from ..training.settings import EvalSettings
from . import onnx as onnx_format
from .pytorch.compare import rounding
from .pytorch.interpreter import require_torch, torch_release
from .pytorch.write import described, write_torch
from .symbols import INPUT, Arrays, needed_arrays, save_graph, trace
from .verify import TOLERANCE, differences, relative_difference, run_symbol

logger = logging.getLogger("fusion")

#: The beginning of every file's name.
_NAME = "model"

ONNX, DESCRIPTION = f"{_NAME}.onnx", f"{_NAME}.json"

#: The version of what model.json says.
_FORMAT = 1

#: How many real images an export is checked on, where there are so many.
_REAL = 8

#: How many random images it is checked on as one batch; a single one is another batch.
_RANDOM = 4

#: By how many pixels another image is higher and wider, where a network takes images of any size.
_MORE = (13, 6)

#: How many times its own rounding in float32 a network that is right in float64 may differ from its export.
_TIMES_ROUNDING = 10

#: The names of the constants of normalisation in the graph.
_SCALE, _SHIFT = "preparation_scale", "preparation_shift"


@dataclass(frozen=True)
class Exported:
    """An export that has been written and agrees with its network.

    Attributes
    ----------
    folder : Path
        Where it is.
    model : str
        The network's name.
    files : dict of str to int
        The size of each file in bytes, by its name.
    differences : dict of str to dict of str to float
        By format and batch, the largest difference from the network as a share of the largest output.
    """

    folder: Path
    model: str
    files: Dict[str, int]
    differences: Dict[str, Dict[str, float]]


@dataclass(frozen=True, repr=False)
class _Traced:
    """What every format is written from.

    Attributes
    ----------
    symbol : Symbol
        From `data` to logits.
    arrays : dict of str to ndarray
        Its parameters and running statistics.
    shape : tuple of int
        Of the input without its batch.
    dtype : str
        Of the input.
    trained : Trained
        The network that it was made of.
    varying : tuple of int
        Which dimensions of the shape may vary: those of height and width of a network that answers for each pixel.
    torch_python : str, optional
        The interpreter that has PyTorch.
    """

    symbol: Any
    arrays: Arrays
    shape: Tuple[int, ...]
    dtype: str
    trained: Trained
    varying: Tuple[int, ...] = ()
    torch_python: Optional[str] = None

    @property
    def sizes(self) -> List[Union[int, str]]:
        """The shape with names for what may vary."""
        names = dict(zip(self.varying, onnx_format.VARYING))
        return [names.get(axis, size) for axis, size in enumerate(self.shape)]


def export(
    trained: Trained,
    output: Path,
    formats: Sequence[str] = ("symbol",),
    image: Optional[Tuple[int, int]] = None,
    with_preprocess: bool = False,
    images: Sequence[Path] = (),
    force: bool = False,
    torch_python: Optional[str] = None,
) -> Exported:
    """Write a network for use without this package, once the files have given its answers.

    Parameters
    ----------
    trained : Trained
        The network.
    output : Path
        A new folder.
    formats : sequence of {'symbol', 'onnx', 'torch'}
        What to write.
    image : (int, int), optional
        Height and width of the images, in pixels; the size that the network was trained on by default.
    with_preprocess : bool
        Let the graph take (B, H, W, 3) uint8 images, and normalise them itself.
    images : sequence of Path
        Real images to compare the answers on: files, folders or patterns, as `find_images` takes them. By default they
        are digits of the embedded data set.
    force : bool
        Replace an earlier export.
    torch_python : str, optional
        An interpreter that has PyTorch, for 'torch': see `fusion.deploy.pytorch.interpreter`.

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
        if name not in FORMATS:
            raise ConfigError(f"format {name!r}: expected one of {', '.join(FORMATS)}")
    _check_new(output, force)
    size = image or (trained.preparation.size, trained.preparation.size)
    traced = replace(_trace(trained, size, with_preprocess, formats), torch_python=torch_python)
    batches, expected = _reference(trained, traced, size, images)
    found: Dict[str, Dict[str, float]] = {}
    with _new_folder(output) as folder:
        for name in formats:
            logger.info("%s: writing, and comparing with the network", name)
            found[name] = FORMATS[name](traced, folder, batches, expected)
        description = _describe(trained, traced, size, formats, found)
        (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        files = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    return Exported(output, trained.model, files, found)


# --- The graph, and the network's own answers ------------------------------------------------------------------------


def _trace(trained: Trained, size: Tuple[int, int], with_preprocess: bool, formats: Sequence[str]) -> _Traced:
    shape = (3, *size)
    grouped = trained.net.norm_layer == "group" and set(formats) != {"torch"}
    dense = trained.net.dense and not grouped  # whose reshapes are translated for one size
    if not with_preprocess:
        return _Traced(*trace(trained.net, (1, *shape)), shape, "float32", trained, (1, 2) if dense else ())
    normalisation = trained.preparation.normalisation
    data = mx.sym.var(INPUT, dtype="uint8")
    pixels = mx.sym.transpose(mx.sym.cast(data, dtype="float32"), axes=(0, 3, 1, 2))
    # BlockGrad: whoever trains the imported graph further does not change them.
    scaled = mx.sym.broadcast_mul(pixels, mx.sym.BlockGrad(mx.sym.var(_SCALE, shape=(1, 3, 1, 1))))
    normal = mx.sym.broadcast_add(scaled, mx.sym.BlockGrad(mx.sym.var(_SHIFT, shape=(1, 3, 1, 1))))
    symbol, arrays = trace(trained.net, (1, *shape), normal)
    arrays.update({_SCALE: normalisation.scale, _SHIFT: normalisation.shift})
    return _Traced(symbol, arrays, (*size, 3), "uint8", trained, (0, 1) if dense else ())


def _reference(
    trained: Trained, traced: _Traced, size: Tuple[int, int], words: Sequence[Path]
) -> Tuple[Dict[str, np.ndarray], Dict[str, np.ndarray]]:
    """Batches for the graph, and what the network answers to them."""
    draw = np.random.default_rng(0)
    pixels = {
        "random images": draw.integers(0, 256, (_RANDOM, *size, 3), dtype=np.uint8),
        "one random image": draw.integers(0, 256, (1, *size, 3), dtype=np.uint8),
        "real images": _real_images(trained, size, words),
    }
    if traced.varying:
        other = [side + more for side, more in zip(size, _MORE)]
        pixels["image of another size"] = draw.integers(0, 256, (1, *other, 3), dtype=np.uint8)
    inputs = {name: trained.preparation.normalise(batch) for name, batch in pixels.items()}
    try:
        answers = {
            name: trained.net(mx.nd.array(batch, ctx=trained.context)).asnumpy() for name, batch in inputs.items()
        }
    except mx.MXNetError:
        side = trained.preparation.size
        raise ConfigError(
            f"--input-shape {size[0]},{size[1]}: {trained.model} cannot take images of that size; expected a size that "
            f"can be halved as often as the network does it, such as {side},{side}"
        ) from None
    return pixels if traced.dtype == "uint8" else inputs, answers


def _real_images(trained: Trained, size: Tuple[int, int], words: Sequence[Path]) -> np.ndarray:
    """Images (n, H, W, 3) uint8 as the network is shown them; of an oblong input, the centre of a square."""
    square = max(size)
    if words:
        preparation = replace(trained.preparation, size=square)
        files = find_images([str(word) for word in words])
        found = np.stack([preparation.read(file) for file in files[:_REAL]])
    else:
        from PIL import Image

        scans = digits.load("test").images[:_REAL]
        found = np.stack([np.asarray(Image.fromarray(scan).resize((square, square))) for scan in scans])
    top, left = (square - size[0]) // 2, (square - size[1]) // 2
    return np.ascontiguousarray(found[:, top : top + size[0], left : left + size[1]])


# --- The formats -----------------------------------------------------------------------------------------------------


def _write_symbol(
    traced: _Traced, folder: Path, batches: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]
) -> Dict[str, float]:
    """Write files named as by Gluon's own `export`."""
    arrays = needed_arrays(traced.symbol, traced.arrays)
    return differences("symbol", run_symbol(*save_graph(traced.symbol, arrays, folder / _NAME), batches), expected)


def _write_onnx(
    traced: _Traced, folder: Path, batches: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]
) -> Dict[str, float]:
    onnx_format.require("onnxruntime")
    model = onnx_format.to_onnx(traced.symbol, traced.arrays, traced.shape, traced.dtype, traced.varying)
    (folder / ONNX).write_bytes(model.SerializeToString())
    return differences("onnx", onnx_format.run_onnx(str(folder / ONNX), batches), expected)


def _write_torch(
    traced: _Traced, folder: Path, batches: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]
) -> Dict[str, float]:
    trained = traced.trained
    normalisation = trained.preparation.normalisation
    pixels = (normalisation.scale, normalisation.shift) if traced.dtype == "uint8" else None
    answers, step = write_torch(trained.net, folder, batches, trained.model, pixels, traced.torch_python)
    allowed = TOLERANCE
    if max(relative_difference(answers[name], wanted) for name, wanted in expected.items()) > allowed:
        # In float64 it has been found to compute the same: a network that magnifies rounding differs from itself.
        name, wanted = next(iter(expected.items()))
        images = batches[name] if pixels is None else trained.preparation.normalise(batches[name])
        allowed = max(allowed, _TIMES_ROUNDING * rounding(trained.net, images, wanted))
    return {**differences("torch", answers, expected, allowed), **step}


Writer = Callable[[_Traced, Path, Mapping[str, np.ndarray], Mapping[str, np.ndarray]], Dict[str, float]]

#: What each format is written by. Its writer compares the answers of what it wrote with those expected: see
#: `verify.differences`.
FORMATS: Dict[str, Writer] = {"symbol": _write_symbol, "onnx": _write_onnx, "torch": _write_torch}


def _describe(
    trained: Trained,
    traced: _Traced,
    size: Tuple[int, int],
    formats: Sequence[str],
    found: Mapping[str, Mapping[str, float]],
) -> Dict[str, Any]:
    """What model.json says."""
    versions = dict(environment("cpu")["versions"])
    if "onnx" in formats:
        versions.update({name: onnx_format.require(name).__version__ for name in ("onnx", "onnxruntime")})
    if "torch" in formats:
        versions["torch"] = torch_release(require_torch(traced.torch_python, "torch"))
    per_pixel = onnx_format.VARYING if traced.varying else size if trained.net.dense else ()
    finished = trained.run is not None and trained.run.result.is_file()
    return {
        "format": _FORMAT,
        "model": trained.model,
        "data": trained.data,
        "network": described(trained.net),
        "classes": list(trained.classes),
        "input": {
            "name": INPUT,
            "shape": ["batch", *traced.sizes],
            "layout": "NHWC" if traced.dtype == "uint8" else "NCHW",
            "dtype": traced.dtype,
            "colours": "red, green, blue",
        },
        "output": {"name": onnx_format.OUTPUT, "shape": ["batch", len(trained.classes), *per_pixel], "what": "logits"},
        "images": _whole_images(trained) if traced.varying else _centres(trained, size),
        "normalisation": {
            "of_pixels_between": [0, 1],
            "mean": list(trained.preparation.mean),
            "std": list(trained.preparation.std),
            "in_the_graph": traced.dtype == "uint8",
        },
        "training": read_result(trained.run) if finished and trained.run is not None else None,
        "largest_difference": {name: max(shares.values()) for name, shares in found.items()},
        "versions": versions,
        **({"opset": onnx_format.OPSET} if "onnx" in formats else {}),
    }


def _centres(trained: Trained, size: Tuple[int, int]) -> Dict[str, Any]:
    """How an image becomes the input of a graph that takes one size: its centre, scaled."""
    preparation = replace(trained.preparation, size=max(size))
    return {
        "shorter_side": preparation.resized,
        "interpolation": "area to shrink, cubic to grow (OpenCV)" if preparation.photos else "bilinear (Pillow)",
        "centre_crop": list(size),
    }


def _whole_images(trained: Trained) -> Dict[str, Any]:
    """The same of one that takes any size: as an evaluation of the run shows it, but for windows and mirror images."""
    shown = EvalSettings() if trained.settings is None else trained.settings.eval
    return {
        "resize": [shown.resize, shown.resize] if shown.resize else None,
        "interpolation": "bilinear (Pillow)",
        "multiple_of": max(trained.net.pyramid.strides),
        "padding": shown.padding,
        "padded": "below and on the right",
    }


# --- The folder ------------------------------------------------------------------------------------------------------


def _check_new(output: Path, force: bool) -> None:
    """Refuse a folder that exists and may not be replaced, or cannot be made, before any work.

    Raises
    ------
    ConfigError
        In these cases.
    """
    if output.name in ("", ".."):
        raise ConfigError(f"--output {output}: names no new folder; expected one, such as exported")
    check_place(output)
    try:
        str(output.absolute()).encode()
    except UnicodeEncodeError:
        raise ConfigError(
            f"--output {output}: MXNet opens no file whose path is not UTF-8; name another folder"
        ) from None
    if output.exists():
        if not force:
            raise ConfigError(f"--output {output}: exists already; replace it with --force, or name another folder")
        if not _is_export(output):
            raise ConfigError(f"--output {output}: is not an earlier export, so --force leaves it; name another folder")


@contextmanager
def _new_folder(output: Path) -> Iterator[Path]:
    """A folder to write into, which takes its final name at the end, or is removed if there was an error.

    Raises
    ------
    ConfigError
        If it cannot be written.
    """
    try:
        with whole_folder(output) as aside:
            yield aside
    except OSError as error:
        raise ConfigError(f"--output {output}: cannot be written ({error.strerror or error})") from None


def _is_export(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and ((path / DESCRIPTION).is_file() or not any(path.iterdir()))
