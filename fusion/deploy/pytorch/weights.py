"""State dicts as files: `.safetensors`, and what `torch.save` wrote, which PyTorch has to read itself."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

import numpy as np

from ...errors import CheckpointError, ConfigError, ExportError
from .interpreter import require_torch, run_program

#: A larger file is none of a network's weights: see `fusion.models.parameter_file`.
_LARGEST = 4 * 1024**3

#: The types of the format that are read, by its names; bfloat16, which NumPy has not, is widened to float32.
_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "|u1", "BOOL": "|b1"}
_BFLOAT16 = "BF16"

#: What wrappers of PyTorch put in front of every name.
_PREFIXES = ("module.", "_orig_mod.")


def require_safetensors() -> Any:
    """Import the package that reads and writes the format.

    Raises
    ------
    ConfigError
        If it is not installed; the message says how to install it.
    """
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise ConfigError(
            f"PyTorch's weights need the package safetensors, which cannot be imported ({error}): "
            "python -m pip install safetensors"
        ) from None
    return safetensors


def write_safetensors(file: Path, state: Mapping[str, np.ndarray], about: Mapping[str, str]) -> None:
    """Write a state dict, with words about it that PyTorch's tools show."""
    whole = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in state.items()}
    require_safetensors().numpy.save_file(whole, str(file), {"format": "pt", **about})


def read_state(file: Path, python: Optional[str] = None) -> Dict[str, np.ndarray]:
    """The tensors of a file by name.

    Parameters
    ----------
    file : Path
        A `.safetensors` file, or what `torch.save` wrote of a state dict.
    python : str, optional
        An interpreter with PyTorch, for the second kind.

    Raises
    ------
    FusionError
        If the file is missing, damaged, or of neither kind, or if PyTorch is needed and cannot be had.
    """
    if not file.is_file():
        raise CheckpointError(f"{file}: no such file; expected a .safetensors file, or a .pth file of a state dict")
    state = _read_safetensors(file) if file.suffix == ".safetensors" else _read_torch(file, python)
    for prefix in _PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            state = {name[len(prefix) :]: array for name, array in state.items()}
    if not state:
        raise CheckpointError(f"{file}: holds no tensors; expected the state dict of a network")
    return state


def _read_safetensors(file: Path) -> Dict[str, np.ndarray]:
    package = require_safetensors()
    if file.stat().st_size > _LARGEST:
        raise CheckpointError(f"{file}: larger than any network's weights ({_LARGEST:,} bytes)")
    try:
        stored = package.deserialize(file.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read ({error.strerror or error})") from None
    except package.SafetensorError as error:
        raise CheckpointError(f"{file}: not a complete safetensors file ({error}); write or copy it again") from None
    return {name: _array(file, name, one) for name, one in stored}


def _array(file: Path, name: str, stored: Mapping[str, Any]) -> np.ndarray:
    kind, shape, content = stored["dtype"], stored["shape"], bytes(stored["data"])
    if kind == _BFLOAT16:  # the upper half of a float32
        return (np.frombuffer(content, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    if kind not in _TYPES:
        raise CheckpointError(f"{file}: {name} is of the type {kind}; expected one of {', '.join(_TYPES)}, {_BFLOAT16}")
    return np.frombuffer(content, _TYPES[kind]).reshape(shape)


def _read_torch(file: Path, python: Optional[str]) -> Dict[str, np.ndarray]:
    found = require_torch(python, f"{file}: to read what torch.save wrote")
    with tempfile.TemporaryDirectory() as folder:
        outputs = Path(folder, "state.npz")
        try:
            run_program(found, "state", str(file), str(outputs))
        except ExportError as error:
            raise CheckpointError(
                f"{file}: cannot be read as a state dict ({error}); save it with torch.save(net.state_dict(), FILE) or "
                "as a .safetensors file"
            ) from None
        with np.load(str(outputs)) as stored:
            return dict(stored)
