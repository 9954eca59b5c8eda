"""python -m fusion gradcam: where networks look, as overlays and as one sheet of several networks side by side."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from ..command import log_to_terminal
from ..errors import ConfigError, DataError
from ..inference.images import SOME_UNREADABLE, find_images, read_batches, report_unreadable
from ..inference.predict import add_images
from ..inference.trained import Trained, add_source, from_arguments, load_run
from ..progress import progress
from .drawing import distinct, write_picture
from .gradcam import default_layer
from .gradcam_picture import Look, SheetRow, class_number, draw_grad_cam_sheet, look_at
from .layers import find_layer
from .output import add_output, written_folder

#: The class of --class that stands for what each network says itself.
PREDICTED = "predicted"

#: Letters of a file's name in a sheet.
_NAME = 18

#: Letters of an image's name in a file's.
_STEM = 60

#: Rows of a sheet; further images have their overlays only.
SHEET_ROWS = 24


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `gradcam`."""
    parser = commands.add_parser("gradcam", help="where a network looks, or several side by side (Grad-CAM)")
    add_images(parser)
    add_source(parser)
    parser.add_argument("--compare", type=Path, nargs="+", default=[], metavar="RUN", help="runs to put beside it")
    parser.add_argument("--class", dest="wanted", default=PREDICTED, metavar="NAME", help="default: predicted")
    parser.add_argument("--layers", metavar="NAMES", help="such as stage2,stage3 (default: the last stage)")
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="images at a time (default: 16)")
    add_output(parser)
    parser.set_defaults(run_command=_run)


def load_all(arguments: argparse.Namespace) -> Dict[str, Trained]:
    """The network of a command and those of --compare, by a title that tells them apart."""
    which = arguments.checkpoint if arguments.checkpoint in ("last", "average") else "best"
    others = [load_run(path, which, arguments.device) for path in arguments.compare]
    networks = [from_arguments(arguments), *others]
    folders = [network.run.path.resolve().name if network.run else network.file.stem for network in networks]
    return dict(zip(distinct([network.model for network in networks], folders), networks))


def _run(arguments: argparse.Namespace) -> int:
    log_to_terminal("stderr")
    files = find_images(arguments.images)
    networks = load_all(arguments)
    wanted = None if arguments.wanted == PREDICTED else arguments.wanted
    layers = {title: _layers(network, arguments.layers) for title, network in networks.items()}
    for title, network in networks.items():
        _check(title, network, layers[title], wanted)
    columns = [(title, layer) for title in networks for layer in layers[title]]
    with written_folder(arguments.output, arguments.force) as folder:
        rows, halves, unreadable = _look(networks, layers, files, wanted, arguments.batch_size, folder)
        title = f"Grad-CAM of {'the predicted class' if wanted is None else wanted}"
        draw_grad_cam_sheet(rows, [f"{name}\n{layer}" for name, layer in columns], title, folder / "sheet.png")
    print("half of the evidence is in so much of the map, the median over the images:")
    for (name, layer), own in zip(columns, halves):
        print(f"  {name}, {layer}: {_median(own)}")
    written = len(halves[0])
    print(f"{arguments.output / 'sheet.png'}: {len(rows)} of {written} images, {len(columns)} maps each")
    print(f"{arguments.output}: {written * len(columns)} overlays")
    return SOME_UNREADABLE if unreadable else 0


def _median(shares: np.ndarray) -> str:
    known = shares[np.isfinite(shares)]
    return f"{100 * float(np.median(known)):.1f} %" if known.size else "none has any"


def _layers(network: Trained, words: Optional[str]) -> List[str]:
    return list(dict.fromkeys(words.split(","))) if words else [default_layer(network.net)]


def _check(title: str, network: Trained, layers: Sequence[str], wanted: Optional[str]) -> None:
    """Refuse what a network does not have before any work is done."""
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
) -> Tuple[List[SheetRow], np.ndarray, int]:
    """Write the overlays; return the sheet's rows, (columns, images) `Look.half`, and how many cannot be read."""
    first = next(iter(networks.values()))
    rows: List[SheetRow] = []
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
                    rows.append(SheetRow(image_name(file), batch.images[index], shown))
            meter.update(len(batch.files) + len(batch.unreadable))
    if not halves:
        raise DataError(f"none of the {len(files)} images can be read")
    return rows, np.array(halves).T, unreadable


def _looks_of_all(
    networks: Dict[str, Trained],
    layers: Dict[str, List[str]],
    files: Sequence[Path],
    images: np.ndarray,
    wanted: Optional[str],
) -> Dict[Tuple[str, str], List[Look]]:
    """By (title, layer): a look for each image, of which each network is shown its own size."""
    found = {}
    for position, (title, network) in enumerate(networks.items()):
        own = images if position == 0 else np.stack([network.preparation.read(file) for file in files])
        for layer, looks in zip(layers[title], zip(*look_at(network, own, layers[title], wanted))):
            found[title, layer] = list(looks)
    return found


def image_name(file: Path) -> str:
    """What a sheet calls an image: its folder, often the class, and its name, cut short if need be."""
    parent, name = file.resolve().parent.name, file.stem
    return f"{parent}/ {name if len(name) <= _NAME else name[: _NAME - 1] + '…'}"


def picture_name(number: int, file: Path, *about: str) -> str:
    """The name of the file with the picture of image so many, from 1."""
    return slug("_".join([f"{number:03}", file.stem[:_STEM], *about])) + ".png"


def slug(text: str) -> str:
    """A file name of letters, digits, dots, hyphens and underscores."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-")
