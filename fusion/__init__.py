"""Attentional feature fusion in MXNet/Gluon: the fusion blocks, the networks, and the harness that reproduces them.

Source: "Attentional Feature Fusion", Dai et al., WACV 2021, https://arxiv.org/abs/2009.14082.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, List

from .signals import leave_at_ctrl_c, leaves_mxnet_for_later

leave_at_ctrl_c()

# Where MXNet cannot be imported, `python -m fusion doctor` must run all the same and say why. Whoever asks for one of
# the names below is told then, because their modules import `compat` again. A command of this package imports MXNet
# only where it needs it, so that `--help` does not wait for it.
if not leaves_mxnet_for_later():
    with suppress(Exception):
        from . import compat  # noqa: F401  first: it makes MXNet importable and chooses the number of threads

if TYPE_CHECKING:
    from .attention import MSCAM
    from .fuse import AFF, get_fusion, iAFF, list_fusions
    from .long_skip import get_long_skip
    from .models import get_model, list_models, list_pretrained

__version__ = "0.1.0"

__all__ = [
    "AFF",
    "MSCAM",
    "get_fusion",
    "get_long_skip",
    "get_model",
    "iAFF",
    "list_fusions",
    "list_models",
    "list_pretrained",
]

#: The module of each public name, which is imported when the name is first asked for (PEP 562).
_MODULE_OF = {
    "AFF": "fuse",
    "MSCAM": "attention",
    "get_fusion": "fuse",
    "get_long_skip": "long_skip",
    "get_model": "models",
    "iAFF": "fuse",
    "list_fusions": "fuse",
    "list_models": "models",
    "list_pretrained": "models",
}

#: The modules that need no import of their own after `import fusion`.
_MODULES = ("attention", "compat", "errors", "fuse", "long_skip", "models")

if not TYPE_CHECKING:  # a type checker would take every name for a public one

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            return import_module(f".{name}", __name__)
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
        globals()[name] = value
        return value


def __dir__() -> List[str]:
    return sorted({*globals(), *_MODULES, *__all__})
