"""Lists the GPUs of this machine by nvidia-smi, and says which of them the wheels of MXNet can use.

This module uses the standard library only, because `python -m fusion doctor` needs it when MXNet cannot be imported.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any, List, Optional, Tuple

#: The compute capabilities for which the CUDA wheels of MXNet 1.9.1 (cu112, cu117) contain machine code. They contain
#: no PTX, which could be compiled for others.
WHEEL_CAPABILITIES = ((5, 0), (6, 0), (7, 0), (8, 0), (8, 6))

#: The time limit for nvidia-smi in seconds, so that the doctor does not wait for ever if the driver hangs.
_PATIENCE = 20


@dataclass(frozen=True)
class GPU:
    """A GPU, as nvidia-smi describes it.

    Attributes
    ----------
    name : str
        The name of the product.
    capability : tuple of two int, or None
        The compute capability; None if this version of nvidia-smi does not print it.
    """

    name: str
    capability: Optional[Tuple[int, int]]


def read_gpus() -> Any:
    """List the GPUs by nvidia-smi: an error message if it fails, an empty list if it is not installed."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    answers = ""
    for query in ("name,compute_cap", "name"):  # drivers before 510 have no compute_cap
        try:
            done = subprocess.run(
                [program, f"--query-gpu={query}", "--format=csv,noheader"],
                capture_output=True,
                text=True,
                timeout=_PATIENCE,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"nvidia-smi does not answer ({type(error).__name__}): is the driver loaded?"
        if done.returncode == 0:
            return parse_gpus(done.stdout)
        answers = (done.stdout + done.stderr).strip()
    return f"nvidia-smi fails: {answers.splitlines()[0] if answers else 'no message'}"


def parse_gpus(text: str) -> List[GPU]:
    """Parse the output of nvidia-smi for `name,compute_cap`, or for `name` alone."""
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, capability = line.rpartition(",")
        number = re.fullmatch(r"(\d+)\.(\d+)", capability.strip())
        if number:
            found.append(GPU(name.strip(), (int(number.group(1)), int(number.group(2)))))
        else:
            found.append(GPU((name if name and "[" in capability else line).strip(), None))
    return found


def runs_on(capability: Tuple[int, int]) -> bool:
    """Whether the wheels' machine code runs on a GPU, which must have the same major and no lower minor number."""
    return any(capability[0] == major and capability[1] >= minor for major, minor in WHEEL_CAPABILITIES)
