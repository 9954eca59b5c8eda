#!/usr/bin/env python
"""Whether the authors' published U-Net for SIRST, loaded into `unet`, marks the pixels that it marked in their program.

    python benchmarks/sirst_checkpoint.py --data FOLDER --checkpoint FILE

FOLDER holds SIRST as it was published: images/NAME.png, masks/NAME_pixels0.png and test.txt. FILE is the parameter
file of the U-Net (AsymBi, four blocks per stage, tiny) that was released with arXiv 2009.14530.

As in that program, images and masks are resized to 512×512 pixels (bilinear and nearest), and a pixel belongs to a
target where its logit is above 0. The image of Misc_111 is smaller than its mask; both become 512×512.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import List, Tuple

import numpy as np
from PIL import Image

from fusion import get_model
from fusion.compat import mx
from fusion.data.augment import Normalisation
from fusion.published.sirst import SegmentedImages, read_acm_unet
from fusion.tables import text_table

SIDE = 512

#: By how many pixels an image's intersection and union may differ, and by how much the total IoU.
MOST_PIXELS = 2
MOST_IOU = 0.001

#: Of the released program, for pixels between 0 and 1: ImageNet's.
NORMALISE = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def read_image(path: Path) -> np.ndarray:
    """(512, 512, 3) uint8; an alpha channel is dropped, as the released program does it."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.BILINEAR))


def read_mask(path: Path) -> np.ndarray:
    """(512, 512) bool."""
    with Image.open(path) as mask:
        return np.asarray(mask.convert("L").resize((SIDE, SIDE), Image.NEAREST)) > 0


def evaluate(folder: Path, checkpoint: Path) -> SegmentedImages:
    """Run the network on every test image."""
    net = get_model("unet", pretrained=checkpoint, fusion="AsymBi", blocks=4, tiny=True)
    net.hybridize(static_alloc=True, static_shape=True)
    found = {}
    for name in (folder / "test.txt").read_text(encoding="utf-8").split():
        pixels = read_image(folder / "images" / f"{name}.png")
        logits = net(mx.nd.array(NORMALISE(pixels[np.newaxis].transpose(0, 3, 1, 2)))).asnumpy()
        marked, mask = logits[0, 0] > 0, read_mask(folder / "masks" / f"{name}_pixels0.png")
        found[name] = (int((marked & mask).sum()), int((marked | mask).sum()))
    return SegmentedImages(found)


def compare(found: SegmentedImages, published: SegmentedImages) -> Tuple[str, List[str]]:
    """A table of both, and the names of the images that differ by more than they may."""
    rows, off = [], []
    for name, expected in published.images.items():
        here = found.images.get(name)
        differs = here is None or max(abs(a - b) for a, b in zip(here, expected)) > MOST_PIXELS
        off += [name] if differs else []
        numbers = ["-", "-"] if here is None else [str(count) for count in here]
        rows.append([name, *map(str, expected), *numbers, "off" if differs else ""])
    return text_table(("image", "both", "either", "both here", "either here", ""), rows), off


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, type=Path, help="the folder of SIRST")
    parser.add_argument("--checkpoint", required=True, type=Path, help="the published parameter file")
    arguments = parser.parse_args()
    found, published = evaluate(arguments.data, arguments.checkpoint), read_acm_unet()
    table, off = compare(found, published)
    print(table)
    print(f"IoU  {found.iou:.4f} here, {published.iou:.4f} in the released program on the same {len(published.images)}")
    print(f"nIoU {found.niou:.4f} here, {published.niou:.4f}")
    met = not off and abs(found.iou - published.iou) <= MOST_IOU
    goal = f"every image within {MOST_PIXELS} pixels, IoU within {MOST_IOU}"
    print(f"{goal}: {'met' if met else 'missed' + (' by ' + ', '.join(off) if off else '')}")
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
