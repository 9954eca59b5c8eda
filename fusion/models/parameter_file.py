"""Files of parameters, `.params`, read and written without MXNet, which believes whatever such a file says.

MXNet 1.9.1 writes outside its memory where a sparse array's indices point past the array's end, ends the process where
a shape has -1 dimensions, and allocates what a length asks for. Here each number is compared with the size of the file
before anything is allocated, and only dense arrays are read. MXNet's writer closes its file without a look at what the
system says of the last bytes: on a full disk it leaves a file that is cut off, and reports no error.

The format (MXNet's `NDArray::Save` in src/ndarray/ndarray.cc), in which all numbers are little-endian:

    uint64 0x112, uint64 0      what kind of file it is
    uint64                      the number of arrays, and then each of them:
        uint32                  the version: 2 (0xF993FAC9) or 3 (0xF993FACA), which begin alike; 1 (0xF993FAC8) has no
                                storage type; anything else is the number of dimensions in the files before version 1
        int32                   storage type: 0 is dense
        int32, int64 each       the number of dimensions, and the dimensions; uint32 before version 1
        int32, int32            the device that the array was on
        int32                   the type of the numbers, which follow
    uint64                      the number of names, and then each of them:
        uint64                  its length in bytes, which follow, in UTF-8
"""

from __future__ import annotations

import os
import stat
import struct
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Dict, List, Mapping, Tuple

import numpy as np

from ..errors import CheckpointError

#: A larger file is none of a network's parameters: ResNet-200 has a twentieth of it.
LARGEST_FILE = 4 * 1024**3

#: Longer names, and names that a terminal would not print as they are, are none of a parameter.
LONGEST_NAME = 500

_MAGIC = 0x112
_VERSION_1, _VERSION_2, _VERSION_3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA

_FIRST, _LENGTH = struct.Struct("<QQ"), struct.Struct("<Q")
_VERSION, _SIGNED, _DEVICE_AND_TYPE = struct.Struct("<I"), struct.Struct("<i"), struct.Struct("<iii")

_STORAGE = {1: "row_sparse", 2: "csr"}
_DENSE = 0

#: MXNet's number of a type. It has bfloat16 (12) as well, which NumPy has not.
_TYPES = {
    number: np.dtype(name)
    for number, name in enumerate(("float32", "float64", "float16", "uint8", "int32", "int8", "int64", "bool"))
}
_BFLOAT16 = 12

#: The device of every array that is written: the processor.
_CPU = (1, 0)

#: NumPy 1 has no more dimensions.
_MOST_DIMENSIONS = 32

#: Of arrays, and of names. The deepest network here has some thousands.
_MOST = 100_000

#: How MXNet's exported networks mark parameters and running statistics.
_MARKS = ("arg:", "aux:")


class _RefusedError(Exception):
    """Why a file is not read, as the end of a sentence."""


class _CutError(_RefusedError):
    """The same, where the file may have been cut off."""


def read_parameters(filename: str) -> Dict[str, np.ndarray]:
    """Read the arrays of a `.params` file by name.

    Parameters
    ----------
    filename : str
        What `save_parameters`, `mx.nd.save` or `export` wrote. A name that begins with "arg:" or "aux:", as in exported
        networks, is returned without it.

    Returns
    -------
    dict of str to numpy.ndarray
        In the order of the file; they cannot be written to.

    Raises
    ------
    CheckpointError
        If the file is missing, truncated, or not a parameter file of MXNet, or holds what no network here has, such as
        sparse arrays or values that are not a number.
    """
    try:
        with _opened(filename) as stream:
            arrays = _Reader(stream).arrays()
    except OSError as error:
        raise CheckpointError(f"{filename}: cannot be read ({error.strerror or error})") from None
    except _CutError as reason:
        raise CheckpointError(
            f"{filename}: not a complete MXNet parameter file ({reason}); it may have been cut off while it was "
            "written or copied, so compare its size with the source's"
        ) from None
    except _RefusedError as reason:
        raise CheckpointError(f"{filename}: {reason}; save the network again with save_parameters") from None
    except MemoryError:
        raise CheckpointError(f"{filename}: its arrays do not fit into the memory of this machine") from None
    refuse_not_finite(filename, arrays)
    return arrays


