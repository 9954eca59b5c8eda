#!/usr/bin/env python
"""How far the exports of every family and fusion block are from their networks: a table for each format.

Each network has one residual block per stage, but for those of ImageNet, which have fifty layers. Its weights are those
of `export.py`, random ones with usual values in every layer. A cell is the largest difference of the outputs as a share
of the largest one, over a batch of random images, a single image, and images of digits. "refused" stands beside the
difference of an export that the command would not write.

Of ONNX exports that are refused a last table says why, as in `export.py`: the network's own rounding, and the error of
its translation in float64.

    python benchmarks/formats.py --torch PYTHON               all of them: forty minutes of one core
    python benchmarks/formats.py --families fpn --fusions aff,iaff
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from export import REFUSED, difference, in_double, save_random

from fusion.ablation.grid import short_name
from fusion.fuse import find_fusion, list_fusions
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


def row(family: str, fusion: str, torch: Optional[str]) -> Tuple[List[str], Tuple[str, str]]:
    """The differences of one network by format, and if its ONNX is refused the two figures of `in_double`."""
    arguments, side = FAMILIES[family]
    arguments = {**arguments, "fusion": fusion, "classes": CLASSES}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "random.params")
        save_random(family, file, side, **arguments)
        trained = load_model(family, file, arguments=arguments, size=side)
        found = [
            difference(trained, Path(folder, kind), kind, torch_python=torch) if kind != "torch" or torch else ""
            for kind in FORMATS
        ]
        return found, in_double(trained) if REFUSED in found[FORMATS.index("onnx")] else ("", "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", metavar="PYTHON", help="an interpreter with PyTorch; without it, not that format")
    parser.add_argument("--families", default=",".join(FAMILIES), metavar="NAMES", help="default: all")
    parser.add_argument("--fusions", default=",".join(list_fusions()), metavar="NAMES", help="default: all")
    arguments = parser.parse_args()
    logging.getLogger("fusion").setLevel(logging.WARNING)
    families = arguments.families.split(",")
    fusions = [find_fusion(name).__name__ for name in arguments.fusions.split(",")]
    found: Dict[Tuple[str, str], List[str]] = {}
    doubted: Dict[Tuple[str, str], Tuple[str, str]] = {}
    for family in families:
        for fusion in fusions:
            found[family, fusion], doubted[family, fusion] = row(family, fusion, arguments.torch)
            print(family, fusion, *found[family, fusion], file=sys.stderr, flush=True)
    for number, kind in enumerate(FORMATS):
        print(f"\n| {kind} | {' | '.join(families)} |\n|---|{'---|' * len(families)}")
        for fusion in fusions:
            print(f"| {short_name(fusion)} | {' | '.join(found[family, fusion][number] for family in families)} |")
    if any(map(any, doubted.values())):
        print("\n| refused | ONNX | own rounding | ONNX in float64 |\n|---|---|---|---|")
    for (family, fusion), figures in doubted.items():
        if any(figures):
            onnx = found[family, fusion][FORMATS.index("onnx")].replace(REFUSED, "")
            print(f"| {family}, {short_name(fusion)} | {onnx} | {' | '.join(figures)} |")


if __name__ == "__main__":
    main()
