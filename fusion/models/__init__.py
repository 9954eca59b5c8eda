"""The networks whose skip connections are fused: one file a family, and their names in `zoo`."""

from __future__ import annotations

from .network import Network
from .pretrained import list_pretrained
from .zoo import get_model, list_models

__all__ = ["Network", "get_model", "list_models", "list_pretrained"]