def refuse_not_finite(filename: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Refuse parameters with values that are infinite or not a number: a network with one answers nothing but those.

    Parameters
    ----------
    filename : str
        Where they come from.
    arrays : mapping of str to numpy.ndarray
        By name.

    Raises
    ------
    CheckpointError
        Naming the first such array.
    """
    for name, array in arrays.items():
        if array.dtype.kind != "f" or _has_finite_sum(array):
            continue
        count = int(np.count_nonzero(~np.isfinite(array)))
        if count:
            raise CheckpointError(
                f"{filename}: {name} has {count:,} of {array.size:,} values that are infinite or not a number: the "
                "network had diverged before it was saved, or the file is damaged; take another checkpoint"
            )


def _has_finite_sum(array: np.ndarray) -> bool:
    """Whether the sum is finite, so that all values are. It is faster to compute; large values may overflow it."""
    with np.errstate(all="ignore"):
        return bool(np.isfinite(array.sum(dtype=np.float64 if array.dtype.itemsize > 4 else np.float32)))


def write_parameters(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write a `.params` file, to the byte as MXNet does.

    Parameters
    ----------
    path : Path
        The file.
    arrays : mapping of str to array
        NDArrays or NumPy arrays by name, of one dimension or more.

    Raises
    ------
    OSError
        If the file cannot be written to its end.
    """
    with path.open("wb") as stream:
        stream.write(_FIRST.pack(_MAGIC, 0) + _LENGTH.pack(len(arrays)))
        for array in arrays.values():
            stored = np.ascontiguousarray(array.asnumpy() if hasattr(array, "asnumpy") else array)
            kind = next(number for number, dtype in _TYPES.items() if dtype == stored.dtype)
            shape = struct.pack(f"<i{stored.ndim}q", stored.ndim, *stored.shape)
            stream.write(_VERSION.pack(_VERSION_2) + _SIGNED.pack(_DENSE) + shape + _DEVICE_AND_TYPE.pack(*_CPU, kind))
            stream.write(stored.tobytes())
        stream.write(_LENGTH.pack(len(arrays)))
        for name in arrays:
            stream.write(_LENGTH.pack(len(name.encode())) + name.encode())


def save_network(net: Any, path: Path) -> None:
    """Write a network's parameters by their structural names, as its `save_parameters` does; averaged over devices.

    Raises
    ------
    OSError
        If the file cannot be written to its end.
    """
    write_parameters(path, {name: p._reduce() for name, p in net._collect_params_with_prefix().items()})


def _opened(filename: str) -> BinaryIO:
    """Open a file, and nothing else: to open a pipe may never return."""
    try:
        mode = Path(filename).stat().st_mode
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):  # of a folder, the system says the reason
            return Path(filename).open("rb")
        reason = "not a file"
    except OSError as error:
        reason = error.strerror or str(error)
    except ValueError:  # for a null character, in words that depend on Python's version
        reason = "no file can have this name"
    raise CheckpointError(f"{filename}: cannot be read ({reason})")


