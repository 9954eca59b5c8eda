#!/usr/bin/env python
"""Draws every operation of AutoAugment at every magnitude, examples of the policies, and CutMix and mixup.

    python benchmarks/policies.py --image PHOTO.jpg --output policies.png
    python benchmarks/policies.py --output docs/policies.png --force      # the picture of docs/augmentation.md

Without a photo it uses a drawing with shapes and a gradient, on which colours and directions can be distinguished.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, List, Optional, Sequence

import numpy as np
from PIL import Image, ImageDraw

from fusion.command import reported
from fusion.data.augment import cutmix, mixup
from fusion.data.autoaugment import MAGNITUDES, OPERATIONS, apply_operation, auto_augment, named_policy
from fusion.data.loader import generator
from fusion.explain.output import add_output_file
from fusion.outputs import written_picture

SIDE = 64
POLICIES = (("CIFAR-10", "cifar10"), ("ImageNet", "imagenet"), ("RandAugment 2, 9", "randaugment"))


def photo(path: Optional[Path]) -> Any:
    """The central square of a photo; a drawing if there is no photo."""
    if path is not None:
        image = Image.open(path).convert("RGB")
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        return image.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    y, x = np.mgrid[:SIDE, :SIDE]
    sky = np.stack([90 + y, 130 + y, 220 - x // 2], axis=-1)
    image = Image.fromarray(sky.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 48, SIDE, SIDE), fill=(70, 120, 50))
    draw.ellipse((44, 6, 56, 18), fill=(250, 220, 90))
    draw.rectangle((12, 28, 36, 52), fill=(190, 80, 60))
    draw.polygon(((8, 28), (24, 12), (40, 28)), fill=(90, 50, 40))
    draw.rectangle((20, 38, 28, 52), fill=(240, 235, 220))
    return image


def draw_sheet(image: Any, path: Path) -> None:
    """Draw one row per operation, then one row per policy with random examples, and the rows of mixed pairs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [name for name in OPERATIONS if name != "Identity"]
    rows: List[List[Any]] = [[apply_operation(image, name, m) for m in range(MAGNITUDES)] for name in names]
    titles = list(names)
    copies = np.repeat(np.asarray(image)[None], MAGNITUDES, axis=0)
    for title, name in POLICIES:
        rows.append(list(auto_augment(copies, named_policy(name, 2, 9), generator(0))))
        titles.append(f"{title}\n(ten draws)")
    titles += ["mixup\n(λ = 0.0 … 0.9)", "CutMix\n(λ = 0.0 … 0.9)"]
    rows += mixed_rows(image)
    figure = Figure(figsize=(MAGNITUDES * 0.75 + 1.2, len(rows) * 0.78 + 0.5))
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), MAGNITUDES)
    figure.subplots_adjust(left=0.14, right=0.995, top=0.978, bottom=0.005, wspace=0.06, hspace=0.06)
    for line, title, pictures in zip(axes, titles, rows):
        line[0].set_ylabel(title, rotation=0, ha="right", va="center", fontsize=8)
        for cell, picture in zip(line, pictures):
            cell.imshow(np.asarray(picture), interpolation="nearest")
            cell.set_xticks([])
            cell.set_yticks([])
            for spine in cell.spines.values():
                spine.set_visible(False)
    for magnitude, cell in enumerate(axes[0]):
        cell.set_title(f"magnitude {magnitude}" if magnitude == 0 else str(magnitude), fontsize=8)
    figure.savefig(path, dpi=110)


def mixed_rows(image: Any) -> List[List[np.ndarray]]:
    """Two rows: the photo mixed with its negative by mixup and by CutMix, at ten values of λ."""
    pair = np.stack([np.asarray(image), 255 - np.asarray(image)]).transpose(0, 3, 1, 2).astype(np.float32)
    targets = np.eye(2, dtype=np.float32)
    shares = np.arange(MAGNITUDES) / MAGNITUDES
    rows = (
        [mixup(pair, targets, share)[0] for share in shares],
        [cutmix(pair, targets, share, generator(3, number))[0] for number, share in enumerate(shares)],
    )
    return [[found[0].transpose(1, 2, 0).round().astype(np.uint8) for found in row] for row in rows]


@reported
def main(words: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--image", type=Path, metavar="FILE", help="a photo (default: a drawing)")
    add_output_file(parser, "policies.png here")
    arguments = parser.parse_args(words)
    image = photo(arguments.image)
    output = arguments.output or Path("policies.png")
    with written_picture(output, arguments.force) as aside:
        draw_sheet(image, aside)
    print(output)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
