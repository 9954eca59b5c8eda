"""The interpreter that has PyTorch: this one, or one that the user names. Here PyTorch is never imported.

It is run in a process of its own in either case: two libraries that each bring their own threads are not loaded into
one, and an export is then known to work without this package.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from functools import lru_cache
from typing import Optional

from ...errors import ConfigError, ExportError
from . import program_path

#: Names the interpreter where the command line does not.
SETTING = "FUSION_TORCH_PYTHON"

_NEEDED = "import numpy, safetensors, torch; print(torch.__version__)"

_ADVICE = (
    "name one that can with --torch-python PYTHON; to make one: python -m venv torchenv; "
    "torchenv/bin/pip install torch numpy safetensors; then --torch-python torchenv/bin/python"
)


def find_torch(python: Optional[str] = None) -> Optional[str]:
    """The interpreter that may have PyTorch: the one that is given or set in the environment, or else this one.

    Returns
    -------
    str or None
        None if none is named, and this one has no PyTorch.
    """
    named = python or os.environ.get(SETTING)
    if named:
        return named
    return sys.executable if importlib.util.find_spec("torch") else None


def require_torch(python: Optional[str], why: str) -> str:
    """The same, once it has imported PyTorch and what is needed beside it.

    Parameters
    ----------
    python : str, optional
        As the command line names it.
    why : str
        What it is needed for, as the beginning of the message.

    Raises
    ------
    ConfigError
        If there is none, or it cannot import them; the message says how to get one.
    """
    found = find_torch(python)
    if found is None:
        raise ConfigError(f"{why} needs PyTorch, and this interpreter cannot import it: {_ADVICE}")
    torch_release(found)
    return found


@lru_cache(maxsize=None)
def torch_release(python: str) -> str:
    """The release of PyTorch that an interpreter has. It is asked once, since PyTorch takes seconds to start.

    Raises
    ------
    ConfigError
        As `require_torch`.
    """
    try:
        asked = subprocess.run([python, "-c", _NEEDED], capture_output=True, text=True)
    except OSError as error:
        raise ConfigError(f"--torch-python {python}: cannot be run ({error.strerror})") from None
    if asked.returncode:
        raise ConfigError(f"--torch-python {python}: {_last_line(asked.stderr)}; {_ADVICE}")
    return asked.stdout.strip()


def run_program(python: str, *words: str) -> None:
    """Run `program.py`.

    Raises
    ------
    ExportError
        If it fails; the message ends in the last line of what it said.
    """
    done = subprocess.run(
        [python, str(program_path()), *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        raise ExportError(f"PyTorch, in {python}: {_last_line(done.stdout) or f'exit status {done.returncode}'}")


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1]