class _Reader:
    """Reads the bytes of one file from their beginning to their end."""

    def __init__(self, stream: BinaryIO) -> None:
        size = os.fstat(stream.fileno()).st_size
        if size > LARGEST_FILE:
            raise _RefusedError(f"a file of {size:,} bytes is larger than any network's ({LARGEST_FILE:,})")
        self._data = stream.read(size)
        self._next = 0

    def arrays(self) -> Dict[str, np.ndarray]:
        """All of them."""
        if self._numbers(_FIRST, "what kind of file it is")[0] != _MAGIC:
            raise _CutError("it does not begin as one")
        arrays = [self._array(f"array {number}") for number in range(1, self._count("array") + 1)]
        names = self._names(len(arrays))
        if self._next < len(self._data):
            raise _CutError(f"{len(self._data) - self._next:,} bytes follow after its end")
        return dict(zip(names, arrays))

    def _pass(self, count: int, what: str) -> int:
        """Where the next `count` bytes begin; then go on behind them."""
        begin, self._next = self._next, self._next + count
        if self._next > len(self._data):
            raise _CutError(f"{what} would end after the file")
        return begin

    def _numbers(self, layout: struct.Struct, what: str) -> Tuple[int, ...]:
        return layout.unpack_from(self._data, self._pass(layout.size, what))

    def _count(self, what: str) -> int:
        (count,) = self._numbers(_LENGTH, f"the number of {what}s")
        if count > _MOST:
            raise _CutError(f"it would have {count:,} {what}s, expected at most {_MOST:,}")
        return count

    def _array(self, what: str) -> np.ndarray:
        shape = self._shape(what)
        _, _, kind = self._numbers(_DEVICE_AND_TYPE, what)  # the device was one of whoever wrote the file
        if kind not in _TYPES:
            name = "bfloat16" if kind == _BFLOAT16 else f"unknown ({kind})"
            listed = ", ".join(dtype.name for dtype in _TYPES.values())
            raise _RefusedError(f"the type of {what} is {name}, and only {listed} are read")
        dtype, count = _TYPES[kind], prod(shape)
        size = count * dtype.itemsize
        begin = self._pass(size, f"{what} {shape} of {size:,} bytes")
        return np.frombuffer(self._data, dtype, count, begin).reshape(shape)

    def _shape(self, what: str) -> Tuple[int, ...]:
        (version,) = self._numbers(_VERSION, what)
        if version in (_VERSION_2, _VERSION_3):
            (storage,) = self._numbers(_SIGNED, what)
            if storage != _DENSE:
                kind = _STORAGE.get(storage, f"of an unknown storage type ({storage})")
                raise _RefusedError(f"{what} is {kind}, and only dense arrays are read")
        modern = version in (_VERSION_1, _VERSION_2, _VERSION_3)
        (dimensions,) = self._numbers(_SIGNED, what) if modern else (version,)
        if not 1 <= dimensions <= _MOST_DIMENSIONS:
            raise _CutError(f"{what} would have {dimensions:,} dimensions, expected 1 to {_MOST_DIMENSIONS}")
        shape = self._numbers(struct.Struct(f"<{dimensions}{'q' if modern else 'I'}"), what)
        if min(shape) < 1:
            raise _RefusedError(f"the shape of {what} is {shape}, and each dimension has to be 1 or more")
        return shape

    def _names(self, arrays: int) -> List[str]:
        names: List[str] = []
        for _ in range(self._count("name")):
            (length,) = self._numbers(_LENGTH, "a name")
            begin = self._pass(length, f"a name of {length:,} bytes")
            names.append(_name(self._data[begin : begin + length]))
        if len(names) != arrays or not names:
            raise _CutError(f"arrays: {arrays}, names: {len(names)}")
        if len(set(names)) < arrays:
            twice = next(name for name in names if names.count(name) > 1)
            raise _RefusedError(f"two arrays have the name {twice}")
        return names


def _name(stored: bytes) -> str:
    """A parameter's name as its network has it."""
    if len(stored) > LONGEST_NAME:
        raise _RefusedError(f"a name has {len(stored):,} bytes, and at most {LONGEST_NAME} are read")
    try:
        name = stored.decode()
    except UnicodeDecodeError:
        raise _RefusedError(f"the name {stored!r} is not UTF-8") from None
    if not name or not name.isprintable():
        raise _RefusedError(f"{name!r} is not a name")
    return name[4:] if name.startswith(_MARKS) else name
