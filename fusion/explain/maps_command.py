"""python -m fusion maps: what the attention of fusion blocks decides, on images and over a test set."""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np

from ..command import log_to_terminal, split_settings
from ..compat import mx
from ..errors import ConfigError, DataError
from ..inference.images import SOME_UNREADABLE, find_images, read_batches, report_unreadable
from ..inference.predict import add_images
from ..inference.source import add_source
from ..inference.trained import Trained
from ..outputs import check_folder, written_folder
from ..progress import Counter, progress
from ..weights import weighted_places, without_weight
from ..words import counted
from .answers import settings_with
from .fusion_maps import (
    WeightDistribution,
    WeightMap,
    describe_distribution,
    format_distributions,
    fusion_maps,
    weight_distribution,
)
from .gradcam_command import add_compare, load_all, settle_words
from .maps_picture import draw_fusion_maps, draw_network_maps, draw_weight_distribution, last_of_stages
from .output import add_output, picture_name, slug
from .panels import image_name

#: Rows of a sheet at the most; further images only have pictures of their own.
SHEET_ROWS = 12


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `maps`."""
    parser = commands.add_parser("maps")
    add_images(parser, count="*", settings=True)
    add_source(parser)
    add_compare(parser)
    words = (
        "also draw the distribution of w over the run's test set, or over at most N evenly spaced images of it; a word "
        "after this option that is not a whole number is an image (write ./1 for an image or a folder named 1)"
    )
    parser.add_argument("--over-data", action=_OverData, nargs="?", metavar="N", help=words)
    parser.add_argument("--data-dir", metavar="DIR", help=argparse.SUPPRESS)  # the former name of data.dir
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="images per batch (default: 32)")
    parser.add_argument("--json", action="store_true", help="the distribution as one JSON object on standard output")
    add_output(parser)
    parser.set_defaults(run_command=_run)


class _OverData(argparse.Action):
    """Reads the whole number after the option, or 0 for all images; a word that is no number counts as an image."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Union[str, Sequence[Any], None],
        option_string: Optional[str] = None,
    ) -> None:
        word = str(values) if values is not None else "0"
        is_number = re.fullmatch(r"-?[0-9]+", word) is not None
        namespace.over_data = int(word) if is_number else 0
        if not is_number:
            namespace.not_taken = [*getattr(namespace, "not_taken", []), word]


def _settle_words(arguments: argparse.Namespace) -> None:
    """Divide the words without an option into settings, runs to compare and images."""
    words = [*getattr(arguments, "not_taken", []), *arguments.images]
    arguments.settings, arguments.images = split_settings(words)
    if arguments.data_dir is not None:
        arguments.settings.insert(0, f"data.dir={arguments.data_dir}")
    settle_words(arguments)


def _run(arguments: argparse.Namespace) -> int:
    log_to_terminal("stderr")
    _settle_words(arguments)
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
        raise ConfigError(f"--over-data {arguments.over_data}: expected a number of images, or nothing for all of them")
    if arguments.over_data is not None and arguments.run is None:
        raise ConfigError("--over-data is over the test set of a run: name one by --run DIR")
    if arguments.settings and arguments.over_data is None and arguments.data_dir is None:
        raise ConfigError(f"{arguments.settings[0]}: only --over-data reads the test set; add it, or leave this out")
    if arguments.batch_size < 1:
        raise DataError(f"--batch-size {arguments.batch_size}: expected at least 1")
    check_folder(arguments.output, arguments.force)


def _check_weights(title: str, network: Trained) -> None:
    """Refuse a network without fusion weights; print which stages have none if only some have them."""
    try:
        weighted_places(network.net)
    except ConfigError as error:
        raise ConfigError(f"{network.file}: {error}") from None
    plainly = {place.stage: type(place.block).__name__ for place in without_weight(network.net)}
    for stage, kind in plainly.items():
        where = f"stage {stage} fuses" if stage else "outside the stages it fuses"
        print(f"{title}: {where} by {kind}, which has no weight to show", file=sys.stderr)


def _draw_images(title: str, network: Trained, files: Sequence[Path], batch_size: int, folder: Path) -> int:
    """Write the sheet of a network and a picture of each image; return how many images cannot be read."""
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
        raise DataError(f"no image can be read: {counted(len(files), 'file')} tried")
    pictures, names, maps = _joined(kept)
    draw_fusion_maps(pictures, names, maps, f"{title}: fusion weights", folder / f"{slug(f'sheet_{title}')}.png")
    return unreadable


def _joined(
    kept: Sequence[Tuple[np.ndarray, List[str], List[WeightMap]]],
) -> Tuple[np.ndarray, List[str], List[WeightMap]]:
    """The first images of several batches with their names and maps, joined as one batch."""
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
    """The distribution of a network's weights over its test set, and how many images of which data set these are."""
    data = network.load_split(settings_with(network, arguments.settings), "test")
    step = -(-len(data) // (arguments.over_data or len(data)))
    count = len(range(0, len(data), step))
    with progress("weights", count, unit="images") as meter:
        found = weight_distribution(network.net, _batches(network, data, step, arguments.batch_size, meter))
    return found, f"{counted(count, 'test image')} of {data.title}"


def _report(arguments: argparse.Namespace, distributions: Dict[str, List[WeightDistribution]], over: str) -> None:
    if arguments.json:
        figures = {title: [describe_distribution(one) for one in found] for title, found in distributions.items()}
        print(json.dumps({"output": str(arguments.output), "over": over, "networks": figures}))
        return
    for title, found in distributions.items():
        print(f"{title}, weights over {over}\n{format_distributions(found)}")
    print(f"{arguments.output}: {', '.join(path.name for path in sorted(arguments.output.glob('[sw]*.png')))}")


def _batches(trained: Trained, data: Any, step: int, batch_size: int, meter: Counter) -> Iterator[Any]:
    """Batches of every `step`-th image of a data set, normalised and on the network's device."""
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
