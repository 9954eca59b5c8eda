"""Training: settings, the loop, checkpoints, and what a run leaves behind."""

from __future__ import annotations

from .main import main

__all__ = ["main"]
