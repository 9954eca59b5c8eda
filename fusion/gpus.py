"""The GPUs of this machine, as nvidia-smi lists them, and which of them the wheels of MXNet can use.

It imports nothing outside the standard library, because `python -m fusion doctor` also uses it where MXNet cannot be
imported.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any, List, Optional, Tuple

#: The compute capabilities that the CUDA wheels of MXNet 1.9.1 (cu112, cu117) have machine code for. They have no PTX
#: that could be compiled for others.
WHEEL_CAPABILITIES = ((5, 0), (6, 0), (7, 0), (8, 0), (8, 6))

#: How many seconds to wait for nvidia-smi: if the driver hangs, `doctor` must not.
_PATIENCE = 20


@dataclass(frozen=True)
class GPU:
    """A GPU, as nvidia-smi describes it.

    Attributes
    ----------
    name : str
        The product's name.
    capability : tuple of two int, or None
        Compute capability, major and minor; None if this nvidia-smi does not report it.
    """

    name: str
    capability: Optional[Tuple[int, int]]


def read_gpus() -> Any:
    """The GPUs that nvidia-smi lists; an empty list if there is no nvidia-smi, a sentence for the user if it fails."""
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
    """Read what nvidia-smi prints for the query name,compute_cap, or for name alone: one line per GPU."""
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
    """Whether a GPU runs the wheels' machine code: code for 8.0 runs on 8.0 and on every later 8.x, and on no other."""
    return any(capability[0] == major and capability[1] >= minor for major, minor in WHEEL_CAPABILITIES)
