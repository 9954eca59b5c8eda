"""The published U-Net's figures for SIRST, and the comparison of a network that loads its checkpoint."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fusion.published.sirst import SegmentedImages, read_acm_unet

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import sirst_checkpoint

sys.path.pop(0)


def test_published_figures():
    found = read_acm_unet()
    assert len(found.images) == 86
    assert found.iou == pytest.approx(0.6931202781306411, rel=1e-12)
    assert found.niou == pytest.approx(0.7254950984263954, rel=1e-12)
    rest = SegmentedImages({name: counts for name, counts in found.images.items() if name != "Misc_29"})
    assert rest.iou == pytest.approx(0.7469176333260378, rel=1e-12)


def test_an_image_without_a_union_counts_as_zero():
    found = SegmentedImages({"one": (0, 0), "two": (3, 4)})
    assert (found.iou, found.niou) == (0.75, 0.375)


def test_two_pixels_are_as_published_and_three_are_not():
    published = read_acm_unet()
    near = {name: (both + 2, either - 2) for name, (both, either) in published.images.items()}
    assert sirst_checkpoint.compare(SegmentedImages(near), published)[1] == []
    near["Misc_70"] = (83, 115)
    del near["Misc_96"]
    table, off = sirst_checkpoint.compare(SegmentedImages(near), published)
    assert off == ["Misc_70", "Misc_96"]
    assert table.count("off") == 2


def test_images_and_masks_are_read_as_in_the_released_program(tmp_path):
    pixels = np.zeros((4, 6, 4), np.uint8)
    pixels[..., 0] = 200
    Image.fromarray(pixels, "RGBA").save(tmp_path / "image.png")
    assert sirst_checkpoint.read_image(tmp_path / "image.png").tolist() == [[[200, 0, 0]] * 512] * 512
    mask = np.zeros((2, 4), np.uint8)
    mask[0, 0] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    found = sirst_checkpoint.read_mask(tmp_path / "mask.png")
    assert found.shape == (512, 512)
    assert found.sum() == found[:256, :128].sum() == 256 * 128
