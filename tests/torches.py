"""An interpreter with PyTorch for tests: FUSION_TORCH_PYTHON, this one, or that of `make torch`."""

from __future__ import annotations

import subprocess
from functools import lru_cache
from pathlib import Path

import pytest

from fusion.deploy.pytorch.interpreter import SETTING, find_torch

MADE = Path(__file__).resolve().parents[1] / ".torch" / "bin" / "python"

_NEEDED = "import numpy, safetensors, torch"


@lru_cache(maxsize=None)
def _missing(python):
    """Why an interpreter cannot be used; empty if it can."""
    if python is None:
        return f"PyTorch is not to be had: make torch, or name an interpreter that has it by {SETTING}"
    try:
        done = subprocess.run([python, "-c", _NEEDED], capture_output=True, text=True)
    except OSError as error:
        return f"{python}: {error}"
    return "" if done.returncode == 0 else f"{python}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}"


def torch_python():
    """The interpreter; the test is skipped with the reason where there is none."""
    pytest.importorskip("safetensors", reason="needs the extra torch")
    python = find_torch(str(MADE) if MADE.is_file() else None)
    reason = _missing(python)
    if reason:
        pytest.skip(reason)
    return python
