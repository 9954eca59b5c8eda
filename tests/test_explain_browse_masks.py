"""Sheets of training crops with their masks over them."""

from __future__ import annotations

import numpy as np
import pytest
from masks import make_folder
from PIL import Image

from fusion.__main__ import main
from fusion.data.masks.labels import IGNORE, binary_labels, class_labels
from fusion.data.masks.palette import TARGET_COLOUR
from fusion.explain.browse_masks import crops_in_words, draw_mask_sheet, mask_in_words, small_objects
from fusion.training.config import read_config

SEVERAL = class_labels(("sky", "road", "car"))


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def close_to(picture, colour):
    return (np.abs(picture - np.array(colour)).max(axis=-1) < 12).sum()


def test_mask_in_words():
    mask = np.zeros((10, 20), np.uint8)
    mask[:2] = 1
    assert mask_in_words(mask, binary_labels("ship")) == "ship: 40 pixels"
    assert mask_in_words(mask, SEVERAL) == "sky 80 %, road 20 %"
    mask[2:6] = IGNORE
    assert mask_in_words(mask, SEVERAL) == "sky 67 %, road 33 %"
    assert mask_in_words(np.full((2, 2), IGNORE, np.uint8), SEVERAL) == "nothing counts"


def test_small_objects_are_found_and_large_ones_are_not():
    mask = np.zeros((100, 100), np.uint8)
    mask[10:13, 20:22] = 1
    mask[13, 22] = 1  # touches by a corner
    mask[50:90, 50:60] = 1
    mask[5, 90] = IGNORE
    assert small_objects(mask, True) == [(11.5, 21.0)]
    assert small_objects(mask, False) == []


def test_crops_in_words():
    common = ["model.name=fpn", "data.name=mask_folder", "data.dir=x", "augment.crop_padding=0", "data.size=480"]
    words = ["augment.long_side=[256, 1024]", "augment.blur_probability=0.5", "augment.target_probability=0.25"]
    assert crops_in_words(read_config(None, [*common, *words])) == (
        "longer side 256 to 1024 pixels, crop 480x480, 25 % placed on a target, flip, blur 50 %"
    )
    words = [
        "augment.scale=[0.5, 2]",
        "augment.crop_size=[180, 240]",
        "augment.flip=false",
        "augment.colour_jitter=0.4",
    ]
    assert crops_in_words(read_config(None, [*common, *words])) == (
        "scaled by 0.5 to 2, crop 240x180, colour jitter 0.4"
    )
    assert crops_in_words(read_config(None, [*common, "augment.flip=false"])) == "crop 480x480"


@pytest.mark.parametrize("count", [1, 5])
def test_sheet_shows_each_crop_and_its_mask(tmp_path, count):
    pictures = np.full((count, 40, 60, 3), (0, 90, 200), np.uint8)
    masks = np.zeros((count, 40, 60), np.uint8)
    masks[:, 5:35, 20:50] = 1
    for name, shown in (("mask", masks), ("none", np.zeros_like(masks))):
        draw_mask_sheet(pictures, shown, binary_labels("ship"), "title", tmp_path / f"{name}.png")
    with_mask, without = pixels(tmp_path / "mask.png"), pixels(tmp_path / "none.png")
    assert with_mask.shape[1] == 990
    mixed = np.rint(0.45 * np.array((0, 90, 200)) + 0.55 * np.array(TARGET_COLOUR))
    assert close_to(without, mixed) == 0
    # Of each mask three eighths are painted, and the image beside it is as large.
    share = close_to(with_mask, mixed) / close_to(without, (0, 90, 200))
    assert share == pytest.approx(30 * 30 / (2 * 40 * 60), rel=0.08)
    assert close_to(with_mask, TARGET_COLOUR) > 50  # the legend


def test_small_target_has_a_ring(tmp_path):
    pictures, masks = np.zeros((1, 200, 200, 3), np.uint8), np.zeros((1, 200, 200), np.uint8)
    draw_mask_sheet(pictures, masks, binary_labels(), "title", tmp_path / "none.png")
    masks[0, 100, 100] = 1
    draw_mask_sheet(pictures, masks, binary_labels(), "title", tmp_path / "ring.png")
    yellow = (255, 208, 0)
    assert close_to(pixels(tmp_path / "none.png"), yellow) == 0 < close_to(pixels(tmp_path / "ring.png"), yellow)


def test_command_browses_masks(tmp_path, capsys):
    root = make_folder(tmp_path / "set", values=(0, 1, 2, 3), classes=("sky", "road", "car", "unlabelled"))
    config = tmp_path / "masks.yaml"
    config.write_text(
        f"model: {{name: unet}}\ndata: {{name: mask_folder, dir: {root}, ignore: 3, size: 24, batch_size: 2}}\n"
        "augment: {crop_padding: 0}\n"
    )
    output = tmp_path / "sheet.png"
    assert main(["browse", "--config", str(config), "--images", "3", "--output", str(output)]) == 0
    assert f"{output}: 3 images" in capsys.readouterr().out
    assert pixels(output).shape[1] == 990
