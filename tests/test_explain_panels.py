"""Sheets of images: nothing that is written on them lies on anything else."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.cm import ScalarMappable

from fusion.attentional import WeightKind
from fusion.drawing import save_page
from fusion.explain.fusion_maps import WeightMap
from fusion.explain.maps_picture import draw_fusion_maps, draw_network_maps
from fusion.explain.panels import add_bar, new_sheet, show_picture
from fusion.places import INPUTS, Place

PICTURE = np.zeros((8, 8, 3), np.uint8)


def words_of(figure):
    """What is written on a page, with the rectangle of each."""
    figure.draw_without_rendering()
    texts = [figure._suptitle]
    for axes in figure.axes:
        if axes.axison:
            texts += [axes.title, axes.xaxis.label, axes.yaxis.label]
    return [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text()]


def collisions(figure):
    words = words_of(figure)
    assert len(words) > 1
    return [(one, other) for (one, a), (other, b) in itertools.combinations(words, 2) if a.overlaps(b)]


@pytest.mark.parametrize("images", [1, 5])
@pytest.mark.parametrize("columns", [1, 3, 6])
@pytest.mark.parametrize("lines", [1, 3])
def test_words_of_a_sheet_do_not_collide(tmp_path, images, columns, lines):
    headings = ["\n".join(["stage 1"] * lines)] * columns
    names = [f"folder/ image{number}" for number in range(images)]
    figure, grid, panels = new_sheet([PICTURE] * images, names, headings, "cifar_resnet (aff): fusion weights")
    for axes in (axes for own in panels for axes in own):
        show_picture(axes, PICTURE)
        axes.set_xlabel("shortcut 50 %", fontsize=8)
    add_bar(figure, grid, ScalarMappable(), "a label\nof two lines")
    save_page(figure, tmp_path / "sheet.png")
    assert collisions(figure) == []


def weight_maps(stages, blocks, passes, units=(0,)):
    """Maps of one image for each block, unit and pass of a network."""
    mean = np.random.default_rng(0).uniform(0.3, 0.7, (1, 8, 8))
    inputs = ("5x5 branch", "3x3 branch") if units[0] else INPUTS
    preferred = np.ones((1, 8, 8))  # "100 %" is the longest share
    kinds = [WeightKind(title, "selects") for title in (["pass 1", "pass 2"] if passes == 2 else [""])]
    return [
        WeightMap(
            Place(f"{stage}.{block}.{unit}", stage, block, None, unit, inputs),
            number,
            passes,
            kinds[number - 1],
            mean,
            preferred,
        )
        for stage in range(1, stages + 1)
        for block in range(1, blocks + 1)
        for unit in units
        for number in range(1, passes + 1)
    ]


@pytest.mark.parametrize(
    ("stages", "blocks", "passes", "units"),
    [
        (3, 1, 1, (0,)),
        (3, 1, 2, (0,)),
        (3, 3, 1, (0,)),
        (4, 3, 2, (0,)),
        (1, 1, 1, (0,)),
        pytest.param(3, 3, 2, (1, 2), marks=pytest.mark.long),
    ],
)
def test_titles_of_the_maps_of_one_image_do_not_collide(tmp_path, figures, stages, blocks, passes, units):
    maps = weight_maps(stages, blocks, passes, units)
    draw_network_maps(PICTURE, 0, maps, "cifar_resnet (aff): fusion weights on folder/ image", tmp_path / "a.png")
    draw_fusion_maps(PICTURE[None], ["folder/ image"], maps[:4], "aff: fusion weights", tmp_path / "b.png")
    several = [replace(found, mean=np.repeat(found.mean, 3, 0), identity=np.ones((3, 8, 8))) for found in maps[:8]]
    draw_fusion_maps(np.stack([PICTURE] * 3), ["folder/ image"] * 3, several, "fusion weights", tmp_path / "c.png")
    for figure in figures:
        assert collisions(figure) == []
        assert figure.get_figwidth() == 9


def test_panels_of_one_image_fill_their_rows(tmp_path, figures):
    draw_network_maps(PICTURE, 0, weight_maps(3, 1, 2), "title", tmp_path / "a.png")
    shown = [axes for axes in figures[-1].axes if axes.axison]
    assert len(shown) == 7 + 1  # the image, six maps and the scale
    rows = [axes.get_subplotspec().rowspan.start for axes in shown[:7]]
    assert rows.count(0) == 4 and rows.count(1) == 3
