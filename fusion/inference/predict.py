"""python -m fusion predict: the classes that a trained network sees in images, or the masks that it draws of them."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
from scipy.special import log_softmax

from ..command import log_to_terminal
from ..compat import mx
from ..errors import CheckpointError, ConfigError
from ..outputs import check_folder, written_folder
from ..progress import progress
from .images import SOME_UNREADABLE, ImageBatch, Unreadable, find_images, read_batches, report_unreadable
from .masks import MaskAnswer, predict_masks, refuse_same_names
from .masks import describe as describe_masks
from .shown_names import add_class_names
from .source import add_source, from_arguments
from .trained import Trained


@dataclass(frozen=True)
class Prediction:
    """A network's answer to one image.

    Attributes
    ----------
    file : Path
        The image.
    top : tuple of (str, float)
        Class names with their probabilities, the most likely class first.
    """

    file: Path
    top: Tuple[Tuple[str, float], ...]


def probabilities(trained: Trained, images: np.ndarray) -> np.ndarray:
    """A network's softmax over its classes: see `log_probabilities`."""
    return np.exp(log_probabilities(trained, images))


def log_probabilities(trained: Trained, images: np.ndarray) -> np.ndarray:
    """The logarithms of a network's softmax over its classes.

    Parameters
    ----------
    trained : Trained
        The network.
    images : ndarray
        (B, size, size, 3) uint8, from `trained.preparation.read`.

    Returns
    -------
    ndarray
        (B, classes) float64.

    Raises
    ------
    CheckpointError
        If an answer is not a finite number, which happens if the training diverged.
    """
    inputs = mx.nd.array(trained.preparation.normalise(images), ctx=trained.context)
    logits = trained.net(inputs).asnumpy().astype(np.float64)
    if not np.isfinite(logits).all():
        raise CheckpointError(f"{trained.file}: the network's answers are not finite numbers; its training diverged")
    return np.asarray(log_softmax(logits, axis=-1))


def likeliest(trained: Trained, shares: np.ndarray, count: int) -> Tuple[Tuple[str, float], ...]:
    """The `count` most likely classes of one image with their names, from its probabilities (classes,)."""
    order = np.argsort(-shares, kind="stable")[:count]
    return tuple((trained.classes[index], float(shares[index])) for index in order)


def predict(trained: Trained, batch: ImageBatch, top: int = 5) -> List[Prediction]:
    """A network's answers to the images of a batch, each with its `top` most likely classes.

    Examples
    --------
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from fusion.data import load_dataset
    >>> from fusion.inference.images import read_batches
    >>> from fusion.inference.trained import load_pretrained
    >>> Image.fromarray(load_dataset("digits", "test").images[0]).save("digit.png")
    >>> trained = load_pretrained("aff_resnet8_digits")
    >>> for batch in read_batches([Path("digit.png")], trained.preparation, batch_size=32):
    ...     for answer in predict(trained, batch, top=1):
    ...         print(answer.file, answer.top[0][0])
    digit.png 0
    """
    if not batch.files:
        return []
    shares = probabilities(trained, batch.images)
    return [Prediction(file, likeliest(trained, own, top)) for file, own in zip(batch.files, shares)]


