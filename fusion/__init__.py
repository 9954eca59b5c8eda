"""Attentional feature fusion in MXNet/Gluon: the fusion blocks, the networks, and the harness that reproduces them.

Source: "Attentional Feature Fusion", Dai et al., WACV 2021, https://arxiv.org/abs/2009.14082.
"""

from __future__ import annotations

try:
    from . import compat  # noqa: F401  first: it makes MXNet importable
except ImportError:
    from .doctor import answer_without_mxnet

    answer_without_mxnet()  # which says what is wrong, if it was asked to, and ends the program
    raise
from .attention import MSCAM
from .fuse import AFF, get_fusion, iAFF, list_fusions
from .models import get_model, list_models, list_pretrained

__version__ = "0.1.0"

__all__ = ["AFF", "MSCAM", "get_fusion", "get_model", "iAFF", "list_fusions", "list_models", "list_pretrained"]
