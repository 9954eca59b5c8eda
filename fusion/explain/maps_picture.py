"""Pictures of what the attention of fusion blocks decides: weight maps of images, and distributions over a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any, List, Mapping, Sequence

import numpy as np

from ..drawing import BLUE, FAINT, GREY, ORANGE, WIDTH, new_page, plain, save_page
from .fusion_maps import BINS, WeightDistribution, WeightMap
from .panels import LARGEST, add_bar, bare, new_image_page, new_sheet, preference_colours, show_picture

#: How many panels the picture of one image has side by side.
_COLUMNS = 6

#: Inches between two panels side by side, around a panel above and below it, and for the page's title and scale.
_BETWEEN, _AROUND, _TITLE_AND_BAR = 0.1, 0.5, 1.3

#: The scale of the maps reaches at least this far from ½. On a smaller scale noise would look like a preference.
_LEAST_REACH = 0.02

#: A map gets a line at ½ if its values go at least this far to both sides of ½, as a share of the scale.
_LEAST_CROSSING = 0.05

#: How many bins of the distribution are joined into one that is drawn.
_MERGED = 10

#: The height of a panel as a multiple of its highest line, so that there is room for the legend.
_HEADROOM = 1.7

_SCALE = "w, mean over channels"
_SELECTING_SCALE = (
    "w, mean over channels; below 1/2, the black line, the {y} counts more\n"
    "below a map: the share of its pixels and channels where that is so"
)

#: For each role, what w is the weight of.
_OF_WHAT = {
    "selects": "weight w of the {x}",
    "gates x": "weight w of the {x}",
    "gates y": "weight w of the {y}",
    "gates both": "weight w of the sum",
    "shares": "weight w of one input among several",
}


def last_of_stages(maps: Sequence[WeightMap]) -> List[WeightMap]:
    """Of the maps, those of the last fusion block of each stage."""
    last = {found.place.stage: found.place.name for found in maps}
    return [found for found in maps if found.place.name == last[found.place.stage]]


# --- Maps -----------------------------------------------------------------------------------------------------------


def draw_fusion_maps(
    pictures: np.ndarray, names: Sequence[str], maps: Sequence[WeightMap], title: str, path: Path
) -> None:
    """Draw images, and beside each of them the weight maps of some fusion blocks, one panel per block and pass.

    Parameters
    ----------
    pictures : ndarray
        (B, H, W, 3) uint8: the network's input before it is normalised.
    names : sequence of str
        The names of the B images.
    maps : sequence of WeightMap
        The maps of these images, such as `last_of_stages(fusion_maps(...))`.
    title : str
        The title of the sheet.
    path : Path
        Written in the format that its name ends in.
    """
    headings = [found.title.replace(", ", "\n") for found in maps]
    figure, grid, panels = new_sheet(list(pictures), names, headings, title)
    reach = _reach(maps)
    for index, own in enumerate(panels):
        for axes, found in zip(own, maps):
            shown = _show_weights(axes, found, index, reach)
    add_bar(figure, grid, shown, _scale(maps))
    save_page(figure, path)


def draw_network_maps(picture: np.ndarray, index: int, maps: Sequence[WeightMap], title: str, path: Path) -> None:
    """Draw one image with the weight map of every fusion block of a network, in the network's order.

    Parameters
    ----------
    picture : ndarray
        (H, W, 3) uint8: the network's input before it is normalised.
    index : int
        The index of the image in the batch that the maps are of.
    maps : sequence of WeightMap
        The result of `fusion_maps`.
    title : str
        The title of the picture.
    path : Path
        Written in the format that its name ends in.
    """
    rows = -(-(len(maps) + 1) // _COLUMNS)
    columns = -(-(len(maps) + 1) // rows)
    side = min(LARGEST, WIDTH / columns - _BETWEEN)
    figure, grid = new_image_page(rows, columns, rows * (side + _AROUND) + _TITLE_AND_BAR, title)
    panels = list(grid.flat)
    show_picture(panels[0], picture)
    panels[0].set_title("image", fontsize=8)
    reach = _reach(maps)
    for axes, found in zip(panels[1:], maps):
        axes.set_title(plain(_in_two_lines(found.title)), fontsize=8)
        shown = _show_weights(axes, found, index, reach)
    for axes in panels[len(maps) + 1 :]:
        axes.axis("off")
    add_bar(figure, grid, shown, _scale(maps))
    save_page(figure, path)


def _in_two_lines(title: str) -> str:
    """The stage and the block of a title above the rest of it."""
    words = title.split(", ")
    return "\n".join([", ".join(words[:2]), ", ".join(words[2:])]) if len(words) > 2 else title


def _reach(maps: Sequence[WeightMap]) -> float:
    """How far from ½ the scale goes: as far as the map that goes furthest."""
    return max(_LEAST_REACH, *(float(np.abs(found.mean - 0.5).max()) for found in maps))


def _scale(maps: Sequence[WeightMap]) -> str:
    preferred = {found.place.inputs[1] for found in maps}
    if len(preferred) > 1 or any(found.role != "selects" for found in maps):
        return _SCALE
    return _SELECTING_SCALE.format(y=preferred.pop())


def _show_weights(axes: Any, found: WeightMap, index: int, reach: float) -> Any:
    mean = found.mean[index]
    limits = {"vmin": 0.5 - reach, "vmax": 0.5 + reach}
    shown = axes.imshow(mean, cmap=preference_colours(), interpolation="nearest", **limits)
    # In a map whose values are all close to ½, the line would only show noise.
    if min(mean.shape) > 1 and min(0.5 - mean.min(), mean.max() - 0.5) > _LEAST_CROSSING * reach:
        axes.contour(mean, levels=[0.5], colors="black", linewidths=0.7)
    bare(axes)
    axes.set_xlabel(_verdict(found, index), fontsize=8)
    return shown


def _verdict(found: WeightMap, index: int) -> str:
    """How often y is preferred, of a block that has the choice."""
    if found.role == "selects":
        return f"{found.place.inputs[1]} {100 * found.identity[index].mean():.0f} %"
    return f"w {found.role}"


# --- Distributions --------------------------------------------------------------------------------------------------


def draw_weight_distribution(networks: Mapping[str, Sequence[WeightDistribution]], title: str, path: Path) -> None:
    """Draw how the weights of networks are distributed: one row per network, one panel per stage, one line per pass.

    Parameters
    ----------
    networks : dict of str to sequence of WeightDistribution
        The result of `weight_distribution` for each network, by the network's title.
    title : str
        The title of the picture.
    path : Path
        Written in the format that its name ends in.
    """
    stages = sorted({found.stage for distributions in networks.values() for found in distributions})
    figure, grid = new_page(len(networks), len(stages), 2.3 * len(networks) + 0.8, title)
    highest = max(_densities(found).max() for distributions in networks.values() for found in distributions)
    for row, (name, distributions) in zip(grid, networks.items()):
        for axes, stage in zip(row, stages):
            for found in (found for found in distributions if found.stage == stage):
                _draw_density(axes, found)
            axes.axvline(0.5, color=GREY, linewidth=0.8, linestyle=":")
            axes.set_xlim(0, 1)
            axes.set_ylim(0, _HEADROOM * highest)
            axes.grid(color=FAINT, linewidth=0.6)
            axes.tick_params(labelsize=8)
            if axes.lines[1:]:
                axes.legend(frameon=False, fontsize=8, loc="upper left")
        row[0].set_ylabel(plain(f"{name}\n% of weights per 0.01"), fontsize=9)
    for axes, stage in zip(grid[0], stages):
        axes.set_title(f"stage {stage}" if stage else "outside stages", fontsize=10)
    words = {_of_what(found) for distributions in networks.values() for found in distributions}
    for axes in grid[-1]:
        axes.set_xlabel(next(iter(words)) if len(words) == 1 else "fusion weight w", fontsize=9)
    save_page(figure, path)


def _of_what(found: WeightDistribution) -> str:
    x, y = found.inputs
    return _OF_WHAT[found.role].format(x=x, y=y)


def _densities(found: WeightDistribution) -> np.ndarray:
    """The percentage of weights in each of the bins that are drawn."""
    return 100 * found.counts.reshape(-1, _MERGED).sum(axis=1) / found.total


def _draw_density(axes: Any, found: WeightDistribution) -> None:
    colour, style = ((BLUE, "-"), (ORANGE, "--"))[(found.number - 1) % 2]
    about = f"{found.kind.title}\n" if found.kind.title else ""
    label = f"{about}median |w-1/2| {found.distance(0.5):.3f}"
    if found.role == "selects":
        label += f"\nw < 1/2: {100 * found.identity_share:.0f} %"
    edges = np.linspace(0, 1, BINS // _MERGED + 1)
    shares = _densities(found)
    axes.plot(
        np.repeat(edges, 2)[1:-1], np.repeat(shares, 2), color=colour, linestyle=style, linewidth=1.2, label=label
    )