# --- The command -----------------------------------------------------------------------------------------------------


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `predict`."""
    parser = commands.add_parser("predict")
    add_images(parser)
    add_source(parser)
    add_class_names(parser)
    parser.add_argument("--top", type=int, metavar="N", help="classes per image (default: 5)")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="images per batch (default: 32)")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="a folder for the masks of a network that draws them"
    )
    parser.add_argument("--force", action="store_true", help="write into DIR even if it holds files")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.set_defaults(run_command=_run)


def add_images(parser: argparse.ArgumentParser, count: str = "+", settings: bool = False) -> None:
    """Add the argument that says which images a command is about.

    Parameters
    ----------
    parser : ArgumentParser
        Of the command.
    count : str
        How many there may be, as `argparse` writes it.
    settings : bool
        Whether words such as data.dir=PATH may stand among them; `fusion.command.split_settings` tells them apart.
    """
    words = "files, folders, or quoted patterns ('a/**/*.jpg')"
    if settings:
        parser.add_argument(
            "images",
            nargs=count,
            metavar="IMAGE|data.key=value",
            help=f"{words}; and where the data is now, such as data.dir=PATH",
        )
    else:
        parser.add_argument("images", nargs=count, metavar="IMAGE", help=words)


def _run(arguments: argparse.Namespace) -> int:
    top = 5 if arguments.top is None else arguments.top
    for option, number in (("--top", top), ("--batch-size", arguments.batch_size)):
        if number < 1:
            raise ConfigError(f"{option} {number}: expected at least 1")
    if arguments.output is not None:
        check_folder(arguments.output, arguments.force)
    log_to_terminal("stderr")
    files = find_images(arguments.images)
    trained = from_arguments(arguments)
    trained.net.hybridize()
    if trained.task.dense:
        return _predict_masks(trained, files, arguments)
    if arguments.output is not None:
        raise ConfigError(f"--output {arguments.output}: this network names classes, and draws no masks")
    predictions: List[Prediction] = []
    unreadable: List[Unreadable] = []
    # On a terminal the answers show the progress, and a bar would be drawn across them.
    quiet = len(files) <= arguments.batch_size or not (arguments.json or not sys.stdout.isatty())
    with nullcontext() if quiet else progress("predict", len(files), unit="images") as meter:
        for batch in read_batches(files, trained.preparation, arguments.batch_size):
            report_unreadable(batch.unreadable)
            unreadable += batch.unreadable
            found = predict(trained, batch, top)
            predictions += found
            if not arguments.json:
                _print(found)
            if meter is not None:
                meter.update(len(batch.files) + len(batch.unreadable))
    if arguments.json:
        print(json.dumps(_describe(trained, predictions, unreadable)))
    return SOME_UNREADABLE if unreadable else 0


def _predict_masks(trained: Trained, files: List[Path], arguments: argparse.Namespace) -> int:
    if arguments.top is not None:
        raise ConfigError("--top is for a network that names classes; this one answers each pixel")
    if arguments.output is None:
        raise ConfigError("this network draws masks: say which folder they go to, by --output DIR")
    refuse_same_names(files)
    answers: List[MaskAnswer] = []
    unreadable: List[Unreadable] = []
    with written_folder(arguments.output, arguments.force) as folder:
        for found in predict_masks(trained, files, folder):
            if isinstance(found, Unreadable):
                report_unreadable([found])
                unreadable.append(found)
                continue
            answers.append(found)
            if not arguments.json:
                print(f"{found.file}: {found.words}", flush=True)
    if arguments.json:
        images = describe_masks(answers, arguments.output)
        print(json.dumps({**_source(trained), "images": images, "unreadable": _in_plain_types(unreadable)}))
    else:
        of_what = "the image" if len(answers) == 1 else f"each of {len(answers)} images"
        print(f"{arguments.output}: a mask NAME.png and a picture NAME_overlay.png of {of_what}")
    return SOME_UNREADABLE if unreadable else 0


def _print(predictions: List[Prediction]) -> None:
    for found in predictions:
        words = ", ".join(f"{name} ({100 * share:.1f} %)" for name, share in found.top)
        print(f"{found.file}: {words}", flush=True)


def _describe(trained: Trained, predictions: List[Prediction], unreadable: List[Unreadable]) -> Dict[str, Any]:
    """What --json prints, in plain types."""
    return {
        **_source(trained),
        "images": [
            {
                "file": str(found.file),
                "top": [{"class": name, "probability": share} for name, share in found.top],
            }
            for found in predictions
        ],
        "unreadable": _in_plain_types(unreadable),
    }


def _source(trained: Trained) -> Dict[str, Any]:
    return {"model": trained.model, "checkpoint": str(trained.file), "data": trained.data}


def _in_plain_types(unreadable: List[Unreadable]) -> List[Dict[str, str]]:
    return [{"file": str(bad.file), "reason": bad.reason} for bad in unreadable]
