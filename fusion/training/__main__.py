"""python -m fusion.training: what train_cifar.py does, where the package is installed without the scripts."""

from __future__ import annotations

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main("Train a fusion network."))
