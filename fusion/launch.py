"""python -m fusion.launch, a short name for the launcher of `fusion.training.distributed.launch`."""

from __future__ import annotations

import sys

from .training.distributed.launch import main

if __name__ == "__main__":
    sys.exit(main(None))
