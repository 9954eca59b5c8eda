"""Networks as PyTorch modules, and their weights by PyTorch's names; PyTorch itself is only run, never imported."""

from __future__ import annotations

from pathlib import Path


def program_path() -> Path:
    """The program that a process with PyTorch runs."""
    return Path(__file__).with_name("program.py")
