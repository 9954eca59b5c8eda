"""Imports MXNet 1.9.1 on releases of NumPy and Python that are newer than MXNet.

MXNet's last release (2022) reads `numpy.bool`, which NumPy 1.24 removed, and `distutils`, which Python 3.12 removed.
It needs both mostly while it is imported. The number of threads is chosen just before the import, because MXNet reads
it only then. All other modules of this project write `from fusion.compat import mx`.
"""

from __future__ import annotations

import importlib
import platform
import sys
import types
import warnings
from typing import TYPE_CHECKING, Any, Optional, Tuple

from .memory import keep_freed_memory
from .processors import prepare
from .relay import role_hidden, serve
from .signals import leaving_at_ctrl_c

#: The modules of MXNet that read `numpy.bool` also when their functions are called, not only on import.
_READ_BOOL_LATER = (
    "mxnet.numpy.multiarray",
    "mxnet.ndarray.numpy._op",
    "mxnet.symbol.numpy._symbol",
    "mxnet.test_utils",
)

_INSTALL = "python -m pip install 'mxnet==1.9.1' 'numpy<2'"


class UnsupportedPlatformError(ImportError):
    """Raised if MXNet 1.9.1 cannot work on this platform; the message says what to install."""


def unsupported(python: Tuple[int, ...], system: str, machine: str, numpy_version: Optional[str]) -> Optional[str]:
    """Say why MXNet 1.9.1 cannot work on a platform, and what to do about it.

    Parameters
    ----------
    python : tuple of int
        The interpreter's version, such as `sys.version_info[:2]`.
    system, machine : str
        The values of `platform.system()` and `platform.machine()`.
    numpy_version : str or None
        The version of the installed NumPy; None if NumPy is not installed.

    Returns
    -------
    str or None
        A message for the user; None if MXNet can work here.
    """
    if tuple(python[:2]) < (3, 8):
        return (
            f"fusion needs Python 3.8 to 3.13, and this is Python {python[0]}.{python[1]}: "
            "create the environment with a newer interpreter, such as python3.11 -m venv .venv"
        )
    if system != "Linux" or machine not in ("x86_64", "AMD64"):
        return (
            f"MXNet 1.9.1 has wheels for x86-64 Linux only, and this is {system} on {machine}: "
            "run it in an x86-64 Linux machine, container or WSL 2"
        )
    if numpy_version is None:
        return f"NumPy is not installed: {_INSTALL}"
    if int(numpy_version.split(".")[0]) >= 2:
        return (
            f"MXNet 1.9.1 cannot work with NumPy {numpy_version}, which changed the C interface and the type rules: "
            "python -m pip install 'numpy<2' (and add 'numpy<2' to every later command that installs packages)"
        )
    return None


class _NumpyWithBool(types.ModuleType):
    """NumPy with the `bool` that NumPy 1.24 removed, as MXNet's array modules expect."""

    def __init__(self, numpy: types.ModuleType) -> None:
        super().__init__(numpy.__name__, numpy.__doc__)
        self._numpy = numpy
        self.bool = bool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._numpy, name)


def _numpy_has_bool(numpy: types.ModuleType) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return hasattr(numpy, "bool")


def import_mxnet() -> types.ModuleType:
    """Import MXNet without warnings; NumPy has a `bool` during the import.

    Returns
    -------
    module
        The module `mxnet`, which may have been imported before this call.

    Raises
    ------
    UnsupportedPlatformError
        If MXNet 1.9.1 cannot work here, or is not installed.
    """
    if "mxnet" in sys.modules:
        prepare()  # notes that MXNet has already chosen its number of threads
        return sys.modules["mxnet"]
    try:
        numpy: Optional[types.ModuleType] = importlib.import_module("numpy")
    except ModuleNotFoundError:
        numpy = None
    reason = unsupported(
        sys.version_info[:3], platform.system(), platform.machine(), getattr(numpy, "__version__", None)
    )
    if reason is not None:
        raise UnsupportedPlatformError(reason)
    assert numpy is not None
    prepare()
    keep_freed_memory()
    lend = not _numpy_has_bool(numpy)
    if lend:
        numpy.bool = bool  # type: ignore[attr-defined]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if sys.version_info >= (3, 12):
                _provide_distutils()
            with role_hidden() as is_relay, leaving_at_ctrl_c():
                mxnet = importlib.import_module("mxnet")
    except ModuleNotFoundError as error:
        if error.name != "mxnet":
            raise
        raise UnsupportedPlatformError(f"MXNet is not installed: {_INSTALL}") from None
    finally:
        if lend:
            del numpy.bool  # type: ignore[attr-defined]
    if lend:
        for name in _READ_BOOL_LATER:
            module = sys.modules.get(name)
            for alias in ("_np", "np"):
                if getattr(module, alias, None) is numpy:
                    setattr(module, alias, _NumpyWithBool(numpy))  # type: ignore[arg-type]
    _name_sparse_matrix_where_mxnet_looks()
    if is_relay:
        serve(mxnet)
    return mxnet


def _name_sparse_matrix_where_mxnet_looks() -> None:
    """Avoid SciPy's warning, at every `mx.nd.array`, that `scipy.sparse.csr` is deprecated."""
    sparse, csr = sys.modules.get("scipy.sparse"), sys.modules.get("scipy.sparse.csr")
    if sparse is not None and csr is not None:
        vars(csr).setdefault("csr_matrix", vars(sparse).get("csr_matrix"))


def _provide_distutils() -> None:
    """Make setuptools provide `distutils`, which Python 3.12 no longer has."""
    try:
        importlib.import_module("setuptools")
        importlib.import_module("distutils.version")
    except ModuleNotFoundError:
        raise UnsupportedPlatformError(
            "MXNet 1.9.1 imports distutils, which Python 3.12 removed and setuptools provides: "
            "python -m pip install setuptools"
        ) from None


if TYPE_CHECKING:
    import mxnet as mx
    from mxnet.gluon import HybridBlock, nn
else:
    mx = import_mxnet()
    HybridBlock = mx.gluon.HybridBlock
    nn = mx.gluon.nn

__all__ = ["HybridBlock", "UnsupportedPlatformError", "import_mxnet", "mx", "nn", "unsupported"]
