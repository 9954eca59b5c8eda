"""What a run is computed with, for its environment.json."""

from __future__ import annotations

import datetime
import logging
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Optional

from ..compat import mx
from ..machine import processors
from ..processors import chosen

logger = logging.getLogger("fusion")


def environment(device: str) -> Dict[str, Any]:
    """What a run is computed with: versions, the command, the commit of the code, devices, threads."""
    from .. import __version__

    versions = {"fusion": __version__, "mxnet": mx.__version__}
    for name in ("numpy", "gluoncv", "matplotlib", "Pillow"):
        versions[name] = _version(name)
    return {
        "command": shlex.join([Path(sys.executable).name, *sys.argv]),
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": versions,
        "mxnet_features": sorted(f.name for f in mx.runtime.feature_list() if f.enabled),
        "commit": _commit(),
        "device": device,
        "cpus": processors(),
        "threads": {"count": chosen().count, "why": chosen().why},
    }


def tell_threads(first: int, now: int, device: str) -> None:
    """Log a message if a run on the CPU is resumed with another number of threads."""
    if now != first and device.startswith("cpu"):
        logger.info(
            "this run was started with OMP_NUM_THREADS=%d and continues with %d: its figures will differ from those of "
            "a run that was never stopped, at first in their last digits, later as much as with another seed. To avoid "
            "that, continue with OMP_NUM_THREADS=%d",
            *(first, now, first),
        )


def _version(distribution: str) -> Optional[str]:
    from importlib import metadata

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> Optional[str]:
    """The commit of this code, followed by `-dirty` if files have changed since; None outside a git checkout."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None
