"""python -m fusion gradcam: where networks look, as overlays and as one sheet of several networks side by side."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ..command import log_to_terminal
from ..errors import ConfigError, DataError
from ..inference.images import SOME_UNREADABLE, find_images, read_batches, report_unreadable
from ..inference.predict import add_images
from ..inference.shown_names import add_class_names, as_shown
from ..inference.source import add_source, from_arguments
from ..inference.trained import Trained, load_run
from ..outputs import check_folder, written_folder
from ..progress import progress
from ..training.logbook import RunDirectory
from ..words import counted, distinct
from .gradcam import default_layer
from .gradcam_picture import Look, LookedAt, class_number, draw_grad_cam_sheet, look_at
from .layers import find_layer
from .output import add_output, picture_name
from .panels import image_name, write_picture

#: The word after --class that stands for the class that each network predicts.
PREDICTED = "predicted"

#: Rows of a sheet at the most; further images only have overlays.
SHEET_ROWS = 24


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `gradcam`."""
    parser = commands.add_parser("gradcam")
    add_images(parser)
    add_source(parser)
    add_class_names(parser)
    add_compare(parser)
    parser.add_argument(
        "--class", dest="wanted", default=PREDICTED, metavar="NAME", help="the class to explain (default: predicted)"
    )
    parser.add_argument("--layers", metavar="NAMES", help="layers such as stage2,stage3 (default: the last stage)")
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="images per batch (default: 16)")
    add_output(parser)
    parser.set_defaults(run_command=_run)


def add_compare(parser: argparse.ArgumentParser) -> None:
    """Add the option that names further networks to look at. `settle_words` completes what it reads."""
    words = "a run to look at as well; for several, write --compare A,B or --compare A --compare B or --compare A B"
    parser.add_argument("--compare", action="append", default=[], metavar="RUN", help=words)


def settle_words(arguments: argparse.Namespace) -> None:
    """Tell the runs of --compare from the images, whatever the order in which they were named.

    The option takes one word. Among the words without an option, the folder of a run is a run to compare if the option
    was used, and every other word is an image.

    Raises
    ------
    ConfigError
        If a run's folder is among the images and nothing is compared.
    """
    compared = [path for text in arguments.compare for path in _listed(text)]
    alone = [word for word in arguments.images if RunDirectory(Path(word)).config.is_file()]
    if alone and not compared:
        raise ConfigError(
            f"{alone[0]}: this is the folder of a run, not of images. To look at its network as well, write "
            f"--compare {alone[0]}; to look at pictures in it, name them, such as '{alone[0]}/*.png'"
        )
    arguments.compare = [*compared, *map(Path, alone)]
    arguments.images = [word for word in arguments.images if word not in alone]


def _listed(text: str) -> List[Path]:
    """The paths in a list with commas, or a single path if one with these commas in its name exists."""
    return [Path(text)] if Path(text).exists() else [Path(word) for word in text.split(",") if word]


def load_all(arguments: argparse.Namespace) -> Dict[str, Trained]:
    """The network of a command and the networks of --compare, by titles that are all different."""
    which = arguments.checkpoint if arguments.checkpoint in ("last", "average") else "best"
    others = [as_shown(load_run(path, which, arguments.device), arguments) for path in arguments.compare]
    networks = [from_arguments(arguments), *others]
    folders = [network.run.path.resolve().name if network.run else network.file.stem for network in networks]
    return dict(zip(distinct([network.model for network in networks], folders), networks))


