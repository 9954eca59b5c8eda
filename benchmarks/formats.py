#!/usr/bin/env python
"""How far the exports of every family and fusion block are from their networks: a table for each format.

Each network has one residual block per stage, but for those of ImageNet, which have fifty layers. Its weights are those
of `export.py`, random ones with usual values in every layer. A cell is the largest difference of the outputs as a share
of the largest one, over a batch of random images, a single image, and images of digits. "refused" stands beside the
difference of an export that the command would not write.

    python benchmarks/formats.py --torch PYTHON               all of them: half an hour or more
    python benchmarks/formats.py --families fpn --fusions aff,iaff
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from export import difference, save_random

from fusion.ablation.grid import short_name
from fusion.fuse import list_fusions
from fusion.inference.trained import load_model

#: The arguments of each family's network, and the side of its images in pixels.
FAMILIES: Dict[str, Tuple[Dict[str, Any], int]] = {
    "cifar_resnet": ({"blocks": 1}, 32),
    "cifar_resnext": ({"blocks": 1}, 32),
    "cifar_inception": ({"blocks": 1}, 32),
    "resnet": ({"layers": 50}, 64),
    "resnext": ({"layers": 50}, 64),
    "fpn": ({"blocks": 1}, 64),
    "unet": ({"blocks": 1}, 64),
}
FORMATS = ("symbol", "onnx", "torch")
CLASSES = 10


def row(family: str, fusion: str, torch: Optional[str]) -> List[str]:
    """The differences of one network by format."""
    arguments, side = FAMILIES[family]
    arguments = {**arguments, "fusion": fusion, "classes": CLASSES}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "random.params")
        save_random(family, file, side, **arguments)
        trained = load_model(family, file, arguments=arguments, size=side)
        return [
            difference(trained, Path(folder, kind), kind, torch_python=torch) if kind != "torch" or torch else ""
            for kind in FORMATS
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", metavar="PYTHON", help="an interpreter with PyTorch; without it, not that format")
    parser.add_argument("--families", default=",".join(FAMILIES), metavar="NAMES", help="default: all")
    parser.add_argument("--fusions", default=",".join(list_fusions()), metavar="NAMES", help="default: all")
    arguments = parser.parse_args()
    logging.getLogger("fusion").setLevel(logging.WARNING)
    families, fusions = arguments.families.split(","), arguments.fusions.split(",")
    found: Dict[Tuple[str, str], List[str]] = {}
    for family in families:
        for fusion in fusions:
            found[family, fusion] = row(family, fusion, arguments.torch)
            print(family, fusion, *found[family, fusion], file=sys.stderr, flush=True)
    for number, kind in enumerate(FORMATS):
        print(f"\n| {kind} | {' | '.join(families)} |\n|---|{'---|' * len(families)}")
        for fusion in fusions:
            print(f"| {short_name(fusion)} | {' | '.join(found[family, fusion][number] for family in families)} |")


if __name__ == "__main__":
    main()
