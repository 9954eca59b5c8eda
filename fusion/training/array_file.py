"""Files of arrays, `.npz`, read so that they take no more memory than their own size."""

from __future__ import annotations

import zipfile
from math import prod
from pathlib import Path
from typing import IO, Dict

import numpy as np

from ..errors import CheckpointError

#: Numbers that can be true, whole, or fractions: neither complex, nor text, nor objects.
_KINDS = "biuf"

_ENDING = ".npy"


def read_arrays(path: Path) -> Dict[str, np.ndarray]:
    """Read the arrays of a file that `numpy.savez` wrote, by name.

    Parameters
    ----------
    path : Path
        The file. Each array in it is stored as it is: `numpy.savez_compressed` would let a small file fill the memory.

    Raises
    ------
    CheckpointError
        If the arrays take more memory than the file has bytes, or one is not of numbers.
    OSError, ValueError, zipfile.BadZipFile and others
        If the file cannot be read or is no such file.
    """
    arrays: Dict[str, np.ndarray] = {}
    with path.open("rb") as stream, zipfile.ZipFile(stream) as stored:
        members = stored.infolist()
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise CheckpointError(
                f"{path}: its arrays would take more memory than the file has bytes; checkpoints of this package are "
                "not compressed, so this is none of them"
            )
        for member in members:
            name = member.filename
            if member.compress_type != zipfile.ZIP_STORED or not name.endswith(_ENDING) or not name.isprintable():
                raise ValueError(f"{name!r} is no array that a checkpoint of this package has")
            if name[: -len(_ENDING)] in arrays:
                raise CheckpointError(f"{path}: two arrays have the name {name!r}")
            with stored.open(member) as entry:
                arrays[name[: -len(_ENDING)]] = _array(path, name, entry, member.file_size)
    return arrays


def _array(path: Path, name: str, entry: IO[bytes], size: int) -> np.ndarray:
    """One array, once its header is found to ask for as many bytes as follow."""
    if np.lib.format.read_magic(entry) != (1, 0):
        raise ValueError(f"{name!r} is no array that a checkpoint of this package has")
    shape, by_columns, dtype = np.lib.format.read_array_header_1_0(entry)
    if dtype.kind not in _KINDS or dtype.hasobject:
        raise CheckpointError(f"{path}: {name!r} is of type {dtype}, expected numbers")
    count = prod(shape)
    if min(shape, default=0) < 0 or entry.tell() + count * dtype.itemsize != size:
        raise CheckpointError(f"{path}: {name!r} {shape} has not as many bytes as its shape needs: the file is damaged")
    data = np.frombuffer(entry.read(), dtype, count)
    return data.reshape(shape, order="F" if by_columns else "C")
