"""Small made-up sets of images with masks: bright squares on noise, or bands of several colours."""

from __future__ import annotations

import numpy as np
from PIL import Image

SIZES = ((40, 48), (33, 50), (48, 40))


def write_targets(folder, train=12, test=5, seed=0):
    """Grey images with one or two bright squares, and masks with 0 and 255; the sizes differ."""
    rng = np.random.default_rng(seed)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    names = {"train": [f"a{number}" for number in range(train)], "test": [f"b{number}" for number in range(test)]}
    for split, own in names.items():
        (folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in own))
        for number, name in enumerate(own):
            height, width = SIZES[number % len(SIZES)]
            image, mask = rng.normal(70, 12, (height, width)), np.zeros((height, width), np.uint8)
            for _ in range(1 + number % 2):
                row, column, side = rng.integers(2, height - 10), rng.integers(2, width - 10), rng.integers(4, 8)
                image[row : row + side, column : column + side] += 130
                mask[row : row + side, column : column + side] = 255
            Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / "images" / f"{name}.png")
            Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
    return folder


def write_bands(folder, train=10, test=4, seed=0):
    """Coloured images of three classes in bands, whose edges are not labelled (value 3)."""
    rng = np.random.default_rng(seed)
    colours = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200]])
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    (folder / "classes.txt").write_text("red\ngreen\nblue\n")
    for split, count in (("train", train), ("test", test)):
        own = [f"{split}{number}" for number in range(count)]
        (folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in own))
        for name in own:
            mask = np.repeat(rng.permutation(3).repeat(12)[:, None], 32, axis=1).astype(np.uint8)
            image = (colours[mask] + rng.normal(0, 20, (36, 32, 3))).clip(0, 255).astype(np.uint8)
            mask[11:13] = mask[23:25] = 3
            Image.fromarray(image).save(folder / "images" / f"{name}.png")
            Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
    return folder


TARGETS = """
model: {{name: fpn, fusion: add, blocks: 1, tiny: true, channel_times: 1}}
data: {{name: mask_folder, dir: {folder}, size: 32, batch_size: 4}}
augment: {{crop_padding: 0, flip: true, target_probability: 0.5, mean: [0.3, 0.3, 0.3], std: [0.2, 0.2, 0.2]}}
optimizer: {{name: adagrad}}
schedule: {{mode: constant, lr: 0.05}}
train: {{epochs: 3, loss: soft_iou + 0.5 bce}}
"""

BANDS = """
model: {{name: unet, fusion: aff, blocks: 1, channel_times: 1}}
data: {{name: mask_folder, dir: {folder}, ignore: 3, size: 32, batch_size: 2}}
augment: {{crop_padding: 0, flip: true}}
optimizer: {{name: adam, weight_decay: 0}}
schedule: {{mode: poly, power: 0.9, lr: 0.01}}
train: {{epochs: 12}}
"""