def _run(arguments: argparse.Namespace) -> int:
    log_to_terminal("stderr")
    settle_words(arguments)
    check_folder(arguments.output, arguments.force)
    if not arguments.images:
        raise ConfigError("no image is named, beside the runs to compare: name image files or folders of them")
    files = find_images(arguments.images)
    networks = {title: _of_whole_images(network) for title, network in load_all(arguments).items()}
    wanted = None if arguments.wanted == PREDICTED else arguments.wanted
    layers = {title: _layers(network, arguments.layers) for title, network in networks.items()}
    for title, network in networks.items():
        _check(title, network, layers[title], wanted)
    columns = [(title, layer) for title in networks for layer in layers[title]]
    with written_folder(arguments.output, arguments.force) as folder:
        rows, halves, unreadable = _look(networks, layers, files, wanted, arguments.batch_size, folder)
        title = f"Grad-CAM of {'the predicted class' if wanted is None else wanted}"
        draw_grad_cam_sheet(rows, [f"{name}\n{layer}" for name, layer in columns], title, folder / "sheet.png")
    print("the share of the map that holds half of the evidence, as the median over the images:")
    for (name, layer), own in zip(columns, halves):
        print(f"  {name}, {layer}: {_median(own)}")
    written = len(halves[0])
    each = counted(len(columns), "map")
    print(f"{arguments.output / 'sheet.png'}: {len(rows)} of {counted(written, 'image')}, {each} each")
    print(f"{arguments.output}: {counted(written * len(columns), 'overlay')}")
    return SOME_UNREADABLE if unreadable else 0


def _of_whole_images(network: Trained) -> Trained:
    """A network that answers each pixel, to which images are shown whole; any other as it is."""
    if not network.task.dense:
        return network
    return replace(network, preparation=replace(network.preparation, whole=True))


def _median(shares: np.ndarray) -> str:
    known = shares[np.isfinite(shares)]
    return f"{100 * float(np.median(known)):.1f} %" if known.size else "no image has any evidence"


def _layers(network: Trained, words: Optional[str]) -> List[str]:
    return list(dict.fromkeys(words.split(","))) if words else [default_layer(network.net)]


def _check(title: str, network: Trained, layers: Sequence[str], wanted: Optional[str]) -> None:
    """Refuse a layer or a class that the network does not have, before any work is done."""
    try:
        for layer in layers:
            find_layer(network.net, layer)
        if wanted is not None:
            class_number(network, wanted)
    except ConfigError as error:
        raise ConfigError(f"{title}: {error}") from None


def _look(
    networks: Dict[str, Trained],
    layers: Dict[str, List[str]],
    files: Sequence[Path],
    wanted: Optional[str],
    batch_size: int,
    folder: Path,
) -> Tuple[List[LookedAt], np.ndarray, int]:
    """Write the overlays, and return what the sheet shows.

    The result is the images of the sheet, `Look.half` for every column and image, and how many files cannot be read.
    """
    first = next(iter(networks.values()))
    if any(network.preparation.whole for network in networks.values()):
        batch_size = min(batch_size, 1)  # whole images differ in size, so that each is a batch
    rows: List[LookedAt] = []
    halves: List[List[float]] = []
    unreadable = 0
    with progress("gradcam", len(files), unit="images") as meter:
        for batch in read_batches(files, first.preparation, batch_size):
            report_unreadable(batch.unreadable)
            unreadable += len(batch.unreadable)
            if batch.files:
                looks = _looks_of_all(networks, layers, batch.files, batch.images, wanted)
            for index, file in enumerate(batch.files):
                halves.append([look[index].half for look in looks.values()])
                for (title, layer), look in looks.items():
                    write_picture(look[index].picture, folder / picture_name(len(halves), file, title, layer))
                if len(rows) < SHEET_ROWS:
                    shown = [look[index] for look in looks.values()]
                    rows.append(LookedAt(image_name(file), batch.images[index], shown))
            meter.update(len(batch.files) + len(batch.unreadable))
    if not halves:
        raise DataError(f"no image can be read: {counted(len(files), 'file')} tried")
    return rows, np.array(halves).T, unreadable


def _looks_of_all(
    networks: Dict[str, Trained],
    layers: Dict[str, List[str]],
    files: Sequence[Path],
    images: np.ndarray,
    wanted: Optional[str],
) -> Dict[Tuple[str, str], List[Look]]:
    """By (title, layer): one look per image. Each network gets the images in its own input size, or whole."""
    found = {}
    for position, (title, network) in enumerate(networks.items()):
        own = images if position == 0 else np.stack([network.preparation.read(file) for file in files])
        for layer, looks in zip(layers[title], zip(*look_at(network, own, layers[title], wanted))):
            found[title, layer] = list(looks)
    return found
