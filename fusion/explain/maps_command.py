"""python -m fusion maps: what the attention of fusion blocks decides, on images and over a test set."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence, Tuple

import numpy as np

from ..command import log_to_terminal
from ..compat import mx
from ..errors import ConfigError, DataError
from ..inference.images import SOME_UNREADABLE, find_images, read_batches, report_unreadable
from ..inference.predict import add_images
from ..inference.trained import Trained, add_source
from ..progress import Counter, progress
from ..training.preparation import load_split
from .fusion_maps import (
    WeightDistribution,
    WeightMap,
    describe_distribution,
    format_distributions,
    fusion_maps,
    weight_distribution,
    weighted_places,
    without_weight,
)
from .gradcam_command import load_all
from .maps_picture import draw_fusion_maps, draw_network_maps, draw_weight_distribution, last_of_stages
from .output import add_output, picture_name, slug, written_folder
from .panels import image_name

#: Rows of a sheet; further images have their own pictures only.
SHEET_ROWS = 12


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `maps`."""
    parser = commands.add_parser("maps")
    add_images(parser, count="*")
    add_source(parser)
    parser.add_argument("--compare", type=Path, nargs="+", default=[], metavar="RUN", help="runs to draw as well")
    parser.add_argument(
        "--over-data",
        type=int,
        nargs="?",
        const=0,
        metavar="N",
        help="also the distribution of w over the run's test set, or over at most N images of it, evenly spaced",
    )
    parser.add_argument("--data-dir", metavar="DIR", help="where the test set is now, if not where the run had it")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="images at a time (default: 32)")
    parser.add_argument("--json", action="store_true", help="the distribution as one JSON object on standard output")
    add_output(parser)
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> int:
    log_to_terminal("stderr")
    _check(arguments)
    files = find_images(arguments.images) if arguments.images else []
    networks = load_all(arguments)
    for title, network in networks.items():
        _check_weights(title, network)
    unreadable = 0
    distributions: Dict[str, List[WeightDistribution]] = {}
    over = ""
    with written_folder(arguments.output, arguments.force) as folder:
        if files:
            for title, network in networks.items():
                unreadable = _draw_images(title, network, files, arguments.batch_size, folder)
        if arguments.over_data is not None:
            for title, network in networks.items():
                distributions[title], over = _distribution(network, arguments)
            draw_weight_distribution(distributions, f"Fusion weights over {over}", folder / "weights.png")
    _report(arguments, distributions, over)
    return SOME_UNREADABLE if unreadable else 0


def _check(arguments: argparse.Namespace) -> None:
    if not arguments.images and arguments.over_data is None:
        raise ConfigError("nothing to show: name images, or ask for the distribution over the test set by --over-data")
    if arguments.over_data is not None and arguments.over_data < 0:
        raise ConfigError(f"--over-data {arguments.over_data}: expected a number of images, or none for all of them")
    if arguments.over_data is not None and arguments.run is None:
        raise ConfigError("--over-data is over the test set of a run: name one by --run DIR")
    if arguments.batch_size < 1:
        raise DataError(f"--batch-size {arguments.batch_size}: expected at least 1")


def _check_weights(title: str, network: Trained) -> None:
    """Refuse a network without weights, and say which stages of another have none."""
    try:
        weighted_places(network.net)
    except ConfigError as error:
        raise ConfigError(f"{network.file}: {error}") from None
    plainly = {place.stage: type(place.block).__name__ for place in without_weight(network.net)}
    for stage, kind in plainly.items():
        print(f"{title}: stage {stage} fuses by {kind}, which has no weight to show", file=sys.stderr)


def _draw_images(title: str, network: Trained, files: Sequence[Path], batch_size: int, folder: Path) -> int:
    """Write a network's sheet and each image's picture; return how many images cannot be read."""
    unreadable = written = 0
    kept: List[Tuple[np.ndarray, List[str], List[WeightMap]]] = []
    with progress(f"maps of {title}", len(files), unit="images") as meter:
        for batch in read_batches(files, network.preparation, batch_size):
            report_unreadable(batch.unreadable)
            unreadable += len(batch.unreadable)
            if batch.files:
                inputs = _inputs(network, batch.images)
                maps = fusion_maps(network.net, inputs)
                names = [image_name(file) for file in batch.files]
                if written < SHEET_ROWS:
                    kept.append((batch.images, names, last_of_stages(maps)))
                for index, file in enumerate(batch.files):
                    written += 1
                    about = f"{title}: fusion weights on {names[index]}"
                    path = folder / picture_name(written, file, title)
                    draw_network_maps(batch.images[index], index, maps, about, path)
            meter.update(len(batch.files) + len(batch.unreadable))
    if not written:
        raise DataError(f"none of the {len(files)} images can be read")
    pictures, names, maps = _joined(kept)
    draw_fusion_maps(pictures, names, maps, f"{title}: fusion weights", folder / f"{slug(f'sheet_{title}')}.png")
    return unreadable


def _joined(
    kept: Sequence[Tuple[np.ndarray, List[str], List[WeightMap]]],
) -> Tuple[np.ndarray, List[str], List[WeightMap]]:
    """The first images of several batches, as one."""
    pictures = np.concatenate([pictures for pictures, _, _ in kept])[:SHEET_ROWS]
    names = [name for _, own, _ in kept for name in own][:SHEET_ROWS]
    maps = [
        replace(
            same[0],
            mean=np.concatenate([found.mean for found in same])[:SHEET_ROWS],
            identity=np.concatenate([found.identity for found in same])[:SHEET_ROWS],
        )
        for same in zip(*(maps for _, _, maps in kept))
    ]
    return pictures, names, maps


def _distribution(network: Trained, arguments: argparse.Namespace) -> Tuple[List[WeightDistribution], str]:
    """Of a network over its test set, and over how many images of which."""
    assert network.settings is not None
    settings = network.settings
    if arguments.data_dir is not None:
        settings = replace(settings, data=replace(settings.data, dir=arguments.data_dir))
    data = load_split(settings, "test")
    step = -(-len(data) // (arguments.over_data or len(data)))
    count = len(range(0, len(data), step))
    with progress("weights", count, unit="images") as meter:
        found = weight_distribution(network.net, _batches(network, data, step, arguments.batch_size, meter))
    return found, f"{count:,} test images of {data.title}"


def _report(arguments: argparse.Namespace, distributions: Dict[str, List[WeightDistribution]], over: str) -> None:
    if arguments.json:
        figures = {title: [describe_distribution(one) for one in found] for title, found in distributions.items()}
        print(json.dumps({"output": str(arguments.output), "over": over, "networks": figures}))
        return
    for title, found in distributions.items():
        print(f"{title}, weights over {over}\n{format_distributions(found)}")
    print(f"{arguments.output}: {', '.join(path.name for path in sorted(arguments.output.glob('[sw]*.png')))}")


def _batches(trained: Trained, data: Any, step: int, batch_size: int, meter: Counter) -> Iterator[Any]:
    """Every so manieth image of a data set, prepared and where the network is."""
    waiting: List[np.ndarray] = []
    for images, _ in data.in_order(1, (0, step)):
        waiting.append(images[0])
        if len(waiting) == batch_size:
            yield _inputs(trained, np.stack(waiting))
            meter.update(len(waiting))
            waiting = []
    if waiting:
        yield _inputs(trained, np.stack(waiting))
        meter.update(len(waiting))


def _inputs(trained: Trained, images: np.ndarray) -> Any:
    return mx.nd.array(trained.preparation.normalise(images), ctx=trained.context)
